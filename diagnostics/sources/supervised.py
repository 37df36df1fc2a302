"""Owns reading what a supervisor records of its training: alive or ended, and how."""

from collections.abc import Sequence
from pathlib import Path

from diagnostics.observations import Missing, Observation, ProcessState, Reading, RunEnded
from diagnostics.runs.files import read_json
from diagnostics.runs.launcher import read_handle
from diagnostics.runs.processes import is_alive
from diagnostics.runs.supervisor import EXIT, descendants, tree_bytes


class Supervised:
    """Follows one attempt's folder."""

    def __init__(self, folder: Path, host: str = "local") -> None:
        self._folder = folder
        self._host = host
        self._ended = False

    def poll(self, now: float) -> Sequence[Observation]:
        """Return the state of its process, and once how it ended."""
        if self._ended:
            return ()
        record = read_json(self._folder / EXIT)
        if record is not None:
            self._ended = True
            return (ProcessState(now, self._host, alive=False), _run_ended(record, self._folder))
        handle = read_handle(self._folder)
        if handle is None or not is_alive(handle.process):
            return (ProcessState(now, self._host, alive=False),)
        pids = tuple(descendants(handle.process.pid))
        rss = tree_bytes(handle.process.pid)
        return (ProcessState(now, self._host, alive=True, pids=pids, rss_bytes=rss),)

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
