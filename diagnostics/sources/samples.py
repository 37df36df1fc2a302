"""Owns reading samples out of data files, one after the other: JSON, JSON lines, CSV, text.

What Hugging Face `datasets` accepts is accepted, and nothing more, so that a fault here is one of
the training. Memory is bounded by the window, time by the bytes that may be read.
"""

import csv
import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

_CHUNK_BYTES = 1024 * 1024
_MAX_SAMPLE_CHARACTERS = 4 * 1024 * 1024
_SPACE = re.compile(r"[ \t\n\r]*")
_NEAR_END = 32
"""An error so near the end of what was read may be only the end of what was read."""
BOM = "\ufeff"


class BrokenFileError(Exception):
    """The file is not what its name says; a training will not read it either."""

    def __init__(self, text: str, line: int, column: int | None = None) -> None:
        super().__init__(text)
        self.line = line
        self.column = column


class GaveUpError(Exception):
    """Reading stopped for a reason of ours: a bound, or a form that is not understood."""


@dataclass(slots=True)
class Budget:
    """Bytes that may still be read."""

    left: int
    spent: int = 0

    def take(self, wanted: int) -> int:
        """Return how many bytes the next read may have."""
        return min(wanted, self.left)

    def use(self, count: int) -> None:
        """Count what was read."""
        self.left -= count
        self.spent += count


def json_samples(file: BinaryIO, budget: Budget) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Return the line and the value of each sample of a JSON list, or of JSON lines.

    Raises:
        BrokenFileError: where the text is not JSON.
        GaveUpError: where a bound is met.
    """
    for line, value in _JsonText(file, budget).values():
        if not isinstance(value, dict):
            raise GaveUpError(f"line {line} holds a sample that is not an object")
        yield line, value


def text_samples(file: BinaryIO, budget: Budget) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Return each line of a text file as a sample with the column "text".

    Raises:
        BrokenFileError: where a line is not UTF-8.
        GaveUpError: where a bound is met.
    """
    for line, text in _lines(file, budget):
        yield line, {"text": text.rstrip("\r\n")}


def csv_samples(file: BinaryIO, budget: Budget) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Return each row of a CSV file with a header, its cells as pandas takes them.

    Raises:
        BrokenFileError: where a line is not UTF-8, or a row is longer than the header.
        GaveUpError: where a bound is met.
    """
    reader = csv.reader(text for _, text in _lines(file, budget))
    rows: list[tuple[int, list[str]]] = []
    header: list[str] = []
    stopped: Exception | None = None
    try:
        header = next(reader, [])
        line = reader.line_num + 1
        for row in reader:
            if row:
                rows.append((line, row))
            if len(row) > len(header):
                stopped = _too_long(line, row, header, first=len(rows) == 1)
                break
            line = reader.line_num + 1
            if len(rows) >= _MAX_ROWS:
                break
    except csv.Error as error:
        raise GaveUpError(f"the CSV is not understood: {error}") from error
    except (BrokenFileError, GaveUpError) as error:
        stopped = error
    numeric = _numeric_columns([row for _, row in rows], len(header))
    for line, row in rows:
        cells = (*row, *("" for _ in range(len(header) - len(row))))
        yield (
            line,
            {
                name: _cell(cell, numeric=index in numeric)
                for index, (name, cell) in enumerate(zip(header, cells, strict=False))
            },
        )
    if stopped is not None:
        raise stopped


_MAX_ROWS = 25_000


def _too_long(line: int, row: list[str], header: list[str], *, first: bool) -> Exception:
    text = f"has {len(row)} fields, the header has {len(header)}"
    if first:
        return GaveUpError(f"line {line} {text}")  # pandas takes the first column for an index then
    return BrokenFileError(text, line)


_NULLS = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
    | {"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""What pandas reads as no value."""


def _numeric_columns(rows: list[list[str]], width: int) -> frozenset[int]:
    """Return the columns that become numbers: all their cells are, but for empty ones."""
    numeric = set()
    for index in range(width):
        cells = [row[index] for row in rows if index < len(row) and row[index] not in _NULLS]
        if cells and all(_NUMBER.fullmatch(cell) for cell in cells):
            numeric.add(index)
    return frozenset(numeric)


_NUMBER = re.compile(
    r" {0,9}[-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3})? {0,9}"
)


def _cell(cell: str, *, numeric: bool) -> object:
    if cell in _NULLS:
        return None
    return float(cell) if numeric else cell


def _lines(file: BinaryIO, budget: Budget) -> Iterator[tuple[int, str]]:
    number = 0
    while True:
        limit = budget.take(_MAX_SAMPLE_CHARACTERS)
        if limit <= 0:
            raise GaveUpError(_spent(budget))
        data = file.readline(limit)
        if not data:
            return
        budget.use(len(data))
        number += 1
        if not data.endswith(b"\n") and len(data) >= limit:
            if budget.left <= 0:
                raise GaveUpError(_spent(budget))
            raise GaveUpError(f"line {number} is longer than {_MAX_SAMPLE_CHARACTERS:,} bytes")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BrokenFileError(_not_utf8(data[error.start]), number) from error
        yield number, text.removeprefix(BOM) if number == 1 else text


def _not_utf8(byte: int) -> str:
    return f"is not UTF-8: byte 0x{byte:02X}"


def _spent(budget: Budget) -> str:
    mib = budget.spent / 1024**2
    return f"only the first {mib:.0f} MiB were read" if budget.spent else "too much to read"


class _JsonText:
    """A window that moves over a file's text, and the JSON values in it."""

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._file = file
        self._budget = budget
        self._decode = getincrementaldecoder("utf-8")()
        self._decoder = json.JSONDecoder(parse_int=_whole)
        self._window = ""
        self._at = 0
        self._line = 1
        self._column = 1
        """The column of the window's begin."""
        self._over = False
        self._broken: BrokenFileError | None = None
        """What is wrong with the bytes after the window."""

    def values(self) -> Iterator[tuple[int, object]]:
        """Return each value with the line on which it begins."""
        marked = self._peek() == BOM
        if marked:
            self._step(1)
        if self._peek() != "[":
            while self._peek():
                yield self._line, self._value()
            return
        if marked:
            raise self._fault("a list after a byte order mark (BOM): save the file without it")
        self._step(1)
        yield from self._items()
        if self._peek():
            raise self._fault("more text after the end of the list")

    def _items(self) -> Iterator[tuple[int, object]]:
        first = True
        while True:
            mark = self._peek()
            if mark == "]" and first:
                break
            if not first:
                if mark == "]":
                    break
                if mark and mark != ",":
                    raise self._fault("a comma is missing between two samples")
                self._step(len(mark))
                mark = self._peek()
            if not mark:
                raise self._fault("the list is not closed: the file is cut off")
            first = False
            yield self._line, self._value()
        self._step(1)

    def _value(self) -> object:
        while True:
            try:
                value, end = self._decoder.raw_decode(self._window, self._at)
            except json.JSONDecodeError as error:
                fault = self._json_fault(error)  # growing moves the window
                if self._may_go_on(error) and self._grow():
                    continue
                raise self._broken or fault from error
            except RecursionError as error:
                raise GaveUpError(f"line {self._line} holds a value too deep to be read") from error
            if end == len(self._window) and not isinstance(value, dict) and self._grow():
                continue  # a number may go on
            self._step(end - self._at)
            return value

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        near = len(self._window) - error.pos <= _NEAR_END
        return near or error.msg.startswith("Unterminated string")

    def _peek(self) -> str:
        """Return the next mark that is no blank; "" at the end."""
        while True:
            match = _SPACE.match(self._window, self._at)
            self._step((match.end() if match is not None else self._at) - self._at)
            if self._at < len(self._window):
                return self._window[self._at]
            if not self._grow():
                if self._broken is not None:
                    raise self._broken
                return ""

    def _step(self, count: int) -> None:
        end = self._at + count
        lines = self._window.count("\n", self._at, end)
        if lines:
            self._line += lines
            self._column = 1 - (self._window.rfind("\n", self._at, end) + 1)
        self._at = end

    def _grow(self) -> bool:
        """Read on; False at the end of the file."""
        if self._over:
            return False
        rest = self._window[self._at :]
        if len(rest) > _MAX_SAMPLE_CHARACTERS:
            bound = f"{_MAX_SAMPLE_CHARACTERS:,} characters"
            raise GaveUpError(f"line {self._line} begins a sample of more than {bound}")
        limit = self._budget.take(max(_CHUNK_BYTES, len(rest)))
        if limit <= 0:
            raise GaveUpError(_spent(self._budget))
        data = self._file.read(limit)
        self._budget.use(len(data))
        self._over = not data
        try:
            more = self._decode.decode(data, final=self._over)
        except UnicodeDecodeError as error:
            self._over = True
            # The object holds the bytes of a character that was cut in two as well.
            more = error.object[: error.start].decode("utf-8")
            text = rest + more
            self._broken = BrokenFileError(
                _not_utf8(error.object[error.start]), self._line + text.count("\n")
            )
        self._column += self._at
        self._window, self._at = rest + more, 0
        return bool(more) or not self._over

    def _fault(self, text: str) -> BrokenFileError:
        return self._broken or BrokenFileError(text, self._line, self._column + self._at)

    def _json_fault(self, error: json.JSONDecodeError) -> BrokenFileError:
        line = self._line + self._window.count("\n", self._at, error.pos)
        begin = self._window.rfind("\n", 0, error.pos) + 1
        column = error.pos - begin + 1 if line > self._line else self._column + error.pos
        if error.pos >= len(self._window.rstrip()):
            return BrokenFileError("the file ends within a sample", line, column)
        return BrokenFileError(f"not JSON: {error.msg[:80]}", line, column)


def _whole(digits: str) -> int | float:
    """Read a whole number; one too long for an int is a float, as in a table."""
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)


_MAX_DIGITS = 40
