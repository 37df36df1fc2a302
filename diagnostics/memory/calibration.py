"""Owns what a watched run teaches: its measured peak corrects the next prediction of the same run.

A measurement is the peak that NVML, RECORD_VRAM or an out-of-memory message gave. What was
measured of one workload says how far the closed form was off; the same factor is applied to the
next one. An out-of-memory only gives a floor: what was needed is more than what it says.
"""

from dataclasses import dataclass
from enum import StrEnum

from diagnostics.findings import Text
from diagnostics.memory.workload import Workload

_SANE = (0.5, 2.0)
"""A factor beyond these is not a correction but another run, or another process's memory."""


class Measure(StrEnum):
    """Where a measured peak is from."""

    ALLOCATED = "allocated"
    """`vram_allocated` of RECORD_VRAM: PyTorch's own peak."""
    RESERVED = "reserved"
    DEVICE = "device"
    """NVML's figure for the process or the card."""
    FLOOR = "floor"
    """What an out-of-memory message says was allocated, with what it asked for: at least that."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A correction: predictions are multiplied by `factor`."""

    factor: float
    measured_gib: float
    predicted_gib: float
    measure: Measure

    def corrected(self, allocated_gib: float) -> float:
        """Return a prediction as this run's measurement corrects it."""
        return allocated_gib * self.factor

    @property
    def text(self) -> Text:
        """Say what was corrected by what."""
        figures = f"x{self.factor:.3f}", f"{self.measured_gib:.2f}", f"{self.predicted_gib:.2f}"
        factor, measured, predicted = figures
        return Text(
            f"corrected by {factor}: an attempt of this run was measured at {measured} GiB"
            f" ({self.measure.value}), predicted at {predicted}",
            f"按 {factor} 修正：本次训练的一次尝试实测 {measured} GiB"
            f"（{self.measure.value}），预测 {predicted}",
        )


def kind_of(work: Workload) -> str:
    """Name what must be the same for a measurement to hold: what trains how, and where."""
    bits = work.quantization.bits if work.quantization is not None else 0
    parts = (work.method, bits, work.sharding.zero_stage or 0, work.stage, work.on_cpu)
    return "/".join(str(part) for part in parts)


def calibrate(
    measured_gib: float,
    predicted_gib: float,
    measure: Measure,
    *,
    reserved_ratio: float = 1.10,
    context_gib: float = 0.6,
) -> Calibration | None:
    """Return the correction that a measurement of the same workload gives; None where none.

    `predicted_gib` is the predicted allocated peak of what was measured. A floor corrects only
    upwards: a run that failed at 20 GiB may have needed any more than that.
    """
    if not (measured_gib > 0 and predicted_gib > 0):
        return None
    allocated = measured_gib
    if measure is Measure.RESERVED:
        allocated = measured_gib / reserved_ratio
    elif measure is Measure.DEVICE:
        allocated = (measured_gib - context_gib) / reserved_ratio
    factor = allocated / predicted_gib
    if measure is Measure.FLOOR and factor <= 1.0:
        return None
    if not _SANE[0] <= factor <= _SANE[1]:
        return None
    return Calibration(factor, measured_gib, predicted_gib, measure)
