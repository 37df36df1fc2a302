"""Owns giving what was kept of a log to the ordinary parser: in order, each byte at most once."""

import re
from collections.abc import Iterable, Iterator

from diagnostics.course import MAX_PACE_POINTS
from diagnostics.observations import Observation
from diagnostics.parsing.bars import clock_seconds
from diagnostics.parsing.console import ConsoleParser
from diagnostics.sources.skim.blocks import Window
from diagnostics.sources.skim.rows import Group, Row

_PIECE_BYTES = 256 * 1024
_BAR = re.compile(rb"\| *(\d{1,15})/(\d{1,15}) \[([\d:]{1,16})<")


class Replay:
    """Feeds one parser; `rows` is how many metrics there are to be."""

    def __init__(self, parser: ConsoleParser, at: float, rows: int) -> None:
        self._parser = parser
        self._at = at
        self._every = 1 + rows // MAX_PACE_POINTS
        """Of so many bars beside metrics one is told, for the pace."""
        self._fed = -1
        self._within = False  # whether it was fed since the last jump
        self._numbers: dict[int, int] = {}
        self._seen = 0

    def run(self, items: Iterable[Window | Row]) -> Iterator[Observation]:
        """Feed windows and metrics; they are in order of their places."""
        for item in items:
            if isinstance(item, Window):
                yield from self._window(item)
            elif self._parser.knows_steps:
                yield from self._row(item)
            else:
                yield from self._around(item)

    def _window(self, window: Window) -> Iterator[Observation]:
        data = window.data
        if window.start > self._fed:
            yield from self._jump(window.line)
        else:
            data = data[self._fed - window.start :]
        for begin in range(0, len(data), _PIECE_BYTES):
            yield from self._parser.feed(data[begin : begin + _PIECE_BYTES], self._at)
        if data:
            self._fed = window.end
            self._within = True

    def _around(self, row: Row) -> Iterator[Observation]:
        """Feed metrics as they stand, after their bar and with what follows them."""
        if row.start > self._fed and row.bar:
            yield from self._jump(row.line)
            yield from self._parser.feed(b"\r" + row.bar + b"\r", self._at)
            self._fed = row.start
        end = row.start + len(row.text)
        yield from self._window(Window(row.start, end, row.line, row.text))

    def _row(self, row: Row) -> list[Observation]:
        passed_over = row.number - self._numbers.get(row.group, -1) - 1
        self._numbers[row.group] = row.number
        if row.start < self._fed:
            return []
        found = [*self._jump(row.line)] if self._within else []
        self._seen += 1
        last = row.bar.rfind(b"| ")
        match = _BAR.match(row.bar, last) if last >= 0 else None
        if match is not None:
            done, total, elapsed = match.groups()
            shown = self._seen % self._every == 0
            elapsed_s = clock_seconds(elapsed.decode()) if shown else None
            found += self._parser.skim_bar(int(done), int(total), elapsed_s, row.line, self._at)
        text = row.text.decode("utf-8", "replace")
        passed_over = passed_over if row.group is Group.LOSS else 0
        found += self._parser.skim(text, row.line, self._at, passed_over)
        return found

    def _jump(self, line: int) -> Iterator[Observation]:
        yield from self._parser.jump(line, self._at)
        self._within = False
