"""Owns the measured speed of a training: how long a step takes, told from when steps arrive.

A log's own elapsed time is not used: after a resume it counts steps that were never run.
"""

from collections import deque

WINDOW = 32
"""Arrivals looked back over; a bar is read once a tick, so this is about a minute."""


class Pace:
    """Collects (time, step) pairs; seconds since the epoch."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, int]] = deque(maxlen=WINDOW)

    def saw(self, at: float, step: int | None) -> None:
        """Take in the step reached at a time; a step going back begins a new measurement."""
        if step is None:
            return
        if self._arrivals:
            last_at, last_step = self._arrivals[-1]
            if step < last_step:
                self._arrivals.clear()
            elif step == last_step or at <= last_at:
                return
        self._arrivals.append((at, step))

    @property
    def seconds_per_step(self) -> float | None:
        """How long a step took on average, or None before two arrivals."""
        if len(self._arrivals) < 2:  # noqa: PLR2004 - a difference needs two
            return None
        (first_at, first), (last_at, last) = self._arrivals[0], self._arrivals[-1]
        return (last_at - first_at) / (last - first)

    def eta_s(self, now: float, total: int | None) -> float | None:
        """Return the seconds left at the measured speed, or None where it is not known."""
        each = self.seconds_per_step
        if each is None or total is None:
            return None
        last_at, last = self._arrivals[-1]
        return max((total - last) * each - max(now - last_at, 0.0), 0.0)
