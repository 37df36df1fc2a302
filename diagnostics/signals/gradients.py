"""Owns the signals of gradients gone bad: NaN, and the overflow of 16-bit floats."""

import math
import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from diagnostics.findings import Evidence
from diagnostics.observations import LogLine, Missing, TrainStep
from diagnostics.signals.context import Context, Reader, Signal, Value
from diagnostics.signals.curves import alive, shown, step_of

_SEARCH_STEPS = 20
"""Steps in which fp16 may look for its loss scale: halved 16 times from 65536, it is 1."""


@dataclass(frozen=True, slots=True)
class NotNumbers:
    """The points whose gradient norm or loss is no number."""

    points: tuple[TrainStep, ...]
    trailing: tuple[TrainStep, ...]
    """Those without a break at the end."""
    of: int
    """Points that tell either way."""


def not_numbers(context: Context) -> NotNumbers | Missing | None:
    """Return the points that are not numbers; Missing where nothing could have told."""
    return context.once("not numbers", _not_numbers)


def _not_numbers(context: Context) -> NotNumbers | Missing | None:
    points = context.snapshot.steps
    if not points:
        return None
    telling = [point for point in points if point.grad_norm is not None or _bad(point.loss)]
    if not telling:
        return Missing("grad_norm is in no line: trainer_log.jsonl has none, stdout holds it")
    first = step_of(points[0])
    excused = first + _SEARCH_STEPS if first <= _SEARCH_STEPS and _may_be_fp16(context) else -1
    bad: list[TrainStep] = []
    tail: list[TrainStep] = []
    for point in telling:
        searching = point.step is not None and point.step <= excused and _has_loss(point)
        if (_bad(point.grad_norm) or _bad(point.loss)) and not searching:
            bad.append(point)
            tail.append(point)
        else:
            tail.clear()
    return NotNumbers(tuple(bad), tuple(tail), len(telling))


def _bad(value: float | None) -> bool:
    return value is not None and not math.isfinite(value)


def _has_loss(point: TrainStep) -> bool:
    return point.loss is not None and alive(point.loss)


def _may_be_fp16(context: Context) -> bool:
    said = context.snapshot.facts.get("compute_dtype")
    if isinstance(said, str) and said.startswith("torch."):
        return said == "torch.float16"
    return context.config is None or context.config.value("bf16") is not True


def _nan(
    read: Callable[[NotNumbers], Value], points: Callable[[NotNumbers], tuple[TrainStep, ...]]
) -> Reader:
    def reader(context: Context) -> Signal | None:
        found = not_numbers(context)
        if found is None or isinstance(found, Missing):
            return None if found is None else Signal(found)
        return Signal(read(found), shown(points(found), "loss", "grad_norm"))

    return reader


def _lost(found: NotNumbers) -> bool:
    """Whether the loss is gone as well."""
    return bool(found.trailing) and not _has_loss(found.trailing[-1])


_OVERFLOW = re.compile(r"OVERFLOW!|dynamic loss scale overflow!", re.IGNORECASE)
_SCALE = re.compile(r"reducing to (\d{1,30}(?:\.\d{1,30})?)")


def _overflows(context: Context) -> tuple[LogLine, ...]:
    return context.once(
        "overflows",
        lambda one: tuple(line for line in one.snapshot.log if _OVERFLOW.search(line.text)),
    )


def _overflow(read: Callable[[tuple[LogLine, ...], Context], Value | None]) -> Reader:
    def reader(context: Context) -> Signal | None:
        lines = _overflows(context)
        value = read(lines, context) if lines else None
        if value is None:
            return None
        few = lines if len(lines) <= 3 else (*lines[:2], lines[-1])  # noqa: PLR2004
        return Signal(value, tuple(Evidence(x.source, x.line, x.text) for x in few))

    return reader


def _overflow_pct(lines: tuple[LogLine, ...], context: Context) -> float | None:
    done = context.snapshot.step
    resumed = context.snapshot.facts.get("resumed_step", 0)
    began = resumed if isinstance(resumed, int) else 0
    return None if not done or done <= began else 100.0 * len(lines) / (done - began)


def _scale(lines: tuple[LogLine, ...]) -> float | None:
    """Return the loss scale that the last overflow left."""
    for line in reversed(lines):
        match = _SCALE.search(line.text)
        if match is not None:
            return float(match.group(1))
    return None


def _epoch_end_leap(context: Context) -> Signal | None:
    """Return how many times its usual value the gradient norm has where an epoch ends.

    None where it leaps elsewhere too, or where too little is logged to tell.
    """
    points = [
        point
        for point in context.snapshot.steps
        if point.epoch is not None and point.grad_norm is not None and _sound(point.grad_norm)
    ]
    ends = [
        number
        for number in range(1, len(points))
        if math.floor(points[number].epoch or 0) > math.floor(points[number - 1].epoch or 0)
    ]
    near = {number + offset for number in ends for offset in (-1, 0)}
    usual = [one.grad_norm or 0.0 for number, one in enumerate(points) if number not in near]
    if not ends or len(usual) < _USUAL_POINTS:
        return None
    level = statistics.median(usual)
    leaping = [points[number] for number in sorted(near)]
    norms = [one.grad_norm or 0.0 for one in points]
    least = min(max(norms[number - 1], norms[number]) for number in ends)
    if level <= 0 or max(usual) > _CALM * level:
        return None
    return Signal(least / level, shown(tuple(leaping), "loss", "grad_norm"))


_USUAL_POINTS = 6
_CALM = 3.0
"""A norm that is often above this many times its median leaps anywhere."""


def _sound(value: float) -> bool:
    return math.isfinite(value)


SIGNALS: Mapping[str, Reader] = {
    "loss.epoch_end_norm_ratio": _epoch_end_leap,
    "loss.nan_lines": _nan(lambda found: len(found.trailing), lambda found: found.trailing),
    "loss.nan_lost": _nan(_lost, lambda found: found.trailing),
    "loss.nan_count": _nan(lambda found: len(found.points), lambda found: found.points),
    "loss.nan_pct": _nan(
        lambda found: 100.0 * len(found.points) / found.of, lambda found: found.points
    ),
    "loss.nan_from_step": _nan(
        lambda found: step_of(found.points[0]) if found.points else -1, lambda found: found.points
    ),
    "fp16.overflow_lines": _overflow(lambda lines, _: len(lines)),
    "fp16.overflow_pct": _overflow(_overflow_pct),
    "fp16.scale": _overflow(lambda lines, _: _scale(lines)),
}
