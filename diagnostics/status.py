"""Owns how a run stands, told from its supervisor's record or from its log. Pure."""

from enum import StrEnum

from diagnostics.history import Snapshot
from diagnostics.observations import Missing, Phase, RunEnded


class RunStatus(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


def ended_status(ended: RunEnded) -> RunStatus:
    """Return how a run stands by its supervisor's record."""
    if ended.requested:
        return RunStatus.STOPPED  # also with code 0: a training may save and leave when asked to
    if ended.exit_code == 0:
        return RunStatus.FINISHED
    return RunStatus.UNKNOWN if isinstance(ended.exit_code, Missing) else RunStatus.FAILED


def status_of_log(snapshot: Snapshot) -> RunStatus:
    """Return how a run stands by what its log says, where nobody recorded its exit."""
    if snapshot.phase is Phase.FINISHED or "train_loss" in snapshot.facts:
        return RunStatus.FINISHED
    if snapshot.ooms or snapshot.tracebacks or snapshot.rank_exits:
        return RunStatus.FAILED
    return RunStatus.UNKNOWN
