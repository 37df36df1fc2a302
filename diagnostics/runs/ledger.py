"""Owns the comparison of attempts: did the change help? Pure."""

from dataclasses import replace

from diagnostics.findings import Diagnosis
from diagnostics.history import Snapshot
from diagnostics.runs.model import Attempt, Outcome
from diagnostics.status import RunStatus


def judge(previous: Attempt | None, step: int | None, status: RunStatus) -> Outcome:
    """Tell what a change came to, from where the attempt before died and where this one is.

    It is cured once a step is finished that the one before did not finish, or at its end.
    """
    if previous is None or previous.status not in {RunStatus.FAILED, RunStatus.UNKNOWN}:
        return Outcome.UNKNOWN
    died_at = previous.step or 0
    reached = step or 0
    if status is RunStatus.FINISHED:
        return Outcome.CURED
    if status is RunStatus.RUNNING:
        return Outcome.CURED if reached > died_at else Outcome.PENDING
    if status in {RunStatus.STOPPED, RunStatus.UNKNOWN}:
        return Outcome.CURED if reached > died_at else Outcome.UNKNOWN
    return Outcome.WORSE if reached < died_at else Outcome.RELAPSED


def assess(
    attempt: Attempt,
    previous: Attempt | None,
    snapshot: Snapshot,
    diagnosis: Diagnosis,
    status: RunStatus,
) -> Attempt:
    """Return the attempt with what its watcher has seen of it."""
    step = snapshot.step if snapshot.step is not None else attempt.step
    primary = diagnosis.primary
    ended = snapshot.ended
    return replace(
        attempt,
        status=status,
        step=step,
        total_steps=snapshot.total_steps or attempt.total_steps,
        finding_id=primary.id if primary is not None else None,
        peak_gpu_bytes=_peak_gpu_bytes(attempt, snapshot, status),
        ended_at=ended.at if ended is not None else attempt.ended_at,
        outcome=judge(previous, step, status),
    )


def _peak_gpu_bytes(attempt: Attempt, snapshot: Snapshot, status: RunStatus) -> int | None:
    """Return the most that was seen in use on one GPU while the attempt ran.

    A spike between two looks is missed; where memory ran out, the allocator's own message says
    what was in use then.
    """
    seen = [oom.process_bytes for oom in snapshot.ooms if oom.process_bytes is not None]
    if attempt.peak_gpu_bytes is not None:
        seen.append(attempt.peak_gpu_bytes)
    if status is RunStatus.RUNNING:
        seen.extend(snapshot.gpu_peak_bytes.values())
    return max(seen, default=None)
