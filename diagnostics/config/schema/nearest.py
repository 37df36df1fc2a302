"""Owns what a misspelt or former key, or a value that is not accepted, most likely means."""

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches

from diagnostics.config.schema.facts import Keys, bundled_facts
from diagnostics.config.schema.former import FORMER_VALUES, MEANT_VALUES, RENAMED
from diagnostics.config.schema.key_info import KeyInfo
from diagnostics.config.schema.notes import COMMON

_LONGEST = 100
_ENOUGH = 0.75
_RARE = 0.88
_SURE = 0.93
_LONG_ALIAS = 10
_PREFERENCE = 0.05
"""How much nearer a rare key must be than a common one."""

KEYS: Mapping[str, KeyInfo] = Keys()


def default_of(key: str) -> object:
    """Return a key's default; None where the key is not known or has none."""
    info = KEYS.get(key)
    return info.default if info is not None else None


def nearest_key(name: str) -> str | None:
    """Return the known key that a misspelt or former name most likely means.

    A key of another version that means nothing else stays what it is.
    """
    facts = bundled_facts()
    if name in facts.keys or name in facts.newer:
        return name
    plain = name.lstrip("-").replace("-", "_").lower()
    if plain in RENAMED:
        return RENAMED[plain]
    if plain in facts.former:
        return name
    if plain in facts.keys:
        return plain
    plain = plain[:_LONGEST]
    alias = _closest(plain, (one for one in RENAMED if len(one) >= _LONG_ALIAS), _SURE)
    if alias[1]:
        return RENAMED[alias[1]]
    common = _closest(plain, COMMON & facts.keys.keys(), _ENOUGH)
    rare = _closest(plain, facts.keys.keys() - COMMON, _RARE)
    best = max((common[0] + _PREFERENCE, common[1]), rare)
    return best[1] or None


def nearest_value(key: str, value: object) -> object:
    """Return the accepted value that a key's value most likely means; None where none is near.

    A value of the wrong kind becomes the default: of "learning_rate: fast" nothing can be kept.
    """
    info = KEYS.get(key)
    if info is None:
        return None
    if isinstance(value, str) and (key, value) in FORMER_VALUES:
        return FORMER_VALUES[key, value][0]
    if isinstance(value, str) and (key, value.lower()) in MEANT_VALUES:
        return MEANT_VALUES[key, value.lower()]
    if info.choices:
        if value is False:  # YAML reads a bare no, or off, as false
            return next((one for one in ("no", "disabled") if one in info.choices), info.default)
        found = get_close_matches(str(value).lower()[:_LONGEST], info.choices, n=1, cutoff=0.5)
        return found[0] if found else info.default
    if info.type_name in {"int", "float"} and isinstance(value, str):
        return info.default
    return None


def _closest(name: str, keys: Iterable[str], cutoff: float) -> tuple[float, str]:
    found = get_close_matches(name, sorted(keys), n=1, cutoff=cutoff)
    if not found:
        return -1.0, ""
    return SequenceMatcher(None, found[0], name).ratio(), found[0]
