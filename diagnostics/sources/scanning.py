"""Owns looking through large pieces of a log for many things at once.

Hyperscan does it where it is installed; else literals are searched for in what is no progress bar.
Both find the same.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

_BREAKS = re.compile(rb"([\r\n]+)")


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: one of some literals or, where given, a pattern that one of them is in."""

    literals: tuple[bytes, ...]
    caseless: bool = False
    """Whether the literals, which are in lower case then, stand for capitals, too."""
    pattern: bytes = b""
    """It never spans lines."""

    @property
    def expression(self) -> bytes:
        """The pattern of it all."""
        return self.pattern or b"|".join(re.escape(literal) for literal in self.literals)


class Scanner(Protocol):
    """Finds queries in bytes."""

    def scan(self, data: bytes) -> list[list[int]]:
        """Return for each query where matches of it end, in order."""
        ...


def make_scanner(queries: Sequence[Query]) -> Scanner:
    """Return the fastest scanner that there is."""
    try:
        return HyperscanScanner(queries)
    except ImportError:
        return LineScanner(queries)


class HyperscanScanner:
    """Looks for everything in one pass."""

    def __init__(self, queries: Sequence[Query]) -> None:
        """Make the automaton.

        Raises:
            ImportError: Hyperscan is not there, or not for this processor.
        """
        import hyperscan  # noqa: PLC0415 - only large logs are worth loading it

        self._found: list[list[int]] = [[] for _ in queries]
        try:
            self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            self._database.compile(
                expressions=[query.expression for query in queries],
                ids=list(range(len(queries))),
                elements=len(queries),
                flags=[hyperscan.HS_FLAG_CASELESS if query.caseless else 0 for query in queries],
            )
        except hyperscan.error as error:
            raise ImportError(str(error)) from error

    def scan(self, data: bytes) -> list[list[int]]:
        """Return for each query where matches of it end, in order."""
        for ends in self._found:
            if ends:
                ends.clear()
        self._database.scan(data, match_event_handler=self._take)
        return self._found

    def _take(self, query: int, _start: int, end: int, _flags: int, _context: Any) -> None:
        self._found[query].append(end)


class LineScanner:
    """Leaves bars away, and looks for each literal in the rest."""

    def __init__(self, queries: Sequence[Query]) -> None:
        self._queries = [
            (query, re.compile(query.expression, re.IGNORECASE if query.caseless else 0))
            for query in queries
        ]

    def scan(self, data: bytes) -> list[list[int]]:
        """Return for each query where matches of it end, in order."""
        pieces = _BREAKS.split(data)
        starts = [0, *accumulate(map(len, pieces))]
        kept = [
            place
            for place in range(0, len(pieces), 2)
            if pieces[place] and not (pieces[place][-1:] == b"]" and _is_bar(pieces[place]))
        ]
        lines = [pieces[place] for place in kept]
        text = b"\n".join(lines)
        begins = [0, *accumulate(len(line) + 1 for line in lines)]
        lower = text.lower() if any(query.caseless for query, _ in self._queries) else b""
        found: list[list[int]] = []
        for query, pattern in self._queries:
            hit = _lines_with(query.literals, lower if query.caseless else text, begins)
            ends = [
                starts[kept[line]] + match.end()
                for line in hit
                for match in pattern.finditer(lines[line])
            ]
            found.append(ends)
        return found


def _is_bar(piece: bytes) -> bool:
    """Whether a piece that ends in a bracket is one bar and nothing else."""
    bar = piece.find(b"%|")
    return 0 <= bar < 8 and piece.find(b"]") == len(piece) - 1  # noqa: PLR2004 - a percentage


def _lines_with(literals: Sequence[bytes], text: bytes, begins: Sequence[int]) -> list[int]:
    """Return the places of the lines that hold one of the literals; of all lines without one."""
    if not literals:
        return list(range(len(begins) - 1))
    hit: set[int] = set()
    for literal in literals:
        at = text.find(literal)
        while at >= 0:
            line = bisect_right(begins, at) - 1
            hit.add(line)
            at = text.find(literal, begins[line + 1])
    return sorted(hit)
