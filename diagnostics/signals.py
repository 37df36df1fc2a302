"""Owns the named values that rules speak of: "oom.requested_bytes", "run.exit_code", "host....".

A signal is a pure function of the Context; None means that it has no value now, which a
condition takes as not met. A Missing reading raises no alarm either: it makes the rule blind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from diagnostics.config.effective import EffectiveConfig
from diagnostics.findings import Evidence
from diagnostics.history import Snapshot
from diagnostics.observations import MemoryDevice, Missing, OutOfMemory, Phase, RankExit

Value: TypeAlias = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Context:
    """All that a rule may read: what was observed, the config, and what is installed."""

    snapshot: Snapshot
    config: EffectiveConfig | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the run; empty where unknown."""
    packages: Mapping[str, bool] = field(default_factory=dict)
    """Whether a package is installed for the training; absent where unknown."""
    closed: bool = False
    """True where the log is complete: a post-mortem, or a run known to have ended."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One named value with what shows it."""

    value: Value | Missing
    evidence: tuple[Evidence, ...] = ()


Reader: TypeAlias = Callable[[Context], Signal | None]


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


def root_exit(snapshot: Snapshot) -> RankExit | None:
    """Return the rank whose end came first as torchrun tells it."""
    marked = [end for end in snapshot.rank_exits if end.root_cause]
    return marked[0] if marked else None


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


def _exit_code(context: Context) -> Signal | None:
    ended = context.snapshot.ended
    if ended is None:
        return None
    if isinstance(ended.exit_code, Missing):
        return Signal(ended.exit_code)
    return Signal(ended.exit_code, (Evidence("supervisor", None, f"exit code {ended.exit_code}"),))


def _rank_exit(read: Callable[[RankExit], Value | None]) -> Reader:
    def reader(context: Context) -> Signal | None:
        end = root_exit(context.snapshot)
        if end is None:
            return None
        value = read(end)
        if value is None:
            return None
        text = f"rank {end.rank} ended with exit code {end.exit_code}"
        return Signal(value, (Evidence(end.source, end.line, text),))

    return reader


def _host_available(context: Context) -> Signal | None:
    host = context.snapshot.host
    return None if host is None else Signal(host.memory_available_bytes)


def _host_used_pct(context: Context) -> Signal | None:
    host = context.snapshot.host
    if host is None:
        return None
    total, available = host.memory_total_bytes, host.memory_available_bytes
    if isinstance(total, Missing):
        return Signal(total)
    if isinstance(available, Missing):
        return Signal(available)
    return Signal(100.0 * (total - available) / total) if total else None


def _cgroup_kills(context: Context) -> Signal | None:
    ended = context.snapshot.ended
    if ended is None or not ended.cgroup_oom_kills:
        return None
    text = f"the kernel killed {ended.cgroup_oom_kills} processes of its memory cgroup"
    return Signal(ended.cgroup_oom_kills, (Evidence("memory.events", None, text),))


def _error(context: Context) -> Signal | None:
    tracebacks = context.snapshot.tracebacks
    if not tracebacks:
        return None
    last = tracebacks[-1]
    text = f"{last.exception}: {last.message}".splitlines()[0]
    return Signal(last.exception, (Evidence(last.source, last.last_line, text),))


def _cut_off(context: Context) -> Signal | None:
    """Whether the log stops in mid-training: no error, no end, nothing after the last bar."""
    snapshot = context.snapshot
    if not context.closed or snapshot.progress is None:
        return None
    finished = snapshot.phase is Phase.FINISHED or "train_loss" in snapshot.facts
    failed = bool(snapshot.tracebacks or snapshot.rank_exits or snapshot.ooms)
    where = f"last seen at step {snapshot.progress.done} of {snapshot.progress.total}"
    evidence = (Evidence(snapshot.progress.source, None, where),)
    return Signal(
        not finished and not failed and snapshot.progress.done < snapshot.progress.total, evidence
    )


def _last_line(context: Context) -> Signal | None:
    log = context.snapshot.log
    if not log:
        return None
    return Signal(log[-1].text, (Evidence(log[-1].source, log[-1].line, log[-1].text),))


def _plain(read: Callable[[Context], Value | None]) -> Reader:
    def reader(context: Context) -> Signal | None:
        value = read(context)
        return None if value is None else Signal(value)

    return reader


def _gpu_count(context: Context) -> Value | None:
    return len(context.snapshot.gpus) if "gpu" in context.snapshot.observed else None


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
    "error.class": _error,
    "run.exit_code": _exit_code,
    "run.cut_off": _cut_off,
    "run.requested": _plain(
        lambda c: None if c.snapshot.ended is None else c.snapshot.ended.requested
    ),
    "run.phase": _plain(lambda c: c.snapshot.phase.value),
    "run.step": _plain(lambda c: c.snapshot.step),
    "run.total_steps": _plain(lambda c: c.snapshot.total_steps),
    "rank.rank": _rank_exit(lambda end: end.rank),
    "rank.exit_code": _rank_exit(lambda end: end.exit_code),
    "log.last_line": _last_line,
    "host.memory.available_bytes": _host_available,
    "host.memory.used_pct": _host_used_pct,
    "host.cgroup.oom_kills": _cgroup_kills,
    "gpu.count": _plain(_gpu_count),
}
"""Every signal a rule may name."""

DEVICES = tuple(device.value for device in MemoryDevice)


def read_signal(name: str, context: Context) -> Signal | None:
    """Return a signal's value now; None where it has none."""
    return SIGNALS[name](context)
