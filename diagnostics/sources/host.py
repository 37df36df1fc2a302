"""Owns the host's figures: CPU, memory, swap, the disk of the output folder, the cgroup's limit."""

from collections.abc import Sequence
from pathlib import Path

import psutil

from diagnostics.observations import HostSample, Missing, Observation, Reading


class Host:
    """Samples this host; what cannot be read is Missing with its reason."""

    def __init__(self, folder: Path | None, host: str = "local") -> None:
        self._folder = folder
        self._host = host
        psutil.cpu_percent(interval=None)

    def poll(self, now: float) -> Sequence[Observation]:
        """Return one sample."""
        memory = psutil.virtual_memory()
        free, total = self._disk()
        return (
            HostSample(
                at=now,
                host=self._host,
                cpu_pct=psutil.cpu_percent(interval=None),
                memory_total_bytes=memory.total,
                memory_available_bytes=memory.available,
                swap_used_bytes=_swap(),
                disk_free_bytes=free,
                disk_total_bytes=total,
                cgroup_limit_bytes=_cgroup_limit(),
            ),
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _disk(self) -> tuple[Reading[int], Reading[int]]:
        if self._folder is None:
            return Missing("no output folder"), Missing("no output folder")
        for folder in (self._folder, *self._folder.absolute().parents):
            try:
                usage = psutil.disk_usage(str(folder))
            except FileNotFoundError:
                continue
            except OSError as error:
                missing = Missing(error.strerror or str(error))
                return missing, missing
            return usage.free, usage.total
        return Missing("no such folder"), Missing("no such folder")


def _swap() -> Reading[int]:
    try:
        return int(psutil.swap_memory().used)
    except (OSError, RuntimeError) as error:
        return Missing(str(error))


def _cgroup_limit() -> Reading[int]:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal() and int(text) < 2**60:
            return int(text)
    return Missing("no cgroup limit")
