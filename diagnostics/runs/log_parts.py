"""Owns reading a log that is not one whole file: rotated parts, a pipe."""

import gzip
import io
import re
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from diagnostics.errors import RunError
from diagnostics.observations import Observation, Phase, PhaseChange, RunFact, SourceFault
from diagnostics.parsing.console import ConsoleParser
from diagnostics.runs.log_files import base_of, is_error_log

PROBE_BYTES = 256 * 1024
CHUNK_BYTES = 1024 * 1024
HEAD_BYTES = 8 * 1024 * 1024
TAIL_BYTES = 56 * 1024 * 1024
CHECK_BYTES = 8192
_GZIP = b"\x1f\x8b"
_CONTROL = re.compile(rb"[\x01-\x07\x0e-\x1a\x1c-\x1f]")
_BINARY_SHARE = 0.1
_BEGINNING = frozenset({Phase.PREPROCESSING, Phase.LOADING})
_BEGINNING_FACTS = frozenset({"device", "compute_dtype", "method", "num_examples"})


def parts_that_count(logs: Sequence[Path]) -> tuple[Path, ...]:
    """Return the parts of the last run in a rotated log, oldest first.

    A part in which a run begins has nothing to do with the parts before it.
    """
    kept: list[Path] = []
    begun: set[str] = set()
    for path in reversed(logs):
        base = base_of(path)
        if base in begun:
            continue
        kept.insert(0, path)
        if len(logs) > 1 and not is_error_log(base) and _begins_in(path):
            begun.add(base)
    return tuple(kept)


def _begins_in(path: Path) -> bool:
    """Tell whether a log's first lines show a training that begins."""
    try:
        head = _head(path, PROBE_BYTES)
    except (OSError, EOFError, zlib.error):
        return False
    return any(_is_beginning(seen) for seen in ConsoleParser(path.name).feed(head, 0.0))


def _is_beginning(seen: Observation) -> bool:
    if isinstance(seen, PhaseChange):
        return seen.phase in _BEGINNING
    return isinstance(seen, RunFact) and seen.name in _BEGINNING_FACTS


def check_readable(logs: Sequence[Path]) -> None:
    """Refuse logs of which none can be read.

    Raises:
        RunError: in one line, with the place.
    """
    faults = []
    for path in logs:
        try:
            _check(path)
        except RunError as fault:
            faults.append(fault)
        else:
            return
    if faults:
        raise faults[-1]


def _check(path: Path) -> None:
    try:
        head = _head(path)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{path}: cannot be read: {reason}") from error
    if not head:
        raise RunError(
            f"{path}: is empty",
            remedy="LLaMA-Factory prints nothing for its first 7 to 20 seconds; try again then",
        )
    unreadable = head.decode("utf-8", "replace").count("\ufffd") + len(_CONTROL.findall(head))
    if unreadable > len(head) * _BINARY_SHARE:
        raise RunError(
            f"{path}: is a binary file, not a log", remedy="name the console log of a training"
        )


def _head(path: Path, count: int = CHECK_BYTES) -> bytes:
    """Return the first bytes of a log, unpacked and without the hole that a cut leaves."""
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        reader = gzip.GzipFile(fileobj=file) if packed else file
        head = _read(reader, count)
        while head and not head.strip(b"\0"):
            head = _read(reader, count)
        return head.replace(b"\0", b"")


def _read(reader: gzip.GzipFile | io.BufferedReader, count: int) -> bytes:
    """Read so many bytes; of a torn file what there is."""
    data = b""
    try:
        while len(data) < count and (piece := reader.read1(count - len(data))):
            data += piece
    except (EOFError, zlib.error):
        if not data:
            raise
    return data


def read_stream(stream: BinaryIO, at: float, source: str) -> Iterator[Observation]:
    """Read a log from a pipe, packed or not; of a very large one its beginning and its end."""
    parser = ConsoleParser(source)
    faults: list[str] = []
    chunks = _chunks(stream, faults)
    taken = newlines = 0
    for data in chunks:
        taken += len(data)
        newlines += data.count(b"\n")
        yield from parser.feed(data, at)
        if taken >= HEAD_BYTES:
            break
    tail, dropped = _tail(chunks)
    if dropped is not None:
        first = tail.popleft()
        cut = first.find(b"\n") + 1
        tail.appendleft(first[cut:])
        yield from parser.jump(1 + newlines + dropped + bool(cut), at)
    for data in tail:
        yield from parser.feed(data, at)
    yield from parser.finish(at)
    for reason in faults:
        yield SourceFault(at, source, reason)


def _chunks(stream: BinaryIO, faults: list[str]) -> Iterator[bytes]:
    """Read a stream piece by piece, unpacked; what ends it early is put into `faults`."""
    buffered = io.BufferedReader(_Raw(stream), CHUNK_BYTES)
    packed = buffered.peek(2).startswith(_GZIP)
    reader = gzip.GzipFile(fileobj=buffered) if packed else buffered
    try:
        while data := reader.read1(CHUNK_BYTES):
            yield data
    except (OSError, EOFError, zlib.error) as error:
        faults.append(str(error))


class _Raw(io.RawIOBase):
    """A pipe as raw bytes, so that it can be looked at before it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _tail(chunks: Iterator[bytes]) -> tuple[deque[bytes], int | None]:
    """Return the last chunks, and the newlines in those dropped; None where none was dropped."""
    kept: deque[bytes] = deque()
    held = 0
    dropped: int | None = None
    for data in chunks:
        kept.append(data)
        held += len(data)
        while held > TAIL_BYTES and len(kept) > 1:
            gone = kept.popleft()
            held -= len(gone)
            dropped = (dropped or 0) + gone.count(b"\n")
    return kept, dropped
