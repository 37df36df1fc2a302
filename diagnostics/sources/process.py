"""Owns the state of a run's processes, each known by pid and start time; it signals none."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from diagnostics.observations import Missing, Observation, ProcessState, Reading
from diagnostics.runs.processes import ProcessId, identify, stat_fields
from diagnostics.runs.supervisor import descendants

FAMILY_SECONDS = 5.0
"""How often children that came later are looked for: the dearest part of a poll."""
_GONE = frozenset({"Z", "X"})


class Processes:
    """Watches given processes, alive while any of them lives, and the children they start.

    A child counts for memory and pids, not for being alive: what a training leaves running behind
    it, a server for its charts, is not the training.
    """

    def __init__(self, members: Sequence[ProcessId], host: str = "local") -> None:
        self._members = tuple(members)
        self._host = host
        self._children: set[ProcessId] = set()
        self._looked_at: float | None = None

    def poll(self, now: float) -> Sequence[Observation]:
        """Return which of them live, their memory, and whether one is stopped; none: nothing."""
        if not self._members:
            return ()
        states = _states(self._members)
        if not states:
            self._children.clear()
            return (ProcessState(now, self._host, alive=False, rss_bytes=Missing("no process")),)
        if self._looked_at is None or not 0 <= now - self._looked_at < FAMILY_SECONDS:
            self._looked_at = now
            self._look_for_children(states)
        living = _states(self._children)
        self._children.intersection_update(living)
        states |= living
        pids = tuple(sorted(process.pid for process in states))
        return (
            ProcessState(
                at=now,
                host=self._host,
                alive=True,
                pids=pids,
                rss_bytes=_memory(pids),
                stopped="T" in states.values(),
            ),
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _look_for_children(self, parents: Iterable[ProcessId]) -> None:
        known = {process.pid for process in self._members}
        pids = {pid for parent in parents for pid in descendants(parent.pid)} - known
        self._children.update(child for pid in pids if (child := identify(pid)) is not None)


def _states(processes: Iterable[ProcessId]) -> dict[ProcessId, str]:
    """Return the state, as proc(5)'s letter, of each of these very processes that lives."""
    found = {}
    for process in processes:
        fields = stat_fields(process.pid)
        if fields is None or fields[0] in _GONE or int(fields[19]) != process.started_ticks:
            continue
        found[process] = fields[0]
    return found


def _memory(pids: Iterable[int]) -> Reading[int]:
    """Return the resident bytes of processes, pages they share counted once.

    What is shared is mostly the same in all of them, so the largest share stands for all.
    """
    page_bytes = os.sysconf("SC_PAGESIZE")
    private, shared_most, read = 0, 0, False
    for pid in pids:
        try:
            _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_bytes().split()
        except (OSError, ValueError):  # it ended meanwhile
            continue
        read = True
        private += int(resident) - int(shared)
        shared_most = max(shared_most, int(shared))
    return (private + shared_most) * page_bytes if read else Missing("no process")
