"""Owns what a watched run itself says of its peak: measured figures beside the predicted ones."""

from dataclasses import dataclass

from diagnostics.history import Snapshot
from diagnostics.memory.calibration import Measure
from diagnostics.memory.workload import Workload
from diagnostics.observations import Missing
from diagnostics.signals.memory import root_oom

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured peak of one GPU (or of the host's memory), in GiB."""

    peak_gib: float
    measure: Measure


def measured_peak(snapshot: Snapshot, work: Workload) -> Measured | None:
    """Return the best measurement there is: the allocator's own, an out-of-memory's, the driver's.

    The driver's figure counts only once a step was done, and only where nothing else was seen on
    the GPU.
    """
    reported = [
        value
        for step in snapshot.steps
        if (value := step.extra.get("vram_allocated")) is not None and value > 0
    ]
    oom = root_oom(snapshot)
    if oom is not None:
        held = ((oom.allocated_bytes or 0) + (oom.requested_bytes or 0)) / GIB
        return Measured(held, Measure.FLOOR) if held and oom.allocated_bytes else None
    if reported:
        return Measured(max(reported), Measure.ALLOCATED)
    if not snapshot.steps or work.on_cpu:
        return None
    own = set(snapshot.process.pids) if snapshot.process is not None else set()
    peaks: list[int] = []
    for index, sample in snapshot.gpus.items():
        listed = () if isinstance(sample.processes, Missing) else sample.processes
        pids = {one.pid for one in listed}
        if own & pids and not pids - own and not sample.simulated:
            peaks.append(snapshot.gpu_peak_bytes.get(index, 0))
    highest = max(peaks, default=0)
    return Measured(highest / GIB, Measure.DEVICE) if highest else None
