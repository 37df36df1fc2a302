"""Owns the signals of the training loss: its level, its course, what became of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from diagnostics.findings import Evidence
from diagnostics.observations import EvalPoint, TrainStep
from diagnostics.series import (
    Fall,
    Rise,
    fall,
    finite,
    lasting_rise,
    spikes,
    steady,
    trailing,
    trend,
)
from diagnostics.signals.context import Context, Reader, Signal, Value, plain
from diagnostics.signals.curves import (
    Curve,
    alive,
    curve,
    is_cross_entropy,
    is_number,
    objective,
    shown,
    spread_out,
    step_of,
)


@dataclass(frozen=True, slots=True)
class Climb:
    """A lasting rise of the loss."""

    rise: Rise
    points: tuple[TrainStep, ...]
    """Those since."""
    before: tuple[TrainStep, ...]
    """The last two before."""
    died: bool
    """Whether it went on to NaN, or to the 0 that NaN is logged as."""


_CLIMB_SHARE = 0.5
_CLIMB_LEAST = 0.5


def climb(context: Context) -> Climb | None:
    """Return the rise that the loss has not come back from; a resume's own jump is none."""
    return context.once("loss climb", _climb)


def _climb(context: Context) -> Climb | None:
    if objective(context) == "ppo":
        return None
    seen = curve(context)
    dead = trailing(seen.losses, lambda loss: not alive(loss))
    kept = [
        (point, loss)
        for point, loss in zip(
            seen.points[: len(seen.points) - dead],
            seen.losses[: len(seen.losses) - dead],
            strict=True,
        )
        if alive(loss)
    ]
    losses = [loss for _, loss in kept]
    rise = lasting_rise(losses, _CLIMB_SHARE, _CLIMB_LEAST)
    if rise is None:
        return None
    points = tuple(point for point, _ in kept[rise.at :])
    if rise.at == 1 and step_of(kept[0][0]) < seen.interval:
        return None  # a single step, logged beside means of many
    resumed = context.snapshot.facts.get("resumed_step")
    before = step_of(kept[rise.at - 1][0])
    if isinstance(resumed, int) and before <= resumed < step_of(points[0]):
        return None
    last_two = tuple(point for point, _ in kept[max(0, rise.at - 2) : rise.at])
    return Climb(rise, points, last_two, dead > 1)


def _rise(read: Callable[[Climb], Value | None]) -> Reader:
    def reader(context: Context) -> Signal | None:
        found = climb(context)
        value = None if found is None else read(found)
        if found is None or value is None:
            return None
        return Signal(value, shown((*found.before, *found.points), "loss"))

    return reader


def _steps_of_rise(found: Climb) -> int:
    return step_of(found.points[-1]) - step_of(found.points[0]) + 1


_WORST_CHANCE = 14.0
"""Above the loss of guessing among 256,000 tokens, 12.5: a model that is worse than chance."""
_CLEARLY_UP = 1.3


def _worse_than_chance(context: Context) -> Signal | None:
    """Return for how many lines the loss has been above that of guessing, and above its start.

    The first line may come late: what is several times that of guessing began lower.
    """
    seen = curve(context)
    numbers = finite(seen.losses)
    if not numbers or not is_cross_entropy(context):
        return None
    hopeless = _HOPELESS * (accumulation(context) or _MUCH_ACCUMULATION)
    floor = min(max(_WORST_CHANCE, _CLEARLY_UP * numbers[0]), hopeless)
    count = trailing(seen.losses, lambda loss: loss > floor)
    if not count:
        return Signal(0)
    return Signal(count, shown((seen.points[0], *seen.points[-count:]), "loss"))


_HOPELESS = 40.0
"""Three times what guessing among 500,000 tokens gives."""
_MUCH_ACCUMULATION = 32
"""Some versions add up the losses of the accumulated batches: where their number is not known."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a loss went from its start to now."""

    points: tuple[TrainStep, ...]
    fall: Fall
    level: float
    lines_since_warmup: int


_LATE_START = 5


def course(context: Context) -> Course | None:
    """Return how the loss went; None for a log that begins in mid-training, or holds no loss."""
    return context.once("loss course", _course)


def _course(context: Context) -> Course | None:
    seen = curve(context)
    pairs = [(p, x) for p, x in zip(seen.points, seen.losses, strict=True) if alive(x)]
    if not pairs:
        return None
    points = tuple(point for point, _ in pairs)
    if _starts_late(points, seen):
        return None
    losses = [loss for _, loss in pairs]
    return Course(
        points, fall(losses), median(losses[-max(3, len(losses) // 4) :]), _since_warmup(points)
    )


def _starts_late(points: tuple[TrainStep, ...], seen: Curve) -> bool:
    return step_of(points[0]) > _LATE_START * max(seen.interval, 2)


def _since_warmup(points: tuple[TrainStep, ...]) -> int:
    """Return how many points came since the learning rate was first at its highest."""
    known = [(point.learning_rate or 0.0, -index) for index, point in enumerate(points)]
    highest = max(known)
    return len(points) + highest[1] if highest[0] > 0 else len(points)


def _gone(read: Callable[[Course], Value | None]) -> Reader:
    def reader(context: Context) -> Signal | None:
        found = course(context)
        value = None if found is None else read(found)
        if found is None or value is None:
            return None
        return Signal(value, shown(spread_out(found.points), "loss"))

    return reader


def _epochs(points: tuple[TrainStep, ...]) -> float | None:
    last = points[-1].epoch
    return last if last is not None and math.isfinite(last) else None


_DEAD_LEVEL = 0.05
_DEAD_SHARES = ((3, 0.005), (10, 0.01))
"""From so many lines on, the loss stays within this share of its level."""
_DEAD_LINES = 60
"""From so many on, it need only not fall, however noisy it is."""
_DEAD_FALL = 0.06
_DEAD_TREND = -1.5


def _dead_lines(context: Context) -> Signal | None:
    """Return for how many lines the gradient has been 0 while the loss does not move."""
    seen = curve(context)
    if not seen.points or _has_no_gradient(context):
        return None
    count = trailing(
        [point.grad_norm if point.grad_norm is not None else math.nan for point in seen.points],
        lambda norm: norm == 0.0,
    )
    losses = seen.losses[len(seen.losses) - count :]
    if not count or not all(alive(x) and x > _DEAD_LEVEL for x in losses):
        return Signal(0)
    if not _unmoved(losses):
        return Signal(0)
    return Signal(count, shown(seen.points[-count:], "loss", "grad_norm"))


def _unmoved(losses: Sequence[float]) -> bool:
    if any(len(losses) >= count and steady(losses, share) for count, share in _DEAD_SHARES):
        return True
    falls = fall(losses).share >= _DEAD_FALL or trend(losses).score < _DEAD_TREND
    return len(losses) >= _DEAD_LINES and not falls


def _has_no_gradient(context: Context) -> bool:
    """Whether the optimizer works layer by layer, which leaves a gradient norm of 0 to log."""
    config = context.config
    return config is not None and any(
        config.value(key) is True for key in ("galore_layerwise", "apollo_layerwise")
    )


def _spikes(context: Context) -> Signal | None:
    seen = curve(context)
    pairs = [(p, x) for p, x in zip(seen.points, seen.losses, strict=True) if alive(x)]
    if not pairs or objective(context) == "ppo":
        return None
    found = spikes([loss for _, loss in pairs], 2.0)
    return Signal(len(found), shown([pairs[index][0] for index in found], "loss"))


def accumulation(context: Context) -> int | None:
    """Return gradient_accumulation_steps as the log or the config has it."""
    said = context.snapshot.facts.get("accumulation_steps")
    if not isinstance(said, int) and context.config is not None:
        said = context.config.value("gradient_accumulation_steps")  # type: ignore[assignment]
    return said if isinstance(said, int) and not isinstance(said, bool) else None


def _scale_of_eval(context: Context) -> Signal | None:
    """Return the training loss by the eval loss, in units of the accumulation steps."""
    steps = accumulation(context)
    seen, evals = curve(context), context.snapshot.evals
    first = next((one for one in evals if is_number(one.eval_loss) and one.eval_loss), None)
    if steps is None or steps < 1 or first is None or not is_cross_entropy(context):
        return None
    near = _around(seen, first)
    if not near or first.eval_loss is None:
        return None
    level = median(finite(point.loss for point in near))
    place = f"eval_loss {first.eval_loss:.4g} at step {first.step}"
    evidence = (*shown(near, "loss"), Evidence(first.source, first.line or None, place))
    return Signal(level / first.eval_loss / steps, evidence)


def _around(seen: Curve, one: EvalPoint) -> list[TrainStep]:
    points = [p for p, x in zip(seen.points, seen.losses, strict=True) if alive(x)]
    return sorted(points, key=lambda point: abs(step_of(point) - (one.step or 0)))[:5]


def _first(context: Context) -> Signal | None:
    numbers = finite(curve(context).losses[:3])
    return Signal(median(numbers), shown(curve(context).points[:3], "loss")) if numbers else None


def _first_by_accumulation(context: Context) -> Signal | None:
    """Return the loss that the training began with, by the accumulation steps."""
    found, steps = _first(context), accumulation(context)
    began = course(context) is not None
    if found is None or not isinstance(found.value, float) or not steps or not began:
        return None
    return Signal(found.value / steps, found.evidence)


def _last(context: Context) -> Signal | None:
    seen = curve(context)
    return Signal(seen.losses[-1], shown(seen.points[-1:], "loss")) if seen.points else None


def _logging_beyond_run(context: Context) -> Signal | None:
    """Return whether the run ends before the first logging step."""
    total = context.snapshot.total_steps
    config = context.config
    if total is None or config is None or config.value("logging_strategy") in {"epoch", "no"}:
        return None
    every = config.value("logging_steps")
    if isinstance(every, bool) or not isinstance(every, int | float) or every < 1:
        return None
    text = f"Total optimization steps = {total}, logging_steps {every:g}"
    return Signal(every > total, (Evidence("log", None, text),))


SIGNALS: Mapping[str, Reader] = {
    "loss.objective": plain(objective),
    "loss.first": _first,
    "loss.last": _last,
    "loss.rise_lines": _rise(lambda found: len(found.points)),
    "loss.rise_steps": _rise(_steps_of_rise),
    "loss.rise_from": _rise(lambda found: found.rise.base),
    "loss.rise_to": _rise(lambda found: found.rise.level),
    "loss.rise_times": _rise(lambda found: found.rise.level / found.rise.base),
    "loss.rise_at_step": _rise(lambda found: step_of(found.points[0])),
    "loss.rise_died": _rise(lambda found: found.died),
    "loss.worse_than_chance_lines": _worse_than_chance,
    "loss.level": _gone(lambda found: found.level),
    "loss.lines": _gone(lambda found: len(found.points)),
    "loss.lines_since_warmup": _gone(lambda found: found.lines_since_warmup),
    "loss.epochs": _gone(lambda found: _epochs(found.points)),
    "loss.fall_pct": _gone(lambda found: 100.0 * found.fall.share),
    "loss.noise_pct": _gone(lambda found: 100.0 * found.fall.precision),
    "loss.dead_lines": _dead_lines,
    "loss.spikes": _spikes,
    "loss.accumulation": plain(accumulation),
    "loss.scale_of_eval": _scale_of_eval,
    "loss.first_by_accumulation": _first_by_accumulation,
    "loss.logging_beyond_run": _logging_beyond_run,
}
