"""Owns the signals of the machine: host memory, its cgroup, its GPUs."""

from collections.abc import Mapping

from diagnostics.findings import Evidence
from diagnostics.observations import Missing
from diagnostics.signals.context import Context, Reader, Signal, Value, plain


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


def _gpu_count(context: Context) -> Value | None:
    return len(context.snapshot.gpus) if "gpu" in context.snapshot.observed else None


SIGNALS: Mapping[str, Reader] = {
    "host.memory.available_bytes": _host_available,
    "host.memory.used_pct": _host_used_pct,
    "host.cgroup.oom_kills": _cgroup_kills,
    "gpu.count": plain(_gpu_count),
}
