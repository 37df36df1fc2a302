"""Owns the Source protocol: one thing that can be polled for observations."""

from collections.abc import Sequence
from typing import Protocol

from diagnostics.observations import Observation


class Source(Protocol):
    """Something polled by the monitor.

    `poll` returns what is new since the last call, oldest first, and never raises: a failure is a
    `SourceFault` (or `GpuUnavailable`). `now` is the caller's clock, seconds since the epoch.
    """

    def poll(self, now: float) -> Sequence[Observation]:
        """Return the observations since the last poll."""
        ...

    def close(self) -> None:
        """Release files and handles; polling after this is an error of the caller."""
        ...
