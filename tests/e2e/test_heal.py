"""The whole journey without a person, on a real training that really runs out of memory."""

import json

import pytest

from tests.e2e.laboratory import Lab

pytestmark = pytest.mark.e2e


def attempts(lab: Lab) -> list[dict[str, object]]:
    listed = json.loads(lab.run("runs", "--format", "json").stdout)
    own = [item for item in listed if item["cwd"] == str(lab.folder)]
    assert len(own) == 1
    found: list[dict[str, object]] = own[0]["attempts"]
    return found


def test_a_batch_that_does_not_fit_is_halved_and_the_relaunch_trains_to_the_end(lab: Lab):
    config = lab.config(batch=32)
    before = config.read_text()

    done = lab.run("run", "train.yaml", "--heal", limited=True)

    assert done.returncode == 0, done.stdout + done.stderr
    expected = before.replace(
        "per_device_train_batch_size: 32  #", "per_device_train_batch_size: 16  #"
    ).replace("gradient_accumulation_steps: 1", "gradient_accumulation_steps: 2")
    assert config.read_text() == expected
    first, second = attempts(lab)
    assert (first["status"], first["finding"], first["step"]) == ("failed", "host_oom.alloc", 0)
    assert (second["status"], second["outcome"]) == ("finished", "cured")
    assert (lab.folder / "out" / "all_results.json").exists()
    assert "cured" in done.stdout
    assert lab.trainings() == []

    undone = lab.run("undo")

    assert undone.returncode == 0, undone.stderr
    assert config.read_text() == before


def test_a_batch_far_too_large_is_cut_at_once_to_one_that_fits(lab: Lab):
    config = lab.config(batch=64)

    done = lab.run("run", "train.yaml", "--heal", limited=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "per_device_train_batch_size: 16" in config.read_text()
    assert "gradient_accumulation_steps: 4" in config.read_text()
    assert [item["outcome"] for item in attempts(lab)] == ["unknown", "cured"]


def test_after_an_out_of_memory_at_step_5_it_resumes_from_checkpoint_4(lab: Lab):
    lab.config(
        batch=32, dataset="late_long", samples=192, save_steps=2, extra="disable_shuffling: true\n"
    )

    done = lab.run("run", "train.yaml", "--heal", limited=True)

    assert done.returncode == 0, done.stdout + done.stderr
    first, second = attempts(lab)
    assert (first["step"], first["status"]) == (4, "failed")
    assert (second["outcome"], second["status"]) == ("cured", "finished")
    assert "resumes from checkpoint-4" in done.stdout
    log = next((lab.folder.parent / "state").rglob("attempt-2/output.log")).read_text()
    assert "Resuming training from" in log
    rows = (lab.folder / "out" / "trainer_log.jsonl").read_text().splitlines()
    steps = [json.loads(row)["current_steps"] for row in rows]
    assert steps[:4] == [1, 2, 3, 4]
    assert (lab.folder / "out" / "checkpoint-2").exists()


def test_a_value_given_on_the_command_line_is_changed_there(lab: Lab):
    config = lab.config(batch=8)
    before = config.read_text()

    done = lab.run("run", "train.yaml", "per_device_train_batch_size=32", "--heal", limited=True)

    assert done.returncode == 0, done.stdout + done.stderr
    launch = json.loads(
        next((lab.folder.parent / "state").rglob("attempt-2/launch.json")).read_text()
    )
    assert "per_device_train_batch_size=16" in launch["argv"]
    assert "per_device_train_batch_size: 8" in config.read_text()
    assert config.read_text() != before
