"""Owns how numbers read: sizes in GiB, durations, losses. Pure."""

import math

from diagnostics.observations import Missing, Reading

GIB = 2**30
MINUTE = 60
HOUR = 3600
DAY = 86400


def gib(size_bytes: float) -> str:
    """Return a size in GiB without its unit: "21.3", "0.05", "512"."""
    size = size_bytes / GIB
    if size >= 100:  # noqa: PLR2004 - three digits need no decimals
        return f"{size:.0f}"
    return f"{size:.1f}" if size >= 1 or size == 0 else f"{size:.2f}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: "45 s", "3 min 05 s", "2 h 10 min"."""
    whole = max(int(seconds), 0)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE:02} min"
    return f"{whole // DAY} d {whole % DAY // HOUR:02} h"


def seconds_each(seconds: float) -> str:
    """Return the time that one step takes: "0.35 s", "12.4 s", "2 min 05 s"."""
    if seconds >= MINUTE:
        return duration(seconds)
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004 - two digits


def number(value: float) -> str:
    """Return a loss or a metric in four significant digits; nan and inf as words."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4g}"


def known(reading: Reading[float]) -> float | None:
    """Return a reading's number, or None where it is missing or not a number."""
    if isinstance(reading, Missing) or not math.isfinite(reading):
        return None
    return reading
