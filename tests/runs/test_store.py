"""The state folder: what is written comes back, and what others wrote there breaks nothing."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from diagnostics.config.unset import UNSET
from diagnostics.errors import StoreError
from diagnostics.findings import KeyChange
from diagnostics.runs.model import Launch, Outcome, Treatment
from diagnostics.runs.processes import identify
from diagnostics.runs.store import (
    attempts,
    create_attempt,
    create_record,
    find_record,
    read_launch,
    records,
    save_launch,
    save_outcome,
    state_folder,
)
from diagnostics.runs.supervisor import boot_id
from diagnostics.status import RunStatus


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLAMAVET_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def record() -> Path:
    return create_record("lora", {"cwd": "/runs"})


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def test_the_state_folder_follows_its_variables(monkeypatch, tmp_path):
    monkeypatch.delenv("LLAMAVET_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "llamavet"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert state_folder() == Path("/home/me/.local/state/llamavet")


def test_nothing_recorded_is_no_records(state):
    assert records() == []
    assert not state.exists()


def test_records_are_private_and_never_shared_by_two_runs_of_one_second(state):
    names = ["lora", "lora", "../../etc", "训练", ""]
    made = [create_record(name, {}) for name in names]
    assert len(set(made)) == len(names)
    assert {path.parent for path in made} == {state / "runs"}
    assert set(records()) == set(made)
    assert all(path.stat().st_mode & 0o777 == 0o700 for path in [*made, state / "runs"])
    assert json.loads((made[3] / "run.json").read_text())["name"] == "训练"


def test_a_state_folder_that_cannot_be_made_names_its_remedy(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLAMAVET_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="set LLAMAVET_STATE_DIR"):
        create_record("lora", {})


def test_an_attempt_comes_back_with_its_treatment(record):
    treatment = Treatment(
        finding_id="gpu_oom.train",
        fix_id="halve_batch",
        title_en="halve the batch",
        changes=(KeyChange("batch", 8, 4), KeyChange("flash_attn", UNSET, None)),
        env={"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
        backup=record / "config.before.yaml",
    )
    create_attempt(record, log_path=Path("/runs/train.log"), treatment=None)
    create_attempt(record, log_path=None, treatment=treatment)
    first, second = attempts(record)
    assert (first.number, first.treatment, first.status) == (1, None, RunStatus.UNKNOWN)
    assert first.log_path == Path("/runs/train.log")
    assert (second.number, second.treatment) == (2, treatment)
    assert second.log_path == record / "attempt-2" / "output.log"


def test_the_tenth_attempt_comes_after_the_ninth(record):
    for _ in range(11):
        create_attempt(record, log_path=None, treatment=None)
    assert [attempt.number for attempt in attempts(record)] == list(range(1, 12))


@pytest.mark.parametrize(
    ("ended", "stop_requested", "status"),
    [
        ({"exit_code": 0}, False, RunStatus.FINISHED),
        ({"exit_code": 1}, False, RunStatus.FAILED),
        ({"exit_code": -9}, False, RunStatus.FAILED),
        ({"error": "No such file"}, False, RunStatus.FAILED),
        ({"exit_code": -2}, True, RunStatus.STOPPED),
        ({"exit_code": 0}, True, RunStatus.STOPPED),
        (None, False, RunStatus.UNKNOWN),
        (None, True, RunStatus.STOPPED),
    ],
)
def test_the_status_of_an_attempt_is_told_by_its_end(record, ended, stop_requested, status):
    folder = create_attempt(record, log_path=None, treatment=None).folder
    if ended is not None:
        write(folder / "exit.json", ended)
    if stop_requested:
        (folder / "stop-requested").touch()
    assert attempts(record)[0].status is status


def test_a_live_attempt_runs_and_is_found_by_its_process(record):
    folder = create_attempt(record, log_path=None, treatment=None).folder
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        process = identify(child.pid)
        assert process is not None
        facts = {"pid": process.pid, "started_ticks": process.started_ticks}
        facts |= {"supervisor_pid": 1, "supervisor_ticks": 0}
        write(folder / "child.json", {**facts, "boot_id": boot_id()})
        assert attempts(record)[0].status is RunStatus.RUNNING
        assert find_record(process.pid, process.started_ticks) == record
        assert find_record(process.pid, process.started_ticks + 1) is None
        write(folder / "child.json", {**facts, "boot_id": "another"})
        assert attempts(record)[0].status is RunStatus.UNKNOWN
        assert find_record(process.pid, process.started_ticks) is None
    finally:
        child.communicate()


def test_a_run_that_was_found_is_known_again_in_this_boot_only():
    facts = {"found_pid": 7, "found_ticks": 8}
    create_record("old", {**facts, "boot_id": "another"})
    assert find_record(7, 8) is None
    made = create_record("new", {**facts, "boot_id": boot_id()})
    assert find_record(7, 8) == made


def test_an_outcome_comes_back_and_fills_in_what_no_exit_record_tells(record):
    made = create_attempt(record, log_path=None, treatment=None)
    seen = replace(
        made,
        status=RunStatus.FAILED,
        step=5,
        total_steps=10,
        finding_id="gpu_oom.train",
        peak_gpu_bytes=7,
        outcome=Outcome.RELAPSED,
        ended_at=9.0,
    )
    save_outcome(seen)
    assert attempts(record) == [seen]


def test_an_exit_record_wins_over_what_a_watcher_saw(record):
    made = create_attempt(record, log_path=None, treatment=None)
    save_outcome(replace(made, status=RunStatus.FAILED, step=5))
    write(made.folder / "exit.json", {"exit_code": 0, "ended_at": 3.0, "peak_host_bytes": 11})
    (found,) = attempts(record)
    assert (found.status, found.exit_code, found.step) == (RunStatus.FINISHED, 0, 5)
    assert (found.ended_at, found.peak_host_bytes) == (3.0, 11)


def test_an_attempt_that_was_last_seen_running_is_not_running_for_ever(record):
    made = create_attempt(record, log_path=None, treatment=None)
    save_outcome(replace(made, status=RunStatus.RUNNING, step=5))
    (found,) = attempts(record)
    assert (found.status, found.step) == (RunStatus.UNKNOWN, 5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"number": "x"}',
        '{"number": null}',
        '{"number": 1, "started_at": []}',
        '{"number": 1, "treatment": {"changes": 7}}',
        '{"number": 1, "treatment": {"env": [1]}}',
    ],
)
def test_an_attempt_that_is_not_of_our_making_is_left_out_and_never_written_over(record, text):
    create_attempt(record, log_path=None, treatment=None)
    strange = record / "attempt-2"
    strange.mkdir()
    (strange / "attempt.json").write_text(text)
    (record / "attempt-x").mkdir()
    assert [attempt.number for attempt in attempts(record)] == [1]
    assert create_attempt(record, log_path=None, treatment=None).number == 3
    assert (strange / "attempt.json").read_text() == text


def test_numbers_that_are_none_are_not_taken_for_steps(record):
    made = create_attempt(record, log_path=None, treatment=None)
    write(
        made.folder / "outcome.json",
        {"status": "failed", "outcome": "cured", "step": "many", "total_steps": [1]},
    )
    write(made.folder / "exit.json", {"exit_code": "none", "peak_host_bytes": {}})
    (found,) = attempts(record)
    assert (found.step, found.total_steps, found.exit_code) == (None, None, None)


def test_a_launch_comes_back_whole(record):
    folder = create_attempt(record, log_path=None, treatment=None).folder
    odd = os.fsdecode(b"\xd6\xd0")
    launch = Launch(("llamafactory-cli", "train", "训练.yaml"), Path("/runs"), {"A": odd})
    launch = replace(launch, limits={"data": (1, -1)})
    save_launch(folder, launch)
    assert read_launch(folder) == launch
    assert (folder / "launch.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"argv": "train", "cwd": "/"},
        {"argv": []},
        {"argv": [], "cwd": 7},
        {"argv": [], "cwd": "/", "limits": {"data": 7}},
        {"argv": [], "cwd": "/", "environ": []},
    ],
)
def test_a_launch_that_is_not_of_our_making_is_none(record, value):
    write(record / "launch.json", value)
    assert read_launch(record) is None
