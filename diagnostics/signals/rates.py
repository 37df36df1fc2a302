"""Owns the signals of the learning rate, and what is usual for a method and a model's size."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from diagnostics.config.effective import EffectiveConfig
from diagnostics.findings import Evidence
from diagnostics.signals.context import Context, Reader, Signal, plain
from diagnostics.signals.curves import shown


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which a learning rate is usual."""

    least: float
    most: float


_USUAL = {
    "lora": Bounds(1e-7, 1e-3),
    "oft": Bounds(1e-7, 1e-3),
    "freeze": Bounds(1e-8, 5e-4),
    "full": Bounds(1e-8, 1e-4),
}
_FROM_SCRATCH = Bounds(1e-7, 2e-3)
_LOW_RANK_GRADIENTS = Bounds(1e-7, 1e-2)
"""GaLore and APOLLO: their scale makes the step smaller."""
_OWN_SCALE = {
    "sgd": 1.0,
    "adagrad": 1.0,
    "adafactor": 1e-2,
    "rmsprop": 1e-2,
}
"""By a part of the optimizer's name: the most that is usual with those unlike Adam."""
_LARGE_PARAMS = 1e9
"""From this size on the bounds are as given; a smaller model bears more, by its size's root."""
_SIZE = re.compile(r"(?<![\d.])(\d{1,4}(?:\.\d{1,3})?)\s?([BM])(?![a-z])", re.IGNORECASE)
_UNKNOWN_SIZE = 100.0
"""What is allowed beyond where neither the log nor the model's name tells its size: standard output
may be held back for long, and the line that tells it with it."""


def method_of(context: Context) -> str | None:
    """Return the fine-tuning method, in lower case: as set, as the log has it, else the default."""
    config = context.config
    said: object = context.snapshot.facts.get("method")
    if config is not None and (config.is_set("finetuning_type") or not isinstance(said, str)):
        said = config.value("finetuning_type")
    if not isinstance(said, str):
        return None
    return "lora" if said.lower() == "dora" else said.lower()


def size_of(context: Context) -> float | None:
    """Return how many parameters the model has: as the log says, else as its name does."""
    said = context.snapshot.facts.get("all_params")
    if isinstance(said, int) and said > 0:
        return float(said)
    name = context.config.value("model_name_or_path") if context.config is not None else None
    match = _SIZE.search(name.rstrip("/").rpartition("/")[2]) if isinstance(name, str) else None
    if match is None:
        return None
    return float(match.group(1)) * (1e9 if match.group(2) in "bB" else 1e6)


def bounds_of(context: Context, size: float | None) -> Bounds:
    """Return what is usual for this training with a model of a size; None where it is not known."""
    usual = _USUAL.get(method_of(context) or "lora", _USUAL["lora"])
    config = context.config
    most = usual.most
    if config is not None:
        if config.value("train_from_scratch") is True:
            usual, most = _FROM_SCRATCH, _FROM_SCRATCH.most
        if any(config.value(key) is True for key in ("use_galore", "use_apollo")):
            usual, most = _LOW_RANK_GRADIENTS, _LOW_RANK_GRADIENTS.most
        if config.value("use_muon") is True:
            most = 0.1
        most = max(most, _allowed_by_optimizer(config))
    if size is None:
        return Bounds(usual.least, most * _UNKNOWN_SIZE)
    return Bounds(usual.least, most * max(1.0, math.sqrt(_LARGE_PARAMS / size)))


def _allowed_by_optimizer(config: EffectiveConfig) -> float:
    name = str(config.value("optim") or "").lower()
    return max((most for part, most in _OWN_SCALE.items() if part in name), default=0.0)


def rate(context: Context) -> Signal | None:
    """Return the learning rate: the config's, else the highest that was logged."""
    config = context.config
    if config is None or not _is_told(config):
        return _highest_logged(context)
    value = _number(config.value("learning_rate"))
    return None if value is None else Signal(value, _place(config))


def _is_told(config: EffectiveConfig) -> bool:
    """Whether a config tells the rate: it is set, or a file leaves it at its default."""
    return config.is_set("learning_rate") or config.document is not None


def _highest_logged(context: Context) -> Signal | None:
    points = [p for p in context.snapshot.steps if p.learning_rate is not None]
    rates = [p.learning_rate for p in points if p.learning_rate is not None]
    if not rates or not math.isfinite(max(rates)):
        return None
    highest = max(range(len(rates)), key=rates.__getitem__)
    return Signal(rates[highest], shown(points[highest : highest + 1], "learning_rate"))


def _number(value: object) -> float | None:
    """Return a number, also where YAML takes it for text, as it does 5e-5."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _place(config: EffectiveConfig) -> tuple[Evidence, ...]:
    place = config.place("learning_rate")
    if place is None:
        return ()
    document = config.document
    text = f"learning_rate: {config.get('learning_rate')}"
    if place.line is None or document is None or document.path is None:
        return (Evidence("command line" if place.line is None else "config", place.line, text),)
    return (Evidence(document.path.name, place.line, text),)


def _times_most(context: Context) -> Signal | None:
    return _times(context, size_of(context))


def _times_if_large(context: Context) -> Signal | None:
    """Return the rate by the usual most, taking a model of unknown size for a large one."""
    return _times(context, size_of(context) or _LARGE_PARAMS)


def _times(context: Context, size: float | None) -> Signal | None:
    found = rate(context)
    if found is None or not isinstance(found.value, float):
        return None
    return Signal(found.value / bounds_of(context, size).most, found.evidence)


_WARM_UP_LINES = 50


def _still_rises(context: Context) -> bool:
    """Whether the logged rates may be those of a warm-up."""
    rates = [p.learning_rate for p in context.snapshot.steps if p.learning_rate is not None]
    return len(rates) < _WARM_UP_LINES or rates[-1] >= max(rates)


def _below_least(context: Context) -> Signal | None:
    found = rate(context)
    if found is None or not isinstance(found.value, float) or not found.evidence:
        return None
    told = context.config is not None and _is_told(context.config)
    if not told and _still_rises(context):
        return None
    return Signal(found.value < bounds_of(context, size_of(context)).least, found.evidence)


SIGNALS: Mapping[str, Reader] = {
    "lr.value": rate,
    "lr.method": plain(method_of),
    "lr.model_params": plain(size_of),
    "lr.usual_most": plain(
        lambda context: bounds_of(context, size_of(context) or _LARGE_PARAMS).most
    ),
    "lr.times_usual_most": _times_most,
    "lr.times_usual_most_if_large": _times_if_large,
    "lr.below_usual": _below_least,
}
