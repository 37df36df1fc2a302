"""Owns the signals of a loss that is exactly 0: since when, and with what gradient."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from diagnostics.findings import Evidence
from diagnostics.observations import TrainStep
from diagnostics.series import trailing
from diagnostics.signals.context import Context, Reader, Signal, Value
from diagnostics.signals.curves import alive, curve, is_cross_entropy, objective, shown, step_of


@dataclass(frozen=True, slots=True)
class Zeros:
    """The losses of exactly 0 that a series ends in."""

    points: tuple[TrainStep, ...]
    steps: int
    """Training steps that they stand for."""
    before: float | None
    """The level just before; None where it was 0 from the start."""
    gradient: str
    """What grad_norm was: "nan", "zero", "normal" or "unknown"."""


_FADED = {True: 0.02, False: 0.2}
"""The level from which a loss is learned away to 0.0000, by whether it is cross-entropy."""


def zeros(context: Context) -> Zeros | None:
    """Return the losses of 0 at the end; None where there are none, or where it got there slowly.

    Four decimals are logged: a loss that falls below 0.00005 is printed as 0, too.
    """
    return context.once("zero losses", _zeros)


def _zeros(context: Context) -> Zeros | None:
    seen = curve(context)
    count = trailing(seen.losses, lambda loss: loss == 0.0)
    if not count or objective(context) == "ppo":
        return None
    earlier = [loss for loss in seen.losses[:-count][-5:] if alive(loss)]
    before = median(earlier) if earlier else None
    if before is not None and abs(before) < _FADED[is_cross_entropy(context)]:
        return None
    points = seen.points[-count:]
    since = step_of(seen.points[-count - 1]) if len(seen.points) > count else None
    first = since if since is not None else step_of(points[0]) - 1
    return Zeros(points, step_of(points[-1]) - first, before, _gradient(points))


def _gradient(points: tuple[TrainStep, ...]) -> str:
    norms = [point.grad_norm for point in points if point.grad_norm is not None]
    if not norms:
        return "unknown"
    if any(not math.isfinite(norm) for norm in norms):
        return "nan"
    return "zero" if all(norm == 0.0 for norm in norms) else "normal"


def _zero(read: Callable[[Zeros], Value | None]) -> Reader:
    def reader(context: Context) -> Signal | None:
        found = zeros(context)
        value = None if found is None else read(found)
        if found is None or value is None:
            return None
        return Signal(value, _led_up_to(found.points, context))

    return reader


def _led_up_to(points: tuple[TrainStep, ...], context: Context) -> tuple[Evidence, ...]:
    """Return points with the one before them."""
    seen = curve(context).points
    before = seen[: len(seen) - len(points)][-1:]
    return shown((*before, *points), "loss", "grad_norm")


SIGNALS: Mapping[str, Reader] = {
    "loss.zero_lines": _zero(lambda found: len(found.points)),
    "loss.zero_steps": _zero(lambda found: found.steps),
    "loss.zero_before": _zero(lambda found: found.before),
    "loss.zero_gradient": _zero(lambda found: found.gradient),
    "loss.zero_from_step": _zero(lambda found: step_of(found.points[0])),
}
