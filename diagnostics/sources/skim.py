"""Owns reading the middle of a large log fast, and missing nothing in it that a diagnosis needs.

First the bytes are looked through: for what parsers and rules know, of which windows of whole lines
are kept, and for metrics, of which the dicts are kept with the bars before them. Both are bounded:
of what comes again and again the first and the last, of metrics every second one, again and again.
Then what was kept goes through the ordinary parser, in order and with its true line numbers.
"""

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain

from diagnostics.history import MAX_HITS, MAX_POINTS
from diagnostics.observations import Observation
from diagnostics.course import MAX_PACE_POINTS
from diagnostics.parsing.bars import Bar, clock_seconds
from diagnostics.parsing.console import ConsoleParser, SkimmedMetrics
from diagnostics.parsing.lines import MAX_LINE_BYTES
from diagnostics.parsing.pieces import is_lead_of_metrics, lines_in
from diagnostics.patterns import PatternSet, needles, superset
from diagnostics.sources.metric_rows import Row, Rows
from diagnostics.sources.scanning import Query, Scanner, make_scanner

_MIN_NEEDLE = 3
"""A shorter literal rules too little out."""
_BREAKS = b"\r\n"
_LEADS = (b"{'", b"{'", b"{'", b"epoch: ")
_LONG_LINE = 2 * MAX_LINE_BYTES
_MAX_DICT = 16_100
_MAX_BAR = 400
_MAX_BARS = 4
_BAR_NEAR = 256
_AROUND = 400
"""How much of what follows metrics is kept where no header tells their steps."""
_MEMORY_AFTER = 1024
_SIGNATURE = 120
_MAX_PINNED = 4096
_MAX_ODD = 32
"""Losses that stand out, in one block."""
_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]{0,64}[ -/]{0,16}[@-~]|\][^\x07\x1b\r\n]{0,512}\x07)")
_BREAK = re.compile(rb"\r+\n?|\n")
_PIECES = re.compile(rb"[\r\n]+")
_BAR_TOTAL = re.compile(rb"\| *\d{1,15}/(\d{1,15}) \[")
_COUNTS = re.compile(rb" *(\d{1,15})/(\d{1,15}) \[([\d:]{1,16})")
_EXCEPTION = re.compile(rb"[\r\n](?:\[rank\d+\]: ?)?(?P<text>[A-Za-z_][^\r\n]{0,160})")
_SAMPLE_HEAD = re.compile(
    rb"(?:\[rank\d+\]: ?)?(?:(?:training|eval|validation|predict) example:\s*$"
    rb"|(?:(?:chosen|rejected|kl|target)_)?(?:input_ids|label_ids):\s)"
)
_DIGITS = re.compile(rb"\d+")
_SAMPLE_ENDS = re.compile(
    rb"[\r\n](?:\[[A-Z]{4,8}\||\[rank\d+\]:|\d\d/\d\d/\d{4} |\[\d{4}-|\{'| *\d{1,3}%\||\*{5} "
    rb"|\S+: line \d+: |\S{1,400}\.py:\d+: \w*Warning: |Killed|Terminated|Aborted|Bus error"
    rb"|Segmentation fault|terminate called|Detected ZeRO|Time to load |Using \S+ as PyTorch"
    rb"|Traceback \(most recent call last\):\r?\n\s+File \"[^\"\r\n]*(?:llama|llmtuner|site-packages"
    rb"|dist-packages|runpy|/bin/|src/train|src/export))"
)


class Kind(Enum):
    """What is done with a place at which something was found."""

    ROW = "row"
    """Metrics."""
    ROUTINE = "routine"
    """A line of every training: the first and the last of its kind tell enough."""
    HEADER = "header"
    """A training begins: its numbers follow."""
    FAILURE = "failure"
    """A traceback begins."""
    MEMORY = "memory"
    """A line on memory: an exception may stand alone."""
    EXIT = "exit"
    """A rank's end."""
    SAMPLE = "sample"
    """Data begins, which is no log."""
    RULE = "rule"
    """A line that a rule may look for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept; tests use smaller ones."""

    block_bytes: int = 512 * 1024
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
    max_kinds: int = 512
    """Different errors told apart."""


@dataclass(slots=True)
class _Window:
    """Whole lines of the log."""

    start: int
    line: int
    data: bytes
    before: bytes = b""
    """The bars that stood last before it."""

    @property
    def end(self) -> int:
        return self.start + len(self.data)


@dataclass(slots=True)
class _Slots:
    """The first and the last windows of one kind."""

    most: int
    first: list[_Window] = field(default_factory=list)
    last: deque[_Window] = field(default_factory=deque)

    @property
    def full(self) -> bool:
        return len(self.first) >= self.most

    def add(self, window: _Window) -> int:
        """Keep a window; return by how much what is kept has grown."""
        grown = len(window.data)
        if not self.full:
            self.first.append(window)
            return grown
        self.last.append(window)
        if len(self.last) > self.most:
            grown -= len(self.last.popleft().data)
        return grown


_SLOTS = {
    Kind.ROUTINE: 2,
    Kind.HEADER: 64,
    Kind.FAILURE: 4,
    Kind.MEMORY: 4,
    Kind.EXIT: 64,
    Kind.SAMPLE: 8,
    Kind.RULE: MAX_HITS // 2,
}
_LOSS, _EVAL, _OTHER, _EPOCH = range(4)
"""The places of the queries for metrics."""
_STRUCTURE: tuple[tuple[Kind, Query], ...] = (
    (Kind.ROW, Query((b"{'loss': ",))),
    (Kind.ROW, Query((b"{'eval_",))),
    (
        Kind.ROW,
        Query(
            (b"{'",),
            pattern=rb"\{'(?:[^le'\r\n]|l(?:[^o']|o(?:[^s']|s(?:[^s']|s[^'])))"
            rb"|e(?:[^v']|v(?:[^a']|a(?:[^l']|l[^_']))))",
        ),
    ),
    (Kind.ROW, Query((b"epoch: ",), pattern=rb">> ?epoch: \d{1,9}, step: \d{1,15}, ")),
    *(
        (Kind.ROUTINE, Query((literal,)))
        for literal in (
            *(b"***** Running Evaluation *****", b"***** Running evaluation *****"),
            *(b"***** Running Prediction *****", b"***** eval metrics *****"),
            *(b"***** predict metrics *****", b"***** train metrics *****"),
            *(b"Saving model checkpoint to ", b"Loading dataset ", b"loading weights file "),
            *(b"Quantizing model to ", b"src/export_model.py", b"llamafactory-cli export"),
            *(b"Training completed.", b"trainable params: ", b"Fine-tuning method: "),
            *(b"Using torch SDPA", b"Using FlashAttention-", b"Using vanilla attention"),
            *(b"Resuming training from ", b"Continuing training from global step "),
            *(b"Num update steps per epoch = ", b"Total optimization steps = "),
            *(b"Total training steps = ", b"Num Epochs = ", b"Total train batch size ("),
            *(b"Gradient Accumulation steps = ", b"Instantaneous batch size per device = "),
            *(b"'train_loss': ", b"ZeRO Offload", b"cpu_adam", b"offload_optimizer"),
            *(b"offload_param", b"Loading checkpoint shards"),
        )
    ),
    (Kind.ROUTINE, Query((b" [00:00<?",), pattern=rb"\| *0/\d{1,15} \[00:00<\?")),
    (Kind.HEADER, Query((b"***** Running training *****",))),
    (Kind.HEADER, Query((b"Process rank: ",))),
    (Kind.FAILURE, Query((b"Traceback (most recent call last):",))),
    (
        Kind.MEMORY,
        Query(
            (
                *(b"out of memory", b"out_of_memory", b"outofmemory", b"_alloc_failed"),
                *(b"allocate memory", b"enough memory", b"unable to allocate", b"bad_alloc"),
                *(b"memoryerror", b"malloc of size", b"low on memory"),
            ),
            caseless=True,
        ),
    ),
    *(
        (Kind.EXIT, Query((literal,)))
        for literal in (
            *(b"Failures:", b"Root Cause (first observed failure)", b" (local_rank: "),
            *(b"failed (exitcode: ", b"exits with return code"),
        )
    ),
    (Kind.EXIT, Query((b"exitcode",), pattern=rb"exitcode *: -?\d")),
    *((Kind.SAMPLE, Query((literal,))) for literal in (b" example:", b"input_ids:", b"label_ids:")),
)
_SAMPLE_QUERY = next(i for i, (kind, _) in enumerate(_STRUCTURE) if kind is Kind.SAMPLE)


def rule_query(pattern: str) -> Query | None:
    """Return what to look for where a rule's pattern may match; None where that is anywhere."""
    found = needles(pattern)
    if found is not None and found.weight >= _MIN_NEEDLE:
        return Query(tuple(text.encode() for text in found.texts), caseless=found.caseless)
    wider = superset(pattern)
    return None if wider is None else Query((), pattern=wider.encode())


class Skimmer:
    """Takes the middle of one log in; `replay` gives back what it showed.

    Args:
        patterns: what rules look for in lines.
        line: the number of the line that begins with the first byte.
        around: whether metrics are kept with what follows them, which tells their steps where no
            header does.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        line: int,
        *,
        around: bool = False,
        limits: Limits | None = None,
        make: Callable[[Sequence[Query]], Scanner] = make_scanner,
    ) -> None:
        self._limits = limits or Limits()
        self._patterns = PatternSet(patterns)
        self._around = around
        queries = [*_STRUCTURE]
        self._rules: list[int] = [-1] * len(queries)
        for index, text in enumerate(self._patterns.texts):
            query = rule_query(text)
            if query is not None:
                queries.append((Kind.RULE, query))
                self._rules.append(index)
        self._kinds = [kind for kind, _ in queries]
        self._scanner = make([query for _, query in queries])
        self._rows = [Rows(self._limits.max_rows) for _ in range(_EPOCH + 1)]
        self._usual: tuple[set[bytes], set[bytes]] = (set(), set())
        self._total = b""
        self._slots: dict[tuple[int, bytes], _Slots] = {}
        self._latest: dict[int, _Window] = {}
        self._pinned: dict[int, _Window] = {}
        self._sample: _Window | None = None
        self._kept_bytes = 0
        self._earlier = b""
        self._data = b""  # begins with a line
        self._base = 0  # where in the log it begins
        self._line = line
        self._within_line = False  # unless it goes on with one that is too long

    def feed(self, data: bytes) -> None:
        """Take the next bytes in."""
        if b"\0" in data:
            data = data.replace(b"\0", b"")
        if b"\x1b" in data:
            data = _ESCAPE.sub(b"", data)
        self._data = self._data + data if self._data else data
        if len(self._data) >= self._limits.block_bytes + self._limits.ahead_bytes:
            self._look()

    def replay(self, parser: ConsoleParser, at: float) -> Iterator[Observation]:
        """Give the parser what was kept, and at last all that was not looked at yet."""
        if self._sample is not None:
            self._pinned[self._sample.start] = self._sample
        windows = dict(self._pinned)
        for slots in self._slots.values():
            for window in chain(slots.first, slots.last):
                before = windows.get(window.start)
                if before is None or len(before.data) < len(window.data):
                    windows[window.start] = window
        rest = self._rest()
        items = sorted(chain(windows.values(), *self._rows, [rest]), key=_start_of)
        yield from _Replay(parser, at, sum(map(len, self._rows))).run(items)

    def _rest(self) -> _Window:
        data, base = self._data, self._base
        if self._within_line:
            skipped = _first_break(data)
            data, base = data[skipped:], base + skipped
        return _Window(base, self._line, data)

    def _look(self) -> None:
        """Look through all lines but the last ones, which may belong to what was found."""
        if self._within_line:
            skipped = _first_break(self._data)
            self._pass(skipped)
            self._within_line = not skipped or self._earlier[-1:] not in (b"\r", b"\n")
            if self._within_line:
                self._pass(len(self._data))
                return
        data = self._data
        horizon = len(data) - self._limits.ahead_bytes
        limit = 1 + max(data.rfind(b"\n", 0, horizon), data.rfind(b"\r", 0, horizon))
        if limit == 0:
            if len(data) < self._limits.ahead_bytes + _LONG_LINE:
                return
            limit, self._within_line = horizon, True
        self._take(_Block(data, limit, self._line, self._base))
        self._pass(limit)

    def _pass(self, count: int) -> None:
        passed, self._data = self._data[:count], self._data[count:]
        self._line += _newlines(passed)
        self._base += count
        self._earlier = (self._earlier + passed)[-self._limits.before_bytes :]

    def _take(self, block: _Block) -> None:
        found = self._scanner.scan(block.data)
        block.samples = self._samples(block, found)
        routine = {
            query: found[query]
            for query, kind in enumerate(self._kinds)
            if kind is Kind.ROUTINE and found[query]
        }
        for query, ends in enumerate(found):
            if not ends:
                continue
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
        for group in range(_EPOCH + 1):
            if found[group]:
                self._take_rows(block, group, found[group])

    def _keep(self, query: int, signature: bytes, window: _Window) -> None:
        if (query, signature) not in self._slots and len(self._slots) >= self._limits.max_kinds:
            signature = b""
        slots = self._slots.setdefault((query, signature), _Slots(_SLOTS[self._kinds[query]]))
        if self._kept_bytes > self._limits.windows_bytes:
            window.before = b""
            window.data = window.data[: _first_break(window.data)]
        self._kept_bytes += slots.add(window)

    def _windows(self, block: _Block, query: int, ends: Sequence[int]) -> Iterator[_Window]:
        """Yield the lines of some places, each once, with as much as the kind of place needs."""
        after = self._limits.header_bytes if self._kinds[query] is not Kind.ROUTINE else 0
        for start, end in block.lines(ends):
            stop = block.line_end(min(end + after, len(block.data))) if after else end
            yield block.window(start, stop)

    def _take_routine(self, block: _Block, query: int, ends: Sequence[int]) -> None:
        """Keep the first such lines, and the last."""
        for end in dict.fromkeys((*ends[: _SLOTS[Kind.ROUTINE]], *ends[-2:])):
            for window in self._windows(block, query, [end]):
                self._keep(query, _total_in(window.data), window)
                self._latest[query] = window

    def _take_failures(
        self,
        block: _Block,
        query: int,
        ends: Sequence[int],
        routine: Mapping[int, Sequence[int]],
    ) -> None:
        for start, end in block.lines(ends):
            if self._kinds[query] is Kind.FAILURE:
                stop, signature = self._failure_end(block, start)
            else:
                stop = block.line_end(min(end + _MEMORY_AFTER, len(block.data)))
                signature = block.data[start:end]
            window = block.window(start, stop)
            window.before = self._bars_before(block, start)
            self._keep(query, _DIGITS.sub(b"", signature.strip())[:_SIGNATURE], window)
            self._pin(block, start, routine)

    def _failure_end(self, block: _Block, start: int) -> tuple[int, bytes]:
        """Return where a traceback with its message surely ends, and its exception."""
        last = min(start + self._limits.failure_bytes, len(block.data))
        match = _EXCEPTION.search(block.data, start + 1, last)
        if match is None:
            return block.line_end(last), b""
        return block.line_end(min(match.end() + self._limits.message_bytes, last)), match["text"]

    def _pin(self, block: _Block, start: int, routine: Mapping[int, Sequence[int]]) -> None:
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

    def _bars_before(self, block: _Block, start: int) -> bytes:
        """Return the last bar of each length that stands before a place."""
        near = (self._earlier + block.data[:start])[-self._limits.before_bytes :]
        bars: dict[bytes, bytes] = {}
        for piece in _PIECES.split(near):
            match = _BAR_TOTAL.search(piece) if b"%|" in piece else None
            if match is not None:
                bars.pop(match[1], None)
                bars[match[1]] = piece[:_MAX_BAR]
        return b"".join(b"\r" + bar for bar in list(bars.values())[-_MAX_BARS:]) + b"\r"

    def _take_rule(self, block: _Block, query: int, ends: Sequence[int]) -> None:
        """Keep the first and the last lines that a rule's pattern matches indeed."""
        index = self._rules[query]
        slots = self._slots.get((query, b""))
        lines = list(block.lines(ends))
        place = 0
        while place < len(lines) and (slots is None or not slots.full):
            if block.matches(*lines[place], self._patterns, index):
                self._keep(query, b"", block.window(*lines[place]))
                slots = self._slots[query, b""]
            place += 1
        last: list[_Window] = []
        for start, end in reversed(lines[place:]):
            if block.matches(start, end, self._patterns, index):
                last.append(block.window(start, end))
                if len(last) == _SLOTS[Kind.RULE]:
                    break
        for window in reversed(last):
            self._keep(query, b"", window)

    def _samples(self, block: _Block, found: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        """Return the places of a block's samples, and keep them: the parser passes over them."""
        regions: list[tuple[int, int]] = []
        if self._sample is not None:
            regions.append((0, self._end_sample(block, 0, self._sample)))
        heads = sorted(
            start
            for query, kind in enumerate(self._kinds)
            if kind is Kind.SAMPLE
            for start, end in block.lines(found[query])
            if _SAMPLE_HEAD.match(block.data, start, end) is not None
        )
        for start in heads:
            if not regions or start >= regions[-1][1]:
                window = block.window(start, start)
                regions.append((start, self._end_sample(block, start, window)))
        return regions

    def _end_sample(self, block: _Block, start: int, window: _Window) -> int:
        match = _SAMPLE_ENDS.search(block.data, start, block.limit)
        end = block.limit if match is None else match.start() + 1
        if match is not None:
            self._sample = None
            end_of_line = block.line_end(end)  # the line that ends it is fed, too
        else:
            self._sample = window
            end_of_line = end
        if len(window.data) < self._limits.sample_bytes:
            window.data += block.data[start:end_of_line]
        if match is not None:
            self._keep(_SAMPLE_QUERY, b"", window)
        return end

    def _take_rows(self, block: _Block, group: int, ends: Sequence[int]) -> None:
        ends = block.ended(ends)
        rows = self._rows[group]
        odd = self._standing_out(block, ends) if group == _LOSS and rows.thinned else ()
        data = block.data
        lines = _LineNumbers(block)
        for place, number in rows.choose(len(ends), odd):
            end = ends[place]
            start = data.rfind(_LEADS[group], 0, end)
            stop = data.find(b"\n" if group == _EPOCH else b"}", end, end + _MAX_DICT) + 1
            if not stop:
                continue
            if start and data[start - 1] not in _BREAKS and not block.leads(start, group):
                continue
            bar = self._bar_of(block, group, start)
            if self._around:
                stop = block.line_end(min(stop + _AROUND, len(data)))
            rows.add(Row(block.base + start, lines.at(start), number, data[start:stop], bar))

    def _standing_out(self, block: _Block, ends: Sequence[int]) -> list[int]:
        """Return the places of losses whose first digits were not seen lately."""
        data = block.data
        width = 3 if data[ends[0] : ends[0] + 1] == b"'" else 2
        begins = [data[end : end + width] for end in ends]
        seen = set(begins)
        odd = seen - self._usual[0] - self._usual[1]
        self._usual = (self._usual[1], seen)
        if not odd:
            return []
        return [place for place, begin in enumerate(begins) if begin in odd][:_MAX_ODD]

    def _bar_of(self, block: _Block, group: int, start: int) -> bytes:
        """Return "done/total [elapsed" of the last training bar before a dict."""
        data = block.data
        if self._around:
            stop = max(data.rfind(b"%|", 0, start), 0)
            begin = 1 + max(data.rfind(b"\r", 0, stop), data.rfind(b"\n", 0, stop))
            bar = data[begin : begin + _MAX_BAR]
            return _PIECES.split(bar, 1)[0] if stop else b""
        if group == _LOSS:
            begin = data.rfind(b"| ", max(0, start - _BAR_NEAR), start)
        else:
            total = data.rfind(self._total, 0, start) if self._total else -1
            begin = data.rfind(b"| ", max(0, total - _BAR_NEAR), total) if total >= 0 else -1
        if begin < 0:
            return b""
        bar = data[begin + 2 : data.find(b"<", begin, start)]
        if group == _LOSS and not self._total:
            match = _COUNTS.match(bar)
            self._total = b"/" + match[2] + b" [" if match is not None else b""
        return bar


@dataclass(slots=True)
class _Block:
    """Whole lines up to `limit`, and some of what follows."""

    data: bytes
    limit: int
    line: int
    base: int
    samples: list[tuple[int, int]] = field(default_factory=list)

    def ended(self, ends: Sequence[int]) -> Sequence[int]:
        """Return those of some places that lie in its own lines."""
        return ends[: bisect_right(ends, self.limit)]

    def lines(self, ends: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield the beginnings and ends of the pieces in which some places lie, no sample's."""
        last = -1
        for end in self.ended(ends):
            place = end - 1
            start = 1 + max(self.data.rfind(b"\n", 0, place), self.data.rfind(b"\r", 0, place))
            if start == last or end - start > MAX_LINE_BYTES:
                continue
            last = start
            if not any(begin < start < stop for begin, stop in self.samples):
                yield start, self.line_end(end - 1)

    def line_end(self, place: int) -> int:
        """Return where the piece ends in which a place lies, its line break included."""
        match = _BREAK.search(self.data, place)
        return len(self.data) if match is None else match.end()

    def window(self, start: int, end: int) -> _Window:
        line = self.line + _newlines(self.data[:start])
        return _Window(self.base + start, line, self.data[start:end])

    def matches(self, start: int, end: int, patterns: PatternSet, index: int) -> bool:
        """Whether a pattern matches one of the log lines of a piece."""
        return any(patterns.match(index, text) for text in lines_in(self.data[start:end]))

    def leads(self, start: int, group: int) -> bool:
        """Whether what stands before metrics in their line may do so."""
        if group == _EPOCH:
            return True
        begin = 1 + max(self.data.rfind(b"\n", 0, start), self.data.rfind(b"\r", 0, start))
        return is_lead_of_metrics(self.data[begin:start])


class _LineNumbers:
    """Counts the lines of a block; places are asked for in order."""

    def __init__(self, block: _Block) -> None:
        self._data = block.data
        self._line = block.line
        self._place = 0

    def at(self, place: int) -> int:
        self._line += _newlines(self._data[self._place : place])
        self._place = place
        return self._line


class _Replay:
    """Feeds windows and metrics to a parser, in order, each byte at most once."""

    def __init__(self, parser: ConsoleParser, at: float, rows: int) -> None:
        self._parser = parser
        self._at = at
        self._every = 1 + rows // MAX_PACE_POINTS
        self._fed = -1  # up to where
        self._within = False  # whether it was fed since the last jump
        self._number = -1
        self._seen = 0

    def run(self, items: Iterable[_Window | Row]) -> Iterator[Observation]:
        for item in items:
            if isinstance(item, _Window):
                yield from self._window(item)
            elif self._parser.knows_steps:
                yield from self._row(item)
            else:
                bar = b"\r" + item.bar + b"\r" if item.bar else b""
                yield from self._window(_Window(item.start, item.line, item.text, bar))

    def _window(self, window: _Window) -> Iterator[Observation]:
        data = window.data
        if window.start > self._fed:
            yield from self._jump(window.line)
            if window.before:
                yield from self._parser.feed(window.before, self._at)
        else:
            data = data[self._fed - window.start :]
        if data:
            yield from self._parser.feed(data, self._at)
            self._fed = window.start + len(window.data)
            self._within = True

    def _row(self, row: Row) -> Iterator[Observation]:
        if row.start < self._fed:
            return
        if self._within:
            yield from self._jump(row.line)
        self._seen += 1
        match = _COUNTS.match(row.bar) if row.bar else None
        bar = None
        if match is not None:
            elapsed = clock_seconds(match[3].decode())
            bar = Bar("", int(match[1]), int(match[2]), elapsed, None, 0, 0)
        shown = bar is not None and self._seen % self._every == 0
        passed_over = max(0, row.number - self._number - 1)
        self._number = row.number
        text = row.text.decode("utf-8", "replace")
        point = SkimmedMetrics(text, row.line, bar, shown, passed_over)
        yield from self._parser.skim(point, self._at)

    def _jump(self, line: int) -> Iterator[Observation]:
        yield from self._parser.jump(line, self._at)
        self._within = False


def _start_of(item: _Window | Row) -> int:
    return item.start


def _newlines(data: bytes) -> int:
    """Count newlines; where they are rare, as here, faster than `count`."""
    return len(data) - len(data.replace(b"\n", b""))


def _first_break(data: bytes) -> int:
    """Return where the first piece ends, its line break included; all where there is no break."""
    match = _BREAK.search(data)
    return len(data) if match is None else match.end()


def _total_in(line: bytes) -> bytes:
    """Return what tells the bars of one length from those of others."""
    match = _BAR_TOTAL.search(line)
    return match[1] if match is not None and b" [00:00<?" in line else b""
