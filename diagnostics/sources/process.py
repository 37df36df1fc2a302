"""Owns the state of a run's processes, each known by pid and start time."""

import os
from collections.abc import Sequence
from pathlib import Path

from diagnostics.observations import Missing, Observation, ProcessState, Reading
from diagnostics.runs.processes import ProcessId, is_alive


class Processes:
    """Watches given processes; alive while any of them lives."""

    def __init__(self, members: Sequence[ProcessId], host: str = "local") -> None:
        self._members = tuple(members)
        self._host = host

    def poll(self, now: float) -> Sequence[Observation]:
        """Return which of them live, their memory, and whether one is stopped."""
        if not self._members:
            return ()
        pids = tuple(member.pid for member in self._members if is_alive(member))
        return (
            ProcessState(
                at=now,
                host=self._host,
                alive=bool(pids),
                pids=pids,
                rss_bytes=_memory(pids),
                stopped=any(_state(pid) == "T" for pid in pids),
            ),
        )

    def close(self) -> None:
        """Nothing is held open."""


def _memory(pids: Sequence[int]) -> Reading[int]:
    page = os.sysconf("SC_PAGESIZE")
    private, shared_most, read = 0, 0, 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        except OSError:
            continue
        read += 1
        private += int(fields[1]) - int(fields[2])
        shared_most = max(shared_most, int(fields[2]))
    return (private + shared_most) * page if read else Missing("no process")


def _state(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    return chr(raw[raw.rfind(b")") + 2]) if b")" in raw else ""
