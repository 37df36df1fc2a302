"""Owns the loop: poll sources -> History -> diagnose -> MonitorUpdate.

Watcher does one turn of it; Monitor is the one thread that turns it. A failing source never
ends it.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from diagnostics.engine import diagnose
from diagnostics.findings import Diagnosis
from diagnostics.history import History, Snapshot
from diagnostics.memory.facts import MemoryFacts
from diagnostics.monitor_update import MonitorUpdate
from diagnostics.observations import Observation, SourceFault
from diagnostics.ruleset import RuleSet
from diagnostics.runs.data_look import DataLook
from diagnostics.runs.ledger import assess
from diagnostics.runs.model import Attempt, Run
from diagnostics.signals import Context
from diagnostics.sources.base import Source
from diagnostics.status import RunStatus, ended_status, status_of_log

LOG_SECONDS = 0.5
"""How often logs and processes are looked at: a finding is on screen well within 2 seconds."""
SETTLE_SECONDS = 3.0
"""How long a run without processes may still have an exit record to come."""


@dataclass(slots=True)
class Watcher:
    """One watched run; `tick` turns the loop once. `slow` sources are polled each interval."""

    run: Run
    rules: RuleSet
    fast: Sequence[Source]
    slow: Sequence[Source] = ()
    packages: Mapping[str, bool] = field(default_factory=dict)
    memory: MemoryFacts | None = None
    """What predicts the training's memory."""
    data: DataLook | None = None
    """A look at the data files, begun once the first update is out."""
    attempts: Sequence[Attempt] = ()
    save: Callable[[Attempt], None] | None = None
    """Records what came of the present attempt; None for one that is not ours to record."""
    learn: Callable[[Attempt, Snapshot], None] | None = None
    """Records what the present attempt teaches of its memory."""
    interval_s: float = 2.0
    began_at: float = 0.0
    """When the present attempt began; what was written before is an earlier one's."""
    history: History = field(init=False)
    _diagnosis: Diagnosis = field(init=False, default_factory=Diagnosis)
    _slow_at: float = field(init=False, default=0.0)
    _gone_since: float | None = field(init=False, default=None)
    _saved: Attempt | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.history = History(self.rules.patterns, self.began_at)

    def tick(self, now: float) -> MonitorUpdate | None:
        """Poll what is due; return an update where there is anything new."""
        seen: list[Observation] = []
        for source in self.fast:
            seen.extend(_poll(source, now))
        due = now - self._slow_at >= self.interval_s
        if due:
            self._slow_at = now
            for source in self.slow:
                seen.extend(_poll(source, now))
        for observation in seen:
            self.history.add(observation)
        if not seen and not due:
            return None
        return self._update(now)

    def close(self) -> None:
        """Close the sources; the training is not touched."""
        for source in (*self.fast, *self.slow):
            source.close()

    def _update(self, now: float) -> MonitorUpdate:
        snapshot = self.history.snapshot()
        status = self._status(snapshot, now)
        context = Context(
            snapshot=snapshot,
            config=self.run.config,
            environ=self.run.launch.environ if self.run.launch is not None else {},
            packages=self.packages,
            memory=self.memory,
            closed=status is not RunStatus.RUNNING,
            datasets=self.data.reports if self.data is not None else None,
        )
        diagnosis = diagnose(self.rules.rules, context)
        if self.data is not None:
            self.data.begin()
        attempts = self._assess(snapshot, diagnosis, status)
        previous = attempts[-2] if len(attempts) > 1 else None
        return MonitorUpdate(now, self.run, snapshot, diagnosis, status, attempts, previous)

    def _status(self, snapshot: Snapshot, now: float) -> RunStatus:
        alive = snapshot.process is not None and snapshot.process.alive
        if snapshot.ended is not None:
            return ended_status(snapshot.ended)
        if alive:
            self._gone_since = None
            return RunStatus.RUNNING
        if self._gone_since is None:
            self._gone_since = now
        if now - self._gone_since < SETTLE_SECONDS and snapshot.process is not None:
            return RunStatus.RUNNING
        return status_of_log(snapshot)

    def _assess(
        self, snapshot: Snapshot, diagnosis: Diagnosis, status: RunStatus
    ) -> tuple[Attempt, ...]:
        if not self.attempts:
            return ()
        *before, present = self.attempts
        previous = before[-1] if before else None
        present = assess(present, previous, snapshot, diagnosis, status)
        self.attempts = (*before, present)
        milestone = self._saved is None or _milestone(self._saved) != _milestone(present)
        if self.save is not None and milestone:
            self.save(present)
            self._saved = present
            if self.learn is not None and status is not RunStatus.RUNNING:
                self.learn(present, snapshot)
        return (*before, present)


def _poll(source: Source, now: float) -> Sequence[Observation]:
    """Poll a source; one that breaks its promise never to raise blinds none of the others."""
    try:
        return source.poll(now)
    except Exception as error:  # noqa: BLE001 - shown on screen; the others work on
        reason = f"{type(error).__name__}: {error}"
        return (SourceFault(now, type(source).__name__, reason),)


def _milestone(attempt: Attempt) -> tuple[object, ...]:
    """Return what is worth recording at once; of a run's steps only where it ended."""
    step = None if attempt.status is RunStatus.RUNNING else attempt.step
    return (attempt.status, attempt.outcome, attempt.finding_id, step)


class Monitor:
    """Turns a Watcher in a thread of its own; a stuck driver never blocks who listens."""

    def __init__(self, run: Run, make_watcher: Callable[[], Watcher]) -> None:
        self._run = run
        self._make_watcher = make_watcher
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, publish: Callable[[MonitorUpdate], None]) -> None:
        """Begin; `publish` is called from the thread, at most once a turn."""
        self._thread = threading.Thread(
            target=self._turn, args=(publish,), name="llamavet-monitor", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once and never touches the training."""
        self._stopping.set()

    def _turn(self, publish: Callable[[MonitorUpdate], None]) -> None:
        watcher: Watcher | None = None
        while not self._stopping.is_set():
            try:
                if watcher is None:
                    watcher = self._make_watcher()
                update = watcher.tick(time.time())
            except Exception as error:  # noqa: BLE001 - shown on screen; the rest works on
                update = _broken(self._run, error)
            if update is not None and not self._stopping.is_set():
                publish(update)
            self._stopping.wait(LOG_SECONDS)
        if watcher is not None:
            watcher.close()


def _broken(run: Run, error: Exception) -> MonitorUpdate:
    """Return an update that shows the watching itself as broken."""
    now = time.time()
    fault = SourceFault(now, "llamavet", f"{type(error).__name__}: {error}")
    snapshot = Snapshot(at=now, faults={"llamavet": fault})
    return MonitorUpdate(now, run, snapshot, Diagnosis(), RunStatus.UNKNOWN, ())
