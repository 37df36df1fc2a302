"""Owns a piece of a log while it is looked through: its lines, their numbers, windows of them."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diagnostics.parsing.lines import MAX_LINE_BYTES
from diagnostics.parsing.pieces import is_lead_of_metrics

BREAK = re.compile(rb"\r+\n?|\n")
_GRID = 16 * 1024


@dataclass(slots=True)
class Window:
    """Lines of a log."""

    start: int
    """Where in the log it begins."""
    end: int
    line: int
    data: bytes


class Block:
    """Whole lines up to `limit`, and some of what follows; `base` is its place in the log.

    `earlier` is what stood right before it.
    """

    def __init__(self, data: bytes, limit: int, line: int, base: int, earlier: bytes) -> None:
        self.data = data
        self.limit = limit
        self.base = base
        self._earlier = earlier
        self.samples: list[tuple[int, int]] = []
        """Where data stands that is no log."""
        self.line = line
        self._grid: list[int] = []
        self._windows: dict[tuple[int, int], Window] = {}

    def near(self, place: int) -> bytes:
        """Return what stands before a place, as far as it is known."""
        return self._earlier + self.data[:place]

    def ended(self, ends: Sequence[int]) -> Sequence[int]:
        """Return those of some places that lie in its own lines."""
        return ends[: bisect_right(ends, self.limit)]

    def lines(self, ends: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield the pieces, begin and end, in which some places lie; none within samples."""
        last = -1
        for end in self.ended(ends):
            start = self.line_start(end - 1)
            if start == last or end - start > MAX_LINE_BYTES:
                continue
            last = start
            if not self.samples or not self._is_sampled(start):
                yield start, self.line_end(end - 1)

    def _is_sampled(self, start: int) -> bool:
        return any(begin < start < stop for begin, stop in self.samples)

    def line_start(self, place: int) -> int:
        """Return where the piece begins in which a place lies."""
        return 1 + max(self.data.rfind(b"\n", 0, place), self.data.rfind(b"\r", 0, place))

    def line_end(self, place: int) -> int:
        """Return where the piece ends in which a place lies, its line break included."""
        match = BREAK.search(self.data, place)
        return len(self.data) if match is None else match.end()

    def line_number(self, place: int) -> int:
        """Return the number of the line in which a place lies."""
        if not self._grid:
            self._grid = [self.line]
            for start in range(0, len(self.data), _GRID):
                self._grid.append(self._grid[-1] + newlines(self.data[start : start + _GRID]))
        whole = place // _GRID
        return self._grid[whole] + newlines(self.data[whole * _GRID : place])

    def holds(self, pattern: re.Pattern[bytes], line: tuple[int, int]) -> bool:
        """Whether a pattern matches in a piece."""
        return pattern.search(self.data, *line) is not None

    def window(self, start: int, end: int) -> Window:
        """Return lines of it."""
        window = self._windows.get((start, end))
        if window is None:
            line = self.line_number(start)
            window = Window(self.base + start, self.base + end, line, self.data[start:end])
            self._windows[start, end] = window
        return window

    def windows(self, ends: Sequence[int], after: int = 0) -> Iterator[Window]:
        """Yield the lines of some places, each once, with at least so much of what follows."""
        for start, end in self.lines(ends):
            stop = self.line_end(min(end + after, len(self.data))) if after else end
            yield self.window(start, stop)

    def leads(self, start: int) -> bool:
        """Whether what stands before metrics in their line may do so."""
        return is_lead_of_metrics(self.data[self.line_start(start) : start])


def newlines(data: bytes) -> int:
    """Count newlines; where they are rare, as here, faster than `count`."""
    return len(data) - len(data.replace(b"\n", b""))


def first_break(data: bytes, start: int = 0) -> int | None:
    """Return where the piece ends that begins at `start`, its line break included."""
    match = BREAK.search(data, start)
    return None if match is None else match.end()
