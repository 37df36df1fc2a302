"""Owns reading what a log holds already: a small one whole, of a large one both ends whole.

What lies between the ends is skimmed, if it is known what rules look for.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from diagnostics.observations import Observation
from diagnostics.parsing.console import ConsoleParser
from diagnostics.sources.skim.blocks import first_break
from diagnostics.sources.skim.scanning import Query, Scanner, make_scanner
from diagnostics.sources.skim.skimmer import Limits, Skimmer

_PIECE_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Ends:
    """How much of a log is read whole; tests use smaller ones."""

    whole_bytes: int = 4 * 1024 * 1024
    """A log up to this size is."""
    head_bytes: int = 512 * 1024
    tail_bytes: int = 512 * 1024


class Backlog:
    """Takes the bytes of a log in, from its beginning, for a parser that has read nothing yet.

    Args:
        parser: what reads the log, and goes on with it after `close`.
        patterns: what rules look for in lines; None: all is read whole.
        ends: how much is read whole.
        limits: of the skimming.
        make: makes what looks for everything at once.
    """

    def __init__(
        self,
        parser: ConsoleParser,
        patterns: Sequence[str] | None,
        *,
        ends: Ends | None = None,
        limits: Limits | None = None,
        make: Callable[[Sequence[Query]], Scanner] = make_scanner,
    ) -> None:
        self._parser = parser
        self._patterns = patterns
        self._ends = ends or Ends()
        self._limits = limits
        self._make = make
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._skimmer: Skimmer | None = None

    def feed(self, data: bytes, at: float) -> list[Observation]:
        """Take bytes in; return what is known so far."""
        if self._patterns is None:
            return self._parser.feed(data, at)
        self._hold(data)
        found: list[Observation] = []
        if self._skimmer is None:
            if self._held_bytes <= self._ends.whole_bytes:
                return []
            held = self._release()
            cut, found = self._read_head(held, at)
            self._skimmer = Skimmer(
                self._patterns,
                self._parser.line,
                total=self._parser.total_steps,
                around=not self._parser.knows_steps,
                limits=self._limits,
                make=self._make,
            )
            for start in range(cut, len(held), _PIECE_BYTES):
                self._hold(held[start : start + _PIECE_BYTES])
        while self._held and self._held_bytes - len(self._held[0]) >= self._ends.tail_bytes:
            oldest = self._held.popleft()
            self._held_bytes -= len(oldest)
            self._skimmer.feed(oldest)
        return found

    def close(self, at: float) -> Iterator[Observation]:
        """Yield the rest: what comes next is the parser's."""
        if self._skimmer is not None:
            yield from self._skimmer.replay(self._parser, self._release(), at)
            self._skimmer = None
        while self._held:
            yield from self._parser.feed(self._held.popleft(), at)
        self._held_bytes = 0

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)

    def _release(self) -> bytes:
        held = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        return held

    def _read_head(self, data: bytes, at: float) -> tuple[int, list[Observation]]:
        """Read the beginning, up to a line at which nothing is left open; return its length."""
        found: list[Observation] = []
        cut = 0
        wanted = self._ends.head_bytes
        while cut < len(data) and (cut < self._ends.head_bytes or not self._parser.resting):
            if cut >= 2 * self._ends.head_bytes:
                break
            stop = 1 + max(data.rfind(b"\n", cut, wanted), data.rfind(b"\r", cut, wanted))
            stop = stop or first_break(data, cut) or len(data)
            found += self._parser.feed(data[cut:stop], at)
            cut = stop
            wanted = cut + max(self._ends.head_bytes // 8, 1)
        return cut, found
