"""Owns the arithmetic of pace: how long a step takes, where that changed, what stands between.

Pure; robust to a clock of whole seconds, to the long first steps and to single stops.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from statistics import median

from diagnostics.course import PacePoint

_BUCKETS = 48
"""Spans of equal time in which levels are looked for."""
_MIN_BUCKET_S = 2.0
_MIN_SPLIT = 1.4
"""Levels closer than this are one."""
_MIN_GAIN = 0.25
"""Share of the spread that a split must explain."""
_MIN_PART = 2
_MAX_LEVELS = 12
_PAUSE_FACTOR = 3.0
"""A pause is as long as at least so many steps of usual length."""
_MIN_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """The steps after `before` up to `last`, and how long they took."""

    before: int
    last: int
    seconds: float

    @property
    def first(self) -> int:
        """The first of its steps."""
        return self.before + 1

    @property
    def steps(self) -> int:
        """How many steps."""
        return self.last - self.before

    @property
    def seconds_per_step(self) -> float:
        """Their mean length."""
        return self.seconds / self.steps


@dataclass(frozen=True, slots=True)
class Level:
    """Steps of like length, one after the other; `seconds_per_step` is the usual one."""

    first: int
    last: int
    seconds: float
    seconds_per_step: float
    parts: int
    """How many separate spans of it were measured."""
    spread: float = 0.0
    """By how much the logarithms of the spans' paces usually differ from their median."""

    @property
    def steps(self) -> int:
        """How many steps."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Shift:
    """A change for the slower from one level to the next."""

    fast: Level
    slow: Level
    over: Level | None = None
    """The level after it, where it is quick again."""

    @property
    def ratio(self) -> float:
        """How many times as long a step takes."""
        return self.slow.seconds_per_step / self.fast.seconds_per_step


@dataclass(frozen=True, slots=True)
class Drift:
    """Steps that took longer and longer: the usual length in parts of the run, the first first."""

    parts: tuple[Stretch, ...]

    @property
    def ratio(self) -> float:
        """How many times as long the last steps take as the first did."""
        return self.parts[-1].seconds_per_step / self.parts[0].seconds_per_step


@dataclass(frozen=True, slots=True)
class Pauses:
    """Stops between steps, beyond a step's usual length."""

    count: int
    seconds: float
    share_pct: float
    """Of all the time since the first step."""
    every_steps: int | None
    """Steps from one to the next, where they come regularly."""
    first: Stretch


def stretches(points: Sequence[PacePoint]) -> list[Stretch]:
    """Return what lies between points; those that show no time or no step are left out."""
    return [
        Stretch(one.step, two.step, two.elapsed_s - one.elapsed_s)
        for one, two in pairwise(points)
        if two.step > one.step and two.elapsed_s > one.elapsed_s
    ]


def usual_seconds(found: Sequence[Stretch]) -> float | None:
    """Return the usual length of a step: the median over all steps, which pauses do not move."""
    if not found:
        return None
    ordered = sorted(found, key=lambda one: one.seconds_per_step)
    sums = list(accumulate(one.steps for one in ordered))
    return ordered[bisect_right(sums, sums[-1] / 2)].seconds_per_step


def buckets(found: Sequence[Stretch], count: int = _BUCKETS) -> list[Stretch]:
    """Join stretches to spans of about equal time; none is split, so a long pause is one alone."""
    if not found:
        return []
    span = max(_MIN_BUCKET_S, sum(one.seconds for one in found) / count)
    joined: list[Stretch] = []
    seconds, before = 0.0, found[0].before
    for one in found:
        if not seconds:
            before = one.before
        seconds += one.seconds
        if seconds >= span:
            joined.append(Stretch(before, one.last, seconds))
            seconds = 0.0
    if seconds and joined and seconds < span / 2:
        last = joined.pop()
        joined.append(Stretch(last.before, found[-1].last, last.seconds + seconds))
    elif seconds:
        joined.append(Stretch(before, found[-1].last, seconds))
    return joined


def levels(found: Sequence[Stretch]) -> list[Level]:
    """Return the levels of a run's pace, in their order."""
    spans = buckets(found)
    if not spans:
        return []
    logs = [math.log(one.seconds_per_step) for one in spans]
    cuts = [0, len(spans)]
    for _ in range(_MAX_LEVELS - 1):
        best = max((_best_cut(logs, start, end) for start, end in pairwise(cuts)), default=(0.0, 0))
        if best[0] <= 0:
            break
        cuts = sorted([*cuts, best[1]])
    joined = _joined([_level(spans[start:end]) for start, end in pairwise(cuts)])
    return [_without_pauses(one, found) for one in joined]


def find_shift(
    found: Sequence[Stretch], least_ratio: float, *, steps: int, fast_s: float, slow_s: float
) -> Shift | None:
    """Return the greatest change for the slower between two lasting levels.

    Args:
        found: what lies between points.
        least_ratio: between the two.
        steps: each level has at least as many.
        fast_s: the quicker level lasted at least so long.
        slow_s: the slower one did.
    """
    run = levels(found)
    best: Shift | None = None
    for index, slow in enumerate(run):
        before = [one for one in run[:index] if one.steps >= steps and one.seconds >= fast_s]
        lasting = slow.steps >= steps and slow.seconds >= slow_s and slow.parts >= _MIN_SLOW_PARTS
        if not before or not lasting:
            continue
        fast = before[-1]
        after = next((one for one in run[index + 1 :] if one.steps >= steps), None)
        over = after if after is not None and _nearer(after, fast, slow) else None
        shift = Shift(fast, slow, over)
        clear = math.log(shift.ratio) >= _CLEAR * max(fast.spread, slow.spread)
        if shift.ratio >= least_ratio and clear and (best is None or shift.ratio > best.ratio):
            best = shift
    return best


_MIN_SLOW_PARTS = 3
_CLEAR = 3.0
"""A shift is as large as so many times what paces differ by within a level."""


def find_drift(
    found: Sequence[Stretch], least_ratio: float, *, steps: int, seconds: float
) -> Drift | None:
    """Return a pace that falls all along: part by part slower, with no one jump that explains it.

    Args:
        found: what lies between points.
        least_ratio: of the last part's step to the first's.
        steps: the run has at least as many.
        seconds: it lasted at least so long.
    """
    if not found or _count(found) < steps or sum(one.seconds for one in found) < seconds:
        return None
    parts = []
    for part in _parts_by_steps(found, _DRIFT_PARTS):
        usual = usual_seconds(part)
        if usual is None:
            return None
        parts.append(Stretch(part[0].before, part[-1].last, usual * _count(part)))
    rates = [one.seconds_per_step for one in parts]
    growth = math.log(rates[-1] / rates[0])
    jumps = [math.log(two / one) for one, two in pairwise(rates)]
    if rates[-1] < least_ratio * rates[0]:
        return None
    if min(jumps) < _DRIFT_BACK or max(jumps) > _DRIFT_JUMP * growth:
        return None
    return Drift(tuple(parts))


_DRIFT_PARTS = 6
_DRIFT_BACK = math.log(0.97)
"""No part is quicker than the one before, but for noise."""
_DRIFT_JUMP = 0.6


def find_pauses(found: Sequence[Stretch]) -> Pauses | None:
    """Return the stops between steps; None where there are none."""
    usual = usual_seconds(found)
    if usual is None:
        return None
    stops = [
        one for one in found if _excess(one, usual) >= max(_MIN_PAUSE_S, _PAUSE_FACTOR * usual)
    ]
    if not stops:
        return None
    lost = sum(_excess(one, usual) for one in stops)
    whole = sum(one.seconds for one in found)
    gaps = [two.last - one.last for one, two in pairwise(stops)]
    every = median(gaps) if len(gaps) >= _MIN_GAPS else None
    if every is not None:
        regular = sum(_regular(gap, every, stops[0]) for gap in gaps)
        every = every if regular >= _REGULAR * len(gaps) else None
    return Pauses(
        count=len(stops),
        seconds=lost,
        share_pct=100.0 * lost / whole,
        every_steps=None if every is None else round(every),
        first=stops[0],
    )


_MIN_GAPS = 2
_REGULAR = 0.6


def least_tflops(flops: float, seconds: float, devices: int) -> float:
    """Return the rate of each device, in 10^12 operations a second."""
    return flops / seconds / devices / 1e12


def most_flops(
    *,
    params: float,
    trained_share: float,
    tokens: float,
    longest: float,
    recomputed: bool,
    passes: float = 1.0,
) -> float:
    """Return the operations of a step, reckoned high: every sample as long as is allowed.

    Two for each parameter and token forwards, two backwards, two again where the forward pass is
    repeated for the backward one, two for the gradients of what is trained; attention grows with
    the length of a sample.

    Args:
        params: of the model, or of it what one token passes through.
        trained_share: of them that are trained, 0 to 1.
        tokens: of a step, in all.
        longest: tokens of the longest sample.
        recomputed: gradient checkpointing is on.
        passes: how often a sample goes through the model, where it is not once.
    """
    each = 4.0 + 2.0 * recomputed + 2.0 * trained_share
    return each * params * tokens * passes * (1.0 + longest / _ATTENTION_TOKENS)


_ATTENTION_TOKENS = 40_000.0
"""Length at which attention itself costs about as much as the rest of a 7B model."""


def _best_cut(logs: Sequence[float], start: int, end: int) -> tuple[float, int]:
    """Return how much of the spread a cut takes away, and where; 0 where no cut is worth it."""
    whole = _spread(logs[start:end])
    best = (0.0, 0)
    for cut in range(start + _MIN_PART, end - _MIN_PART + 1):
        left, right = logs[start:cut], logs[cut:end]
        if abs(median(left) - median(right)) < math.log(_MIN_SPLIT):
            continue
        gain = whole - _spread(left) - _spread(right)
        if gain > _MIN_GAIN * whole and gain > best[0]:
            best = (gain, cut)
    return best


def _spread(values: Sequence[float]) -> float:
    middle = median(values)
    return sum(abs(value - middle) for value in values)


def _level(spans: Sequence[Stretch]) -> Level:
    usual = usual_seconds(spans)
    logs = [math.log(one.seconds_per_step) for one in spans]
    return Level(
        first=spans[0].first,
        last=spans[-1].last,
        seconds=sum(one.seconds for one in spans),
        seconds_per_step=usual if usual is not None else 0.0,
        parts=len(spans),
        spread=_spread(logs) / len(logs),
    )


def _without_pauses(level: Level, found: Sequence[Stretch]) -> Level:
    """Take a level's pace from its steps alone, so that pauses between them do not count."""
    own = [one for one in found if level.first <= one.first <= level.last]
    usual = usual_seconds(own)
    steady = [] if usual is None else [one for one in own if not _is_pause(one, usual)]
    if not steady:
        return level
    mean = sum(one.seconds for one in steady) / _count(steady)
    return replace(level, seconds_per_step=mean)


def _joined(found: Sequence[Level]) -> list[Level]:
    """Join neighbours that are one level."""
    joined: list[Level] = []
    for one in found:
        last = joined[-1] if joined else None
        if last is None or _ratio(last, one) >= _MIN_SPLIT:
            joined.append(one)
            continue
        larger = max(last, one, key=lambda level: level.steps)
        joined[-1] = Level(
            last.first,
            one.last,
            last.seconds + one.seconds,
            larger.seconds_per_step,
            last.parts + one.parts,
            max(last.spread, one.spread),
        )
    return joined


def _ratio(one: Level, two: Level) -> float:
    low, high = sorted((one.seconds_per_step, two.seconds_per_step))
    return high / low


def _nearer(level: Level, fast: Level, slow: Level) -> bool:
    """Whether a level is nearer to the quick one than to the slow one."""
    return level.seconds_per_step < math.sqrt(fast.seconds_per_step * slow.seconds_per_step)


def _parts_by_steps(found: Sequence[Stretch], count: int) -> list[list[Stretch]]:
    """Cut stretches into parts of about as many steps each."""
    whole = _count(found)
    parts: list[list[Stretch]] = [[] for _ in range(count)]
    done = 0
    for one in found:
        parts[min(count - 1, done * count // whole)].append(one)
        done += one.steps
    return [part for part in parts if part]


def _count(found: Sequence[Stretch]) -> int:
    return sum(one.steps for one in found)


def _excess(one: Stretch, usual: float) -> float:
    return one.seconds - usual * one.steps


def _is_pause(one: Stretch, usual: float) -> bool:
    return _excess(one, usual) >= max(_MIN_PAUSE_S, _PAUSE_FACTOR * usual)


def _regular(gap: int, every: float, stop: Stretch) -> bool:
    """Whether a gap is a multiple of the usual one, within what the points can tell."""
    slack = max(1.0, 0.1 * every, float(stop.steps))
    rest = gap % every
    return min(rest, every - rest) <= slack
