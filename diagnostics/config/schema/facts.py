"""Owns reading the generated facts, the bundled ones and those that an environment tells.

`scripts/schema` makes the bundled ones: LLaMA-Factory's arguments, and which versions have them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from diagnostics.config.schema.key_info import KeyInfo
from diagnostics.config.schema.notes import NOTES, Note
from diagnostics.config.unset import UNSET

MAX_KEYS = 5_000
_MAX_TEXT = 200
_MAX_CHOICES = 500
_NOTHING = Note()
_PLAIN = (bool, int, float, str, type(None))
_TYPES = frozenset({"int", "float", "bool", "str", "list", "dict"})


@dataclass(frozen=True, slots=True)
class FormerKey:
    """A key that was: `last` is the last version seen with it, `gone` the first without."""

    owner: str
    last: str
    gone: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of all arguments, for one version of each software."""

    llamafactory: str
    transformers: str
    keys: Mapping[str, KeyInfo]
    former: Mapping[str, FormerKey]
    newer: frozenset[str]
    """Keys that only a later version has."""


class Keys(Mapping[str, KeyInfo]):
    """The bundled keys; they are read when first asked for."""

    def __getitem__(self, key: str) -> KeyInfo:
        """Return what is known of a key."""
        return bundled_facts().keys[key]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(bundled_facts().keys)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(bundled_facts().keys)


@cache
def bundled_facts() -> Facts:
    """Return the facts that come with us."""
    raw = json.loads(Path(__file__).with_name("facts.json").read_text(encoding="utf-8"))
    former = {name: FormerKey(**entry) for name, entry in raw["former"].items()}
    return Facts(
        raw["llamafactory"],
        raw["transformers"],
        read_keys(raw["keys"]),
        MappingProxyType(former),
        frozenset(raw["newer"]),
    )


def read_keys(raw: object) -> Mapping[str, KeyInfo]:
    """Return the keys that a probe or the bundled file lists; what is malformed is left out."""
    if not isinstance(raw, Mapping):
        return MappingProxyType({})
    found: dict[str, KeyInfo] = {}
    for (name, entry), _ in zip(raw.items(), range(MAX_KEYS), strict=False):
        if isinstance(name, str) and len(name) <= _MAX_TEXT and isinstance(entry, Mapping):
            found[name] = _key_info(name, entry)
    return MappingProxyType(found)


def _key_info(name: str, entry: Mapping[str, object]) -> KeyInfo:
    note = NOTES.get(name, _NOTHING)
    types = _words(entry.get("types")) or ("other",)
    default = entry.get("default") if note.default is UNSET else note.default
    choices = note.choices or _words(entry.get("choices"))
    if choices and isinstance(default, str) and default not in choices:
        choices = (*choices, default)
    owner = entry.get("owner")
    since = entry.get("since")
    return KeyInfo(
        note.type_name or _main(types),
        default if isinstance(default, _PLAIN) else None,
        choices,
        note.remark,
        note.beside,
        tuple(dict.fromkeys((*types, *note.also))),
        entry.get("nullable") is not False,
        owner if owner == "transformers" else "llamafactory",
        since if isinstance(since, str) and len(since) <= _MAX_TEXT else None,
        note.at_least,
        note.above,
        note.at_most,
        note.below,
        note.refused,
    )


def _main(types: tuple[str, ...]) -> str:
    """Return the type that a flag's text is read as: text itself, where that is accepted."""
    known = [name for name in types if name in _TYPES]
    return "str" if "str" in known or not known else known[0]


def _words(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list):
        return ()
    return tuple(
        word for word in raw[:_MAX_CHOICES] if isinstance(word, str) and len(word) <= _MAX_TEXT
    )
