"""The verdict on a change: what became of it, from two attempts."""

from dataclasses import replace
from pathlib import Path

import pytest

from diagnostics.findings import Diagnosis, Finding, Severity, Text
from diagnostics.history import Snapshot
from diagnostics.observations import MemoryDevice, MemoryPhase, OutOfMemory, RunEnded
from diagnostics.runs.ledger import assess, judge
from diagnostics.runs.model import Attempt, Outcome
from diagnostics.status import RunStatus

FINISHED, RUNNING = RunStatus.FINISHED, RunStatus.RUNNING
FAILED, STOPPED, UNKNOWN = RunStatus.FAILED, RunStatus.STOPPED, RunStatus.UNKNOWN


def attempt(status: RunStatus, step: int | None = None, number: int = 1) -> Attempt:
    folder = Path("attempt-1")
    return Attempt(number, folder, folder / "output.log", 1.0, status, step=step)


@pytest.mark.parametrize(
    ("died_at", "step", "status", "expected"),
    [
        (5, 100, FINISHED, Outcome.CURED),
        (None, None, FINISHED, Outcome.CURED),
        (5, None, RUNNING, Outcome.PENDING),
        (5, 4, RUNNING, Outcome.PENDING),
        (5, 5, RUNNING, Outcome.PENDING),
        (5, 6, RUNNING, Outcome.CURED),
        (None, 0, RUNNING, Outcome.PENDING),
        (None, 1, RUNNING, Outcome.CURED),
        (5, 6, STOPPED, Outcome.CURED),
        (5, 5, STOPPED, Outcome.UNKNOWN),
        (5, 4, FAILED, Outcome.WORSE),
        (5, None, FAILED, Outcome.WORSE),
        (5, 5, FAILED, Outcome.RELAPSED),
        (5, 9, FAILED, Outcome.RELAPSED),
        (None, None, FAILED, Outcome.RELAPSED),
        (5, 6, UNKNOWN, Outcome.CURED),
        (5, 5, UNKNOWN, Outcome.UNKNOWN),
        (5, None, UNKNOWN, Outcome.UNKNOWN),
    ],
)
def test_a_change_is_judged_by_the_step_where_the_attempt_before_died(
    died_at, step, status, expected
):
    assert judge(attempt(FAILED, died_at), step, status) is expected


@pytest.mark.parametrize("status", list(RunStatus))
def test_without_a_failure_before_there_is_nothing_to_cure(status):
    assert judge(None, 10, status) is Outcome.UNKNOWN
    for before in (FINISHED, STOPPED, RUNNING):
        assert judge(attempt(before, 5), 10, status) is Outcome.UNKNOWN


def test_what_was_seen_of_an_attempt_is_noted():
    cause = Text("memory", "内存")
    finding = Finding("gpu_oom.train", Severity.CRITICAL, cause, cause, (), primary=True)
    seen = Snapshot(last_step=3, facts={"total_steps": 100}, gpu_peak_bytes={0: 10, 1: 30})
    running = assess(attempt(UNKNOWN, number=2), attempt(FAILED, 4), seen, Diagnosis(), RUNNING)
    assert (running.step, running.total_steps, running.finding_id) == (3, 100, None)
    assert (running.peak_gpu_bytes, running.outcome) == (30, Outcome.PENDING)

    text = "CUDA out of memory"
    oom = OutOfMemory(
        40.0, "train.log", 9, MemoryDevice.GPU, MemoryPhase.TRAIN, text, process_bytes=70
    )
    last = replace(seen, last_step=7, ooms=(oom,), gpu_peak_bytes={0: 900}, ended=RunEnded(50.0, 1))
    ended = assess(running, attempt(FAILED, 4), last, Diagnosis((finding,)), FAILED)
    assert (ended.status, ended.step, ended.finding_id) == (FAILED, 7, "gpu_oom.train")
    assert (ended.ended_at, ended.outcome) == (50.0, Outcome.RELAPSED)
    assert ended.peak_gpu_bytes == 70  # 900 is what others used after its end


def test_what_was_not_seen_of_an_attempt_stays_as_it_was_known():
    noted = assess(attempt(UNKNOWN, 3), None, Snapshot(), Diagnosis(), UNKNOWN)
    assert (noted.step, noted.peak_gpu_bytes, noted.finding_id) == (3, None, None)
    assert noted.ended_at is None
