"""A training that somebody else started: found, watched to its death, cured, its limits kept."""

import json
import subprocess

import pytest

from tests.e2e.laboratory import DATA_LIMIT_KIB, Lab, wait_for

pytestmark = pytest.mark.e2e


def test_a_run_started_by_hand_is_found_and_its_out_of_memory_cured_under_the_same_limit(lab: Lab):
    config = lab.config(batch=32)
    with (lab.folder / "train.log").open("wb") as log:
        training = subprocess.Popen(
            ["bash", "-c", f"ulimit -d {DATA_LIMIT_KIB}; exec llamafactory-cli train train.yaml"],
            cwd=lab.folder,
            env=lab.environ,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    wait_for(lab.trainings, 20, "the training")

    watched = lab.run("watch", str(training.pid), "--plain")
    training.wait(30)

    assert watched.returncode == 1
    assert "host_oom.alloc" in watched.stdout

    fixed = lab.run("fix", str(lab.folder / "out"), "--relaunch", "--yes")

    assert fixed.returncode == 0, fixed.stdout + fixed.stderr
    assert "per_device_train_batch_size: 16  #" in config.read_text()
    followed = lab.run("watch", str(lab.folder / "out"), "--plain")
    assert followed.returncode == 0, followed.stdout + followed.stderr
    listed = json.loads(lab.run("runs", "--format", "json").stdout)
    own = next(item for item in listed if item["cwd"] == str(lab.folder))
    first, second = own["attempts"]
    assert (first["status"], first["finding"]) == ("failed", "host_oom.alloc")
    assert (second["status"], second["outcome"]) == ("finished", "cured")
    launch = next((lab.folder.parent / "state").rglob("attempt-2/launch.json"))
    assert json.loads(launch.read_text())["limits"]["data"][0] == DATA_LIMIT_KIB * 1024
