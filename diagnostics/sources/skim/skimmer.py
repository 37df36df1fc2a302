"""Owns the look through the middle of a large log, block by block, and what is kept of it.

What is kept is bounded: of lines that are alike the first and the last, of metrics every second
one, again and again.
"""

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain, islice

from diagnostics.history import MAX_POINTS
from diagnostics.observations import Observation
from diagnostics.parsing.console import ConsoleParser
from diagnostics.parsing.lines import MAX_LINE_BYTES
from diagnostics.parsing.pieces import lines_in
from diagnostics.patterns import PatternSet, superset
from diagnostics.sources.skim.blocks import Block, Window, first_break, newlines
from diagnostics.sources.skim.queries import (
    BAD,
    BEGUN,
    DICT,
    EPOCH,
    SAMPLE,
    SLOTS,
    Kind,
    sought,
)
from diagnostics.sources.skim.replay import Replay
from diagnostics.sources.skim.rows import Group, Row, Rows
from diagnostics.sources.skim.scanning import Query, Scanner, make_scanner

_BREAKS = b"\r\n"
_LONG_LINE = 2 * MAX_LINE_BYTES
_MAX_DICT = 16_100
_MAX_BARS = 4
_BAR_NEAR = 512
_AROUND = 400
"""How much of what follows metrics is kept where no header tells their steps."""
_MEMORY_AFTER = 1024
_SIGNATURE = 120
_MAX_PINNED = 4096
_BAR_HEAD = 48
_MAX_TOTALS = 64
_BAR_END = 72
_BAR_LEAD = 128
_BEFORE_BAR = (b"\r", b"\n", b"]")
_BEGIN = len("loss': 0.")
"""How much of a dict tells its group, and a loss that stands out."""
_FEW_BYTES = 2048
_PUT_OFF_BYTES = 2 * 1024 * 1024
_MAX_UNSURE = 64
"""Lines of which it is not known yet whether a rule's pattern matches them."""
_MAX_ODD = 32
"""Losses that stand out, in one block."""
_ESCAPE = re.compile(rb"\[[0-?]{0,64}[ -/]{0,16}[@-~]|\][^\x07\x1b\r\n]{0,512}\x07|")
_MAX_ESCAPE = 64
_PIECES = re.compile(rb"[\r\n]+")
_BAR = re.compile(rb"%\|[^|\r\n]{0,512}\| *\d{1,15}/(\d{1,15}) \[[^\]\r\n]{0,256}\]")
_TOTAL = re.compile(rb"\| *\d{1,15}/(\d{1,15}) \[")
_COUNTS = re.compile(rb"\| *\d{1,15}/(\d{1,15}) \[")
_EXCEPTION = re.compile(rb"[\r\n](?:\[rank\d+\]: ?)?(?P<text>[A-Za-z_][^\r\n]{0,160})")
_DIGITS = re.compile(rb"\d+")
_SAMPLE_HEAD = re.compile(
    rb"(?:\[rank\d+\]: ?)?(?:(?:training|eval|validation|predict) example:\s*$"
    rb"|(?:(?:chosen|rejected|kl|target)_)?(?:input_ids|label_ids):\s)"
)
_SAMPLE_ENDS = re.compile(
    rb"[\r\n](?:\[[A-Z]{4,8}\||\[rank\d+\]:|\d\d/\d\d/\d{4} |\[\d{4}-|[^\r\n]{0,120}\d%\|"
    rb"|\{'[\w/. -]{1,80}': '?-?[\dni]|\*{5} |\S+: line \d+: |\S{1,400}\.py:\d+: \w*Warning: "
    rb"|(?:Killed|Terminated|Aborted|Bus error|Segmentation fault)(?: +\(core dumped\))?[\r\n]"
    rb"|terminate called|Detected ZeRO|Time to load |Using \S+ as PyTorch"
    rb"|Traceback \(most recent call last\):\r?\n\s+File \"[^\"\r\n]*(?:llama|llmtuner"
    rb"|site-packages|dist-packages|runpy|/bin/|src/train|src/export))"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is looked at and kept; tests use smaller ones."""

    block_bytes: int = 512 * 1024
    """Small enough for a processor's cache."""
    ahead_bytes: int = 32 * 1024
    """What follows a place that was found is looked at up to here."""
    failure_bytes: int = 24 * 1024
    """Of a traceback with its message."""
    message_bytes: int = 8 * 1024
    header_bytes: int = 4 * 1024
    before_bytes: int = 64 * 1024
    """In what came before bars are looked for, to know the step and the phase."""
    sample_bytes: int = 1024 * 1024
    windows_bytes: int = 12 * 1024 * 1024
    max_rows: int = MAX_POINTS
    max_kinds: int = 1024
    """Different errors told apart."""


@dataclass(slots=True)
class _Slots:
    """The first and the last windows of what is alike."""

    most: int
    first: list[Window] = field(default_factory=list)
    last: deque[Window] = field(default_factory=deque)

    @property
    def full(self) -> bool:
        """Whether only the last ones change."""
        return len(self.first) >= self.most

    def add(self, window: Window) -> int:
        """Keep a window; return by how many bytes what is kept has grown."""
        grown = len(window.data)
        if not self.full:
            self.first.append(window)
            return grown
        self.last.append(window)
        if len(self.last) > self.most:
            grown -= len(self.last.popleft().data)
        return grown


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
        self._patterns = PatternSet(patterns)
        self._around = around
        self._sought = sought(self._patterns)
        self._kinds = self._sought.kinds
        self._scanner = make(self._sought.queries)
        self._rows = [Rows(group, self._limits.max_rows) for group in Group]
        self._usual: tuple[set[bytes], set[bytes]] = (set(), set())
        self._total = b"" if total is None else f"/{total} [".encode()
        self._slots: dict[tuple[int, bytes], _Slots] = {}
        self._latest: dict[int, Window] = {}
        self._pinned: dict[int, Window] = {}
        self._unsure: set[int] = set()
        """Rules whose pattern does not match all that is found for it."""
        self._put_off: dict[int, tuple[Block, list[tuple[int, int]]]] = {}
        self._wides: dict[int, re.Pattern[bytes]] = {}
        self._sample: Window | None = None
        self._kept_bytes = 0
        self._earlier = b""
        self._split = b""
        self._data = b""  # begins with a line
        self._base = 0  # where in the log it begins
        self._line = line
        self._within_line = False  # unless it goes on with one that is too long

    def feed(self, data: bytes) -> None:
        """Take the next bytes in."""
        if b"\0" in data:
            data = data.replace(b"\0", b"")
        if self._split:
            data, self._split = self._split + data, b""
        if b"\x1b" in data:
            place = data.find(b"\x1b", max(0, len(data) - _MAX_ESCAPE))
            if place >= 0:  # it may go on in what comes next
                data, self._split = data[:place], data[place:]
            data = without_escapes(data)
        self._data = self._data + data if self._data else data
        if len(self._data) >= self._limits.block_bytes + self._limits.ahead_bytes:
            self._look()

    def replay(self, parser: ConsoleParser, tail: bytes, at: float) -> Iterator[Observation]:
        """Give the parser what was kept, and at last all that was not looked at, and the tail."""
        if self._sample is not None:
            self._pinned[self._sample.start] = self._sample
        for query in [*self._put_off]:
            self._settle(query)
        windows = dict(self._pinned)
        for slots in self._slots.values():
            for window in chain(slots.first, slots.last):
                before = windows.get(window.start)
                if before is None or len(before.data) < len(window.data):
                    windows[window.start] = window
        self._data += self._split + tail
        if self._within_line:
            self._skip_line()
        end = self._base + len(self._data)
        rest = Window(self._base, end, self._line, self._data)
        for bar in _last_bars(self._earlier, self._base, self._line):
            windows.setdefault(bar.start, bar)
        windows[rest.start] = rest
        rows = sum(map(len, self._rows))
        in_order: list[Window | Row] = sorted(windows.values(), key=_start_of)
        items = merge(in_order, *(some.drain() for some in self._rows), key=_start_of)
        yield from Replay(parser, at, rows).run(items)

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
        if self._sample is not None and skipped is not None:
            self._sample.data += b"\n" * newlines(self._data[:skipped])
            self._sample.end = self._base + skipped
        passed = len(self._data) if skipped is None else skipped
        self._pass(passed, self._line + newlines(self._data[:passed]))

    def _pass(self, count: int, line: int) -> None:
        near = self._limits.before_bytes
        earlier = self._earlier if count < near else b""
        self._earlier = (earlier + self._data[max(0, count - near) : count])[-near:]
        self._data = self._data[count:]
        self._base += count
        self._line = line

    def _take(self, block: Block) -> None:
        old = block.base - _PUT_OFF_BYTES
        for query in [one for one, (other, _) in self._put_off.items() if other.base < old]:
            self._settle(query)
        found = self._scanner.scan(block.data)
        block.samples = self._samples(block, found.get(SAMPLE, ()))
        routine = {
            query: ends for query, ends in found.items() if self._kinds[query] is Kind.ROUTINE
        }
        for query, ends in found.items():
            match self._kinds[query]:
                case Kind.RULE:
                    self._take_rule(block, query, ends)
                case Kind.FAILURE | Kind.MEMORY:
                    self._take_failures(block, query, ends, routine)
                case Kind.HEADER | Kind.EXIT:
                    for window in self._windows(block, query, ends):
                        self._keep(query, b"", window)
                case _:
                    pass
        for query, ends in routine.items():
            self._take_routine(block, query, ends)
        self._take_metrics(block, found)

    def _keep(self, query: int, signature: bytes, window: Window) -> None:
        if (query, signature) not in self._slots and len(self._slots) >= self._limits.max_kinds:
            signature = b""
        slots = self._slots.setdefault((query, signature), _Slots(SLOTS[self._kinds[query]]))
        if self._kept_bytes > self._limits.windows_bytes:
            window.data = window.data[: first_break(window.data)]
        self._kept_bytes += slots.add(window)

    def _windows(self, block: Block, query: int, ends: Sequence[int]) -> Iterator[Window]:
        """Yield the lines of some places, each once, with as much as the kind of place needs."""
        after = self._limits.header_bytes if self._kinds[query] is not Kind.ROUTINE else 0
        for start, end in block.lines(ends):
            stop = block.line_end(min(end + after, len(block.data))) if after else end
            yield block.window(start, stop)

    def _take_routine(self, block: Block, query: int, ends: Sequence[int]) -> None:
        """Keep the first such lines, and the last."""
        ends = block.ended(ends)
        if query != BEGUN:
            self._take_ends(block, query, b"", ends)
            return
        by_total: dict[bytes, list[int]] = {}
        for end in ends:
            match = _TOTAL.search(block.data, max(0, end - _BAR_HEAD), end)
            by_total.setdefault(b"" if match is None else match[1], []).append(end)
        for total, some in list(by_total.items())[:_MAX_TOTALS]:
            self._take_ends(block, query, total, some)

    def _take_ends(self, block: Block, query: int, signature: bytes, ends: Sequence[int]) -> None:
        most = SLOTS[Kind.ROUTINE]
        known = (query, signature) in self._slots
        few = ends[-most:] if known else [*ends[:most], *ends[most:][-most:]]
        for window in self._windows(block, query, few):
            self._keep(query, signature, window)
            self._latest[query] = window

    def _take_failures(
        self,
        block: Block,
        query: int,
        ends: Sequence[int],
        routine: Mapping[int, Sequence[int]],
    ) -> None:
        """Keep the first and the last of those that are alike, and what tells their phase."""
        alike: dict[bytes, list[tuple[int, int]]] = {}
        for start, end in block.lines(ends):
            if self._kinds[query] is Kind.FAILURE:
                stop, signature = self._failure_end(block, start)
            else:
                stop = block.line_end(min(end + _MEMORY_AFTER, len(block.data)))
                signature = block.data[start:end]
            signature = _DIGITS.sub(b"", signature.strip())[:_SIGNATURE]
            alike.setdefault(signature, []).append((start, stop))
        most = SLOTS[self._kinds[query]]
        for signature, places in alike.items():
            known = (query, signature) in self._slots
            few = places[-most:] if known else [*places[:most], *places[most:][-most:]]
            for start, stop in few:
                window = block.window(start, stop)
                self._keep(query, signature, window)
                self._pin(block, start, routine)
                near = block.near(start)[-self._limits.before_bytes :]
                for bar in _last_bars(near, window.start, window.line):
                    self._pinned.setdefault(bar.start, bar)

    def _failure_end(self, block: Block, start: int) -> tuple[int, bytes]:
        """Return where a traceback with its message surely ends, and its exception."""
        last = min(start + self._limits.failure_bytes, len(block.data))
        match = _EXCEPTION.search(block.data, start + 1, last)
        if match is None:
            return block.line_end(last), b""
        return block.line_end(min(match.end() + self._limits.message_bytes, last)), match["text"]

    def _pin(self, block: Block, start: int, routine: Mapping[int, Sequence[int]]) -> None:
        """Keep the latest line of each routine kind before a failure: they tell the phase."""
        for query, window in self._latest.items():
            if query not in routine or routine[query][0] > start:
                self._pinned[window.start] = window
        for query, ends in routine.items():
            place = bisect_right(ends, start)
            if place:
                for window in self._windows(block, query, [ends[place - 1]]):
                    self._pinned[window.start] = window
        while len(self._pinned) > _MAX_PINNED:
            del self._pinned[next(iter(self._pinned))]

    def _take_rule(self, block: Block, query: int, ends: Sequence[int]) -> None:
        """Keep the first lines that a rule's pattern matches indeed, and the last that may."""
        most = SLOTS[Kind.RULE]
        slots = self._slots.setdefault((query, b""), _Slots(most))
        wide = self._wide(query)
        lines = deque(
            line
            for line in block.lines(ends)
            if query not in self._unsure or block.holds(wide, line)
        )
        while lines and not slots.full:
            window = block.window(*lines.popleft())
            if self._matches(query, window.data):
                self._keep(query, b"", window)
            else:
                self._unsure.add(query)
        if not lines:
            return
        begin, end = lines[-1]
        if query not in self._unsure and not self._matches(query, block.data[begin:end]):
            self._unsure.add(query)
        if query not in self._unsure:
            if len(lines) < most:
                self._settle(query)
            self._put_off[query] = (block, [*lines][-most:])
            return
        self._settle(query)
        if len(lines) + len(slots.last) <= _MAX_UNSURE:
            slots.last.extend(block.window(*line) for line in lines)
            return
        every = chain((block.window(*line) for line in reversed(lines)), reversed(slots.last))
        sure = (window for window in every if self._matches(query, window.data))
        slots.last = deque(reversed([*islice(sure, most)]))

    def _settle(self, query: int) -> None:
        """Keep lines of a rule that were put off, for there may come enough later ones."""
        if query in self._put_off:
            block, lines = self._put_off.pop(query)
            for line in lines:
                self._keep(query, b"", block.window(*line))

    def _wide(self, query: int) -> re.Pattern[bytes]:
        """Return what matches in every line that a rule's pattern matches, and rules others out."""
        found = self._wides.get(query)
        if found is None:
            text = self._patterns.texts[self._sought.patterns[query]]
            found = self._wides[query] = re.compile((superset(text) or "").encode())
        return found

    def _matches(self, query: int, line: bytes) -> bool:
        if self._wide(query).search(line) is None:
            return False
        index = self._sought.patterns[query]
        return any(self._patterns.match(index, text) for text in lines_in(line))

    def _samples(self, block: Block, ends: Sequence[int]) -> list[tuple[int, int]]:
        """Return the places of a block's samples, and keep them: the parser passes over them."""
        regions: list[tuple[int, int]] = []
        if self._sample is not None:
            regions.append((0, self._end_sample(block, 0, self._sample)))
        for start, stop in block.lines(ends):
            is_head = _SAMPLE_HEAD.match(block.data, start, stop) is not None
            if is_head and (not regions or start >= regions[-1][1]):
                window = block.window(start, start)
                regions.append((start, self._end_sample(block, start, window)))
        return regions

    def _end_sample(self, block: Block, start: int, window: Window) -> int:
        match = _SAMPLE_ENDS.search(block.data, start, block.limit)
        end = block.limit if match is None else match.start() + 1
        if len(window.data) < self._limits.sample_bytes and window.end == block.base + start:
            # The line that ends it is fed, too.
            stop = end if match is None else block.line_end(end)
            window.data += block.data[start:stop]
            window.end = block.base + stop
        self._sample = window if match is None else None
        if match is not None:
            self._keep(SAMPLE, b"", window)
        return end

    def _take_metrics(self, block: Block, found: Mapping[int, Sequence[int]]) -> None:
        data = block.data
        dicts = block.ended(found.get(DICT, ()))
        length = self._begin_length(data, dicts)
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

    def _begin_length(self, data: bytes, ends: Sequence[int]) -> int:
        quoted = bool(ends) and data[ends[0] + _BEGIN - 2 : ends[0] + _BEGIN - 1] == b"'"
        return _BEGIN + quoted

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
                bar = self._piece_before(block, start)
                stop = block.line_end(min(stop + _AROUND, len(data)))
            elif group is Group.LOSS:
                near = data[start - _BAR_NEAR : start] if start > _BAR_NEAR else block.near(start)
                bar = near.rstrip()[-_BAR_END:]
            else:
                bar = self._train_bar_before(block, start)
            found.append((base + start, line, place, data[start:stop], bar))
        rows.add(len(ends), found, bad if not rows.thinned else some)
        match = _COUNTS.search(found[-1][-1]) if group is Group.LOSS and found else None
        if match is not None:
            self._total = b"/" + match[1] + b" ["

    def _standing_out(self, data: bytes, seen: set[bytes], losses: Sequence[int]) -> list[int]:
        """Return the places of losses whose first digits were not seen lately."""
        odd = seen - self._usual[0] - self._usual[1]
        self._usual = (self._usual[1], seen)
        if not odd:
            return []
        length = self._begin_length(data, losses)
        return [place for place, end in enumerate(losses) if data[end : end + length] in odd]

    def _train_bar_before(self, block: Block, start: int) -> bytes:
        """Return the last bar of the training before an evaluation's metrics, or its end."""
        if not self._total:
            return b""
        data, end = block.data, start
        place = data.rfind(self._total, max(0, start - self._limits.ahead_bytes), start)
        if place < 0:
            data = block.near(start)
            place = data.rfind(self._total)
            end = len(data)
        return data[max(0, place - _BAR_END) : min(place + _BAR_END, end)] if place >= 0 else b""

    def _piece_before(self, block: Block, start: int) -> bytes:
        """Return the piece of the last bar before a dict."""
        data, place = block.data, block.data.rfind(b"%|", 0, start)
        if place < 0:
            data = block.near(start)
            place = data.rfind(b"%|")
        if place < 0:
            return b""
        match = _BAR.match(data, place)
        begin = max(0, place - _BAR_LEAD)
        begin = max(begin, *(data.rfind(char, begin, place) + 1 for char in _BEFORE_BAR))
        return b"" if match is None else data[begin : match.end()]


def _last_bars(data: bytes, end: int, line: int) -> list[Window]:
    """Return the last bar of each length in a piece of a log that ends at a place."""
    base = end - len(data)
    bars: dict[bytes, Window] = {}
    place = data.find(b"%|")
    while place >= 0:
        match = _BAR.match(data, place)
        if match is not None:
            begin = max(0, place - _BAR_LEAD)
            begin = max(begin, *(data.rfind(char, begin, place) + 1 for char in _BEFORE_BAR))
            text = data[begin : match.end()]
            bars.pop(match[1], None)
            bars[match[1]] = Window(base + begin, base + match.end(), line, text + b"\r")
        place = data.find(b"%|", place + 2)
    return list(bars.values())[-_MAX_BARS:]


def _start_of(item: Window | Row) -> int:
    return item.start


def _places_of(begin: bytes, begins: list[bytes]) -> Iterator[int]:
    """Yield where one stands among many; it is rare."""
    place = -1
    for _ in range(begins.count(begin)):
        place = begins.index(begin, place + 1)
        yield place


def _group_of(begin: bytes) -> Group:
    return Group.EVAL if begin.startswith(b"eval_") else Group.OTHER


def without_escapes(data: bytes) -> bytes:
    """Leave escape sequences away, unless there are only those that move up a line, as bars do."""
    place = data.find(b"\x1b")
    while place >= 0 and data[place + 1 : place + 3] == b"[A":
        place = data.find(b"\x1b", place + 3)
    if place < 0:
        return data
    first, *others = data.split(b"\x1b")
    return first + b"".join(_ESCAPE.sub(b"", part, count=1) for part in others)
