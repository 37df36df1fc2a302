"""Reading what a supervisor recorded of its training."""

import json
from pathlib import Path

import pytest

from diagnostics.observations import Missing, ProcessState, RunEnded
from diagnostics.runs.supervisor import EXIT
from diagnostics.sources.supervised import Supervised


def test_a_folder_without_records_is_a_run_that_is_not_alive(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "gone"):
        assert list(Supervised(folder).poll(5.0)) == [ProcessState(5.0, "local", alive=False)]


def test_an_exit_is_told_once_with_all_that_was_recorded(tmp_path: Path):
    record = {"exit_code": 0, "peak_host_bytes": 1024, "ended_at": 4.5, "cgroup_oom_kills": 2}
    (tmp_path / EXIT).write_text(json.dumps(record))
    source = Supervised(tmp_path, "node")
    state, ended = source.poll(5.0)
    assert state == ProcessState(5.0, "node", alive=False)
    assert ended == RunEnded(4.5, 0, 1024, requested=False, cgroup_oom_kills=2)
    assert list(source.poll(6.0)) == []


def test_an_exit_that_was_asked_for_says_so(tmp_path: Path):
    (tmp_path / EXIT).write_text(json.dumps({"exit_code": -15, "ended_at": 4.5}))
    (tmp_path / "stop-requested").touch()
    (ended,) = [one for one in Supervised(tmp_path).poll(5.0) if isinstance(one, RunEnded)]
    assert (ended.exit_code, ended.requested) == (-15, True)


@pytest.mark.parametrize(
    ("record", "reason"),
    [({}, "not recorded"), ({"error": "no such program"}, "no such program")],
)
def test_what_was_not_recorded_is_missing_with_its_reason(
    tmp_path: Path, record: dict[str, str], reason: str
):
    (tmp_path / EXIT).write_text(json.dumps(record))
    (ended,) = [one for one in Supervised(tmp_path).poll(5.0) if isinstance(one, RunEnded)]
    assert ended.exit_code == Missing(reason)
    assert ended.peak_host_bytes == Missing("not recorded")


@pytest.mark.parametrize("text", ["", "{", "[]", "\0\0"])
def test_half_a_record_is_not_an_end(tmp_path: Path, text: str):
    (tmp_path / EXIT).write_text(text)
    assert list(Supervised(tmp_path).poll(5.0)) == [ProcessState(5.0, "local", alive=False)]
