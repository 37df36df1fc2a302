"""Owns reading a config's bytes: bounded, and without waiting for a pipe that nobody writes to."""

import os
from pathlib import Path

from diagnostics.config.document import MAX_BYTES
from diagnostics.errors import ConfigError


def read_config_bytes(path: Path, remedy: str = "") -> bytes:
    """Return what a config's file holds; of one that is too large a byte more than it may have.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        said = f"cannot be read: {error.strerror or error}"
        raise ConfigError(said, path=path, remedy=remedy) from error


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a pipe is read where it has a writer, as in `<(...)`, and else is empty."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(descriptor, True)
    return descriptor
