"""Owns the logged points as the signals of the loss read them, and what a training optimises."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from diagnostics.findings import Evidence
from diagnostics.observations import TrainStep
from diagnostics.signals.context import Context

SHOWN = 5
"""Points shown as evidence at most."""
CROSS_ENTROPY = frozenset({"sft", "pt"})
"""Stages whose loss is that of the next token."""
_STAGES = frozenset({"pt", "sft", "rm", "ppo", "dpo", "kto"})


@dataclass(frozen=True, slots=True)
class Curve:
    """The points that have a loss, by step, and their losses: NaN and infinity among them."""

    points: tuple[TrainStep, ...]
    losses: tuple[float, ...]

    @property
    def interval(self) -> int:
        """The steps between the last two points; 1 where there is but one."""
        if len(self.points) < 2:  # noqa: PLR2004 - an interval has two ends
            return 1
        return max(1, step_of(self.points[-1]) - step_of(self.points[-2]))


def curve(context: Context) -> Curve:
    """Return the training's points that have a loss."""
    return context.once("loss curve", _curve)


def _curve(context: Context) -> Curve:
    points = tuple(point for point in context.snapshot.steps if point.loss is not None)
    return Curve(points, tuple(point.loss for point in points if point.loss is not None))


def step_of(point: TrainStep) -> int:
    """Return a point's step; 0 where nothing tells it."""
    return point.step if point.step is not None else 0


def is_number(value: float | None) -> bool:
    """Whether a value is there and finite."""
    return value is not None and math.isfinite(value)


def alive(value: float) -> bool:
    """Whether a loss is one: not NaN, not infinite, not the 0 that NaN is logged as."""
    return math.isfinite(value) and value != 0.0


def objective(context: Context) -> str:
    """Return the stage: the config's, else what the logged names show, else "sft"."""
    return context.once("objective", _objective)


def _objective(context: Context) -> str:
    if context.config is not None and context.config.is_set("stage"):
        stage = context.config.value("stage")
        if isinstance(stage, str) and stage in _STAGES:
            return stage
    last = context.snapshot.steps[-1].extra if context.snapshot.steps else {}
    if "kl" in last and "rewards/chosen" in last:
        return "kto"
    if "rewards/chosen" in last or "accuracy" in last:
        return "dpo"
    return "ppo" if "reward" in last else "sft"


def is_cross_entropy(context: Context) -> bool:
    """Whether the loss is that of the next token."""
    return objective(context) in CROSS_ENTROPY


def shown(points: Sequence[TrainStep], *names: str) -> tuple[Evidence, ...]:
    """Return one piece of evidence: the first points and the last, with the named values."""
    if not points:
        return ()
    chosen = points if len(points) <= SHOWN else [*points[: SHOWN - 1], points[-1]]
    texts = [_point_text(point, names) for point in chosen]
    if len(points) > SHOWN:
        texts.insert(-1, "...")
    return (Evidence(points[0].source, points[0].line or None, ", ".join(texts)),)


def spread_out(points: Sequence[TrainStep]) -> Sequence[TrainStep]:
    """Return points from the whole of a series, as many as are shown."""
    if len(points) <= SHOWN:
        return points
    return [points[round(i * (len(points) - 1) / (SHOWN - 1))] for i in range(SHOWN)]


def _point_text(point: TrainStep, names: Iterable[str]) -> str:
    values = [(name, value_of(point, name)) for name in names]
    told = " ".join(f"{name} {value:.4g}" for name, value in values if value is not None)
    return f"{told} at step {step_of(point)}"


def value_of(point: TrainStep, name: str) -> float | None:
    """Return a point's value by its logged name."""
    match name:
        case "loss":
            return point.loss
        case "grad_norm":
            return point.grad_norm
        case "learning_rate":
            return point.learning_rate
        case _:
            return point.extra.get(name)
