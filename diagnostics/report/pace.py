"""Owns how long each step took, for a chart: differences of the trainer's own clock. Pure."""

from collections.abc import Sequence
from itertools import pairwise

from diagnostics.course import PacePoint

_POINTS = 80
_LEAST_SECONDS = 5.0
"""The clock counts whole seconds: over shorter stretches their differences say little."""


def step_times(course: Sequence[PacePoint]) -> tuple[tuple[int, float], ...]:
    """Return (step, seconds that a step took up to it) in the order of steps, some dozens of them.

    None where the whole course is too short to tell.
    """
    if not course:
        return ()
    stretch = max(_LEAST_SECONDS, (course[-1].elapsed_s - course[0].elapsed_s) / _POINTS)
    kept = [course[0]]
    for point in course:
        if point.step > kept[-1].step and point.elapsed_s - kept[-1].elapsed_s >= stretch:
            kept.append(point)
    return tuple(
        (later.step, (later.elapsed_s - earlier.elapsed_s) / (later.step - earlier.step))
        for earlier, later in pairwise(kept)
    )
