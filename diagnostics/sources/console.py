"""Owns following a console log, and reading one whole after the run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from diagnostics.observations import Observation, RunFact, SourceFault
from diagnostics.parsing.console import ConsoleParser
from diagnostics.sources.backlog import Backlog
from diagnostics.sources.gzipped import MAGIC, DamagedError, unpack
from diagnostics.sources.tail import MAX_BYTES_A_POLL, Tail

CHUNK_BYTES = 512 * 1024
BACKLOG_BYTES_A_POLL = 256 * 1024 * 1024
"""How much of a log that is there already is looked through at once, where it can be skimmed."""


class ConsoleLog:
    """Follows the file that a training's output goes to.

    `patterns` are what rules look for in lines; with them a large log's beginning is skimmed.
    """

    def __init__(
        self, path: Path, source: str | None = None, patterns: Sequence[str] | None = None
    ) -> None:
        self._source = source or path.name
        self._patterns = patterns
        self._tail = Tail(path)
        self._parser = ConsoleParser(self._source)
        self._backlog: Backlog | None = Backlog(self._parser, patterns)
        self._fault = ""

    def poll(self, now: float) -> Sequence[Observation]:
        """Return what the log has shown since the last poll; a fault is told once."""
        found: list[Observation] = []
        room = BACKLOG_BYTES_A_POLL if self._patterns is not None else MAX_BYTES_A_POLL
        while True:
            try:
                chunk = self._tail.read(CHUNK_BYTES if self._backlog else MAX_BYTES_A_POLL)
            except OSError as error:
                return [*found, *self._failed(error, now)]
            self._fault = ""
            if chunk is not None and chunk.restarted:
                found += self._restart(now)
            data = b"" if chunk is None else chunk.data
            room -= len(data)
            if self._backlog is None:
                found += self._parser.feed(data, now)
            else:
                found += self._backlog.feed(data, now)
                if len(data) == CHUNK_BYTES and room > 0:
                    continue
                if len(data) < CHUNK_BYTES:
                    found += self._backlog.close(now)
                    self._backlog = None
            if chunk is None:
                return [*found, *self._parser.settle(now)]
            return [*found, *self._parser.peek(now)]

    def close(self) -> None:
        """Close the file."""
        self._tail.close()

    def _failed(self, error: OSError, now: float) -> Sequence[Observation]:
        reason = error.strerror or str(error)
        if reason == self._fault:
            return ()
        self._fault = reason
        return (SourceFault(now, self._source, reason),)

    def _restart(self, now: float) -> Iterator[Observation]:
        """End the file that was followed; another begins."""
        if self._backlog is not None:
            yield from self._backlog.close(now)
        yield from self._parser.finish(now)
        self._parser = ConsoleParser(self._source)
        self._backlog = Backlog(self._parser, self._patterns)
        yield RunFact(now, self._source, 1, "restart", 0)


def read_console(
    path: Path, at: float, source: str | None = None, patterns: Sequence[str] | None = None
) -> Iterator[Observation]:
    """Read a log that has ended; one that was packed with gzip, too.

    `patterns` are what rules look for in lines; with them a large log is read much faster. What
    cannot be unpacked is a fault, after all that could be.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        yield from read_stream(file, at, source or path.name, patterns)


def read_stream(
    stream: BinaryIO, at: float, source: str, patterns: Sequence[str] | None = None
) -> Iterator[Observation]:
    """Read a log to its end, as `read_console` does, from a file that is open or from a pipe.

    Raises:
        OSError: it cannot be read.
    """
    parser = ConsoleParser(source)
    backlog = Backlog(parser, patterns)
    fault = ""
    try:
        for data in _content(stream):
            yield from backlog.feed(data, at)
    except DamagedError as error:
        fault = str(error)
    yield from backlog.close(at)
    yield from parser.finish(at)
    if fault:
        yield SourceFault(at, source, fault)


def _content(stream: BinaryIO) -> Iterator[bytes]:
    first = stream.read(CHUNK_BYTES)
    if first.startswith(MAGIC):
        yield from unpack(_Reread(first, stream))
        return
    while first:
        yield first
        first = stream.read(CHUNK_BYTES)


class _Reread:
    """A stream whose first bytes were read already."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes."""
        if not self._first:
            return self._rest.read(size)
        data, self._first = self._first[:size], self._first[size:]
        return data
