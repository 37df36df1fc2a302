"""Owns reading what a supervisor records of its training: alive or ended, and how."""

import os
from collections.abc import Sequence
from pathlib import Path

from diagnostics.observations import LogLine, Missing, Observation, ProcessState, Reading, RunEnded
from diagnostics.runs.files import read_json
from diagnostics.runs.launcher import read_handle
from diagnostics.runs.processes import is_alive
from diagnostics.runs.supervisor import EXIT, descendants, tree_bytes
from diagnostics.sources.kernel_log import kernel_kills

KILLED = (-9, 1, 137)
"""Exit codes behind which the kernel may have killed a process for memory (1: torchrun's)."""


class Supervised:
    """Follows one attempt's folder."""

    def __init__(self, folder: Path, host: str = "local") -> None:
        self._folder = folder
        self._host = host
        self._ended = False
        self._pids: set[int] = set()

    def poll(self, now: float) -> Sequence[Observation]:
        """Return the state of its process, and once how it ended."""
        if self._ended:
            return ()
        record = read_json(self._folder / EXIT)
        if record is not None:
            self._ended = True
            ended = _run_ended(record, self._folder)
            kills = self._kills(now) if ended.exit_code in KILLED else []
            return (ProcessState(now, self._host, alive=False), *kills, ended)
        handle = read_handle(self._folder)
        if handle is None or not is_alive(handle.process):
            return (ProcessState(now, self._host, alive=False),)
        pids = tuple(descendants(handle.process.pid))
        self._pids.update(pids)
        rss = tree_bytes(handle.process.pid)
        return (ProcessState(now, self._host, alive=True, pids=pids, rss_bytes=rss),)

    def _kills(self, now: float) -> list[LogLine]:
        handle = read_handle(self._folder)
        if handle is None:
            return []
        since_boot_s = handle.process.started_ticks / os.sysconf("SC_CLK_TCK")
        return kernel_kills(self._pids | {handle.process.pid}, now, since_boot_s)

    def close(self) -> None:
        """Nothing is held open."""


def _run_ended(record: dict[str, object], folder: Path) -> RunEnded:
    code, peak, at = record.get("exit_code"), record.get("peak_host_bytes"), record.get("ended_at")
    kills = record.get("cgroup_oom_kills")
    error = record.get("error")
    exit_code: Reading[int] = (
        code if isinstance(code, int) else Missing(str(error or "not recorded"))
    )
    return RunEnded(
        at=float(at) if isinstance(at, int | float) else 0.0,
        exit_code=exit_code,
        peak_host_bytes=peak if isinstance(peak, int) else Missing("not recorded"),
        requested=(folder / "stop-requested").exists(),
        cgroup_oom_kills=kills if isinstance(kills, int) else 0,
    )
