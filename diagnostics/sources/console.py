"""Owns following a console log, and reading one whole after the run."""

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
            return [*self._parser.feed(chunk.data, now), *self._parser.peek(now)]
        ended = self._parser.finish(now)
        self._parser = ConsoleParser(self._source)
        restart = RunFact(now, self._source, 1, "restart", 0)
        found = self._parser.feed(chunk.data, now)
        return [*ended, restart, *found, *self._parser.peek(now)]

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
            start = size - (WHOLE_BYTES - HEAD_BYTES)
            line = 1 + _newlines(path, start)
            file.seek(start)
            line += file.readline(CHUNK_BYTES).endswith(b"\n")
            yield from parser.jump(line, at)
        while data := file.read(CHUNK_BYTES):
            yield from parser.feed(data, at)
        yield from parser.finish(at)


def _newlines(path: Path, end: int) -> int:
    """Count the newlines in the first `end` bytes."""
    count = 0
    with path.open("rb") as file:
        while end > 0 and (data := file.read(min(end, CHUNK_BYTES))):
            count += data.count(b"\n")
            end -= len(data)
    return count
