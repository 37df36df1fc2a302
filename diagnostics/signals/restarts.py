"""Owns the signals of a loss that does not go on where the training before left it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from diagnostics.observations import TrainStep
from diagnostics.series import finite, noise
from diagnostics.signals.context import Context, Reader, Signal
from diagnostics.signals.curves import alive, curve, is_number, shown, step_of


@dataclass(frozen=True, slots=True)
class Jump:
    """The loss on both sides of a resume."""

    before: float
    after: float
    points: tuple[TrainStep, ...]


_BEFORE, _AFTER, _JUMP_WINDOW = 3, 5, 10
_JUMP_ERRORS = 4.0
"""Standard errors of the difference of two medians: less is chance."""


def resume_jump(context: Context) -> Jump | None:
    """Return the jump at a resume from a checkpoint; None where there is none to be sure of."""
    resumed = context.snapshot.facts.get("resumed_step")
    if not isinstance(resumed, int):
        return None
    seen = curve(context).points
    before = [point for point in seen if step_of(point) <= resumed]
    after = [point for point in seen if step_of(point) > resumed]
    return _jump(before, after)


def warm_start_jump(context: Context) -> Jump | None:
    """Return the jump between the training before, in the same log, and this one's start."""
    if "resumed_step" in context.snapshot.facts:
        return None
    former = [point for point in context.snapshot.former_steps if is_number(point.loss)]
    return _jump(former, list(curve(context).points))


def _jump(before: list[TrainStep], after: list[TrainStep]) -> Jump | None:
    left = [point for point in before[-_JUMP_WINDOW:] if alive(point.loss or 0.0)]
    right = [point for point in after[:_JUMP_WINDOW] if alive(point.loss or 0.0)]
    if len(left) < _BEFORE or len(right) < _AFTER:
        return None
    olds, news = finite(p.loss for p in left), finite(p.loss for p in right)
    old, new = median(olds), median(news)
    error = math.sqrt(math.pi / 2 * (1 / len(olds) + 1 / len(news)))
    if new - old <= _JUMP_ERRORS * error * max(noise(olds), noise(news)):
        return None
    return Jump(old, new, (*left[-2:], *right[:3]))


def _jumped(find: Callable[[Context], Jump | None]) -> Reader:
    def reader(context: Context) -> Signal | None:
        found = find(context)
        if found is None or found.before <= 0:
            return None
        share = 100.0 * (found.after - found.before) / found.before
        return Signal(share, shown(found.points, "loss"))

    return reader


def _side(read: Callable[[Jump], float]) -> Reader:
    def reader(context: Context) -> Signal | None:
        found = resume_jump(context) or warm_start_jump(context)
        return None if found is None else Signal(read(found))

    return reader


SIGNALS: Mapping[str, Reader] = {
    "loss.resume_jump_pct": _jumped(resume_jump),
    "loss.warm_start_jump_pct": _jumped(warm_start_jump),
    "loss.jump_from": _side(lambda found: found.before),
    "loss.jump_to": _side(lambda found: found.after),
}
