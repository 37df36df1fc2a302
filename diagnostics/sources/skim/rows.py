"""Owns the metrics of a large log as they are picked out of it: compact, and bounded in number.

With more than there is room for every second one is let go, and from then on only every second,
fourth, eighth ... is taken; those that stand out are taken all the same.
"""

from array import array
from collections.abc import Collection, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

_STANDING_OUT_SHARE = 8
"""At most every so-many-th one kept is one that stands out."""
_NEAR = 512
"""Among so many neighbours one stands out."""
_VALUE = len("{'loss': ")


class Group(IntEnum):
    """Which metrics a dict holds, as far as its beginning tells."""

    LOSS = 0
    EVAL = 1
    OTHER = 2
    V1 = 3
    """Of the trainer that USE_V1 chooses: a record and no dict."""


class Row(NamedTuple):
    """One dict of metrics."""

    start: int
    """Where in the log it begins."""
    line: int
    group: Group
    number: int
    """How many of its group came before it."""
    text: bytes
    bar: bytes
    """The last bar before it."""


class Rows:
    """The dicts of one group, in order: all of up to `most`, else evenly some."""

    def __init__(self, group: Group, most: int) -> None:
        self._group = group
        self._most = most
        self._count = 0
        self.stride = 1
        self._starts = array("q")
        self._lines = array("q")
        self._numbers = array("q")
        self._bad: set[int] = set()
        self._texts: list[bytes] = []
        self._bars: list[bytes] = []

    def __len__(self) -> int:
        return len(self._texts)

    def drain(self) -> Iterator[Row]:
        """Yield all, in order, and let go of each."""
        texts, bars = self._texts, self._bars
        self._texts, self._bars = [], []
        columns = zip(self._starts, self._lines, self._numbers, strict=True)
        for place, (start, line, number) in enumerate(columns):
            text, bar = texts[place], bars[place]
            texts[place] = bars[place] = b""
            yield Row(start, line, self._group, number, text, bar)

    @property
    def thinned(self) -> bool:
        """Whether some are left away."""
        return self.stride > 1

    def choose(self, count: int, standing_out: Sequence[int] = ()) -> Sequence[int]:
        """Return which of the next `count` dicts are to be added."""
        places: Sequence[int] = range(-self._count % self.stride, count, self.stride)
        return sorted({*places, *standing_out}) if standing_out else places

    def add(
        self,
        count: int,
        rows: Sequence[tuple[int, int, int, bytes, bytes]],
        bad: Collection[int] = (),
    ) -> None:
        """Keep what was chosen of `count` dicts: start, line, place among them, text and bar.

        `bad` are the places of those with numbers that are none.
        """
        if rows:
            starts, lines, places, texts, bars = zip(*rows, strict=True)
            self._starts.extend(starts)
            self._lines.extend(lines)
            self._numbers.extend([self._count + place for place in places])
            self._texts.extend(texts)
            self._bars.extend(bars)
            self._bad.update(self._count + place for place in bad)
        self._count += count
        if len(self._texts) > self._most:
            self._thin()

    def _thin(self) -> None:
        """Take larger strides, so that half of the room is free again."""
        before = self.stride
        while self._count // self.stride > self._most // 2:
            self.stride *= 2
        room = self._most // _STANDING_OUT_SHARE
        kept: list[int] = []
        for begin in range(0, len(self._texts), _NEAR):
            odd = self._standing_out(begin, before)[: max(room, 0)]
            room -= len(odd)
            kept += odd
        kept += [place for place, number in enumerate(self._numbers) if not number % self.stride]
        kept = sorted(set(kept))
        self._starts = array("q", [self._starts[place] for place in kept])
        self._lines = array("q", [self._lines[place] for place in kept])
        self._numbers = array("q", [self._numbers[place] for place in kept])
        self._texts = [self._texts[place] for place in kept]
        self._bars = [self._bars[place] for place in kept]
        self._bad.intersection_update(self._numbers)

    def _standing_out(self, begin: int, before: int) -> list[int]:
        """Return the places of what stands out from its neighbours that are kept."""
        numbers = self._numbers[begin : begin + _NEAR]
        texts = self._texts[begin : begin + _NEAR]
        end = _VALUE + 2 + (texts[0][_VALUE : _VALUE + 1] == b"'")
        usual = {
            text[_VALUE:end]
            for number, text in zip(numbers, texts, strict=True)
            if not number % self.stride
        }
        return [
            begin + place
            for place, (number, text) in enumerate(zip(numbers, texts, strict=True))
            if text[_VALUE:end] not in usual or number % before or number in self._bad
        ]
