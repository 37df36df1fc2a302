"""Owns the kinds of edit a remedy may make to a config, and what each changes for one run. Pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

from diagnostics.config.effective import Origin
from diagnostics.config.scalars import convert, kind_of
from diagnostics.config.schema import KEYS, default_of, nearest_key, nearest_value
from diagnostics.config.unset import UNSET, Unset
from diagnostics.findings import KeyChange
from diagnostics.observations import Missing
from diagnostics.signals import SIGNALS, Context, read_signal


@dataclass(frozen=True, slots=True)
class SetKey:
    """Give a key a value; "$name" is what a pattern's group of that name matched, or a signal."""

    key: str
    value: object


@dataclass(frozen=True, slots=True)
class UnsetKey:
    """Take a key away, so that its default holds; "$name" is each key that a group matched."""

    key: str


@dataclass(frozen=True, slots=True)
class ScaleKey:
    """Multiply a number, within bounds; it stays a whole number where it is one."""

    key: str
    by: float
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class RenameNearest:
    """Give each key that a group matched the name of the known key that it most likely means."""

    keys: str


@dataclass(frozen=True, slots=True)
class SetNearest:
    """Give a key the accepted value that its value most likely means."""

    key: str


@dataclass(frozen=True, slots=True)
class HalveKey:
    """Halve a whole number, never below `at_least`."""

    key: str
    at_least: int


@dataclass(frozen=True, slots=True)
class SplitBatch:
    """Make the batch smaller and the accumulation larger, so that their product stays."""

    batch: str
    accumulation: str


EditRule: TypeAlias = (
    SetKey | UnsetKey | HalveKey | ScaleKey | SplitBatch | RenameNearest | SetNearest
)


def split_batch(batch: int, accumulation: int) -> tuple[int, int] | None:
    """Return the largest batch of at most half with the product kept; None for a batch of 1.

    8 x 2 gives 4 x 4, 5 x 2 gives 2 x 5, 3 x 1 gives 1 x 3, 7 x 1 gives 1 x 7.
    """
    product = batch * accumulation
    for smaller in range(batch // 2, 0, -1):
        if product % smaller == 0:
            return smaller, product // smaller
    return None


def changes_of(  # noqa: C901 - one arm for each kind of edit
    edit: EditRule, context: Context, captures: Mapping[str, str]
) -> list[KeyChange] | None:
    """Return an edit's changes: none where it holds already, None where it cannot be made."""
    match edit:
        case SetKey(key, value):
            wanted = resolved(value, context, captures)
            if wanted is None and value is not None:
                return None
            return _set(key, wanted, context)
        case UnsetKey(key):
            keys = _named(key, context, captures)
            if context.config is None:  # advice then: what is set is not known
                return [KeyChange(one, default_of(one), UNSET) for one in keys]
            olds = [(one, _old(one, context)) for one in keys]
            return [KeyChange(one, old, UNSET) for one, old in olds if old is not UNSET]
        case HalveKey(key, at_least):
            now = _known(key, context)
            if not _is_count(now) or now // 2 < at_least:
                return None
            return [KeyChange(key, _old(key, context), now // 2)]
        case ScaleKey():
            scaled = _scaled(edit, _known(edit.key, context))
            return (
                None if scaled is None else [KeyChange(edit.key, _old(edit.key, context), scaled)]
            )
        case SplitBatch(batch, accumulation):
            sizes = _known(batch, context), _known(accumulation, context)
            if not _is_count(sizes[0]) or not _is_count(sizes[1]):
                return None
            split = split_batch(sizes[0], sizes[1])
            if split is None:
                return None
            return [
                KeyChange(batch, _old(batch, context), split[0]),
                KeyChange(accumulation, _old(accumulation, context), split[1]),
            ]
        case RenameNearest(keys):
            return _renamed(_named(keys, context, captures), context)
        case SetNearest(key):
            found = [_nearest_value(one, context) for one in _named(key, context, captures)]
            return [change for change in found if change is not None] or None


def _set(key: str, value: object, context: Context) -> list[KeyChange]:
    old = _old(key, context)
    return [] if old == value else [KeyChange(key, old, value)]


def resolved(value: object, context: Context, captures: Mapping[str, str]) -> object:
    """Return a value as written, or what a "$name" stands for; None where that is not known."""
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    name = value[1:]
    if name in captures:
        return _as_value(captures[name])
    signal = read_signal(name, context) if name in SIGNALS else None
    return None if signal is None or isinstance(signal.value, Missing) else signal.value


def _as_value(text: str) -> object:
    kind = kind_of(text)
    return convert(kind, text) if kind in {"int", "float", "bool"} else text


def _named(key: str, context: Context, captures: Mapping[str, str]) -> list[str]:
    """Return the keys that an edit speaks of: "$name" is a list as Python prints it.

    A flag stands there with its dashes, and so does a key that was written with them.
    """
    if not key.startswith("$"):
        return [key]
    text = captures.get(key[1:], "")
    quoted = [one for one in _QUOTED.findall(text) if _NAME.fullmatch(one)]
    if not quoted:
        return _WORD.findall(text)
    return [one if _old(one, context) is not UNSET else one.lstrip("-") for one in quoted]


_WORD = re.compile(r"[A-Za-z_]\w*")
_QUOTED = re.compile(r"'([^'\n]{1,200})'")
_NAME = re.compile(r"-*[A-Za-z_][\w-]*")


def _scaled(edit: ScaleKey, now: object) -> float | int | None:
    """Return a number multiplied and rounded to two digits; None where a bound forbids a change."""
    if isinstance(now, bool) or not isinstance(now, int | float) or not math.isfinite(now):
        return None
    wanted = float(f"{now * edit.by:.2g}")
    low = -math.inf if edit.at_least is None else edit.at_least
    high = math.inf if edit.at_most is None else edit.at_most
    wanted = min(max(wanted, low), high)
    if (wanted - now) * (edit.by - 1) <= 0:
        return None
    return round(wanted) if isinstance(now, int) and float(wanted).is_integer() else wanted


def _renamed(keys: list[str], context: Context) -> list[KeyChange] | None:
    """Return each key's move to its likely name; one whose name is taken already is dropped."""
    changes: list[KeyChange] = []
    for key in keys:
        old, wanted = _old(key, context), nearest_key(key)
        if old is UNSET or wanted is None or wanted == key:
            continue
        changes.append(KeyChange(key, old, UNSET))
        now = _old(wanted, context)
        if now is UNSET or (now != old and _wins(key, context)):
            changes.append(KeyChange(wanted, now, old))
    return changes or None


def _wins(key: str, context: Context) -> bool:
    """Tell whether a key stands on the command line, which is meant to win over the file."""
    return context.config is not None and context.config.origin(key) is Origin.OVERRIDE


def _nearest_value(key: str, context: Context) -> KeyChange | None:
    now, info = _known(key, context), KEYS.get(key)
    wanted = nearest_value(key, now) if info is not None else None
    return None if wanted is None or wanted == now else KeyChange(key, _old(key, context), wanted)


_HEADER_FACTS = {
    "per_device_train_batch_size": "per_device_batch_size",
    "gradient_accumulation_steps": "accumulation_steps",
}


def _known(key: str, context: Context) -> object:
    """Return the value in force: the config's, else the log header's, else the default."""
    if context.config is not None:
        return context.config.value(key)
    said = context.snapshot.facts.get(_HEADER_FACTS.get(key, ""))
    return said if said is not None else default_of(key)


def _old(key: str, context: Context) -> object | Unset:
    if context.config is None or not context.config.is_set(key):
        return UNSET
    return context.config.get(key)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
