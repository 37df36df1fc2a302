"""Owns the rows of the GPUs and of the host. Pure: from samples to rows."""

from collections.abc import Sequence

from diagnostics.findings import Language
from diagnostics.history import Snapshot
from diagnostics.observations import GpuSample, HostSample, Missing, Reading
from tui import words
from tui.widgets.amounts import gib, known
from tui.widgets.cells import Line, Role, Span, bar, cut, cut_line, fit, inert, width_of
from tui.words import say

NAME_COLUMNS = 18
BAR_COLUMNS = 60
ROW_COLUMNS = 112
"""On a wider terminal the numbers stay near their bar."""
FULL_SHARE = 0.95
TIGHT_SHARE = 0.85
HOT_C = 85


def gpu_lines(snapshot: Snapshot, width: int, language: Language, limit: int) -> Sequence[Line]:
    """Return one row a GPU, at most `limit`; beyond that the fullest ones and a sum of the rest."""
    if snapshot.gpu_unavailable is not None:
        reason = inert(snapshot.gpu_unavailable.reason)
        return (((cut(say(words.NO_GPU, language, reason=reason), width), Role.WARN),),)
    gpus = list(snapshot.gpus.values())
    if not gpus:
        return (((cut(say(words.GPU_WAIT, language), width), Role.DIM),),)
    if len(gpus) <= limit:
        return [_gpu_line(gpu, width) for gpu in gpus]
    fullest = sorted(gpus, key=_share, reverse=True)[: max(limit - 1, 1)]
    shown = sorted(fullest, key=lambda gpu: gpu.index)
    hidden = [gpu for gpu in gpus if gpu not in shown]
    return [*(_gpu_line(gpu, width) for gpu in shown), _rest_line(hidden, width, language)]


def _share(gpu: GpuSample) -> float:
    used, total = known(gpu.memory_used_bytes), known(gpu.memory_total_bytes)
    return used / total if used is not None and total else -1.0


def _gpu_line(gpu: GpuSample, width: int) -> Line:
    width = min(width, ROW_COLUMNS)
    name = inert(gpu.name).removeprefix("NVIDIA ").removeprefix("GeForce ")
    head = f"GPU {gpu.index} {fit(name, NAME_COLUMNS)} "
    tail: Line = (
        *_reading("util", gpu.utilization_pct, "%", 5),
        *_temperature(gpu.temperature_c),
        *_power(gpu),
    )
    room = width - width_of(((head, Role.TEXT), *tail))
    used, total = known(gpu.memory_used_bytes), known(gpu.memory_total_bytes)
    if used is None or not total:
        missing = gpu.memory_used_bytes if used is None else gpu.memory_total_bytes
        memory: Line = ((fit(f"mem: {_reason(missing)}", room), Role.WARN),)
    else:
        amount = f" {gib(used)}/{gib(total)} GiB"
        columns = min(max(room - len(amount), 4), BAR_COLUMNS)
        memory = (*bar(used / total, columns, _fullness(used / total)), (amount, Role.STRONG))
        memory = (*memory, (" " * (room - width_of(memory)), Role.TEXT))
    return cut_line(((head, Role.TEXT), *memory, *tail), width)


def _fullness(share: float) -> Role:
    if share >= FULL_SHARE:
        return Role.BAD
    return Role.WARN if share >= TIGHT_SHARE else Role.GOOD


def _reason(reading: Reading[float]) -> str:
    return inert(reading.reason) if isinstance(reading, Missing) else "?"


def _reading(name: str, reading: Reading[float], unit: str, columns: int) -> Line:
    value = known(reading)
    if value is None:
        return ((f" {name}: {cut(_reason(reading), 14)}", Role.DIM),)
    return ((f" {value:>{columns - 2}.0f} {unit}", Role.TEXT),)


def _temperature(reading: Reading[float]) -> Line:
    value = known(reading)
    if value is None:
        return _reading("temp", reading, "°C", 6)
    hot: Span = (f" {value:>3.0f} °C", Role.WARN if value >= HOT_C else Role.TEXT)
    return (hot,)


def _power(gpu: GpuSample) -> Line:
    drawn, limit = known(gpu.power_watts), known(gpu.power_limit_watts)
    if drawn is None:
        return _reading("power", gpu.power_watts, "W", 6)
    text = f"{drawn:.0f} W" if limit is None else f"{drawn:.0f}/{limit:.0f} W"
    return ((f" {text:>9}", Role.TEXT),)


def _rest_line(gpus: Sequence[GpuSample], width: int, language: Language) -> Line:
    shares = [share for gpu in gpus if (share := _share(gpu)) >= 0]
    if shares:
        text = say(
            words.MORE_GPUS,
            language,
            count=len(gpus),
            low=round(min(shares) * 100),
            high=round(max(shares) * 100),
        )
    else:
        text = say(words.MORE_GPUS_UNREAD, language, count=len(gpus))
    return ((cut(f"+ {text}", width), Role.DIM),)


def host_line(host: HostSample | None, width: int, language: Language) -> Line:
    """Return the row of the host: CPU, memory with a bar, disk of the output folder."""
    if host is None:
        return ((cut(say(words.HOST_WAIT, language), width), Role.DIM),)
    cpu = _reading("CPU", host.cpu_pct, "%", 5)
    line: list[Span] = [("CPU", Role.TEXT), *cpu, ("   ", Role.TEXT)]
    line += _host_memory(host, width, language)
    line.append(("   ", Role.TEXT))
    free = known(host.disk_free_bytes)
    if free is None:
        reason = cut(_reason(host.disk_free_bytes), 24)
        line.append((say(words.DISK_MISSING, language, reason=reason), Role.DIM))
    else:
        low = free < 5 * 2**30
        size = f"{gib(free)} GiB"
        line.append((say(words.DISK_FREE, language, size=size), Role.WARN if low else Role.TEXT))
    return cut_line(tuple(line), width)


def _host_memory(host: HostSample, width: int, language: Language) -> Line:
    word = say(words.MEMORY, language)
    total, available = known(host.memory_total_bytes), known(host.memory_available_bytes)
    if not total or available is None:
        missing = host.memory_total_bytes if not total else host.memory_available_bytes
        return ((f"{word}: {cut(_reason(missing), 24)}", Role.DIM),)
    used = total - available
    columns = min(max(width - 60, 4), 20)
    return (
        (f"{word} ", Role.TEXT),
        *bar(used / total, columns, _fullness(used / total)),
        (f" {gib(used)}/{gib(total)} GiB", Role.TEXT),
    )
