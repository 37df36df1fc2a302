"""Owns looking through large pieces of a log for many things at once.

Hyperscan does it where it is installed; else literals are searched for in what is no progress bar.
Both tell places at which something may be, and miss none.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

from diagnostics.patterns import any_of, by_beginning

_SEARCHED = 8 * 1024
"""Bytes of a line that are searched for a pattern: rules see no more of it."""
_SHORT = 2
"""A literal up to this length is looked for by itself; it is cased."""
_PERCENTAGE = 8
_BRACKET = ord("]")


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: any of some literals or, where there are none, a pattern."""

    literals: tuple[bytes, ...]
    caseless: bool = False
    """Whether the literals, which are in lower case then, stand for capitals, too."""
    pattern: bytes = b""
    """It never spans lines."""


class Scanner(Protocol):
    """Finds queries in bytes."""

    def scan(self, data: bytes) -> Mapping[int, Sequence[int]]:
        """Return the places of the queries that were found, each with where it ends, in order."""
        ...


def make_scanner(queries: Sequence[Query]) -> Scanner:
    """Return the fastest scanner that there is."""
    try:
        return HyperscanScanner(queries)
    except ImportError:
        return LineScanner(queries)


class HyperscanScanner:
    """Looks for everything in one pass.

    Of literals alone it makes its automaton in a few milliseconds; of patterns it takes long.
    """

    def __init__(self, queries: Sequence[Query]) -> None:
        """Make the automaton.

        Raises:
            ImportError: Hyperscan is not there, or not for this processor.
        """
        import hyperscan  # noqa: PLC0415 - only large logs are worth loading it

        users: dict[tuple[bytes, bool], list[int]] = {}
        for place, query in enumerate(queries):
            expressions = [re.escape(text) for text in query.literals]
            for expression in dict.fromkeys(expressions or [query.pattern]):
                users.setdefault((expression, query.caseless), []).append(place)
        self._users = list(users.values())
        self._found: dict[int, list[int]] = {}
        caseless = hyperscan.HS_FLAG_CASELESS
        try:
            self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            self._database.compile(
                expressions=[expression for expression, _ in users],
                ids=list(range(len(users))),
                elements=len(users),
                flags=[caseless if folded else 0 for _, folded in users],
            )
        except hyperscan.error as error:
            raise ImportError(str(error)) from error

    def scan(self, data: bytes) -> Mapping[int, Sequence[int]]:
        """Return the places of the queries that were found, each with where it ends, in order."""
        self._found = {}
        self._database.scan(data, match_event_handler=self._take)
        found: dict[int, list[int]] = {}
        for place, ends in self._found.items():
            for query in self._users[place]:
                found[query] = sorted({*found[query], *ends}) if query in found else ends
        return found

    def _take(self, place: int, _start: int, end: int, _flags: int, _context: Any) -> None:
        if place in self._found:
            self._found[place].append(end)
        else:
            self._found[place] = [end]


class LineScanner:
    """Leaves bars away, and looks in the rest for the beginnings of all literals."""

    def __init__(self, queries: Sequence[Query]) -> None:
        self._wanted: dict[str, list[tuple[bytes, int, bool]]] = {}
        self._short: list[tuple[int, bytes]] = []
        self._patterns: list[tuple[int, re.Pattern[bytes]]] = []
        for number, query in enumerate(queries):
            if not query.literals:
                self._patterns.append((number, re.compile(query.pattern)))
            for literal in query.literals:
                if len(literal) <= _SHORT:
                    self._short.append((number, literal))
                    continue
                lower = literal.lower().decode("latin-1")
                self._wanted.setdefault(lower, []).append((literal, number, query.caseless))
        self._begins = by_beginning(self._wanted)
        self._any = re.compile(any_of(self._begins).encode("latin-1")) if self._begins else None

    def scan(self, data: bytes) -> Mapping[int, Sequence[int]]:
        """Return the places of the queries that were found, each with where it ends, in order."""
        lines = _lines_of(data)
        found: dict[int, list[int]] = {}
        for number, literal in self._short:
            found[number] = _ends_of(literal, data)
        for number, pattern in self._patterns:
            found[number] = [lines.place(match.end()) for match in pattern.finditer(lines.text)]
        for number, end in self._literals_in(lines.text):
            found.setdefault(number, []).append(lines.place(end))
        return {number: sorted({*ends}) for number, ends in found.items() if ends}

    def _literals_in(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield the queries' literals that stand in a text, each with where it ends."""
        if self._any is None:
            return
        lower = text.lower()
        match = self._any.search(lower)
        while match is not None:
            start = match.start()
            for known in self._begins[match.group().decode("latin-1")]:
                for literal, number, caseless in self._wanted[known]:
                    if (lower if caseless else text).startswith(literal, start):
                        yield number, start + len(literal)
            match = self._any.search(lower, start + 1)


class _Lines:
    """Pieces of some data, each with the place where it begins."""

    def __init__(self, starts: Sequence[int], pieces: Sequence[bytes]) -> None:
        self.text = b"\n".join(pieces)
        self._starts = starts
        self._begins = [0, *accumulate(len(piece) + 1 for piece in pieces)]

    def place(self, end: int) -> int:
        """Return where in the data a place in the text is, right behind a byte."""
        line = bisect_right(self._begins, end - 1) - 1
        return self._starts[line] + end - self._begins[line]


def _lines_of(data: bytes) -> _Lines:
    """Return the pieces of a block between line breaks that are no bars."""
    every = data.replace(b"\r", b"\n").split(b"\n")
    places = accumulate((len(piece) + 1 for piece in every), initial=0)
    kept = [
        (place, piece)
        for place, piece in zip(places, every, strict=False)
        if piece and not (piece[-1] == _BRACKET and _is_bar(piece)) and not piece.isspace()
    ]
    return _Lines([place for place, _ in kept], [piece for _, piece in kept])


def _is_bar(piece: bytes) -> bool:
    """Whether a piece that ends in a bracket is one bar, nothing else, and did not just begin."""
    percent = piece.find(b"%|", 0, _PERCENTAGE)
    return percent >= 0 and piece.find(b"]") == len(piece) - 1 and b" [00:00<?" not in piece


def _ends_of(literal: bytes, text: bytes) -> list[int]:
    ends: list[int] = []
    at = text.find(literal)
    while at >= 0:
        ends.append(at + len(literal))
        at = text.find(literal, at + 1)
    return ends
