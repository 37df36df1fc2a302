"""Owns the look through the middle of a large log, block by block: each part takes what is its own.

What is kept is bounded: of lines that are alike the first and the last, of metrics every second
one, again and again.
"""

from collections.abc import Callable, Iterator, Sequence
from heapq import merge

from diagnostics.observations import Observation
from diagnostics.parsing.console import ConsoleParser
from diagnostics.parsing.lines import MAX_LINE_BYTES
from diagnostics.patterns import PatternSet
from diagnostics.sources.skim.bars import last_bars
from diagnostics.sources.skim.blocks import Block, Window, first_break, newlines
from diagnostics.sources.skim.escapes import Unescaped
from diagnostics.sources.skim.failures import by_signature
from diagnostics.sources.skim.hits import Hits
from diagnostics.sources.skim.kept import Kept
from diagnostics.sources.skim.limits import Limits
from diagnostics.sources.skim.metrics import Metrics
from diagnostics.sources.skim.queries import SAMPLE, Kind, sought
from diagnostics.sources.skim.replay import Replay
from diagnostics.sources.skim.routine import Routine
from diagnostics.sources.skim.rows import Row
from diagnostics.sources.skim.samples import Samples
from diagnostics.sources.skim.scanning import Query, Scanner, make_scanner

__all__ = ["Limits", "Skimmer"]

_LONG_LINE = 2 * MAX_LINE_BYTES


class Skimmer:
    """Takes the middle of one log in; `replay` gives back what it showed.

    Args:
        patterns: what rules look for in lines.
        line: the number of the line that begins with the first byte.
        total: the training's number of steps, as far as it is known.
        around: whether metrics are kept with what follows them, which tells their steps where no
            header does.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        line: int,
        *,
        total: int | None = None,
        around: bool = False,
        limits: Limits | None = None,
        make: Callable[[Sequence[Query]], Scanner] = make_scanner,
    ) -> None:
        self._limits = limits or Limits()
        known = PatternSet(patterns)
        wanted = sought(known)
        self._kinds = wanted.kinds
        self._scanner = make(wanted.queries)
        self._kept = Kept(wanted.kinds, self._limits)
        self._samples = Samples(self._kept, self._limits.sample_bytes)
        self._routine = Routine(self._kept, self._limits.before_bytes)
        self._hits = Hits(self._kept, known, wanted.patterns)
        self._metrics = Metrics(self._limits, total, around=around)
        self._text = Unescaped()
        self._earlier = b""
        self._data = b""  # begins with a line
        self._base = 0  # where in the log it begins
        self._line = line
        self._within_line = False  # unless it goes on with one that is too long

    def feed(self, data: bytes) -> None:
        """Take the next bytes in."""
        data = self._text.feed(data)
        self._data = self._data + data if self._data else data
        if len(self._data) >= self._limits.block_bytes + self._limits.ahead_bytes:
            self._look()

    def replay(self, parser: ConsoleParser, tail: bytes, at: float) -> Iterator[Observation]:
        """Give the parser what was kept, and at last all that was not looked at, and the tail."""
        self._hits.settle()
        windows = self._windows()
        self._data += self._text.open + tail
        if self._within_line:
            self._skip_line()
        end = self._base + len(self._data)
        rest = Window(self._base, end, self._line, self._data)
        for bar in last_bars(self._earlier, self._base, self._line):
            windows.setdefault(bar.start, bar)
        windows[rest.start] = rest
        rows = len(self._metrics)
        in_order: list[Window | Row] = sorted(windows.values(), key=_start_of)
        items = merge(in_order, *self._metrics.drain(), key=_start_of)
        yield from Replay(parser, at, rows).run(items)

    def _windows(self) -> dict[int, Window]:
        """Return what was kept by where it begins, of each the longest."""
        windows = dict(self._routine.pinned)
        if self._samples.open is not None:
            windows[self._samples.open.start] = self._samples.open
        for window in self._kept.windows():
            before = windows.get(window.start)
            if before is None or len(before.data) < len(window.data):
                windows[window.start] = window
        return windows

    def _look(self) -> None:
        """Look through all lines but the last ones, which may belong to what was found."""
        if self._within_line:
            self._skip_line()
        data = self._data
        horizon = len(data) - self._limits.ahead_bytes
        if horizon <= 0:
            return
        limit = 1 + max(data.rfind(b"\n", 0, horizon), data.rfind(b"\r", 0, horizon))
        if limit == 0:
            if horizon < _LONG_LINE:
                return
            limit, self._within_line = horizon, True
        block = Block(data, limit, self._line, self._base, self._earlier)
        self._take(block)
        self._pass(limit, block.line_number(limit))

    def _skip_line(self) -> None:
        """Pass over what is left of a line that is too long: only its beginning counts."""
        skipped = first_break(self._data)
        self._within_line = skipped is None
        passed = len(self._data) if skipped is None else skipped
        if skipped is not None:
            self._samples.pass_over(self._data[:skipped], self._base + skipped)
        self._pass(passed, self._line + newlines(self._data[:passed]))

    def _pass(self, count: int, line: int) -> None:
        near = self._limits.before_bytes
        earlier = self._earlier if count < near else b""
        self._earlier = (earlier + self._data[max(0, count - near) : count])[-near:]
        self._data = self._data[count:]
        self._base += count
        self._line = line

    def _take(self, block: Block) -> None:
        """Keep what a block holds; samples are known first, failures before what is routine."""
        self._hits.settle_old(block.base)
        found = self._scanner.scan(block.data)
        block.samples = self._samples.take(block, found.get(SAMPLE, ()))
        routine = {
            query: ends for query, ends in found.items() if self._kinds[query] is Kind.ROUTINE
        }
        for query, ends in found.items():
            match self._kinds[query]:
                case Kind.RULE:
                    self._hits.take(block, query, ends)
                case Kind.FAILURE | Kind.MEMORY:
                    for failure in self._failures(block, query, ends):
                        self._routine.pin(block, failure, routine)
                case Kind.HEADER | Kind.EXIT:
                    for window in block.windows(ends, self._limits.header_bytes):
                        self._kept.add(query, b"", window)
                case _:
                    pass
        self._routine.take(block, routine)
        self._metrics.take(block, found)

    def _failures(self, block: Block, query: int, ends: Sequence[int]) -> Iterator[Window]:
        """Keep the first and the last of those that are alike, and yield them."""
        alike = by_signature(block, self._kinds[query], ends, self._limits)
        for signature, places in alike.items():
            for place in self._kept.choose(query, signature, places):
                window = block.window(*place)
                self._kept.add(query, signature, window)
                yield window


def _start_of(item: Window | Row) -> int:
    return item.start
