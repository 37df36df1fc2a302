"""Owns the rows of trainer_log.jsonl, of every LLaMA-Factory that wrote one."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from diagnostics.parsing.bars import clock_seconds

MAX_ROW_BYTES = 1024 * 1024
_MAX_COUNT = 2**53
_MAX_NAME = 120
_MAX_EXTRA = 64
_NOT_EXTRA = frozenset(
    {
        *("current_steps", "step", "total_steps", "loss", "eval_loss", "lr", "learning_rate"),
        *("epoch", "grad_norm", "percentage", "elapsed_time", "remaining_time"),
    }
)


class RowKind(StrEnum):
    """What a row reports."""

    TRAIN = "train"
    EVAL = "eval"
    PROGRESS = "progress"  # of a prediction, of an evaluation of several data sets, or the last row


@dataclass(frozen=True, slots=True)
class TrainerLogRow:
    """One row; None is what it did not say. Seconds are the trainer's own, as of its start."""

    kind: RowKind
    step: int
    total_steps: int | None
    loss: float | None
    eval_loss: float | None
    learning_rate: float | None
    epoch: float | None
    grad_norm: float | None
    percentage: float | None
    elapsed_s: float | None
    remaining_s: float | None
    extra: tuple[tuple[str, float], ...] = ()
    """Every other number of the row: throughput, rewards, total_tokens ..."""


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
    step = _count(row.get("current_steps", row.get("step")))
    if step is None:
        return None
    loss, eval_loss = _number(row.get("loss")), _number(row.get("eval_loss"))
    kind = RowKind.PROGRESS
    if eval_loss is not None:
        kind = RowKind.EVAL
    elif loss is not None:
        kind = RowKind.TRAIN
    learning_rate = _number(row.get("lr"))
    return TrainerLogRow(
        kind=kind,
        step=step,
        total_steps=_count(row.get("total_steps")),
        loss=loss,
        eval_loss=eval_loss,
        learning_rate=(
            learning_rate if learning_rate is not None else _number(row.get("learning_rate"))
        ),
        epoch=_number(row.get("epoch")),
        grad_norm=_number(row.get("grad_norm")),
        percentage=_number(row.get("percentage")),
        elapsed_s=_seconds(row.get("elapsed_time")),
        remaining_s=_seconds(row.get("remaining_time")),
        extra=_extra(row),
    )


def _extra(row: Mapping[str, object]) -> tuple[tuple[str, float], ...]:
    found: dict[str, float] = {}
    for name, value in row.items():
        number = _number(value)
        if name not in _NOT_EXTRA and number is not None and len(found) < _MAX_EXTRA:
            found[name[:_MAX_NAME]] = number
    return tuple(found.items())


def _seconds(value: object) -> float | None:
    return clock_seconds(value) if isinstance(value, str) else None


def _count(value: object) -> int | None:
    number = _number(value)
    if number is None or not math.isfinite(number) or not 0 <= number < _MAX_COUNT:
        return None
    return int(number)


def _number(value: object) -> float | None:
    """Return a number, also one in a string, as throughput once was."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
