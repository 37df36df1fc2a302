"""Owns picking the dicts of metrics out of a block, each with the bar before it."""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence

from diagnostics.sources.skim.bars import TOTAL, bar_at
from diagnostics.sources.skim.blocks import Block
from diagnostics.sources.skim.limits import Limits
from diagnostics.sources.skim.queries import BAD, DICT, EPOCH
from diagnostics.sources.skim.rows import Group, Row, Rows

_BREAKS = b"\r\n"
_MAX_DICT = 16_100
_BAR_NEAR = 512
_BAR_END = 72
_AROUND = 400
"""How much of what follows metrics is kept where no header tells their steps."""
_BEGIN = len("loss': 0.")
"""How much of a dict tells its group, and a loss that stands out."""
_FEW_BYTES = 2048
_MAX_ODD = 32
"""Losses that stand out, in one block."""


class Metrics:
    """Takes the metrics of one log in, block by block.

    Args:
        limits: of what is kept.
        total: the training's number of steps, as far as it is known.
        around: whether metrics are kept with what follows them.
    """

    def __init__(self, limits: Limits, total: int | None, *, around: bool) -> None:
        self._ahead_bytes = limits.ahead_bytes
        self._around = around
        self._rows = [Rows(group, limits.max_rows) for group in Group]
        self._usual: tuple[set[bytes], set[bytes]] = (set(), set())
        self._total = b"" if total is None else f"/{total} [".encode()

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    def drain(self) -> list[Iterator[Row]]:
        """Return those of each group, in order; each is let go of as it is taken."""
        return [rows.drain() for rows in self._rows]

    def take(self, block: Block, found: Mapping[int, Sequence[int]]) -> None:
        """Keep what a block holds of metrics."""
        data = block.data
        dicts = block.ended(found.get(DICT, ()))
        length = _begin_length(data, dicts)
        begins = [data[end : end + length] for end in dicts]
        seen = set(begins)
        places = {
            place: _group_of(begin)
            for begin in seen
            if not begin.startswith(b"loss'")
            for place in _places_of(begin, begins)
        }
        losses = [*dicts]
        for place in sorted(places, reverse=True):
            del losses[place]
        bad = {bisect_right(losses, end) - 1 for end in block.ended(found.get(BAD, ()))}
        bad.discard(-1)
        odd = self._standing_out(data, seen, losses)
        self._take_rows(block, Group.LOSS, losses, odd, bad)  # it tells the bar's length to others
        for group in (Group.EVAL, Group.OTHER):
            some = sorted(place for place, other in places.items() if other is group)
            self._take_rows(block, group, [dicts[place] for place in some])
        self._take_rows(block, Group.V1, block.ended(found.get(EPOCH, ())))

    def _take_rows(
        self,
        block: Block,
        group: Group,
        ends: Sequence[int],
        odd: Sequence[int] = (),
        bad: Collection[int] = (),
    ) -> None:
        if not ends:
            return
        rows, data, base = self._rows[group], block.data, block.base
        close = b"\n" if group is Group.V1 else b"}"
        find = data.find
        counted, line = 0, block.line
        found: list[tuple[int, int, int, bytes, bytes]] = []
        some = sorted(bad)[:_MAX_ODD] if rows.thinned else []
        for place in rows.choose(len(ends), [*odd[:_MAX_ODD], *some] if rows.thinned else ()):
            start = ends[place] - 2
            if group is Group.V1:
                start = data.rfind(b"epoch: ", 0, ends[place])
            stop = find(close, start, start + _MAX_DICT) + 1
            if not stop:
                continue
            at_begin = not start or data[start - 1] in _BREAKS
            if not at_begin and group is not Group.V1 and not block.leads(start):
                continue
            if start - counted < _FEW_BYTES:
                line += data.count(b"\n", counted, start)
            else:
                line = block.line_number(start)
            counted = start
            if self._around:
                bar = _bar_before(block, start)
                stop = block.line_end(min(stop + _AROUND, len(data)))
            elif group is Group.LOSS:
                near = data[start - _BAR_NEAR : start] if start > _BAR_NEAR else block.near(start)
                bar = near.rstrip()[-_BAR_END:]
            else:
                bar = self._train_bar_before(block, start)
            found.append((base + start, line, place, data[start:stop], bar))
        rows.add(len(ends), found, bad if not rows.thinned else some)
        match = TOTAL.search(found[-1][-1]) if group is Group.LOSS and found else None
        if match is not None:
            self._total = b"/" + match[1] + b" ["

    def _standing_out(self, data: bytes, seen: set[bytes], losses: Sequence[int]) -> list[int]:
        """Return the places of losses whose first digits were not seen lately."""
        odd = seen - self._usual[0] - self._usual[1]
        self._usual = (self._usual[1], seen)
        if not odd:
            return []
        length = _begin_length(data, losses)
        return [place for place, end in enumerate(losses) if data[end : end + length] in odd]

    def _train_bar_before(self, block: Block, start: int) -> bytes:
        """Return the last bar of the training before an evaluation's metrics, or its end."""
        if not self._total:
            return b""
        data, end = block.data, start
        place = data.rfind(self._total, max(0, start - self._ahead_bytes), start)
        if place < 0:
            data = block.near(start)
            place = data.rfind(self._total)
            end = len(data)
        return data[max(0, place - _BAR_END) : min(place + _BAR_END, end)] if place >= 0 else b""


def _bar_before(block: Block, start: int) -> bytes:
    """Return the last bar before a dict."""
    data, place = block.data, block.data.rfind(b"%|", 0, start)
    if place < 0:
        data = block.near(start)
        place = data.rfind(b"%|")
    found = None if place < 0 else bar_at(data, place)
    if found is None:
        return b""
    begin, match = found
    return data[begin : match.end()]


def _begin_length(data: bytes, ends: Sequence[int]) -> int:
    quoted = bool(ends) and data[ends[0] + _BEGIN - 2 : ends[0] + _BEGIN - 1] == b"'"
    return _BEGIN + quoted


def _places_of(begin: bytes, begins: list[bytes]) -> Iterator[int]:
    """Yield where one stands among many; it is rare."""
    place = -1
    for _ in range(begins.count(begin)):
        place = begins.index(begin, place + 1)
        yield place


def _group_of(begin: bytes) -> Group:
    return Group.EVAL if begin.startswith(b"eval_") else Group.OTHER
