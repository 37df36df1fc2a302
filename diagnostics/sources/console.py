"""Owns following a console log, and reading one whole after the run."""

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

from diagnostics.observations import Observation, RunFact, SourceFault
from diagnostics.parsing.console import ConsoleParser
from diagnostics.sources.tail import Tail

WHOLE_BYTES = 64 * 1024 * 1024
HEAD_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024


class ConsoleLog:
    """Follows the file that a training's output goes to."""

    def __init__(self, path: Path, source: str | None = None) -> None:
        self._source = source or path.name
        self._tail = Tail(path)
        self._parser = ConsoleParser(self._source)
        self._fault = ""

    def poll(self, now: float) -> Sequence[Observation]:
        """Return what the log has shown since the last poll; a fault is told once."""
        try:
            chunk = self._tail.read()
        except OSError as error:
            reason = error.strerror or str(error)
            if reason == self._fault:
                return ()
            self._fault = reason
            return (SourceFault(now, self._source, reason),)
        self._fault = ""
        if chunk is None:
            return self._parser.settle(now)
        if not chunk.restarted:
            return self._parser.feed(chunk.data, now)
        ended = self._parser.finish(now)
        self._parser = ConsoleParser(self._source)
        restart = RunFact(now, self._source, 1, "restart", 0)
        return [*ended, restart, *self._parser.feed(chunk.data, now)]

    def close(self) -> None:
        """Close the file."""
        self._tail.close()


def read_console(path: Path, at: float, source: str | None = None) -> Iterator[Observation]:
    """Read a log that has ended; of a very large one its beginning and its end.

    Raises:
        OSError: it cannot be read.
    """
    name = source or path.name
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        parser = ConsoleParser(name)
        if size > WHOLE_BYTES:
            yield from parser.feed(file.read(HEAD_BYTES), at)
            yield from parser.finish(at)
            start = size - (WHOLE_BYTES - HEAD_BYTES)
            parser = ConsoleParser(name, first_line=_lines_before(path, start) + 1)
            file.seek(start)
            file.readline(CHUNK_BYTES)
        while data := file.read(CHUNK_BYTES):
            yield from parser.feed(data, at)
        yield from parser.finish(at)


def _lines_before(path: Path, offset: int) -> int:
    """Count the lines up to the end of the line that `offset` falls in."""
    count = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        position = view.find(b"\n")
        while 0 <= position < offset:
            count += 1
            position = view.find(b"\n", position + 1)
        return count + (1 if position >= 0 else 0)
