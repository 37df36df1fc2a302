"""Owns reading GPUs through NVML: each missing value keeps NVML's own word for why.

The only importer of pynvml (the package nvidia-ml-py), and only when it is first polled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostics.observations import (
    GpuProcess,
    GpuSample,
    GpuUnavailable,
    Missing,
    Observation,
    Reading,
)

RETRY_SECONDS = 30.0
"""How long to leave a driver alone that could not be loaded."""
PROCESS_POLLS = 2
"""Processes are read every so many polls: the dearest of the calls."""


@dataclass(frozen=True, slots=True)
class _Device:
    """A GPU's handle and what never changes about it."""

    index: int
    handle: Any
    uuid: str
    name: str


class NvmlGpus:
    """Reads every GPU of this host."""

    def __init__(self, host: str = "local") -> None:
        self._host = host
        self._nvml: Any = None
        self._devices: list[_Device] = []
        self._retry_at = 0.0
        self._reason = ""
        self._polls = 0
        self._processes: dict[int, Reading[tuple[GpuProcess, ...]]] = {}

    def poll(self, now: float) -> Sequence[Observation]:
        """Return a sample of each GPU, or why there is none."""
        if not self._devices and now >= self._retry_at:
            self._reason = self._open()
            self._retry_at = now + RETRY_SECONDS
        if not self._devices:
            return (GpuUnavailable(now, self._host, self._reason),)
        fresh = self._polls % PROCESS_POLLS == 0
        self._polls += 1
        return [self._sample(device, now, processes=fresh) for device in self._devices]

    def close(self) -> None:
        """Let the driver go."""
        if self._nvml is not None and self._devices:
            self._ask(self._nvml.nvmlShutdown)
            self._devices = []

    def _open(self) -> str:
        """Load the driver and list its GPUs; return why there are none, empty where there are."""
        import pynvml  # noqa: PLC0415 - loading it costs time that a run without GPUs need not pay

        self._nvml = pynvml
        started = self._ask(pynvml.nvmlInit)
        if isinstance(started, Missing):
            return started.reason
        count = self._ask(pynvml.nvmlDeviceGetCount)
        if isinstance(count, Missing):
            return count.reason
        for index in range(count):
            handle = self._ask(pynvml.nvmlDeviceGetHandleByIndex, index)
            if isinstance(handle, Missing):
                self._devices.append(_Device(index, None, "", handle.reason))
                continue
            name = self._ask(pynvml.nvmlDeviceGetName, handle)
            uuid = self._ask(pynvml.nvmlDeviceGetUUID, handle)
            self._devices.append(_Device(index, handle, _text(uuid), _text(name)))
        return "" if count else "the driver knows no GPU"

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call NVML; an error becomes Missing with NVML's words."""
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            return Missing(str(error))
        except (AttributeError, OSError, TypeError, ValueError) as error:
            return Missing(f"{type(error).__name__}: {error}")

    def _sample(self, device: _Device, now: float, *, processes: bool) -> GpuSample:
        nvml, handle = self._nvml, device.handle
        if handle is None:
            return self._lost(device, now)
        memory = self._memory(handle)
        total = _field(memory, "total")
        use = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        power = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        limit = self._ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        if processes or device.index not in self._processes:
            self._processes[device.index] = self._read_processes(handle)
        return GpuSample(
            at=now,
            host=self._host,
            index=device.index,
            uuid=device.uuid,
            name=device.name,
            memory_used_bytes=_field(memory, "used"),
            memory_total_bytes=total,
            utilization_pct=_field(use, "gpu"),
            temperature_c=self._ask(
                nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU
            ),
            power_watts=power if isinstance(power, Missing) else power / 1000,
            power_limit_watts=limit if isinstance(limit, Missing) else limit / 1000,
            sm_clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            memory_clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
            processes=self._processes[device.index],
        )

    def _memory(self, handle: Any) -> Any:
        """Return memory without what the driver keeps for itself, where it can tell it apart."""
        version = getattr(self._nvml, "nvmlMemory_v2", None)
        found = (
            self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle, version)
            if version is not None
            else Missing("Function Not Found")
        )
        if isinstance(found, Missing):
            return self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        return found

    def _read_processes(self, handle: Any) -> Reading[tuple[GpuProcess, ...]]:
        found: dict[int, GpuProcess] = {}
        compute = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        if isinstance(compute, Missing):
            return compute
        graphics = self._ask(self._nvml.nvmlDeviceGetGraphicsRunningProcesses, handle)
        for entry in [*compute, *([] if isinstance(graphics, Missing) else graphics)]:
            used = entry.usedGpuMemory
            size: Reading[int] = Missing("Not Available") if used is None else int(used)
            found[entry.pid] = GpuProcess(int(entry.pid), size, _process_name(entry.pid))
        return tuple(found[pid] for pid in sorted(found))

    def _lost(self, device: _Device, now: float) -> GpuSample:
        missing = Missing(device.name)
        return GpuSample(
            now,
            self._host,
            device.index,
            "",
            "GPU",
            *([missing] * 9),  # type: ignore[arg-type] # all nine are readings
        )


def _field(structure: Any, name: str) -> Any:
    return structure if isinstance(structure, Missing) else int(getattr(structure, name))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def _process_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
