"""Owns reading GPUs through NVML: each missing value keeps NVML's own word for why.

The only importer of pynvml (the package nvidia-ml-py), and only when it is first polled. It judges
no value, and no failure of the driver or of its binding leaves it as an exception.
"""

from collections.abc import Iterable, Sequence
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
from diagnostics.parsing.lines import clean

RETRY_SECONDS = 30.0
"""How long to leave a driver, or a GPU that does not answer, alone."""
PROCESS_POLLS = 2
"""Processes are read every so many polls: the dearest of the calls."""

# Return codes of nvml.h. Kept here, so that they are known where the binding cannot be loaded.
_UNINITIALIZED, _NOT_SUPPORTED, _DRIVER_NOT_LOADED = 1, 3, 9
_FUNCTION_NOT_FOUND, _VERSION_MISMATCH, _ARGUMENT_VERSION_MISMATCH = 13, 18, 25
_DRIVER_IS_GONE = frozenset({_UNINITIALIZED, _DRIVER_NOT_LOADED, _VERSION_MISMATCH})
_ANOTHER_VERSION_MAY_DO = frozenset(
    {_NOT_SUPPORTED, _FUNCTION_NOT_FOUND, _ARGUMENT_VERSION_MISMATCH}
)
_MEMORY_V2 = 0x02000028  # nvmlMemory_v2: the structure's size and, in the top byte, its version
_CORE_SENSOR, _SM_CLOCK, _MEMORY_CLOCK = 0, 1, 2
_CLOCK_REASONS = {  # nvmlClocksEventReasons, those that hold a busy GPU back
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
}
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO in <linux/proc_ns.h>

_Call = tuple[Any, ...]
"""A function's name and its arguments."""


@dataclass(frozen=True, slots=True)
class _Device:
    """A GPU's handle and what never changes about it."""

    index: int
    handle: Reading[Any]
    uuid: str = ""
    name: str = "GPU"


class NvmlGpus:
    """Reads every GPU of this host; a GPU once listed keeps its place while the driver is there.

    Args:
        host: the name that the samples carry.
    """

    def __init__(self, host: str = "local") -> None:
        self._host = host
        self._nvml: Any = None
        self._started = False
        self._gone = ""
        """The word of a call that showed the whole driver gone, not one value."""
        self._devices: list[_Device] = []
        self._silent: set[int] = set()
        """GPUs that did not answer at the last poll."""
        self._tried_at: float | None = None
        self._reason = ""
        self._polls = 0
        self._processes: dict[int, Reading[tuple[GpuProcess, ...]]] = {}

    def poll(self, now: float) -> Sequence[Observation]:
        """Return a sample of each GPU, or why there is none."""
        # A clock set back must not put the next try off.
        due = self._tried_at is None or not 0 <= now - self._tried_at < RETRY_SECONDS
        if due and (not self._devices or self._silent):
            self._tried_at = now
            self._look_again()
        samples = [self._sample(device, now) for device in self._devices]
        self._polls += 1
        if self._gone:
            self._reason = self._gone
            self._tried_at = now
            self.close()
        if not self._devices:
            return (GpuUnavailable(now, self._host, self._reason),)
        return samples

    def close(self) -> None:
        """Let the driver go."""
        if self._started:
            self._ask(("nvmlShutdown",))
        self._started = False
        self._gone = ""
        self._devices = []
        self._silent = set()
        self._processes = {}

    def _look_again(self) -> None:
        """List the GPUs, or ask anew for those that do not answer."""
        if self._devices:
            self._devices = [
                self._device(device.index, device) if device.index in self._silent else device
                for device in self._devices
            ]
            return
        self.close()
        self._reason = self._open()
        if self._reason:
            self.close()

    def _open(self) -> str:
        """Load the driver and list its GPUs; return why there are none, empty where there are."""
        try:
            import pynvml  # noqa: PLC0415 - loading it costs time that other commands need not pay
        except ImportError as error:
            return f"nvidia-ml-py cannot be imported: {_words(error)}"
        self._nvml = pynvml
        started = self._ask(("nvmlInit",))
        if isinstance(started, Missing):
            return started.reason
        self._started = True
        count = self._ask(("nvmlDeviceGetCount",))
        if isinstance(count, Missing):
            return count.reason
        self._devices = [self._device(index) for index in range(count)]
        return "" if self._devices else "the driver lists no GPUs"

    def _device(self, index: int, known: _Device | None = None) -> _Device:
        """Ask for a GPU's handle, and for its name and uuid; keep those known from before."""
        handle = self._ask(("nvmlDeviceGetHandleByIndex", index))
        known = known or _Device(index, handle)
        if isinstance(handle, Missing):
            return _Device(index, handle, known.uuid, known.name)
        uuid = self._ask(("nvmlDeviceGetUUID", handle))
        name = self._ask(("nvmlDeviceGetName", handle))
        return _Device(
            index,
            handle,
            known.uuid if isinstance(uuid, Missing) else _text(uuid),
            known.name if isinstance(name, Missing) else _text(name),
        )

    def _ask(self, *calls: _Call) -> Any:
        """Call NVML's newest function for a value, an older one where the driver lacks it.

        An error becomes Missing with NVML's words.
        """
        missing = Missing("Function Not Found")
        for name, *arguments in calls:
            function = getattr(self._nvml, name, None)
            if function is None:
                continue
            try:
                return function(*arguments)
            except Exception as error:  # noqa: BLE001 - whatever the binding raises, watching goes on
                code = getattr(error, "value", None)
                if code != _FUNCTION_NOT_FOUND:  # which says less than what another version said
                    missing = Missing(_words(error))
            if code in _DRIVER_IS_GONE:
                self._gone = missing.reason
            if code not in _ANOTHER_VERSION_MAY_DO:
                break
        return missing

    def _sample(self, device: _Device, now: float) -> GpuSample:
        handle = device.handle
        if isinstance(handle, Missing):
            self._silent.add(device.index)
            return self._unanswered(device, now, handle)
        # The second version tells what the driver keeps for itself apart from what is used.
        memory = self._ask(
            ("nvmlDeviceGetMemoryInfo", handle, _MEMORY_V2), ("nvmlDeviceGetMemoryInfo", handle)
        )
        use = self._ask(("nvmlDeviceGetUtilizationRates", handle))
        temperature = self._ask(
            ("nvmlDeviceGetTemperature", handle, _CORE_SENSOR),
            ("nvmlDeviceGetTemperatureV", handle, _CORE_SENSOR),
        )
        readings = (memory, use, temperature)
        if all(isinstance(reading, Missing) for reading in readings):
            self._silent.add(device.index)
        else:
            self._silent.discard(device.index)
        return GpuSample(
            at=now,
            host=self._host,
            index=device.index,
            uuid=device.uuid,
            name=device.name,
            memory_used_bytes=_field(memory, "used"),
            memory_total_bytes=_field(memory, "total"),
            utilization_pct=_field(use, "gpu"),
            temperature_c=temperature,
            power_watts=_watts(self._ask(("nvmlDeviceGetPowerUsage", handle))),
            power_limit_watts=_watts(self._ask(("nvmlDeviceGetEnforcedPowerLimit", handle))),
            sm_clock_mhz=self._ask(("nvmlDeviceGetClockInfo", handle, _SM_CLOCK)),
            memory_clock_mhz=self._ask(("nvmlDeviceGetClockInfo", handle, _MEMORY_CLOCK)),
            processes=self._processes_of(device.index, handle),
            throttle=_reasons(
                self._ask(
                    ("nvmlDeviceGetCurrentClocksEventReasons", handle),
                    ("nvmlDeviceGetCurrentClocksThrottleReasons", handle),
                )
            ),
        )

    def _unanswered(self, device: _Device, now: float, missing: Missing) -> GpuSample:
        return GpuSample(
            at=now,
            host=self._host,
            index=device.index,
            uuid=device.uuid,
            name=device.name,
            memory_used_bytes=missing,
            memory_total_bytes=missing,
            utilization_pct=missing,
            temperature_c=missing,
            power_watts=missing,
            power_limit_watts=missing,
            sm_clock_mhz=missing,
            memory_clock_mhz=missing,
            processes=missing,
        )

    def _processes_of(self, index: int, handle: Any) -> Reading[tuple[GpuProcess, ...]]:
        """Return the processes on a GPU, of this poll or, between reads, of the one before."""
        kept = self._processes.get(index)
        answering = index not in self._silent
        if isinstance(kept, tuple) and answering and self._polls % PROCESS_POLLS:
            return kept
        kinds = [
            self._ask(
                (f"nvmlDeviceGet{kind}RunningProcesses_v3", handle),
                (f"nvmlDeviceGet{kind}RunningProcesses_v2", handle),
            )
            for kind in ("Compute", "Graphics")
        ]
        compute, graphics = kinds
        found: Reading[tuple[GpuProcess, ...]] = (
            compute
            if isinstance(compute, Missing)
            else _merged([*compute, *([] if isinstance(graphics, Missing) else graphics)])
        )
        self._processes[index] = found
        return found


def _merged(entries: Iterable[Any]) -> tuple[GpuProcess, ...]:
    """Return each process once: one that computes and draws is in both lists with one size."""
    named = _pids_are_ours()
    sizes: dict[int, int | None] = {}
    for entry in entries:
        pid, used = int(entry.pid), entry.usedGpuMemory
        before = sizes.get(pid)
        sizes[pid] = before if used is None else max(int(used), before or 0)
    return tuple(
        GpuProcess(
            pid,
            Missing("Not Available") if used is None else used,
            _process_name(pid) if named else "",
        )
        for pid, used in sorted(sizes.items())
    )


def _pids_are_ours() -> bool:
    """Tell whether the driver's pids mean the same processes here as for the driver.

    In a container they may be the host's, and the same number another process here.
    """
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == _INITIAL_PID_NAMESPACE
    except OSError:
        return False


def _process_name(pid: int) -> str:
    try:
        return _text(Path(f"/proc/{pid}/comm").read_bytes())
    except OSError:
        return ""


def _field(structure: Any, name: str) -> Any:
    return structure if isinstance(structure, Missing) else int(getattr(structure, name))


def _reasons(bits: Any) -> Reading[tuple[str, ...]]:
    if isinstance(bits, Missing):
        return bits
    return tuple(name for bit, name in _CLOCK_REASONS.items() if int(bits) & bit)


def _watts(milliwatts: Any) -> Reading[float]:
    return milliwatts if isinstance(milliwatts, Missing) else milliwatts / 1000


def _text(value: bytes | str) -> str:
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
    return clean(raw).strip()


def _words(error: Exception) -> str:
    """Return what an error says; NVML's own errors ask the driver for words and may fail in it."""
    try:
        return _text(str(error)) or type(error).__name__
    except Exception:  # noqa: BLE001 - the binding again, in the middle of telling its error
        return type(error).__name__
