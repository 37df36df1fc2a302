"""Owns the signals of what a config plans: how many steps, and what of it would never happen.

They have a value before a launch only: of a run its log tells more. The steps are those on one GPU:
on several there are fewer, so what lies beyond them still does.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from diagnostics.errors import LlamavetError
from diagnostics.findings import Evidence
from diagnostics.signals import data
from diagnostics.signals.context import Context, Reader, Signal

if TYPE_CHECKING:
    from diagnostics.memory.forecast import Forecast


def _number(context: Context, key: str) -> float | None:
    value = context.config.value(key) if context.config is not None else None
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known and isinstance(value, int | float) else None


def _total(context: Context) -> Signal | None:
    """How many updates there will be: as max_steps says, or as many as the data make."""
    if context.snapshot.observed:
        return None
    wanted = _number(context, "max_steps")
    if wanted is not None and wanted > 0:
        return Signal(int(wanted), _setting(context, "max_steps"))
    return data.SIGNALS["data.optimizer_steps"](context)


def _setting(context: Context, key: str) -> tuple[Evidence, ...]:
    """Return where a key is set; nothing shows a default."""
    config = context.config
    place = config.place(key) if config is not None else None
    if config is None or place is None:
        return ()
    text = f"{key}: {config.get(key)}"
    document = config.document
    if place.line is None or document is None:
        return (Evidence("command line", None, text),)
    return (Evidence(document.path.name if document.path else "config", place.line, text),)


def _beyond(key: str, strategy: str, fallback: str = "") -> Reader:
    """Return the reader of whether an interval is longer than the run, where it is counted."""

    def reader(context: Context) -> Signal | None:
        total = _total(context)
        config = context.config
        if total is None or config is None or not isinstance(total.value, int):
            return total
        if config.value(strategy) not in {"steps", None}:
            return None
        every = _number(context, key)
        name = key
        if every is None and fallback:
            every, name = _number(context, fallback), fallback
        if every is None or every < 1:
            return None
        return Signal(every > total.value, (*_setting(context, name), *total.evidence))

    return reader


_WITHOUT_WARMUP = frozenset({"constant", "reduce_lr_on_plateau", "greedy"})


def _warmup(context: Context) -> Signal | None:
    """How many updates the learning rate rises for, where they are counted and not a share."""
    config = context.config
    steps = _number(context, "warmup_steps")
    if config is None or steps is None or steps < 1:
        return None
    if config.value("lr_scheduler_type") in _WITHOUT_WARMUP:
        return None
    return Signal(int(steps), _setting(context, "warmup_steps"))


def _warmup_beyond(context: Context) -> Signal | None:
    total, warmup = _total(context), _warmup(context)
    if total is None or warmup is None or not isinstance(total.value, int):
        return total if warmup is not None else None
    long = isinstance(warmup.value, int) and warmup.value >= total.value
    return Signal(long, (*warmup.evidence, *total.evidence))


def _forecast(context: Context) -> "Forecast | None":
    """What the memory will be, where the model and the GPU's size are known."""
    if context.snapshot.observed or context.memory is None or context.config is None:
        return None
    from diagnostics.memory.facts import forecast_config  # noqa: PLC0415 - before a launch only

    try:
        told = forecast_config(context.config, context.memory)
    except LlamavetError:
        return None
    return told if told.capacity_gib is not None else None


def _predicted(read: Callable[["Forecast"], float | str]) -> Reader:
    def reader(context: Context) -> Signal | None:
        told = context.once("plan.memory", _forecast)
        if told is None:
            return None
        keys = (
            "per_device_train_batch_size",
            "cutoff_len",
            "finetuning_type",
            "model_name_or_path",
        )
        shown = next((one for key in keys if (one := _setting(context, key))), ())
        return Signal(read(told), shown)

    return reader


SIGNALS: Mapping[str, Reader] = {
    "plan.memory.verdict": _predicted(lambda told: told.verdict.value),
    "plan.memory.confidence": _predicted(lambda told: told.confidence.value),
    "plan.memory.needed_gib": _predicted(lambda told: round(told.needed_gib, 1)),
    "plan.memory.capacity_gib": _predicted(lambda told: round(told.capacity_gib or 0.0, 1)),
    "plan.total_steps": _total,
    "plan.warmup_steps": _warmup,
    "plan.warmup_beyond_run": _warmup_beyond,
    "plan.logging_beyond_run": _beyond("logging_steps", "logging_strategy"),
    "plan.saving_beyond_run": _beyond("save_steps", "save_strategy"),
    "plan.evaluating_beyond_run": _beyond("eval_steps", "eval_strategy", "logging_steps"),
}
