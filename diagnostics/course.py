"""Owns the record of a training's course in time: when steps were done, and what they waited for.

A part of History: bounded, and fed by observations alone. What the numbers mean is for `pace`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from diagnostics.observations import (
    BarKind,
    GpuSample,
    Missing,
    Observation,
    Phase,
    Progress,
    RunFact,
    TrainStep,
)

MAX_PACE_POINTS = 2_000
"""Kept for each source; with more, they are thinned to one for each span of time."""
MAX_DATA_BARS = 16
GPU_WINDOW = 120
"""Samples over which a GPU's use is averaged: older ones fade."""
SLOWING = frozenset({"hardware thermal", "software thermal", "hardware slowdown", "power brake"})
"""Reasons that mean a fault; a GPU at its power limit is only busy."""


@dataclass(frozen=True, slots=True)
class PacePoint:
    """A step that was done, and when: `elapsed_s` by the trainer's own clock, whole seconds."""

    step: int
    elapsed_s: float
    at: float
    source: str


@dataclass(frozen=True, slots=True)
class TimedBar:
    """How long bars of one name ran, those of several data sets together."""

    source: str
    description: str
    seconds: float
    done: int
    total: int

    @property
    def seconds_left(self) -> float:
        """How long the present bar will still run at its own pace; 0 where that is not known."""
        if not 0 < self.done < self.total:
            return 0.0
        return self.seconds * (self.total - self.done) / self.done


@dataclass(frozen=True, slots=True)
class GpuUse:
    """A GPU's means while the run was in its training phase."""

    samples: int = 0
    utilization_pct: float = 0.0
    slowed_pct: float = 0.0
    """Share of the samples in which the GPU held its clocks back for a fault."""


class _Clock(IntEnum):
    """What a source's times are, the best last."""

    ARRIVAL = 0  # when we read them
    ROW = 1  # the trainer's seconds, in each logged row
    BAR = 2  # the trainer's seconds, at each redraw of its bar


class Course:
    """Collects what History shows as `pace`, `data_bars` and `gpu_use`."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, _Clock], _Series] = {}
        self._bars: dict[str, _DataBar] = {}
        self._use: dict[int, GpuUse] = {}

    def add(self, observation: Observation, phase: Phase) -> None:
        """Take one observation in; `phase` is the run's before it."""
        match observation:
            case Progress(kind=BarKind.TRAIN, elapsed_s=float() as elapsed):
                bars = self._one(observation.source, _Clock.BAR)
                bars.add(observation.done, elapsed, observation.at)
            case Progress(kind=BarKind.DATASET, elapsed_s=float()):
                self._data_bar(observation)
            case TrainStep(step=int() as step, elapsed_s=None, at=at):
                self._one(observation.source, _Clock.ARRIVAL).add(step, at, at)
            case TrainStep(step=int() as step, elapsed_s=float() as elapsed):
                self._one(observation.source, _Clock.ROW).add(step, elapsed, observation.at)
            case RunFact(name="restart"):
                for clock in _Clock:
                    self._series.pop((observation.source, clock), None)
            case GpuSample() if phase is Phase.TRAINING:
                self._gpu(observation)

    @property
    def pace(self) -> tuple[PacePoint, ...]:
        """The points of the best source."""
        if not self._series:
            return ()
        best = max(self._series, key=lambda key: (len(self._series[key]) > 1, key[1], key[0]))
        return self._series[best].points(best[0])

    @property
    def data_bars(self) -> tuple[TimedBar, ...]:
        """The bars of the data preparation, in their order."""
        return tuple(bar.timed() for bar in self._bars.values())

    @property
    def gpu_use(self) -> Mapping[int, GpuUse]:
        """What each GPU did while steps were made."""
        return dict(sorted(self._use.items()))

    def _one(self, source: str, clock: _Clock) -> "_Series":
        return self._series.setdefault((source, clock), _Series())

    def _data_bar(self, bar: Progress) -> None:
        known = self._bars.get(bar.description)
        if known is not None:
            known.see(bar)
        elif len(self._bars) < MAX_DATA_BARS:
            self._bars[bar.description] = _DataBar(bar)

    def _gpu(self, sample: GpuSample) -> None:
        busy = sample.utilization_pct
        if isinstance(busy, Missing):
            return
        reasons = sample.throttle
        slowed = not isinstance(reasons, Missing) and not SLOWING.isdisjoint(reasons)
        before = self._use.get(sample.index, GpuUse())
        share = max(1 / (before.samples + 1), 1 / GPU_WINDOW)
        self._use[sample.index] = GpuUse(
            samples=before.samples + 1,
            utilization_pct=before.utilization_pct + share * (busy - before.utilization_pct),
            slowed_pct=before.slowed_pct + share * (100.0 * slowed - before.slowed_pct),
        )


class _DataBar:
    """Bars of one name, one after the other."""

    def __init__(self, bar: Progress) -> None:
        self._before_s = 0.0
        self._now = bar

    def see(self, bar: Progress) -> None:
        whole = self._now.done >= self._now.total
        if whole and bar.done < bar.total and (bar.elapsed_s or 0.0) < (self._now.elapsed_s or 0.0):
            self._before_s += self._now.elapsed_s or 0.0  # another data set
        self._now = bar

    def timed(self) -> TimedBar:
        now = self._now
        seconds = self._before_s + (now.elapsed_s or 0.0)
        return TimedBar(now.source, now.description, seconds, now.done, now.total)


class _Series:
    """The points of one source's present attempt.

    Bars tell whole seconds: of the steps within a second only the first is kept, for its time is
    sure to a step's length, while that of the others is not.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[int, float, float]] = []
        self._last: tuple[int, float, float] | None = None
        self._gap_s = 0.0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, step: int, elapsed_s: float, at: float) -> None:
        last = self._last
        if last is not None and (step < last[0] or elapsed_s < last[1]):
            # The steps of another attempt.
            self._kept, self._gap_s, last = [], 0.0, None
        if step <= 0 or (last is not None and step == last[0]):
            return
        self._last = point = (step, elapsed_s, at)
        if self._kept and not elapsed_s - self._kept[-1][1] > self._gap_s:
            return
        self._kept.append(point)
        if len(self._kept) > MAX_PACE_POINTS:
            self._thin()

    def points(self, source: str) -> tuple[PacePoint, ...]:
        found = self._kept
        if self._last is not None and self._kept and self._last[1] > self._kept[-1][1]:
            found = [*self._kept, self._last]
        return tuple(PacePoint(*point, source) for point in found)

    def _thin(self) -> None:
        self._gap_s = (self._kept[-1][1] - self._kept[0][1]) / (MAX_PACE_POINTS / 2)
        thinned = self._kept[:1]
        for point in self._kept[1:]:
            if point[1] - thinned[-1][1] > self._gap_s:
                thinned.append(point)
        self._kept = thinned
