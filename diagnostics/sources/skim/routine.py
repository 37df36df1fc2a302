"""Owns the lines that every training prints: the first, the last, and those before a failure.

These tell the phase and the step in which it was, and so do the bars before it.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from diagnostics.sources.skim.bars import TOTAL, last_bars
from diagnostics.sources.skim.blocks import Block, Window
from diagnostics.sources.skim.kept import Kept
from diagnostics.sources.skim.queries import BEGUN

_MAX_PINNED = 4096
_BAR_HEAD = 48
_MAX_TOTALS = 64


class Routine:
    """Keeps such lines; `pinned` are those before failures, by where they begin.

    Args:
        kept: where the first and the last are kept.
        before_bytes: in so much of what came before a failure bars are looked for.
    """

    def __init__(self, kept: Kept, before_bytes: int) -> None:
        self._kept = kept
        self._before_bytes = before_bytes
        self._latest: dict[int, Window] = {}
        self.pinned: dict[int, Window] = {}

    def take(self, block: Block, found: Mapping[int, Sequence[int]]) -> None:
        """Keep the first and the last lines that a block holds for each query."""
        for query, places in found.items():
            ends = block.ended(places)
            if query != BEGUN:
                self._take_ends(block, query, b"", ends)
                continue
            by_total: dict[bytes, list[int]] = {}
            for end in ends:
                match = TOTAL.search(block.data, max(0, end - _BAR_HEAD), end)
                by_total.setdefault(b"" if match is None else match[1], []).append(end)
            for total, some in list(by_total.items())[:_MAX_TOTALS]:
                self._take_ends(block, query, total, some)

    def _take_ends(self, block: Block, query: int, signature: bytes, ends: Sequence[int]) -> None:
        for window in block.windows(self._kept.choose(query, signature, ends)):
            self._kept.add(query, signature, window)
            self._latest[query] = window

    def pin(self, block: Block, failure: Window, found: Mapping[int, Sequence[int]]) -> None:
        """Keep the latest line for each query before a failure, and the last bars.

        `found` is what the failure's block holds; it has not been taken yet.
        """
        start = failure.start - block.base
        for query, window in self._latest.items():
            if query not in found or found[query][0] > start:
                self.pinned[window.start] = window
        for ends in found.values():
            place = bisect_right(ends, start)
            if place:
                for window in block.windows([ends[place - 1]]):
                    self.pinned[window.start] = window
        while len(self.pinned) > _MAX_PINNED:
            del self.pinned[next(iter(self.pinned))]
        near = block.near(start)[-self._before_bytes :]
        for bar in last_bars(near, failure.start, failure.line):
            self.pinned.setdefault(bar.start, bar)
