"""Owns process identity: a process is its pid and its start time together, never a pid alone."""

from dataclasses import dataclass
from pathlib import Path

import psutil

_FIELDS = 20  # up to the start time; fewer were never written by a kernel we know


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process for good: a reused pid has another start time."""

    pid: int
    started_ticks: int
    """Field 22 of /proc/PID/stat: clock ticks since boot when it started (see proc(5))."""


def stat_fields(pid: int) -> list[str] | None:
    """Return /proc/PID/stat from its third field, the state, on; None where it cannot be read."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    # The command name, in parentheses, may itself hold blanks and parentheses.
    fields = raw[raw.rfind(")") + 2 :].split()
    return fields if len(fields) >= _FIELDS else None


def identify(pid: int) -> ProcessId | None:
    """Return the identity of a live process; None where there is none (a zombie is gone)."""
    fields = stat_fields(pid)
    if fields is None or fields[0] in {"Z", "X"}:
        return None
    return ProcessId(pid, int(fields[19]))


def is_alive(process: ProcessId) -> bool:
    """Tell whether this very process still runs."""
    return identify(process.pid) == process


def open_process(process: ProcessId) -> psutil.Process | None:
    """Return a psutil handle, or None where the process is gone or its pid is another's now."""
    if not is_alive(process):
        return None
    try:
        return psutil.Process(process.pid)
    except psutil.Error:
        return None
