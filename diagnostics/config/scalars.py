"""Owns how a plain YAML scalar is read: as LLaMA-Factory's OmegaConf does, YAML 1.1 with changes.

The changes to PyYAML's reading: `1e-4` is a float and a date stays text. Pure; knows no document.
"""

import math
import re

import yaml

MAX_NUMBER_LENGTH = 400
"""A longer numeral is hostile: reading it takes time that grows with its square."""

_FLOAT = re.compile(
    r"""(?:[-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*[eE][-+]?[0-9]+
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))""",
    re.VERBOSE,
)
_PREFIX = "tag:yaml.org,2002:"
_LATER_YAML = re.compile(r"[yYnN]|0o[0-7]+|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?|\?\?\?")
_TRUE = frozenset({"yes", "true", "on"})
_FALSE = frozenset({"no", "false", "off"})


def kind_of(text: str) -> str:
    """Return the YAML type of a plain scalar: "str", "int", "float", "bool" or "null".

    Also "merge" for `<<` and "value" for `=`, which are no values at all.
    """
    kind = _implicit(text)
    if kind in {"str", "timestamp"}:
        return "float" if _FLOAT.fullmatch(text) else "str"
    return kind


def read_plain(text: str) -> object:
    """Return the value of a plain scalar.

    Raises:
        ValueError: it has the form of a number that nobody can read, or is `<<` or `=`.
    """
    return convert(kind_of(text), text)


def convert(kind: str, text: str) -> object:
    """Return a scalar's value as a given YAML type.

    Raises:
        ValueError: the text is none of that type.
    """
    match kind:
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return _bool(text)
        case "int":
            return _int(_numeral(text))
        case "float":
            return _float(_numeral(text))
    raise ValueError(f"{text[:40]!r} stands where a value belongs")


def is_ambiguous(text: str) -> bool:
    """Tell whether some YAML reader takes this plain scalar for something other than text."""
    return (
        kind_of(text) != "str"
        or _implicit(text) != "str"
        or _LATER_YAML.fullmatch(text) is not None
    )


def same_value(one: object, other: object) -> bool:
    """Tell whether two values are equal and of the same types throughout; NaN equals itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return one == other


def _implicit(text: str) -> str:
    """Return the type that PyYAML's own table gives, dates ("timestamp") included."""
    table = yaml.SafeLoader.yaml_implicit_resolvers
    for tag, pattern in [*table.get(text[:1], ()), *table.get(None, ())]:
        if pattern.match(text):
            return str(tag).removeprefix(_PREFIX)
    return "str"


def _bool(text: str) -> bool:
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(f"{text[:40]!r} is neither true nor false")


def _numeral(text: str) -> str:
    if len(text) > MAX_NUMBER_LENGTH:
        raise ValueError(f"a number of {len(text)} characters is too long")
    return text.replace("_", "").lower()


def _int(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    digits = text[1:] if text[:1] in {"-", "+"} else text
    if digits == "0":
        return 0
    if digits.startswith(("0b", "0x")):
        return sign * int(digits, 0)
    if digits.startswith("0"):
        return sign * int(digits, 8)
    if ":" in digits:
        return sign * _sixties([int(part) for part in digits.split(":")])
    return sign * int(digits)


def _float(text: str) -> float:
    sign = -1.0 if text.startswith("-") else 1.0
    digits = text[1:] if text[:1] in {"-", "+"} else text
    if digits == ".inf":
        return sign * math.inf
    if digits == ".nan":
        return math.nan
    if ":" in digits:
        *whole, last = digits.split(":")
        return sign * (60 * _sixties([int(part) for part in whole]) + float(last))
    return sign * float(digits)


def _sixties(parts: list[int]) -> int:
    total = 0
    for part in parts:
        total = total * 60 + part
    return total
