"""Owns the rows of trainer_log.jsonl, of every LLaMA-Factory that wrote one."""

import json
import math
from dataclasses import dataclass

MAX_ROW_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TrainerLogRow:
    """One row; None is what it did not say."""

    step: int
    total_steps: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    epoch: float | None = None
    grad_norm: float | None = None
    extra: tuple[tuple[str, float], ...] = ()


_EXTRA = ("reward", "accuracy", "throughput", "total_tokens", "vram_allocated", "vram_reserved")


def parse_row(line: bytes) -> TrainerLogRow | None:
    """Return a row, or None for what is not one: half a line, another JSON, noise."""
    if len(line) > MAX_ROW_BYTES:
        return None
    try:
        row = json.loads(line.replace(b"\0", b"").decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    step = _count(_either(row, "current_steps", "step"))
    if step is None:
        return None
    extra = tuple((name, value) for name in _EXTRA if (value := _number(row.get(name))) is not None)
    return TrainerLogRow(
        step=step,
        total_steps=_count(row.get("total_steps")),
        loss=_number(row.get("loss")),
        eval_loss=_number(row.get("eval_loss")),
        learning_rate=_number(_either(row, "lr", "learning_rate")),
        epoch=_number(row.get("epoch")),
        grad_norm=_number(row.get("grad_norm")),
        extra=extra,
    )


def _either(row: dict[str, object], name: str, other: str) -> object:
    """Return a value by its newer name, else by its older one; null is absent."""
    value = row.get(name)
    return row.get(other) if value is None else value


def _count(value: object) -> int | None:
    number = _number(value)
    if number is None or not math.isfinite(number) or not 0 <= number < 2**53:
        return None
    return int(number)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
