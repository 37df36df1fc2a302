"""Owns the simulated GPU as others see it: the file its state is published in, and its Source.

The trainer writes the file, the source reads it; nobody else needs to know its form. Every sample
is marked as simulated.
"""

import json
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from diagnostics.demo.card import CARD_NAME, TOTAL_BYTES
from diagnostics.observations import GpuProcess, GpuSample, Observation, SourceFault
from diagnostics.runs.processes import ProcessId, is_alive

SIMULATED_GPU = "simulated_gpu.json"
"""The file's name in the demo's folder."""

POWER_LIMIT_WATTS = 450.0
_IDLE_USED_BYTES = 18 * 1024**2  # what a driver keeps for itself
_MAX_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class GpuState:
    """What the simulated GPU does at one moment, and the process that makes it do so."""

    pid: int
    started_ticks: int
    used_bytes: int
    utilization_pct: float
    temperature_c: float
    power_watts: float
    sm_clock_mhz: int
    memory_clock_mhz: int


_IDLE = GpuState(
    pid=0,
    started_ticks=0,
    used_bytes=_IDLE_USED_BYTES,
    utilization_pct=0.0,
    temperature_c=36.0,
    power_watts=22.0,
    sm_clock_mhz=210,
    memory_clock_mhz=405,
)


def publish(path: Path, state: GpuState) -> None:
    """Write the state so that a reader sees the old one or the new one, never half of one.

    Raises:
        OSError: the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(asdict(state)), encoding="utf-8")
    part.replace(path)


class SimulatedGpu:
    """A Source of the demo's one GPU; it is idle where the process in the file is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._host = socket.gethostname()

    def poll(self, now: float) -> Sequence[Observation]:
        """Return one sample, or a fault where the file is not what the trainer writes."""
        try:
            state = parse_state(_read(self._path))
        except FileNotFoundError:
            return (self._sample(now, _IDLE),)  # no training has touched the card yet
        except (OSError, ValueError, RecursionError) as error:
            return (SourceFault(now, str(self._path), f"simulated GPU: {error}"),)
        running = is_alive(ProcessId(state.pid, state.started_ticks))
        return (self._sample(now, state if running else _IDLE),)

    def close(self) -> None:
        """Do nothing: the file is opened for each look."""

    def _sample(self, now: float, state: GpuState) -> GpuSample:
        processes = (GpuProcess(state.pid, state.used_bytes, "python"),) if state.pid else ()
        return GpuSample(
            at=now,
            host=self._host,
            index=0,
            uuid="GPU-SIMULATED-0",
            name=CARD_NAME,
            memory_used_bytes=state.used_bytes,
            memory_total_bytes=TOTAL_BYTES,
            utilization_pct=state.utilization_pct,
            temperature_c=state.temperature_c,
            power_watts=state.power_watts,
            power_limit_watts=POWER_LIMIT_WATTS,
            sm_clock_mhz=state.sm_clock_mhz,
            memory_clock_mhz=state.memory_clock_mhz,
            processes=processes,
            simulated=True,
        )


def parse_state(data: bytes) -> GpuState:
    """Return the state that a file's bytes hold.

    Raises:
        ValueError: they hold no such state, or numbers that no card of this kind has.
    """
    loaded = json.loads(data)
    raw = loaded if isinstance(loaded, dict) else {}
    return GpuState(
        pid=_whole(raw, "pid", 2**31),
        started_ticks=_whole(raw, "started_ticks", 2**63),
        used_bytes=_whole(raw, "used_bytes", TOTAL_BYTES),
        utilization_pct=_number(raw, "utilization_pct", 100),
        temperature_c=_number(raw, "temperature_c", 150),
        power_watts=_number(raw, "power_watts", 2 * POWER_LIMIT_WATTS),
        sm_clock_mhz=_whole(raw, "sm_clock_mhz", 10_000),
        memory_clock_mhz=_whole(raw, "memory_clock_mhz", 50_000),
    )


def _number(raw: Mapping[str, object], name: str, most: float) -> float:
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{name} is not a number in range")  # NaN is in no range
    return float(value)


def _whole(raw: Mapping[str, object], name: str, most: int) -> int:
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{name} is not a whole number in range")
    return value


def _read(path: Path) -> bytes:
    # Never waits: a FIFO put in the file's place must not stop the monitor's thread.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        data = os.read(descriptor, _MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError("larger than 64 KiB")
    return data
