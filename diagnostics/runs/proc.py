"""Owns reads of /proc: the table of a user's processes, and facts of a single one.

It judges nothing and signals nothing. What cannot be read, or vanishes while it is read, is None
or empty. Bytes that are not UTF-8 become surrogates, as in `os.fsdecode`, so that a command line
can be given back to the kernel exactly as it was.
"""

import contextlib
import os
import resource
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from diagnostics.runs.processes import ProcessId, stat_fields
from diagnostics.runs.supervisor import LIMITS

MAX_BYTES = 8 * 1024 * 1024
"""More than the kernel lets a command line and its environment be; what is longer is not read."""
DELETED = " (deleted)"
_FORKED = 0x40  # PF_FORKNOEXEC in <linux/sched.h>, field 9 of proc(5)'s stat
_TTY_MAJORS = frozenset({4, 5, *range(136, 144)})
_NULL_DEVICE = os.makedev(1, 3)


class Sink(StrEnum):
    """What a process writes its output to."""

    FILE = "file"
    PIPE = "pipe"
    TERMINAL = "terminal"
    NULL = "null"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One live process as the table shows it."""

    process: ProcessId
    parent: int
    """Its parent's pid: 1, or a subreaper's, where the one that started it is gone."""
    state: str
    """The letter of proc(5): R, S, D, T, ..."""
    forked: bool
    """True where it was forked and has executed no program since: a worker of its parent."""
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignalMasks:
    """What a process does with signals, as sets of bits: bit 0 is signal 1."""

    ignored: int
    caught: int

    def ignores(self, number: int) -> bool:
        """Tell whether the signal is ignored."""
        return bool(self.ignored >> (number - 1) & 1)

    def catches(self, number: int) -> bool:
        """Tell whether the process has a handler of its own for the signal."""
        return bool(self.caught >> (number - 1) & 1)


def read_table(uid: int) -> dict[int, ProcessInfo]:
    """Return the live processes of one user by pid; zombies are not alive."""
    table = {}
    for name in _listing():
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == uid:  # noqa: PTH116 - once for each process
                info = read_process(int(name))
                if info is not None:
                    table[info.process.pid] = info
    return table


def read_process(pid: int) -> ProcessInfo | None:
    """Return one process as the table shows it; None where there is none."""
    fields = stat_fields(pid)
    if fields is None or fields[0] in {"Z", "X"}:
        return None
    return ProcessInfo(
        process=ProcessId(pid, int(fields[19])),
        parent=int(fields[1]),
        state=fields[0],
        forked=bool(int(fields[6]) & _FORKED),
        argv=_words(_read(Path(f"/proc/{pid}/cmdline")) or b""),
    )


def read_environ(pid: int) -> dict[str, str]:
    """Return the environment a process was started with; empty where it cannot be read."""
    pairs = (word.partition("=") for word in _words(_read(Path(f"/proc/{pid}/environ")) or b""))
    return {name: value for name, mark, value in pairs if name and mark}


def read_cwd(pid: int) -> Path:
    """Return a process' working folder; where it may not be asked, the kernel's own link to it."""
    link = Path(f"/proc/{pid}/cwd")
    try:
        text = os.readlink(link)  # noqa: PTH115 - a Path would lose what stands behind " (deleted)"
    except OSError:
        return link
    return Path(text.removesuffix(DELETED)) if not os.path.lexists(text) else Path(text)


def read_limits(pid: int) -> dict[str, tuple[int, int]]:
    """Return a process' soft and hard resource limits by name; -1 is no limit."""
    limits: Mapping[str, int] = LIMITS
    found = {}
    for name, kind in limits.items():
        with contextlib.suppress(OSError, ValueError):
            found[name] = resource.prlimit(pid, kind)
    return found


def read_uid(pid: int) -> int | None:
    """Return the real user id of a process."""
    words = _status(pid).get("Uid", "").split()
    return int(words[0]) if words else None


def read_leader(pid: int) -> int | None:
    """Return the process that a thread's id belongs to: the pid itself for a process."""
    text = _status(pid).get("Tgid", "")
    return int(text) if text else None


def read_signal_masks(pid: int) -> SignalMasks | None:
    """Return which signals a process ignores and which it handles itself."""
    status = _status(pid)
    try:
        return SignalMasks(int(status["SigIgn"], 16), int(status["SigCgt"], 16))
    except (KeyError, ValueError):
        return None


def read_sink(pid: int, descriptor: int) -> tuple[Sink, Path | None]:
    """Return what a descriptor of a process is, and its path where that path still leads to it."""
    link = f"/proc/{pid}/fd/{descriptor}"
    try:
        target = os.readlink(link)  # noqa: PTH115 - the text as it is, "pipe:[1]" among others
        found = os.stat(link)  # noqa: PTH116 - through the kernel's link, not through its text
    except OSError:
        return Sink.UNKNOWN, None
    mode = found.st_mode
    if stat.S_ISREG(mode):
        return Sink.FILE, _same_file(Path(target), found)
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return Sink.PIPE, None
    if stat.S_ISCHR(mode):
        if found.st_rdev == _NULL_DEVICE:
            return Sink.NULL, None
        if os.major(found.st_rdev) in _TTY_MAJORS:
            return Sink.TERMINAL, None
    return Sink.UNKNOWN, None


def started_at(process: ProcessId) -> float:
    """Return when a process started, in seconds since the epoch."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - process.started_ticks / _ticks_per_second()
    return round(time.time() - age, 2)


def _ticks_per_second() -> int:
    return os.sysconf("SC_CLK_TCK")


def _same_file(path: Path, found: os.stat_result) -> Path | None:
    """Return the path unless the file was deleted, replaced or lies where we cannot see it."""
    try:
        return path if os.path.samestat(path.stat(), found) else None
    except (OSError, ValueError):
        return None


def _listing() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - names
    except OSError:
        return []


def _status(pid: int) -> dict[str, str]:
    raw = _read(Path(f"/proc/{pid}/status")) or b""
    # A process may put line ends into its name, but the kernel escapes them here.
    lines = raw.decode("utf-8", "replace").split("\n")
    pairs = (line.partition(":") for line in lines)
    return {name: value.strip() for name, _, value in pairs}


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb", buffering=0) as file:
            parts, size = [], 0
            while size <= MAX_BYTES and (part := file.read(256 * 1024)):
                parts.append(part)
                size += len(part)
    except OSError:
        return None
    return b"".join(parts) if size <= MAX_BYTES else None


def _words(raw: bytes) -> tuple[str, ...]:
    """Split what is ended, word for word, by NULs."""
    if not raw:
        return ()
    return tuple(os.fsdecode(word) for word in raw.removesuffix(b"\0").split(b"\0"))
