"""Owns the arithmetic on series of numbers: levels, noise, trends, changes of level. Pure.

Robust where outliers are to be expected: medians, not means. Everything takes one pass, or works
on a bounded number of block medians. Values are finite unless a function says otherwise.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

BLOCKS = 40
"""How many block medians stand for a long series: 780 pairs for a trend."""
_NORMAL = 1.4826
"""The standard deviation of a normal distribution in units of its median absolute deviation."""


def finite(values: Iterable[float | None]) -> list[float]:
    """Return the values that are numbers."""
    return [value for value in values if value is not None and math.isfinite(value)]


def noise(values: Sequence[float]) -> float:
    """Return the standard deviation of the noise, from one value to the next: a trend adds none."""
    differences = [abs(after - before) for before, after in pairwise(values)]
    return _NORMAL * median(differences) / math.sqrt(2) if differences else 0.0


def block_medians(values: Sequence[float], most: int = BLOCKS, least: int = 1) -> list[float]:
    """Return the medians of blocks of equal size: at most `most`, each of at least `least` values.

    What is left over joins the last block.
    """
    if not values:
        return []
    size = max(least, math.ceil(len(values) / most), 1)
    count = max(1, len(values) // size)
    ends = [number * size for number in range(1, count)]
    return [median(values[i:j]) for i, j in pairwise([0, *ends, len(values)])]


def trailing(values: Sequence[float], holds: Callable[[float], bool]) -> int:
    """Return for how many values at the end a condition holds without a break."""
    count = 0
    for value in reversed(values):
        if not holds(value):
            break
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class Trend:
    """Where a series goes from its start to its end."""

    change: float
    """The whole change along the line of Theil and Sen, in the values' unit."""
    score: float
    """Mann and Kendall's, in standard deviations: above 2 or below -2 it is no chance."""


def trend(values: Sequence[float]) -> Trend:
    """Return the trend of a series, outliers doing no harm."""
    thinned = block_medians(values)
    count = len(thinned)
    if count < 2:  # noqa: PLR2004 - one value has no trend
        return Trend(0.0, 0.0)
    slopes: list[float] = []
    balance = 0
    for (i, left), (j, right) in combinations(enumerate(thinned), 2):
        slopes.append((right - left) / (j - i))
        balance += (right > left) - (right < left)
    variance = count * (count - 1) * (2 * count + 5) / 18
    towards_zero = balance - (balance > 0) + (balance < 0)
    return Trend(median(slopes) * (count - 1), towards_zero / math.sqrt(variance))


@dataclass(frozen=True, slots=True)
class Rise:
    """A level that was left upwards, and to which the series has not come back."""

    base: float
    """The lowest level before."""
    level: float
    """The median since."""
    at: int
    """The index of the first value since."""


RISE_BLOCK = 5
"""Values that make a level."""
_NOISE_OF_RISE = 8.0


def lasting_rise(values: Sequence[float], share: float, least: float) -> Rise | None:
    """Return the rise that a series ends in; None where it is back, or never left its level.

    Every value since must lie above the lowest level before by `share` of it, by `least`, and by
    eight times the noise before.
    """
    levels = block_medians(values, least=RISE_BLOCK)
    if not levels:
        return None
    base = min(levels)
    early = _early_rise(values, base, share, least)
    if early is not None:
        return early
    step = max(share * abs(base), least)
    since = trailing(values, lambda value: value > base + step)
    before = values[: len(values) - since]
    if not since or not before:
        return None
    calm = noise(before) if len(before) > RISE_BLOCK else noise(values) / 2
    step = max(step, _NOISE_OF_RISE * calm)
    since = trailing(values, lambda value: value > base + step)
    if not since:
        return None
    return Rise(base, median(values[-since:]), len(values) - since)


def _early_rise(values: Sequence[float], level: float, share: float, least: float) -> Rise | None:
    """Return a rise from the first few values, too few for a level of their own.

    They must lie the further below the rest, the fewer they are.
    """
    for count in range(1, min(RISE_BLOCK, len(values) - RISE_BLOCK + 1)):
        base = max(values[:count])
        step = (1 + 1 / count) * max(share * abs(base), least)
        rest = values[count:]
        step, middle = max(step, _NOISE_OF_RISE * noise(rest)), median(rest)
        if level > base and min(rest) > base + step / 2 and middle > base + step:
            return Rise(base, middle, count)
    return None


def spikes(values: Sequence[float], factor: float, window: int = 5) -> list[int]:
    """Return the indexes of values that stick out of both their neighbourhoods.

    A spike is above `factor` times the larger of the medians before and after it, and above them by
    ten times the series' noise.
    """
    if len(values) <= 2 * window:
        return []
    clear = 10 * noise(values)
    lowest = min(values)
    found = []
    for index in range(window, len(values) - window):
        if values[index] <= lowest + clear:
            continue
        before = values[index - window : index]
        after = values[index + 1 : index + 1 + window]
        around = max(median(before), median(after))
        if values[index] > factor * abs(around) and values[index] > around + clear:
            found.append(index)
    return found


@dataclass(frozen=True, slots=True)
class Fall:
    """How far a series has come down from its start, as a share of where it started."""

    share: float
    """The larger of what start and end tell, and of what the trend tells."""
    precision: float
    """The noise as a share of the start's level."""


def fall(values: Sequence[float]) -> Fall:
    """Return how far a series has fallen; negative where it has risen."""
    if not values:
        return Fall(0.0, 0.0)
    first = median(values[: max(3, len(values) // 10)])
    last = median(values[-max(3, len(values) // 4) :])
    unit = abs(first) or 1.0
    dropped = max((first - last) / unit, -trend(values).change / unit)
    return Fall(dropped, noise(values) / unit)


def steady(values: Sequence[float], share: float) -> bool:
    """Whether all values lie within a share of their median."""
    if not values:
        return False
    middle = median(values)
    return all(abs(value - middle) <= share * abs(middle) for value in values)


@dataclass(frozen=True, slots=True)
class Valley:
    """The lowest point of a series, and how it went on from there."""

    at: int
    lowest: float
    last: float
    """The level at the end: the lower of the last two values."""
    after: int
    """Values after the lowest."""


def valley(values: Sequence[float]) -> Valley | None:
    """Return the lowest point of a series, the first of equals; None where there is none."""
    if not values:
        return None
    at = min(range(len(values)), key=values.__getitem__)
    after = len(values) - 1 - at
    last = min(values[-2:]) if after > 1 else values[-1]
    return Valley(at, values[at], last, after)
