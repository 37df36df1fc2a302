"""Owns `key=value` words: LLaMA-Factory reads them as an OmegaConf dotlist that wins over the file.

A word without `=` is a key with the value None there, as in `--learning_rate` after a YAML.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

from diagnostics.config.construct import parse_value
from diagnostics.config.render import Where, write_value
from diagnostics.errors import ConfigError

_EQUALS = re.compile(r"((?:\\[.\[\]=]|[^=])*)=(.*)", re.DOTALL)
_STEP = re.compile(r"((?:\\[.\[\]=]|[^.\[\]])+)|\[([^\]]*)\]")
MAX_STEPS = 50
_INDEX = re.compile(r"[0-9]{1,5}")
_ESCAPED = re.compile(r"\\([.\[\]=])")


@dataclass(frozen=True, slots=True)
class Override:
    """A word after the config's path; `value` is the text itself where it is no YAML value."""

    index: int
    key: str
    value_text: str
    value: object

    @property
    def path(self) -> tuple[str, ...]:
        """The key taken apart: `fsdp_config.activation_checkpointing` goes into a mapping."""
        steps = [bare or inside for bare, inside in _STEP.findall(self.key)]
        if not 0 < len(steps) <= MAX_STEPS:
            return (self.key,)
        return tuple(_ESCAPED.sub(r"\1", step) for step in steps)

    @property
    def root(self) -> str:
        """The top-level key it changes."""
        return self.path[0]


def read_override(index: int, word: str) -> Override:
    """Take a word of the command line apart; no word is an error here."""
    found = _EQUALS.fullmatch(word)
    if found is None:
        return Override(index, word, "", None)
    key, text = found.groups()
    try:
        return Override(index, key, text, parse_value(text))
    except ConfigError:
        return Override(index, key, text, text)


def override_word(key: str, value: object) -> str:
    """Return the word that gives a top-level key a value; it holds no blank.

    Raises:
        ConfigError: the value has no YAML form.
    """
    name = re.sub(r"([.\[\]=])", r"\\\1", key)
    return f"{name}={write_value(value, Where.WORD)}"


def merged(values: Mapping[str, object], overrides: Iterable[Override]) -> dict[str, object]:
    """Lay overrides over values as OmegaConf does: mappings merge, all else is replaced.

    It makes one config of the overrides first, so `b=x b.y=1` merges with the file's `b` too.
    """
    own: dict[object, object] = {}
    for override in overrides:
        root, *inner = override.path
        if inner:
            own[root] = _nested(deepcopy(own.get(root)), inner, override.value)
        else:
            own = _merge(own, {root: override.value})
    base: dict[object, object] = dict(values.items())
    return {str(key): value for key, value in _merge(base, own).items()}


def _merge(old: dict[object, object], new: dict[object, object]) -> dict[object, object]:
    result = dict(old)
    for key, value in new.items():
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            result[key] = _merge(before, value)
        else:
            result[key] = value
    return result


def _nested(inside: object, steps: Sequence[str], value: object) -> object:
    """Return what is inside with the value at the end of the steps, at most MAX_STEPS."""
    step, *rest = steps
    if isinstance(inside, list):
        at = int(step) if _INDEX.fullmatch(step) else -1
        if not 0 <= at < len(inside):
            return inside
        inside[at] = _nested(inside[at], rest, value) if rest else value
        return inside
    result = dict(inside) if isinstance(inside, dict) else {}
    old = result.get(step)
    if rest:
        result[step] = _nested(old, rest, value)
    elif isinstance(old, dict) and isinstance(value, dict):
        result[step] = _merge(old, value)
    else:
        result[step] = value
    return result
