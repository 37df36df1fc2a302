"""Owns the signals of an out-of-memory: "oom.requested_bytes", "oom.phase" and their like."""

from collections.abc import Callable, Mapping
from itertools import pairwise

from diagnostics.causes import root_exit
from diagnostics.findings import Evidence
from diagnostics.history import Snapshot
from diagnostics.observations import OutOfMemory
from diagnostics.signals.context import Context, Reader, Signal, Value


def root_oom(snapshot: Snapshot) -> OutOfMemory | None:
    """Return the out-of-memory to act on: the root rank's where torchrun names it, else the first.

    Later ones are other ranks' of the same step, or raised while the first was handled.
    """
    if not snapshot.ooms:
        return None
    root = root_exit(snapshot)
    if root is not None:
        for oom in snapshot.ooms:
            if oom.rank == root.rank:
                return oom
    return snapshot.ooms[0]


def foreign_bytes(snapshot: Snapshot, oom: OutOfMemory) -> int:
    """Return the GPU memory held by processes that are not of this job, as the message lists them.

    Inside a container the failing process is itself listed under its host pid, and ranks of one
    job that share a GPU are listed too: both are told apart by pid and by sum.
    """
    own = {end.pid for end in snapshot.rank_exits if end.pid is not None}
    if snapshot.process is not None:
        own.update(snapshot.process.pids)
    listed = [(pid, size) for pid, size in oom.other_processes if pid not in own]
    if oom.process_bytes is None and oom.allocated_bytes is not None:
        held = oom.reserved_bytes or oom.allocated_bytes
        listed = [(pid, size) for pid, size in listed if size < held]
    pids = sorted(pid for pid, _ in oom.other_processes)
    close = [pair for pair in pairwise(pids) if pair[1] - pair[0] <= _SIBLING_PID_GAP]
    siblings = {pid for pair in close for pid in pair}
    return sum(size for pid, size in listed if pid not in siblings)


_SIBLING_PID_GAP = 8
"""Ranks are started one after the other, so their pids lie side by side."""


def _oom(read: Callable[[OutOfMemory], Value | None]) -> Reader:
    def reader(context: Context) -> Signal | None:
        oom = root_oom(context.snapshot)
        if oom is None:
            return None
        value = read(oom)
        if value is None:
            return None
        return Signal(value, (Evidence(oom.source, oom.line, oom.text),))

    return reader


def _cached(oom: OutOfMemory) -> int | None:
    if oom.reserved_bytes is None or oom.allocated_bytes is None:
        return None
    return max(0, oom.reserved_bytes - oom.allocated_bytes)


def _share(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else 100.0 * part / whole


def _oom_foreign(context: Context) -> Signal | None:
    oom = root_oom(context.snapshot)
    if oom is None:
        return None
    size = foreign_bytes(context.snapshot, oom)
    return Signal(size, (Evidence(oom.source, oom.line, oom.text),))


def _oom_foreign_pct(context: Context) -> Signal | None:
    oom = root_oom(context.snapshot)
    size = _oom_foreign(context)
    if oom is None or size is None or not isinstance(size.value, int):
        return None
    share = _share(size.value, oom.capacity_bytes)
    return None if share is None else Signal(share, size.evidence)


def _oom_ranks(context: Context) -> Signal | None:
    ooms = context.snapshot.ooms
    if not ooms:
        return None
    ranks = {oom.rank for oom in ooms if oom.rank is not None}
    return Signal(len(ranks) or 1, tuple(Evidence(o.source, o.line, o.text) for o in ooms[:4]))


SIGNALS: Mapping[str, Reader] = {
    "oom.device": _oom(lambda oom: oom.device.value),
    "oom.phase": _oom(lambda oom: oom.phase.value),
    "oom.gpu": _oom(lambda oom: oom.gpu),
    "oom.rank": _oom(lambda oom: oom.rank),
    "oom.step": _oom(lambda oom: oom.step),
    "oom.text": _oom(lambda oom: oom.text),
    "oom.requested_bytes": _oom(lambda oom: oom.requested_bytes),
    "oom.capacity_bytes": _oom(lambda oom: oom.capacity_bytes),
    "oom.free_bytes": _oom(lambda oom: oom.free_bytes),
    "oom.process_bytes": _oom(lambda oom: oom.process_bytes),
    "oom.allocated_bytes": _oom(lambda oom: oom.allocated_bytes),
    "oom.reserved_bytes": _oom(lambda oom: oom.reserved_bytes),
    "oom.cached_bytes": _oom(_cached),
    "oom.cached_pct": _oom(lambda oom: _share(_cached(oom), oom.capacity_bytes)),
    "oom.foreign_bytes": _oom_foreign,
    "oom.foreign_pct": _oom_foreign_pct,
    "oom.ranks": _oom_ranks,
}
