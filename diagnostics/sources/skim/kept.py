"""Owns the windows that are kept of a large log: of what is alike the first and the last."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from diagnostics.sources.skim.blocks import Window, first_break
from diagnostics.sources.skim.limits import Limits
from diagnostics.sources.skim.queries import SLOTS, Kind

_Place = TypeVar("_Place")


@dataclass(slots=True)
class Slots:
    """The first and the last windows of what is alike."""

    most: int
    first: list[Window] = field(default_factory=list)
    last: deque[Window] = field(default_factory=deque)

    @property
    def full(self) -> bool:
        """Whether only the last ones change."""
        return len(self.first) >= self.most

    def add(self, window: Window) -> int:
        """Keep a window; return by how many bytes what is kept has grown."""
        grown = len(window.data)
        if not self.full:
            self.first.append(window)
            return grown
        self.last.append(window)
        if len(self.last) > self.most:
            grown -= len(self.last.popleft().data)
        return grown


class Kept:
    """Windows by what they were found for: a query, and a signature that tells its kinds apart."""

    def __init__(self, kinds: Sequence[Kind], limits: Limits) -> None:
        self._kinds = kinds
        self._limits = limits
        self._slots: dict[tuple[int, bytes], Slots] = {}
        self._bytes = 0

    def slots(self, query: int, signature: bytes = b"") -> Slots:
        """Return the place for windows that are alike."""
        return self._slots.setdefault((query, signature), Slots(SLOTS[self._kinds[query]]))

    def choose(self, query: int, signature: bytes, places: Sequence[_Place]) -> Sequence[_Place]:
        """Return those of some new places that may be kept: the last, and the first if needed."""
        most = SLOTS[self._kinds[query]]
        if (query, signature) in self._slots:
            return places[-most:]
        return [*places[:most], *places[most:][-most:]]

    def add(self, query: int, signature: bytes, window: Window) -> None:
        """Keep a window; with too many bytes kept already, its first line."""
        if (query, signature) not in self._slots and len(self._slots) >= self._limits.max_kinds:
            signature = b""
        if self._bytes > self._limits.windows_bytes:
            window.data = window.data[: first_break(window.data)]
        self._bytes += self.slots(query, signature).add(window)

    def windows(self) -> Iterator[Window]:
        """Yield all."""
        for slots in self._slots.values():
            yield from chain(slots.first, slots.last)
