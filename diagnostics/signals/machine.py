"""Owns the signals of the machine: host memory, its cgroup, its GPUs."""

from collections.abc import Mapping
from statistics import median

from diagnostics.course import GpuUse
from diagnostics.findings import Evidence
from diagnostics.history import Snapshot
from diagnostics.observations import GpuSample, Missing, Phase
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


def _in_use(snapshot: Snapshot) -> list[GpuSample]:
    """Return the GPUs that hold something of a training's size."""
    return [
        gpu
        for gpu in snapshot.gpus.values()
        if not isinstance(gpu.memory_used_bytes, Missing) and gpu.memory_used_bytes >= _HELD_BYTES
    ]


_HELD_BYTES = 2**30
_KNOWN_SAMPLES = 10
"""A GPU's use is known after so many samples of the training phase."""


def _uses(context: Context) -> list[tuple[int, GpuUse]]:
    held = {gpu.index for gpu in _in_use(context.snapshot)}
    found = context.snapshot.gpu_use.items()
    return [(index, use) for index, use in found if index in held and use.samples >= _KNOWN_SAMPLES]


def _tell_use(uses: list[tuple[int, GpuUse]]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            f"GPU {index}", None, f"{use.utilization_pct:.0f} % busy over {use.samples} samples"
        )
        for index, use in uses[:_SHOWN_GPUS]
    )


_SHOWN_GPUS = 8


def _gpu_utilization(context: Context) -> Signal | None:
    uses = _uses(context)
    if not uses:
        return None
    mean = sum(use.utilization_pct for _, use in uses) / len(uses)
    return Signal(mean, _tell_use(uses))


def _gpu_lowest(context: Context) -> Signal | None:
    """Return how busy the idlest GPU of several is."""
    uses = _uses(context)
    if len(uses) < 2:  # noqa: PLR2004 - one has no peers
        return None
    return Signal(min(use.utilization_pct for _, use in uses), _tell_use(uses))


def _gpu_highest(context: Context) -> Signal | None:
    uses = _uses(context)
    return Signal(max(use.utilization_pct for _, use in uses)) if uses else None


def _gpu_slowed(context: Context) -> Signal | None:
    """Return the share of the training in which a GPU held its clocks back for a fault."""
    uses = _uses(context)
    if not uses:
        return None
    index, worst = max(uses, key=lambda item: item[1].slowed_pct)
    text = f"clocks held back in {worst.slowed_pct:.0f} % of {worst.samples} samples"
    sample = context.snapshot.gpus[index]
    if not isinstance(sample.temperature_c, Missing):
        text += f", {sample.temperature_c:.0f} °C now"
    return Signal(worst.slowed_pct, (Evidence(f"GPU {index}", None, text),))


def _gpu_clock(context: Context) -> Signal | None:
    """Return the slowest clock among busy GPUs of one kind, in percent of their median."""
    busy = [
        (gpu.index, gpu.name, gpu.sm_clock_mhz)
        for gpu in _in_use(context.snapshot)
        if not isinstance(gpu.sm_clock_mhz, Missing)
        and not isinstance(gpu.utilization_pct, Missing)
        and gpu.utilization_pct >= _BUSY_PCT
    ]
    if len(busy) < 3 or len({name for _, name, _ in busy}) > 1:  # noqa: PLR2004 - a median
        return None
    index, _, slowest = min(busy, key=lambda item: item[2])
    usual = median(clock for _, _, clock in busy)
    text = f"{slowest} MHz, {usual:.0f} MHz is the median of {len(busy)} busy GPUs"
    return (
        Signal(100.0 * slowest / usual, (Evidence(f"GPU {index}", None, text),)) if usual else None
    )


_BUSY_PCT = 50.0


def _gpu_name(context: Context) -> Value | None:
    names = {gpu.name for gpu in context.snapshot.gpus.values()}
    return ", ".join(sorted(names)) if names else None


def _gpu_kinds(context: Context) -> Signal | None:
    used = _in_use(context.snapshot)
    if not used:
        return None
    shown = tuple(Evidence(f"GPU {gpu.index}", None, gpu.name) for gpu in used[:_SHOWN_GPUS])
    return Signal(len({gpu.name for gpu in used}), shown)


def _gpu_indexes(context: Context) -> Value | None:
    """Return every GPU's index as CUDA_VISIBLE_DEVICES has them: "0,1,2,3"."""
    return ",".join(str(index) for index in context.snapshot.gpus) or None


def _gpu_idle(context: Context) -> Signal | None:
    """Return how many GPUs nobody uses while a training runs on others."""
    snapshot = context.snapshot
    if not _in_use(snapshot) or snapshot.phase is not Phase.TRAINING:
        return None
    idle = [
        gpu
        for gpu in snapshot.gpus.values()
        if not isinstance(gpu.memory_used_bytes, Missing)
        and gpu.memory_used_bytes < _HELD_BYTES
        and not isinstance(gpu.utilization_pct, Missing)
        and gpu.utilization_pct < _IDLE_PCT
        and (isinstance(gpu.processes, Missing) or not gpu.processes)
    ]
    shown = tuple(
        Evidence(f"GPU {gpu.index}", None, f"{gpu.name}: idle") for gpu in idle[:_SHOWN_GPUS]
    )
    return Signal(len(idle), shown)


_IDLE_PCT = 5.0


def _gpu_peak_pct(context: Context) -> Signal | None:
    """Return the largest share of a GPU's memory that was in use at any time."""
    snapshot = context.snapshot
    shares = {
        gpu.index: 100.0 * snapshot.gpu_peak_bytes[gpu.index] / gpu.memory_total_bytes
        for gpu in _in_use(snapshot)
        if gpu.index in snapshot.gpu_peak_bytes
        and not isinstance(gpu.memory_total_bytes, Missing)
        and gpu.memory_total_bytes
    }
    if not shares:
        return None
    index = max(shares, key=lambda key: shares[key])
    text = f"at most {shares[index]:.0f} % of its memory was in use"
    return Signal(shares[index], (Evidence(f"GPU {index}", None, text),))


def _gpu_strangers(context: Context) -> Signal | None:
    """Return how many processes beside the run's own hold memory on a GPU that it uses.

    Where the run's own are not known, each GPU has one of them.
    """
    snapshot = context.snapshot
    own = frozenset(snapshot.process.pids) if snapshot.process is not None else frozenset()
    seen: list[Evidence] = []
    most = 0
    for gpu in _in_use(snapshot):
        if isinstance(gpu.processes, Missing):
            continue
        large = [
            (one, one.used_bytes)
            for one in gpu.processes
            if not isinstance(one.used_bytes, Missing) and one.used_bytes >= _HELD_BYTES
        ]
        others = [item for item in large if item[0].pid not in own]
        if len(others) == len(large):  # pids as another namespace counts them, or none known
            others = sorted(large, key=lambda item: item[1])[:-1]
        most = max(most, len(others))
        seen.extend(
            Evidence(
                f"GPU {gpu.index}",
                None,
                f"process {one.pid} {one.name} holds {size / 2**30:.1f} GiB".replace("  ", " "),
            )
            for one, size in others
        )
    return Signal(most, tuple(seen[:_SHOWN_GPUS]))


def _swap(context: Context) -> Signal | None:
    host = context.snapshot.host
    if host is None:
        return None
    used = host.swap_used_bytes
    if isinstance(used, Missing):
        return Signal(used)
    return Signal(used, (Evidence("host", None, f"{used / 2**30:.1f} GiB of swap in use"),))


def _cpu_pct(context: Context) -> Signal | None:
    host = context.snapshot.host
    return None if host is None else Signal(host.cpu_pct)


SIGNALS: Mapping[str, Reader] = {
    "host.memory.available_bytes": _host_available,
    "host.memory.used_pct": _host_used_pct,
    "host.swap.used_bytes": _swap,
    "host.cpu_pct": _cpu_pct,
    "host.cgroup.oom_kills": _cgroup_kills,
    "gpu.count": plain(_gpu_count),
    "gpu.name": plain(_gpu_name),
    "gpu.kinds": _gpu_kinds,
    "gpu.utilization_pct": _gpu_utilization,
    "gpu.lowest_utilization_pct": _gpu_lowest,
    "gpu.highest_utilization_pct": _gpu_highest,
    "gpu.slowed_pct": _gpu_slowed,
    "gpu.slowest_clock_pct": _gpu_clock,
    "gpu.idle_count": _gpu_idle,
    "gpu.indexes": plain(_gpu_indexes),
    "gpu.memory.peak_pct": _gpu_peak_pct,
    "gpu.other_processes": _gpu_strangers,
}
