"""Owns following a file by stat and read alone, as works on NFS: growth, cuts, rotation."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES_A_POLL = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """New bytes of the file; `restarted` where they are the first of a file cut or replaced."""

    data: bytes
    restarted: bool
    modified_at: float = 0.0
    """When the file was last written, seconds since the epoch."""


class Tail:
    """Reads what is new in a file. Errors are OSError with the system's own words."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None
        self._offset = 0
        self._restarted = False

    def read(self, most_bytes: int = MAX_BYTES_A_POLL) -> Chunk | None:
        """Return new bytes, or None where there are none.

        Raises:
            OSError: the file is not there or cannot be read.
        """
        descriptor = self._open() if self._descriptor is None else self._descriptor
        try:
            replaced = self._replaced()
            # Sized after the look at the path: what was written before a rename is read.
            size = os.fstat(descriptor).st_size
            if size < self._offset:
                self._offset, self._restarted = 0, True
            elif size == self._offset and replaced:
                self.close()
                self._offset, self._restarted = 0, True  # its number may be given out again
                descriptor = self._open()
            return self._next(descriptor, most_bytes)
        except OSError:
            self.close()  # a stale handle of a network file system never recovers
            raise

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise OSError(errno.EISDIR, "is not a regular file", str(self._path))
        identity = (status.st_dev, status.st_ino)
        if self._identity is not None and (
            identity != self._identity or status.st_size < self._offset
        ):
            self._offset, self._restarted = 0, True
        self._identity = identity
        self._descriptor = descriptor
        return descriptor

    def _next(self, descriptor: int, most_bytes: int) -> Chunk | None:
        data = os.pread(descriptor, most_bytes, self._offset)
        restarted, self._restarted = self._restarted, False
        self._offset += len(data)
        modified_at = os.fstat(descriptor).st_mtime
        return Chunk(data, restarted, modified_at) if data or restarted else None

    def _replaced(self) -> bool:
        try:
            status = self._path.stat()
        except OSError:
            return False  # renamed away, its successor not there yet: the old one may still grow
        # One that is empty may stay so: a training goes on writing to the file that it has open.
        return (status.st_dev, status.st_ino) != self._identity and status.st_size > 0
