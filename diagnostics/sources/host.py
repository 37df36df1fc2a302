"""Owns the host's figures: CPU, memory, swap, the disk of the output folder, the memory cgroup.

It judges none of them; what cannot be read is Missing with its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from diagnostics.observations import HostSample, Missing, Observation, Reading

_NO_LIMIT_BYTES = 2**60
"""A v1 cgroup without a limit has one of almost 2**63 bytes, rounded to pages."""
_CGROUPS = Path("/sys/fs/cgroup")
_FAILURES = (OSError, RuntimeError, ValueError, KeyError, IndexError, psutil.Error)
"""What psutil raises where /proc is hidden, cut off or of an unknown form."""


@dataclass(frozen=True, slots=True)
class MemoryCgroup:
    """What the kernel allows a group of processes, and how often it killed one of them for it."""

    limit_bytes: Reading[int]
    """The tightest of the group's own limit and those of the groups around it."""
    oom_kills: Reading[int]


class Host:
    """Samples this host.

    Args:
        folder: the output folder, whose disk is told; it need not be there yet.
        host: the name that the samples carry.
        pid: the process whose cgroup is told; None for that of this process.
    """

    def __init__(self, folder: Path | None, host: str = "local", *, pid: int | None = None) -> None:
        self._folder = folder
        self._host = host
        self._pid = pid
        self._cpu = _cpu_seconds()

    def poll(self, now: float) -> Sequence[Observation]:
        """Return one sample; the CPU's share is that of the time since the last one."""
        before, self._cpu = self._cpu, _cpu_seconds()
        total, available = _memory()
        free, size = _disk(self._folder)
        cgroup = read_memory_cgroup(self._pid)
        return (
            HostSample(
                at=now,
                host=self._host,
                cpu_pct=_busy_pct(before, self._cpu),
                memory_total_bytes=total,
                memory_available_bytes=available,
                swap_used_bytes=_swap(),
                disk_free_bytes=free,
                disk_total_bytes=size,
                cgroup_limit_bytes=cgroup.limit_bytes,
                cgroup_oom_kills=cgroup.oom_kills,
            ),
        )

    def close(self) -> None:
        """Nothing is held open."""


def read_memory_cgroup(pid: int | None = None) -> MemoryCgroup:
    """Return the memory cgroup of a process, or of this one."""
    try:
        raw = Path(f"/proc/{'self' if pid is None else pid}/cgroup").read_bytes()
    except OSError as error:
        missing = Missing(error.strerror or str(error))
        return MemoryCgroup(missing, missing)
    return memory_cgroup(raw.decode("utf-8", "surrogateescape"), _CGROUPS)


def memory_cgroup(membership: str, root: Path) -> MemoryCgroup:
    """Return what the tree of cgroups mounted at `root` says of a process' group.

    Args:
        membership: the text of /proc/PID/cgroup. A line for the v1 memory controller goes before
            the one for v2, which in a hybrid set-up does not have that controller.
        root: where cgroups are mounted, /sys/fs/cgroup.
    """
    paths: dict[str, str] = {}
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        for controller in controllers.split(",") if colon else ():
            paths.setdefault(controller, path)
    if "memory" in paths:
        folders = _folders(root / "memory", paths["memory"])
        return _read_group(folders, "memory.limit_in_bytes", "memory.oom_control")
    if "" in paths:
        return _read_group(_folders(root, paths[""]), "memory.max", "memory.events")
    return MemoryCgroup(Missing("no cgroup limit"), Missing("no cgroup"))


def _folders(mount: Path, path: str) -> list[Path]:
    """Return the group's folder and those around it, innermost first.

    In a container the path is often the host's, of which nothing is mounted but the container's
    own part, as the root: folders that are not there are passed over by the readers.
    """
    parts = PurePosixPath(path).parts[1:]
    if ".." in parts:  # the group lies outside of what this namespace shows
        parts = ()
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _read_group(folders: Sequence[Path], limit_file: str, events_file: str) -> MemoryCgroup:
    limits = [limit for folder in folders if (limit := _limit(folder / limit_file)) is not None]
    kills = (_oom_kills(folder / events_file) for folder in folders)
    return MemoryCgroup(
        min(limits, default=Missing("no cgroup limit")),
        next((count for count in kills if count is not None), Missing("no cgroup")),
    )


def _limit(path: Path) -> int | None:
    text = _read(path).strip()
    if not (text.isascii() and text.isdecimal()):  # "max", or nothing
        return None
    limit = int(text)
    return limit if limit < _NO_LIMIT_BYTES else None


def _oom_kills(path: Path) -> int | None:
    for line in _read(path).splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.isascii() and count.isdecimal():
            return int(count)
    return None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4096).decode("ascii", "replace")
    except (OSError, ValueError):
        return ""


def _cpu_seconds() -> tuple[float, float] | Missing:
    """Return the seconds that all CPUs were busy, and those that there were in all."""
    # Not psutil.cpu_percent: it compares with the calling thread's last call, which for a source
    # made in one thread and polled in another is no call at all, and then says 0.
    try:
        times = psutil.cpu_times()
    except _FAILURES as error:
        return Missing(str(error))
    # Time of guests is already part of user and nice.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _busy_pct(
    before: tuple[float, float] | Missing, after: tuple[float, float] | Missing
) -> Reading[float]:
    if isinstance(before, Missing):
        return before
    if isinstance(after, Missing):
        return after
    passed = after[1] - before[1]
    if passed <= 0:
        return Missing("no time since the last sample")
    return min(100.0, max(0.0, 100.0 * (after[0] - before[0]) / passed))


def _memory() -> tuple[Reading[int], Reading[int]]:
    try:
        memory = psutil.virtual_memory()
    except _FAILURES as error:
        return Missing(str(error)), Missing(str(error))
    return int(memory.total), int(memory.available)


def _swap() -> Reading[int]:
    try:
        return int(psutil.swap_memory().used)
    except _FAILURES as error:
        return Missing(str(error))


def _disk(folder: Path | None) -> tuple[Reading[int], Reading[int]]:
    """Return the free and total bytes for a folder, or for the nearest one that is there."""
    if folder is None:
        return Missing("no output folder"), Missing("no output folder")
    try:
        for place in (folder, *folder.absolute().parents):
            try:
                usage = psutil.disk_usage(str(place))
            except (FileNotFoundError, NotADirectoryError):
                continue
            return int(usage.free), int(usage.total)
    except OSError as error:
        missing = Missing(error.strerror or str(error))
        return missing, missing
    except ValueError as error:  # a NUL in the name
        return Missing(str(error)), Missing(str(error))
    return Missing("no such folder"), Missing("no such folder")
