"""Owns the signals of evaluation: where the eval loss was lowest, and how it went on."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from diagnostics.config.effective import EffectiveConfig
from diagnostics.findings import Evidence
from diagnostics.observations import EvalPoint, TrainStep
from diagnostics.series import Valley, finite, valley
from diagnostics.signals.context import Context, Reader, Signal, Value
from diagnostics.signals.curves import alive, curve, step_of


@dataclass(frozen=True, slots=True)
class Evaluations:
    """The evaluations that have a loss, and its lowest."""

    points: tuple[EvalPoint, ...]
    valley: Valley

    @property
    def best(self) -> EvalPoint:
        """The evaluation with the lowest loss."""
        return self.points[self.valley.at]


def evaluations(context: Context) -> Evaluations | None:
    """Return the evaluations; None where none was logged."""
    return context.once("evaluations", _evaluations)


def _evaluations(context: Context) -> Evaluations | None:
    points = tuple(
        point
        for point in context.snapshot.evals
        if point.eval_loss is not None and math.isfinite(point.eval_loss) and point.eval_loss > 0
    )
    found = valley(finite(point.eval_loss for point in points))
    return None if found is None else Evaluations(points, found)


def _evaluated(read: Callable[[Evaluations, Context], Value | None]) -> Reader:
    def reader(context: Context) -> Signal | None:
        found = evaluations(context)
        value = None if found is None else read(found, context)
        if found is None or value is None:
            return None
        return Signal(value, _shown(found))

    return reader


def _shown(found: Evaluations) -> tuple[Evidence, ...]:
    """Return the lowest eval loss and the latest."""
    chosen = [found.best] if found.best is found.points[-1] else [found.best, found.points[-1]]
    return tuple(
        Evidence(p.source, p.line or None, f"eval_loss {p.eval_loss:.4g} at step {p.step}")
        for p in chosen
    )


def _rise_pct(found: Evaluations) -> float:
    return 100.0 * (found.valley.last - found.valley.lowest) / found.valley.lowest


_WINDOW = 5


def _train_fall_pct(found: Evaluations, context: Context) -> float | None:
    """Return how far the training loss has come down since the lowest eval loss."""
    seen = curve(context)
    points = [p for p, x in zip(seen.points, seen.losses, strict=True) if alive(x)]
    at = found.best.step
    if at is None or not points:
        return None
    then = _level([point for point in points if step_of(point) <= at][-_WINDOW:])
    now = _level([point for point in points if step_of(point) > at][-_WINDOW:])
    return None if then is None or now is None else 100.0 * (then - now) / then


def _level(points: list[TrainStep]) -> float | None:
    losses = finite(point.loss for point in points)
    return median(losses) if losses and median(losses) > 0 else None


def _best_epochs(found: Evaluations, context: Context) -> float | None:
    """Return the whole epochs that reach the lowest eval loss; None where no fewer than planned."""
    epoch = found.best.epoch if found.best.epoch is not None else _epoch_at(found, context)
    if epoch is None or not math.isfinite(epoch) or not 0 <= epoch < 1e6:  # noqa: PLR2004 - no count
        return None
    needed = float(max(1, math.ceil(epoch - _ROUNDING)))
    planned = _planned_epochs(context)
    return None if planned is not None and needed >= planned else needed


_ROUNDING = 0.05
"""An evaluation at epoch 1.02 is that of the first epoch's end."""


def _planned_epochs(context: Context) -> float | None:
    config = context.config
    said = config.value("num_train_epochs") if config is not None else None
    if said is None:
        said = context.snapshot.facts.get("num_epochs")
    return float(said) if isinstance(said, int | float) else None


def _epoch_at(found: Evaluations, context: Context) -> float | None:
    step = found.best.step
    known = [
        point.epoch
        for point in context.snapshot.steps
        if step is not None and point.step is not None and point.step <= step
    ]
    return next((epoch for epoch in reversed(known) if epoch is not None), None)


def _best_checkpoint(found: Evaluations, context: Context) -> str | None:
    """Return the checkpoint saved nearest to the lowest eval loss, as the config places it."""
    config, step, reached = context.config, found.best.step, context.snapshot.step
    if config is None or step is None or reached is None:
        return None
    every = config.value("save_steps")
    if config.value("save_strategy") != "steps" or not isinstance(every, int) or every < 1:
        return None
    saved = min(max(every, round(step / every) * every), reached // every * every)
    if not saved or _removed(reached // every - saved // every, config):
        return None
    return f"{config.value('output_dir')}/checkpoint-{saved}"


def _removed(later: int, config: EffectiveConfig) -> bool:
    """Whether save_total_limit has removed a checkpoint after which others were saved."""
    limit = config.value("save_total_limit")
    if not isinstance(limit, int) or limit < 1 or config.value("load_best_model_at_end") is True:
        return False
    return later >= limit


def _interval(found: Evaluations) -> int | None:
    """Return the steps between evaluations."""
    steps = [point.step for point in found.points if point.step is not None]
    gaps = [after - before for before, after in pairwise(steps)]
    return min((gap for gap in gaps[:-1] or gaps if gap > 0), default=None)


SIGNALS: Mapping[str, Reader] = {
    "loss.evals": _evaluated(lambda found, _: len(found.points)),
    "loss.evals_since_best": _evaluated(lambda found, _: found.valley.after),
    "loss.eval_best": _evaluated(lambda found, _: found.valley.lowest),
    "loss.eval_last": _evaluated(lambda found, _: found.points[-1].eval_loss),
    "loss.eval_rise_pct": _evaluated(lambda found, _: _rise_pct(found)),
    "loss.train_fall_since_best_pct": _evaluated(_train_fall_pct),
    "loss.best_step": _evaluated(lambda found, _: found.best.step),
    "loss.best_epochs": _evaluated(_best_epochs),
    "loss.best_checkpoint": _evaluated(_best_checkpoint),
    "loss.eval_interval_steps": _evaluated(lambda found, _: _interval(found)),
}
