"""Owns the parts of a log that was rotated: which of them are of its last run."""

import gzip
import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from diagnostics.errors import RunError
from diagnostics.observations import Observation, Phase, PhaseChange, RunFact
from diagnostics.parsing.console import ConsoleParser
from diagnostics.runs.log_files import base_of, is_error_log

PROBE_BYTES = 256 * 1024
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
