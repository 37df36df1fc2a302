"""Owns `--flag value` words: LLaMA-Factory reads them with argparse where there is no YAML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from diagnostics.config.construct import parse_value
from diagnostics.config.render import portable_float
from diagnostics.config.scalars import kind_of, read_plain
from diagnostics.config.schema import KEYS
from diagnostics.errors import ConfigError

_FLAG = re.compile(r"--[A-Za-z][^=\s]*(?:=.*)?", re.DOTALL)
_TRUE = frozenset({"yes", "true", "t", "y", "1"})
_FALSE = frozenset({"no", "false", "f", "n", "0"})


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag and the words that belong to it: `index` up to and with `last`.

    `value_index` is that of its first value, or None where it has none (`--bf16`).
    """

    index: int
    last: int
    key: str
    value_index: int | None
    value: object


def read_flags(words: Sequence[str], start: int) -> tuple[Flag, ...]:
    """Take flags apart from a word on; words before the first flag belong to none."""
    flags: list[Flag] = []
    index = start
    while index < len(words):
        if not is_flag(words[index]):
            index += 1
            continue
        last = index
        while last + 1 < len(words) and not is_flag(words[last + 1]):
            last += 1
        name, has_value, text = words[index][2:].partition("=")
        if has_value:
            last = index  # words after `--key=value` are no part of it
        flags.append(_flag(words, index, last, name, text if has_value else None))
        index = last + 1
    return tuple(flags)


def is_flag(word: str) -> bool:
    """Tell whether a word begins a flag; `-1` and `--` do not."""
    return _FLAG.fullmatch(word) is not None


def flag_words(key: str, value: object, *, joined: bool = False) -> tuple[str, ...]:
    """Return the words that give a key a value; `joined` writes `--key=value`.

    Raises:
        ConfigError: the value cannot be given on a command line.
    """
    items = value if isinstance(value, list | tuple) else [value]
    texts = [_text(key, item) for item in items]
    if joined and len(texts) == 1:
        return (f"--{key}={texts[0]}",)
    if any(is_flag(text) for text in texts):
        raise ConfigError(
            f"{key} cannot be given a value that begins with -- as a flag",
            remedy="start the training with a YAML config",
        )
    return (f"--{key}", *texts)


def _flag(words: Sequence[str], index: int, last: int, name: str, joined: str | None) -> Flag:
    key = name.replace("-", "_")
    if joined is not None:
        return Flag(index, last, key, index, _value(key, joined))
    values = words[index + 1 : last + 1]
    if values:
        found = [_value(key, text) for text in values]
        is_list = len(found) > 1
        return Flag(index, last, key, index + 1, found if is_list else found[0])
    turned_off = key.removeprefix("no_")
    info = KEYS.get(turned_off)
    # argparse gets `--no_x` for every switch x that is on by default.
    if key not in KEYS and turned_off != key and info is not None and info.default is True:
        return Flag(index, last, turned_off, None, value=False)
    return Flag(index, last, key, None, value=True)


def _value(key: str, text: str) -> object:
    """Return a flag's value by its key's type; what does not fit it stays text."""
    info = KEYS.get(key)
    kind = info.type_name if info is not None else ""
    try:
        match kind:
            case "str" | "list":
                return text
            case "bool":
                return _bool(text)
            case "int":
                return int(text)
            case "float":
                return float(text)
        if text[:1] in {"{", "["}:
            return parse_value(text)
        # A type that is not known: a number or a switch by its form, else text.
        return read_plain(text) if kind_of(text) in {"int", "float", "bool"} else text
    except (ValueError, ConfigError):
        return text


def _bool(text: str) -> object:
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    return False if lowered in _FALSE else text


def _text(key: str, value: object) -> str:
    match value:
        case bool():
            return str(value)
        case int():
            return str(value)
        case float():
            return portable_float(value).replace(".inf", "inf").replace(".nan", "nan")
        case str():
            return value
    raise ConfigError(
        f"{key} cannot be set to {value!r} by a flag",
        remedy="start the training with a YAML config",
    )
