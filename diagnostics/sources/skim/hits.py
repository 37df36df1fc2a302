"""Owns the lines that rules' patterns match: which are kept, and when it is checked that they do.

What is found for a rule only may match. That is checked for the first lines and, once one did not
match, for all; else the last lines are put off until it is known that no later ones come.
"""

import re
from collections import deque
from collections.abc import Sequence
from itertools import chain, islice

from diagnostics.parsing.pieces import lines_in
from diagnostics.patterns import PatternSet, superset
from diagnostics.sources.skim.blocks import Block
from diagnostics.sources.skim.kept import Kept

_PUT_OFF_BYTES = 2 * 1024 * 1024
_MAX_UNSURE = 64
"""Lines of which it is not known yet whether a rule's pattern matches them."""


class Hits:
    """Keeps the first lines that a rule's pattern matches, and the last.

    Args:
        kept: where they are kept.
        patterns: what rules look for in lines.
        places: of each query, the place of its pattern.
    """

    def __init__(self, kept: Kept, patterns: PatternSet, places: Sequence[int]) -> None:
        self._kept = kept
        self._patterns = patterns
        self._places = places
        self._unsure: set[int] = set()
        """Rules whose pattern does not match all that is found for it."""
        self._put_off: dict[int, tuple[Block, list[tuple[int, int]]]] = {}
        self._wides: dict[int, re.Pattern[bytes]] = {}

    def take(self, block: Block, query: int, ends: Sequence[int]) -> None:
        """Keep the first lines that a rule's pattern matches indeed, and the last that may."""
        slots = self._kept.slots(query)
        wide = self._wide(query)
        lines = deque(
            line
            for line in block.lines(ends)
            if query not in self._unsure or block.holds(wide, line)
        )
        while lines and not slots.full:
            window = block.window(*lines.popleft())
            if self._matches(query, window.data):
                self._kept.add(query, b"", window)
            else:
                self._unsure.add(query)
        if not lines:
            return
        begin, end = lines[-1]
        if query not in self._unsure and not self._matches(query, block.data[begin:end]):
            self._unsure.add(query)
        if query not in self._unsure:
            if len(lines) < slots.most:
                self._settle(query)
            self._put_off[query] = (block, [*lines][-slots.most :])
            return
        self._settle(query)
        if len(lines) + len(slots.last) <= _MAX_UNSURE:
            slots.last.extend(block.window(*line) for line in lines)
            return
        every = chain((block.window(*line) for line in reversed(lines)), reversed(slots.last))
        sure = (window for window in every if self._matches(query, window.data))
        slots.last = deque(reversed([*islice(sure, slots.most)]))

    def settle_old(self, base: int) -> None:
        """Keep what was put off long before a place: blocks are not held for long."""
        old = base - _PUT_OFF_BYTES
        for query in [one for one, (block, _) in self._put_off.items() if block.base < old]:
            self._settle(query)

    def settle(self) -> None:
        """Keep all that was put off."""
        for query in [*self._put_off]:
            self._settle(query)

    def _settle(self, query: int) -> None:
        """Keep lines of a rule that were put off, for there may come enough later ones."""
        if query in self._put_off:
            block, lines = self._put_off.pop(query)
            for line in lines:
                self._kept.add(query, b"", block.window(*line))

    def _wide(self, query: int) -> re.Pattern[bytes]:
        """Return what matches in every line that a rule's pattern matches, and rules others out."""
        found = self._wides.get(query)
        if found is None:
            text = self._patterns.texts[self._places[query]]
            found = self._wides[query] = re.compile((superset(text) or "").encode())
        return found

    def _matches(self, query: int, line: bytes) -> bool:
        if self._wide(query).search(line) is None:
            return False
        index = self._places[query]
        return any(self._patterns.match(index, text) for text in lines_in(line))
