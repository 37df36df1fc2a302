"""The loop: what sources tell becomes updates, and neither a source nor a screen ends it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from diagnostics.monitor import LOG_SECONDS, SETTLE_SECONDS, Monitor, Watcher
from diagnostics.monitor_update import MonitorUpdate
from diagnostics.observations import (
    GpuSample,
    Missing,
    Observation,
    ProcessState,
    RunEnded,
    RunFact,
    SourceFault,
    TrainStep,
)
from diagnostics.ruleset import RuleSet
from diagnostics.runs.model import Attempt, Outcome, Run
from diagnostics.status import RunStatus

RULES = RuleSet(())
RUN = Run("out", None, Path("/runs"), None, None)
PATIENCE_S = 30.0


@dataclass
class Told:
    """A source that tells what it was given, a list a poll."""

    polls: list[Sequence[Observation]]
    times: list[float] = field(default_factory=list)
    closed: bool = False

    def poll(self, now: float) -> Sequence[Observation]:
        self.times.append(now)
        return self.polls.pop(0) if self.polls else ()

    def close(self) -> None:
        self.closed = True


class Broken:
    """A source that breaks its promise."""

    def poll(self, now: float) -> Sequence[Observation]:
        raise RuntimeError(f"driver gone at {now:.0f}")

    def close(self) -> None:
        """Nothing is held open."""


def alive(at: float) -> ProcessState:
    return ProcessState(at, "local", alive=True, pids=(7,))


def gone(at: float) -> ProcessState:
    return ProcessState(at, "local", alive=False)


def gpu(used_bytes: int) -> GpuSample:
    none = Missing("not supported")
    return GpuSample(
        at=1.0,
        host="local",
        index=0,
        uuid="GPU-0",
        name="GPU",
        memory_used_bytes=used_bytes,
        memory_total_bytes=100,
        utilization_pct=none,
        temperature_c=none,
        power_watts=none,
        power_limit_watts=none,
        sm_clock_mhz=none,
        memory_clock_mhz=none,
        processes=none,
    )


def step(number: int) -> TrainStep:
    return TrainStep(1.0, "trainer_log.jsonl", number, number, loss=1.0)


def watch(*polls: Sequence[Observation], **options) -> Watcher:
    return Watcher(RUN, RULES, [Told(list(polls))], interval_s=1000.0, **options)


def statuses(watcher: Watcher, *times: float) -> list[RunStatus | None]:
    updates = [watcher.tick(time) for time in times]
    return [None if update is None else update.status for update in updates]


def attempt(number: int, status: RunStatus, step: int | None = None) -> Attempt:
    folder = Path(f"attempt-{number}")
    return Attempt(number, folder, folder / "output.log", 1.0, status, step=step)


def test_nothing_new_is_no_update():
    watcher = watch([alive(5000.0)])
    assert statuses(watcher, 5000.0, 5001.0) == [RunStatus.RUNNING, None]


def test_slow_sources_are_polled_each_interval_only():
    fast, slow = Told([]), Told([])
    watcher = Watcher(RUN, RULES, [fast], [slow], interval_s=2.0)
    for now in (100.0, 100.5, 101.0, 102.0, 102.5, 104.5):
        watcher.tick(now)
    assert len(fast.times) == 6
    assert slow.times == [100.0, 102.0, 104.5]


def test_a_source_that_raises_is_shown_and_blinds_none_of_the_others():
    seen = Told([[step(3)]])
    watcher = Watcher(RUN, RULES, [Broken(), seen], [Broken()])
    update = watcher.tick(5000.0)
    assert update is not None
    assert update.snapshot.step == 3
    assert update.snapshot.faults["Broken"].reason == "RuntimeError: driver gone at 5000"


@pytest.mark.parametrize(
    ("ended", "status"),
    [
        (RunEnded(2.0, 0), RunStatus.FINISHED),
        (RunEnded(2.0, 1), RunStatus.FAILED),
        (RunEnded(2.0, -9), RunStatus.FAILED),
        (RunEnded(2.0, -2, requested=True), RunStatus.STOPPED),
        (RunEnded(2.0, 0, requested=True), RunStatus.STOPPED),
        (RunEnded(2.0, Missing("not recorded")), RunStatus.UNKNOWN),
    ],
)
def test_a_supervisors_record_tells_how_a_run_ended(ended, status):
    watcher = watch([alive(1.0)], [gone(2.0), ended])
    assert statuses(watcher, 5000.0, 5001.0) == [RunStatus.RUNNING, status]


def test_a_run_whose_processes_are_gone_may_still_have_a_record_to_come():
    watcher = watch([alive(1.0)], [gone(2.0)], [gone(3.0)])
    late = 5001.0 + SETTLE_SECONDS
    expected = [RunStatus.RUNNING, RunStatus.RUNNING, RunStatus.UNKNOWN]
    assert statuses(watcher, 5000.0, 5001.0, late) == expected


def test_a_log_tells_of_a_finish_that_nobody_recorded():
    done = RunFact(1.0, "train.log", 9, "train_loss", 0.5)
    assert statuses(watch([done]), 5000.0) == [RunStatus.FINISHED]


def test_an_attempt_is_recorded_at_its_milestones_and_at_no_step_between():
    saved: list[Attempt] = []
    watcher = watch(
        [alive(1.0), step(1)],
        [step(2)],
        [step(6)],
        [gone(4.0), RunEnded(4.0, 1)],
        [step(7)],
        attempts=[attempt(1, RunStatus.FAILED, 5), attempt(2, RunStatus.UNKNOWN)],
        save=saved.append,
    )
    for now in range(5000, 5006):
        watcher.tick(float(now))
    assert [(item.number, item.status, item.step, item.outcome) for item in saved] == [
        (2, RunStatus.RUNNING, 1, Outcome.PENDING),
        (2, RunStatus.RUNNING, 6, Outcome.CURED),
        (2, RunStatus.FAILED, 6, Outcome.RELAPSED),
        (2, RunStatus.FAILED, 7, Outcome.RELAPSED),
    ]


def test_the_peak_on_a_gpu_is_of_the_time_when_the_attempt_ran():
    saved: list[Attempt] = []
    watcher = watch(
        [alive(1.0), gpu(30)],
        [gpu(20)],
        [gone(4.0), RunEnded(4.0, 0), gpu(90)],
        attempts=[attempt(1, RunStatus.UNKNOWN)],
        save=saved.append,
    )
    updates = [watcher.tick(now) for now in (5000.0, 5001.0, 5002.0)]
    assert [one.attempts[-1].peak_gpu_bytes for one in updates if one is not None] == [30] * 3
    assert saved[-1].status is RunStatus.FINISHED
    assert saved[-1].peak_gpu_bytes == 30


def test_an_update_names_the_attempt_before():
    first, second = attempt(1, RunStatus.FAILED, 5), attempt(2, RunStatus.UNKNOWN)
    update = watch([alive(1.0)], attempts=[first, second]).tick(5000.0)
    assert update is not None
    assert update.previous == first
    assert [item.number for item in update.attempts] == [1, 2]


def test_closing_a_watcher_closes_every_source():
    fast, slow = Told([]), Told([])
    Watcher(RUN, RULES, [fast], [slow]).close()
    assert fast.closed
    assert slow.closed


@dataclass
class Screen:
    """Whoever listens: keeps the updates and tells when enough have come."""

    wanted: int
    updates: list[MonitorUpdate] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def publish(self, update: MonitorUpdate) -> None:
        self.updates.append(update)
        if len(self.updates) >= self.wanted:
            self.enough.set()


def test_a_watcher_that_cannot_be_made_is_shown_and_tried_again():
    tries: list[int] = []

    def make() -> Watcher:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no driver")
        return watch([alive(1.0)])

    screen = Screen(2)
    monitor = Monitor(RUN, make)
    monitor.start(screen.publish)
    assert screen.enough.wait(PATIENCE_S)
    monitor.stop()
    broken, well = screen.updates[:2]
    assert broken.snapshot.faults["llamavet"] == SourceFault(
        broken.at, "llamavet", "OSError: no driver"
    )
    assert (broken.status, well.status) == (RunStatus.UNKNOWN, RunStatus.RUNNING)


def test_stopping_returns_at_once_and_the_sources_are_closed_by_the_thread():
    source = Told([])
    held, entered = threading.Event(), threading.Event()

    class Stuck(Told):
        def poll(self, now: float) -> Sequence[Observation]:
            entered.set()
            assert held.wait(PATIENCE_S)
            return super().poll(now)

    stuck = Stuck([])
    screen = Screen(1)
    monitor = Monitor(RUN, lambda: Watcher(RUN, RULES, [stuck, source]))
    before = set(threading.enumerate())
    monitor.start(screen.publish)
    (thread,) = set(threading.enumerate()) - before
    assert entered.wait(PATIENCE_S)
    monitor.stop()
    held.set()
    thread.join(PATIENCE_S + LOG_SECONDS)
    assert not thread.is_alive()
    assert source.closed
    assert stuck.closed
    assert screen.updates == []
