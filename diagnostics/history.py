"""Owns the memory of what was observed: History, the only mutable thing here, and its Snapshot.

Everything is bounded: a run of weeks costs what a run of hours does. It reads no clock; time
arrives inside observations.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, TypeVar

from diagnostics.course import Course, GpuUse, PacePoint, TimedBar
from diagnostics.observations import (
    BarKind,
    EvalPoint,
    GpuSample,
    GpuUnavailable,
    HostSample,
    LogLine,
    Missing,
    Observation,
    OutOfMemory,
    Phase,
    PhaseChange,
    ProcessState,
    Progress,
    RankExit,
    RunEnded,
    RunFact,
    SourceFault,
    Traceback,
    TrainStep,
)
from diagnostics.patterns import PatternSet

MAX_LOG_LINES = 2_000
"""Lines kept for the screen; what rules need is kept as hits."""
MAX_POINTS = 8_192
"""Training steps kept for each source; of more, every second one is let go."""
MAX_FORMER = 64
"""Points kept of the attempt before, for comparison."""
MAX_EVENTS = 256
_STATE = "trainer_state.json"
TRAINER_LOG = "trainer_log.jsonl"
"""The source whose step numbers are sure."""
MAX_HITS = 16
"""Matches kept for each pattern: the first half and the last half."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of a run at one moment; a value, never changed after it is made."""

    at: float = 0.0
    gpus: Mapping[int, GpuSample] = field(default_factory=dict)
    gpu_peak_bytes: Mapping[int, int] = field(default_factory=dict)
    gpu_unavailable: GpuUnavailable | None = None
    host: HostSample | None = None
    process: ProcessState | None = None
    ended: RunEnded | None = None
    steps: tuple[TrainStep, ...] = ()
    """By step, each once: sources merged, the last attempt's values winning."""
    evals: tuple[EvalPoint, ...] = ()
    former_steps: tuple[TrainStep, ...] = ()
    """The last points that a new start in the same source has replaced."""
    last_step: int | None = None
    """The last step of this attempt; rows left by an earlier one do not count."""
    progress: Progress | None = None
    """The training bar."""
    activity: Progress | None = None
    """The latest bar of any kind."""
    phase: Phase = Phase.STARTING
    pace: tuple[PacePoint, ...] = ()
    """When steps of the present attempt were done, thinned evenly; by the best source there is."""
    data_bars: tuple[TimedBar, ...] = ()
    """How long the bars of the data preparation ran."""
    gpu_use: Mapping[int, GpuUse] = field(default_factory=dict)
    """What each GPU did while steps were made."""
    facts: Mapping[str, int | float | str] = field(default_factory=dict)
    log: tuple[LogLine, ...] = ()
    hits: Mapping[str, tuple[LogLine, ...]] = field(default_factory=dict)
    """Log lines that match a rule's pattern, by the pattern's text."""
    ooms: tuple[OutOfMemory, ...] = ()
    tracebacks: tuple[Traceback, ...] = ()
    rank_exits: tuple[RankExit, ...] = ()
    faults: Mapping[str, SourceFault] = field(default_factory=dict)
    observed: frozenset[str] = frozenset()
    """Which kinds were seen: "log", "metrics", "gpu", "host", "process", "exit"."""

    @property
    def step(self) -> int | None:
        """The training step reached, as far as any source tells."""
        seen = [] if self.last_step is None else [self.last_step]
        if self.progress is not None:
            seen.append(self.progress.done)
        return max(seen, default=None)

    @property
    def total_steps(self) -> int | None:
        """How many steps the run will take, as far as any source tells."""
        total = self.facts.get("total_steps")
        if isinstance(total, int):
            return total
        if self.progress is not None:
            return self.progress.total
        return next((p.total_steps for p in reversed(self.steps) if p.total_steps), None)


_KINDS: Mapping[type, str] = {
    GpuSample: "gpu",
    HostSample: "host",
    ProcessState: "process",
    RunEnded: "exit",
    LogLine: "log",
    Progress: "log",
    Traceback: "log",
    TrainStep: "metrics",
    EvalPoint: "metrics",
}


_FROM_FILES = (LogLine, Progress, TrainStep, EvalPoint, RunFact)
_WITHIN = frozenset({Phase.EVALUATING, Phase.SAVING})
"""Phases after which a training goes on: it is not a new one."""


_Point = TypeVar("_Point", TrainStep, EvalPoint)


class _Points:
    """The steps of one source; a step that comes again replaces itself and what followed it."""

    def __init__(self) -> None:
        self._steps: dict[int, TrainStep] = {}
        self._evals: dict[int, EvalPoint] = {}
        self._unplaced: dict[int, TrainStep] = {}
        self._counted = 0
        self._last = -1
        self.former: tuple[TrainStep, ...] = ()
        """The last points that the latest restart took away."""

    def restart(self, step: int) -> None:
        replaced = [point for at, point in self._steps.items() if at >= step]
        if replaced:
            self.former = tuple(replaced[-MAX_FORMER:])
        self._steps = {k: v for k, v in self._steps.items() if k < step}
        self._evals = {k: v for k, v in self._evals.items() if k < step}
        self._last = step - 1

    def add_step(self, point: TrainStep) -> None:
        step = point.step
        if step is None:
            self._counted += 1
            self._unplaced[self._counted] = replace(point, step=self._counted)
            if len(self._unplaced) > MAX_POINTS:
                self._unplaced = _thinned(self._unplaced)
            return
        if step < self._last:
            self.restart(step)
        self._steps[step] = point
        self._last = step
        if len(self._steps) > MAX_POINTS:
            self._steps = _thinned(self._steps)

    def add_eval(self, point: EvalPoint) -> None:
        self._evals[point.step if point.step is not None else max(self._last, 0)] = point
        if len(self._evals) > MAX_POINTS:
            self._evals = _thinned(self._evals)

    @property
    def steps(self) -> Iterable[tuple[int, TrainStep]]:
        return self._steps.items()

    @property
    def unplaced(self) -> Sequence[TrainStep]:
        """Points whose step nothing told, numbered in their order."""
        return tuple(self._unplaced.values())

    @property
    def evals(self) -> Iterable[tuple[int, EvalPoint]]:
        return self._evals.items()


def _thinned(points: dict[int, _Point]) -> dict[int, _Point]:
    """Return every second point, and those besides whose numbers have gone bad."""
    bad = 0
    kept = {}
    for place, (step, point) in enumerate(points.items()):
        is_bad = bad < MAX_POINTS // 8 and _is_bad(point)
        bad += is_bad
        if is_bad or place % 2 == 0 or place == len(points) - 1:
            kept[step] = point
    return kept


def _is_bad(point: TrainStep | EvalPoint) -> bool:
    if isinstance(point, EvalPoint):
        return point.eval_loss is not None and not math.isfinite(point.eval_loss)
    numbers = (point.loss, point.grad_norm)
    return any(number is not None and not math.isfinite(number) for number in numbers)


class History:
    """Collects observations; `patterns` are the regular expressions whose matches to keep."""

    def __init__(self, patterns: Sequence[str] = (), began_at: float = 0.0) -> None:
        self._began_at = began_at
        self._patterns = PatternSet(patterns)
        self._points: dict[str, _Points] = {}
        self._gpus: dict[int, GpuSample] = {}
        self._peaks: dict[int, int] = {}
        self._log: deque[LogLine] = deque(maxlen=MAX_LOG_LINES)
        self._hits: dict[str, list[LogLine]] = {}
        self._ooms: list[OutOfMemory] = []
        self._tracebacks: list[Traceback] = []
        self._exits: list[RankExit] = []
        self._facts: dict[str, int | float | str] = {}
        self._faults: dict[str, SourceFault] = {}
        self._at = 0.0
        self._phase = Phase.STARTING
        self._observed: set[str] = set()
        self._latest: dict[str, Any] = {}
        self._steps_changed = False
        self._course = Course()

    def add(self, observation: Observation) -> None:
        """Take one observation in."""
        kind = _KINDS.get(type(observation))
        if kind is not None:
            self._observed.add(kind)
        self._at = max(self._at, observation.at)
        if self._faults and isinstance(observation, _FROM_FILES):
            self._faults.pop(observation.source, None)
        self._course.add(observation, self._phase)
        self._take(observation)

    def _take(self, observation: Observation) -> None:  # noqa: C901, PLR0912 - one arm for each kind
        match observation:
            case LogLine():
                self._log.append(observation)
                self._match(observation)
            case TrainStep():
                self._points.setdefault(observation.source, _Points()).add_step(observation)
                self._steps_changed = True
                if observation.step is not None and observation.at >= self._began_at:
                    self._reach(observation.source, observation.step)
            case EvalPoint():
                self._points.setdefault(observation.source, _Points()).add_eval(observation)
                self._steps_changed = True
            case Progress():
                self._latest["activity"] = observation
                if observation.kind is BarKind.TRAIN:
                    self._latest["progress"] = observation
            case RunFact():
                self._take_fact(observation)
            case PhaseChange():
                self._enter(observation.phase)
            case GpuSample():
                self._take_gpu(observation)
            case GpuUnavailable():
                self._gpus.clear()
                self._latest["gpu_unavailable"] = observation
            case HostSample():
                self._latest["host"] = observation
            case ProcessState():
                self._latest["process"] = observation
            case RunEnded():
                self._latest["ended"] = observation
            case Traceback():
                _append(self._tracebacks, observation)
            case OutOfMemory():
                _append(self._ooms, observation)
            case RankExit():
                _append(self._exits, observation)
            case SourceFault():
                self._faults[observation.source] = observation

    def _reach(self, source: str, step: int) -> None:
        """Take note of the step reached; a checkpoint's record lies behind the others."""
        if source.endswith(_STATE) and "last_step" in self._latest:
            step = max(step, self._latest["last_step"])
        self._latest["last_step"] = step

    def snapshot(self) -> Snapshot:
        """Return what is known now."""
        if self._steps_changed:
            self._merge_points()
            self._steps_changed = False
        return Snapshot(
            **self._latest,
            at=self._at,
            phase=self._phase,
            pace=self._course.pace,
            data_bars=self._course.data_bars,
            gpu_use=self._course.gpu_use,
            observed=frozenset(self._observed),
            gpus=dict(sorted(self._gpus.items())),
            gpu_peak_bytes=dict(self._peaks),
            facts=dict(self._facts),
            log=tuple(self._log),
            hits={text: tuple(lines) for text, lines in self._hits.items()},
            ooms=tuple(self._ooms),
            tracebacks=tuple(self._tracebacks),
            rank_exits=tuple(self._exits),
            faults=dict(self._faults),
        )

    def _merge_points(self) -> None:
        steps: dict[int, TrainStep] = {}
        own = self._points.get(TRAINER_LOG)
        known = dict(own.steps) if own is not None else {}
        last = max(known, default=-1)
        # LLaMA-Factory's own record first: its numbers are not rounded.
        ordered = sorted(self._points.items(), key=lambda item: item[0] != TRAINER_LOG)
        for source, points in ordered:
            sure = not known or source == TRAINER_LOG or source.endswith(_STATE)
            for step, point in points.steps:
                if not sure and step not in known and step < last:
                    continue  # a console tells steps less surely than LLaMA-Factory's own record
                steps[step] = _merged(steps[step], point) if step in steps else point
        if not steps:
            unplaced = chain.from_iterable(points.unplaced for points in self._points.values())
            steps = {point.step: point for point in unplaced if point.step is not None}
        evals: dict[int, EvalPoint] = {}
        for step, found in chain.from_iterable(points.evals for _, points in ordered):
            kept = evals.setdefault(step, found)
            evals[step] = replace(kept, extra={**found.extra, **kept.extra})
        self._latest["steps"] = tuple(steps[step] for step in sorted(steps))
        self._latest["former_steps"] = next((p.former for _, p in ordered if p.former), ())
        self._latest["evals"] = tuple(evals[step] for step in sorted(evals))

    def _match(self, line: LogLine) -> None:
        for index in self._patterns.matches(line.text):
            hits = self._hits.setdefault(self._patterns.texts[index], [])
            if len(hits) >= MAX_HITS:
                del hits[MAX_HITS // 2]
            hits.append(line)

    def _take_fact(self, fact: RunFact) -> None:
        if fact.name == "restart":
            if isinstance(fact.value, int):
                progress = self._latest.get("progress")
                if progress is not None and progress.source == fact.source:
                    del self._latest["progress"]
                self._points.setdefault(fact.source, _Points()).restart(fact.value)
                self._steps_changed = True
            return
        self._facts[fact.name] = fact.value

    def _enter(self, phase: Phase) -> None:
        again = phase is Phase.TRAINING and self._phase not in _WITHIN
        if again or phase is Phase.STARTING:
            # A new training in the same log: what ended the one before is over.
            self._ooms.clear()
            self._tracebacks.clear()
            self._exits.clear()
        self._phase = phase

    def _take_gpu(self, sample: GpuSample) -> None:
        self._gpus[sample.index] = sample
        if not isinstance(sample.memory_used_bytes, Missing):
            peak = self._peaks.get(sample.index, 0)
            self._peaks[sample.index] = max(peak, sample.memory_used_bytes)
        self._latest.pop("gpu_unavailable", None)


def _append(events: list[Traceback] | list[OutOfMemory] | list[RankExit], event: object) -> None:
    if len(events) >= MAX_EVENTS:
        del events[MAX_EVENTS // 2]  # the first tell the cause, the last what ended the run
    events.append(event)  # type: ignore[arg-type] # each list is called with its own kind


def _merged(first: TrainStep, second: TrainStep) -> TrainStep:
    """Fill what `first` lacks from `second`: trainer_log has no grad_norm, the console has."""
    return replace(
        first,
        total_steps=first.total_steps or second.total_steps,
        loss=first.loss if first.loss is not None else second.loss,
        grad_norm=first.grad_norm if first.grad_norm is not None else second.grad_norm,
        learning_rate=(
            first.learning_rate if first.learning_rate is not None else second.learning_rate
        ),
        epoch=first.epoch if first.epoch is not None else second.epoch,
        extra={**second.extra, **first.extra},
    )
