"""Owns which columns samples have, which the training will miss, and which mix kinds. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from diagnostics.datasets.layout import Layout
from diagnostics.datasets.report import Place, Tally

_OPTIONAL = ("system", "tools", "images", "videos", "audios", "kto_tag")
_PAIR = ("chosen", "rejected")
_MAX_NAMES = 200
_MAX_NAME = 80
_MAX_TURNS = 200


class Columns:
    """Takes samples in."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._kinds: dict[str, str] = {}
        """The first kind of value of each column; "" where all were null so far."""
        self._roles: set[str] = set()
        """The keys of messages."""
        self._has_messages = False
        self._lacks_system = False
        self._mixed: dict[str, Place] = {}
        self._mixed_count = 0

    def add(self, place: Place, sample: Mapping[str, object]) -> None:
        """Take in one sample."""
        mixes = False
        for name, value in sample.items():
            mixes |= self._note(name, value, place)
        if self._layout.conversational:
            mixes |= self._note_messages(place, sample)
        self._mixed_count += mixes

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that samples have."""
        return tuple(name for name in self._kinds if "[]." not in name)

    @property
    def missing(self) -> tuple[str, ...]:
        """Columns that the training looks up and no sample has."""
        return tuple(dict.fromkeys(self._missing()))

    @property
    def unlisted(self) -> tuple[str, ...]:
        """Roles that this data cannot do without and dataset_info.json names no column for."""
        roles = ["messages"] if self._layout.conversational else []
        if self._layout.ranking and self._layout.columns["kto_tag"] is None:
            roles += _PAIR
        tags = ("role_tag", "content_tag") if self._layout.conversational else ()
        return (
            *(role for role in roles if self._layout.columns[role] is None),
            *(tag for tag in tags if self._layout.tags[tag] is None),
        )

    @property
    def mixed_names(self) -> tuple[str, ...]:
        """Columns whose values are of kinds that cannot be one table's."""
        return tuple(self._mixed)

    @property
    def mixed(self) -> Tally:
        """The samples that differ from those before."""
        return Tally(self._mixed_count, tuple(self._mixed.values())[:3])

    def _missing(self) -> Iterator[str]:
        for role in self._looked_up():
            name = self._layout.columns[role]
            if name is not None and name not in self._kinds:
                yield name
        messages = self._layout.columns["messages"]
        if not self._layout.conversational or not self._has_messages:
            return
        for tag in ("role_tag", "content_tag"):
            key = self._layout.tags[tag]
            if key is not None and key not in self._roles:
                yield f"{messages}[].{key}"

    def _looked_up(self) -> Iterator[str]:
        layout = self._layout
        if layout.conversational:
            yield "messages"
        else:
            yield from ("history", "prompt", "query")
        if layout.ranking and layout.columns["kto_tag"] is None:
            yield from _PAIR
        elif not layout.conversational:
            yield "response"
        for role in _OPTIONAL:
            if layout.formatting == "openai" and role in {"system", "tools"}:
                continue  # the openai converter does without them
            if role == "system" and layout.conversational and not self._lacks_system:
                continue  # each sample's first message is the system prompt
            yield role

    def _note(self, name: str, value: object, place: Place) -> bool:
        """Note a value's kind; True where it does not go with the column's."""
        if name not in self._kinds and len(self._kinds) >= _MAX_NAMES:
            return False
        kind = _kind(value)
        known = self._kinds.setdefault(name[:_MAX_NAME], kind)
        if kind == known or not kind:
            return False
        if not known:
            self._kinds[name[:_MAX_NAME]] = kind
            return False
        if name not in self._mixed and len(self._mixed) < _MAX_NAMES:
            self._mixed[name] = replace(place, text=f"{name} is {kind}, and {known} before")
        return True

    def _note_messages(self, place: Place, sample: Mapping[str, object]) -> bool:
        column = self._layout.columns["messages"]
        messages = sample.get(column) if column is not None else None
        if not isinstance(messages, list):
            return False
        first = True
        mixes = False
        for message in messages[:_MAX_TURNS]:
            if not isinstance(message, Mapping):
                continue
            self._has_messages = True
            if len(self._roles) < _MAX_NAMES:
                self._roles.update(message)
            role = message.get(self._layout.tags["role_tag"] or "")
            if first:
                self._lacks_system |= role is None or role != self._layout.tags["system_tag"]
            first = False
            for key, value in message.items():
                mixes |= self._note(f"{column}[].{key}", value, place)
        self._lacks_system |= first
        return mixes


def _kind(value: object) -> str:
    """Return what a value is to a table; whole and broken numbers are one, null goes with all."""
    match value:
        case None:
            return ""
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return ""
