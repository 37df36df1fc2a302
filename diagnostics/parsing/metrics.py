"""Owns the metrics that trainers print: one dict a logged step, bare or quoted numbers.

Which step a dict belongs to is for `steps`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

_DICT = re.compile(r"\s*(\{'[\w/. -]{1,80}': [^{}]{0,16000}\})")
_PAIR = re.compile(
    r"'([\w/. -]{1,80})': ('?)(-?\d[\d.]{0,40}(?:e[+-]?\d{1,4})?|-?inf|-?nan)\2(?=[,}])",
    re.IGNORECASE,
)
_V1 = re.compile(r"epoch: (\d+), step: (\d{1,15}), (.*)$")
_V1_PAIR = re.compile(r"([\w/.-]{1,80}): (-?\d[\d.]{0,40}(?:e[+-]?\d{1,4})?|-?inf|nan)(?=, |$)")


class MetricsKind(StrEnum):
    """What a dict of metrics is about."""

    TRAIN = "train"
    EVAL = "eval"
    SUMMARY = "summary"  # of the whole training, printed once at its end


class Metrics(NamedTuple):
    """The numbers of one dict."""

    kind: MetricsKind
    numbers: Mapping[str, float]
    step: int | None = None
    """Only the trainer that USE_V1 chooses prints it."""
    epoch_error: float = 0.0
    """By how much the epoch may have been rounded, up or down."""


def find_metrics(text: str) -> Metrics | None:
    """Return the metrics that a line begins with, or None."""
    match = _DICT.match(text) if "{'" in text else None
    if match is None:
        return None
    numbers: dict[str, float] = {}
    error = 0.0
    for key, quote, digits in _PAIR.findall(match.group(1)):
        numbers[key] = value = _number(digits)
        if key == "epoch":
            error = _rounding(value, digits, quoted=bool(quote))
    kind = _kind(numbers)
    return None if kind is None else Metrics(kind, numbers, epoch_error=error)


class MetricsReader:
    """Finds the metrics of one log as `find_metrics` does, faster: its dicts are much alike."""

    def __init__(self) -> None:
        self._forms: list[_Form] = []

    def find(self, text: str) -> Metrics | None:
        """Return the metrics that a line begins with, or None."""
        if "{'" not in text:
            return None
        for form in self._forms:
            match = form.pattern.match(text)
            if match is not None:
                return form.read(match.groups())
        found = find_metrics(text)
        if found is not None and len(self._forms) < _MAX_FORMS:
            learnt = _form_of(text)
            if learnt is not None:
                self._forms.insert(0, learnt)
        return found


_MAX_FORMS = 4
"""A log has one for its steps, one for its evaluations and one for its end."""
_KEY = re.compile(r"'([\w/. -]{1,80})': ('?)[^,'{}]{1,48}\2(?:, |\}$)")
_VALUE = r"(-?\d[\d.]{0,40}(?:e[+-]?\d{1,4})?|-?inf|-?nan)"


@dataclass(frozen=True, slots=True)
class _Form:
    """The keys of a dict and which of its values are quoted."""

    pattern: re.Pattern[str]
    keys: tuple[str, ...]
    kind: MetricsKind
    epoch: int | None
    """The place of the epoch among the keys."""
    quoted: bool
    """Whether the epoch is."""

    def read(self, values: Sequence[str]) -> Metrics:
        """Return the metrics of a dict of this form."""
        try:
            numbers = dict(zip(self.keys, map(float, values), strict=True))
        except ValueError:
            numbers = dict(zip(self.keys, map(_number, values), strict=True))
        error = 0.0
        if self.epoch is not None:
            error = _rounding(numbers["epoch"], values[self.epoch], quoted=self.quoted)
        return Metrics(self.kind, numbers, epoch_error=error)


def _form_of(text: str) -> _Form | None:
    """Return the form of a dict that a line consists of; None where it has more than numbers."""
    body = text.strip()
    places = list(_KEY.finditer(body, 1))
    keys = tuple(match[1] for match in places)
    whole = body.startswith("{") and 1 + sum(len(match[0]) for match in places) == len(body)
    kind = _kind(dict.fromkeys(keys, 0.0))
    if not whole or kind is None or len(set(keys)) < len(keys):
        return None
    parts = [f"'{re.escape(match[1])}': {match[2]}{_VALUE}{match[2]}" for match in places]
    epoch = keys.index("epoch") if "epoch" in keys else None
    return _Form(
        pattern=re.compile(r"\s*\{" + ", ".join(parts) + r"\}", re.IGNORECASE),
        keys=keys,
        kind=kind,
        epoch=epoch,
        quoted=epoch is not None and bool(places[epoch][2]),
    )


def find_v1_metrics(message: str) -> Metrics | None:
    """Return the metrics of a log record of the trainer that USE_V1 chooses, or None."""
    match = _V1.match(message) if message.startswith("epoch: ") else None
    if match is None:
        return None
    numbers = {key: _number(digits) for key, digits in _V1_PAIR.findall(match.group(3))}
    if "loss" not in numbers:
        return None
    return Metrics(MetricsKind.TRAIN, numbers, step=int(match.group(2)))


def _kind(numbers: Mapping[str, float]) -> MetricsKind | None:
    if "train_loss" in numbers:
        return MetricsKind.SUMMARY
    if any(key.startswith("eval_") for key in numbers):
        return MetricsKind.EVAL
    if "loss" in numbers or {"learning_rate", "epoch"} <= numbers.keys():
        return MetricsKind.TRAIN
    return None


def _number(digits: str) -> float:
    try:
        return float(digits)
    except ValueError:
        return math.nan  # "1.2.3": no number at all


def _rounding(value: float, digits: str, *, quoted: bool) -> float:
    """Return half a unit of the last place: quoted numbers have four significant digits."""
    if quoted:
        if not math.isfinite(value) or value <= 0:
            return 0.0
        return 0.5 * 10.0 ** (math.floor(math.log10(value)) - 3)
    # transformers 4 rounded to two places, until it printed all that a float has
    decimals = len(digits.partition(".")[2])
    return 0.005 if decimals <= 2 else 0.0  # noqa: PLR2004 - the two places
