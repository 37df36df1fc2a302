"""A training of two processes under torchrun: one run, stopped whole, relaunched."""

import json

import pytest

from tests.e2e.laboratory import Lab, wait_for

pytestmark = pytest.mark.e2e


def test_two_ranks_are_one_run_that_stops_with_no_orphan_and_resumes(lab: Lab):
    lab.config(batch=2, dataset="short", samples=400, epochs=4, save_steps=10)
    lab.environ.update(FORCE_TORCHRUN="1", NPROC_PER_NODE="2")

    started = lab.run("run", "train.yaml", "--detach")
    assert started.returncode == 0, started.stderr
    checkpoint = lab.folder / "out" / "checkpoint-10" / "trainer_state.json"
    wait_for(checkpoint.exists, 180, "a checkpoint")
    listed = json.loads(lab.run("runs", "--format", "json").stdout)
    own = [item for item in listed if item["cwd"] == str(lab.folder)]

    assert [(item["status"], item["ranks"]) for item in own] == [("running", 2)]

    stopped = lab.run("stop", str(lab.folder / "out"), "--yes")

    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "every process of it is gone" in stopped.stdout
    assert lab.trainings() == []

    name = own[0]["record"]
    relaunched = lab.run("relaunch", name, "--yes")

    assert relaunched.returncode == 0, relaunched.stdout + relaunched.stderr
    assert "resumes from checkpoint-" in relaunched.stdout
    wait_for(
        lambda: any("launcher.py" in " ".join(p.cmdline()) for p in lab.trainings()),
        60,
        "the ranks of the relaunch",
    )
    log = next((lab.folder.parent / "state").rglob("attempt-2/output.log"))
    wait_for(lambda: "Resuming training from" in log.read_text(), 90, "the resume")
    again = lab.run("stop", name, "--yes")

    assert again.returncode == 0, again.stdout + again.stderr
    assert lab.trainings() == []
