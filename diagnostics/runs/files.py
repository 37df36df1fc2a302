"""Owns writing files so that nothing is ever half there: atomic, synced, in the owner's mode."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diagnostics.errors import StoreError

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
MAX_JSON_BYTES = 4 * 1024 * 1024


def write_atomic(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace a file as a whole, or leave it as it was.

    A symbolic link is followed, so that the link stays one. An existing file keeps its mode and,
    where allowed, its owner; a new one gets `mode` (0600 by default).

    Raises:
        StoreError: where it cannot be written; then the old file is untouched.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
    try:
        old = target.stat() if target.exists() else None
        wanted = old.st_mode & 0o7777 if old else (PRIVATE_FILE if mode is None else mode)
        if old is not None and not os.access(target, os.W_OK):
            raise PermissionError(13, "the file is read-only", str(target))
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, wanted)
        try:
            _write_all(descriptor, data)
            if old is not None and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                _keep_owner(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, wanted)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # a read-only disk refuses even what is not there
            part.unlink(missing_ok=True)
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}",
            remedy="nothing was changed; free space or correct its permissions, then try again",
        ) from error


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _keep_owner(descriptor: int, uid: int, gid: int) -> None:
    """Give the file its owner, or at least its group: only root may give files away."""
    try:
        os.fchown(descriptor, uid, gid)
    except PermissionError:
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, -1, gid)


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # a folder may be open for writing and not for reading
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems cannot sync a folder; the file itself is synced
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a private JSON file atomically."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    # Environments and paths may hold bytes that are not UTF-8; json.loads reads these back.
    write_atomic(path, text.encode("utf-8", "surrogatepass"))


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any] | None:
    """Return a JSON object, or None where there is none to be read."""
    try:
        if not path.is_file() or path.stat().st_size > max_bytes:
            return None  # a pipe would never end
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner can read.

    Raises:
        StoreError: where it cannot be made.
    """
    try:
        path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be made: {error.strerror or error}",
            remedy="set LLAMAVET_STATE_DIR to a folder that can be written",
        ) from error
