"""Owns looking through large pieces of a log for many things at once.

Hyperscan does it where it is installed; else literals are searched for in what is no progress bar.
Both tell places at which something may be, and miss none.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

_SEARCHED = 8 * 1024
"""Bytes of a line that are searched for a pattern: rules see no more of it."""
_BREAKS = re.compile(rb"([\r\n]+)")


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
    """Leaves bars away, and looks for each literal in the rest."""

    def __init__(self, queries: Sequence[Query]) -> None:
        self._queries = [(query, re.compile(query.pattern)) for query in queries]

    def scan(self, data: bytes) -> Mapping[int, Sequence[int]]:
        """Return the places of the queries that were found, each with where it ends, in order."""
        pieces = _BREAKS.split(data)
        starts = [0, *accumulate(map(len, pieces))]
        kept = [
            place
            for place in range(0, len(pieces), 2)
            if pieces[place] and not (pieces[place][-1:] == b"]" and _is_bar(pieces[place]))
        ]
        text = b"\n".join(pieces[place] for place in kept)
        begins = [0, *accumulate(len(pieces[place]) + 1 for place in kept)]
        lower = text.lower()
        found: dict[int, Sequence[int]] = {}
        for number, (query, pattern) in enumerate(self._queries):
            if query.literals:
                at = _places_of(query.literals, lower if query.caseless else text)
                ends = [_moved(place, begins, starts, kept) for place in at]
            else:
                ends = [
                    starts[place] + hit.end()
                    for place in kept
                    for hit in pattern.finditer(pieces[place], 0, _SEARCHED)
                ]
            if ends:
                found[number] = ends
        return found


def _is_bar(piece: bytes) -> bool:
    """Whether a piece that ends in a bracket is one bar, nothing else, and did not just begin."""
    bar = piece.find(b"%|")
    whole = 0 <= bar < 8 and piece.find(b"]") == len(piece) - 1  # noqa: PLR2004 - a percentage
    return whole and b" [00:00<?" not in piece


def _moved(place: int, begins: Sequence[int], starts: Sequence[int], kept: Sequence[int]) -> int:
    """Return the place in the data of one in the text that was kept of it."""
    line = bisect_right(begins, place - 1) - 1
    return starts[kept[line]] + place - begins[line]


def _places_of(literals: Sequence[bytes], text: bytes) -> list[int]:
    places: set[int] = set()
    for literal in literals:
        at = text.find(literal)
        while at >= 0:
            places.add(at + len(literal))
            at = text.find(literal, at + 1)
    return sorted(places)
