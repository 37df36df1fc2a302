"""Owns writing values as YAML that every version of LLaMA-Factory reads alike.

Three places to write for: a line of a file, inside brackets, and a `key=value` word.
"""

import math
import re
from enum import StrEnum

from diagnostics.config.nodes import quote
from diagnostics.config.scalars import is_ambiguous
from diagnostics.errors import ConfigError


class Where(StrEnum):
    """What the text will stand in."""

    LINE = "line"
    BRACKETS = "brackets"
    WORD = "word"  # LLaMA-Factory joins and splits words at blanks: none may be inside
    JSON = "json"


_SAFE = {
    Where.LINE: re.compile(r"[\w/.][\w/.+\-=@%~,]*(?:[ :][\w/.+\-=@%~,]+)*"),
    Where.BRACKETS: re.compile(r"[\w/.][\w/.+\-=@%~]*(?: [\w/.+\-=@%~]+)*"),
    Where.WORD: re.compile(r"[\w/.][\w/.+\-=@%~,]*(?::[\w/.+\-=@%~,]+)*"),
}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TO_ESCAPE = re.compile(r"[\\\"\x00-\x1f\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MAX_DEPTH = 20


def write_value(value: object, where: Where = Where.LINE, quotes: str = "") -> str:
    """Return a value as YAML on one line; `quotes` are the quotes a text shall keep.

    Raises:
        ConfigError: for what is no YAML value, and for text that UTF-8 cannot hold.
    """
    return _write(value, where, quotes, 0)


def write_key(key: str, where: Where = Where.LINE) -> str:
    """Return a key as YAML."""
    return _text(key, Where.JSON if where is Where.JSON else Where.BRACKETS, "")


def _write(value: object, where: Where, quotes: str, depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise ConfigError(f"cannot write a value nested more than {_MAX_DEPTH} deep")
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return portable_float(value)
        case str():
            return _text(value, where, quotes)
        case list() | tuple():
            inner, comma, _ = _inside(where)
            return "[" + comma.join(_write(item, inner, "", depth + 1) for item in value) + "]"
        case dict():
            inner, comma, colon = _inside(where)
            pairs = (
                f"{_inner_key(str(key), where)}{colon}{_write(item, inner, '', depth + 1)}"
                for key, item in value.items()
            )
            return "{" + comma.join(pairs) + "}"
    raise ConfigError(f"cannot write a value of type {type(value).__name__} in YAML")


def _inner_key(key: str, where: Where) -> str:
    # Before a colon without a blank, `{"a":1}`, only a quoted key is a key.
    return _double(key, where) if where is Where.WORD else write_key(key, where)


def portable_float(value: float) -> str:
    """Return a float as YAML 1.1 reads one: with a point and a signed exponent."""
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    mantissa, has_exponent, exponent = text.partition("e")
    if not has_exponent:
        return text
    return f"{mantissa}{'' if '.' in mantissa else '.0'}e{exponent}"


def _inside(where: Where) -> tuple[Where, str, str]:
    """Return where a collection's parts stand, the comma and the colon between them."""
    if where is Where.WORD:
        return Where.WORD, ",", ":"
    return (Where.JSON if where is Where.JSON else Where.BRACKETS), ", ", ": "


def _text(text: str, where: Where, quotes: str) -> str:
    if not quotes and where is not Where.JSON:
        safe = _SAFE[where].fullmatch(text) is not None and not _TO_ESCAPE.search(text)
        if safe and not is_ambiguous(text):
            return text
    # Single quotes know no escape but for themselves.
    single_fits = not _TO_ESCAPE.search(text.replace('"', "").replace("\\", ""))
    if where is Where.JSON or quotes == '"' or not single_fits:
        return _double(text, where)
    if where is Where.WORD and " " in text:
        return _double(text, where)
    return "'" + text.replace("'", "''") + "'"


def _double(text: str, where: Where) -> str:
    if _SURROGATE.search(text):
        raise ConfigError(
            f"{quote(text)} cannot be written in UTF-8", remedy="rename the file or option"
        )
    escaped = _TO_ESCAPE.sub(_escape, text)
    if where is Where.WORD:
        escaped = escaped.replace(" ", "\\x20")
    return f'"{escaped}"'


def _escape(found: re.Match[str]) -> str:
    char = found.group()
    return _ESCAPES.get(char) or f"\\u{ord(char):04x}"
