"""Owns how numbers read in a report."""

import math

_GIB = 2**30


def number(value: float) -> str:
    """Return a loss or a rate in four significant digits; nan and inf as words."""
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def gib(size_bytes: float) -> str:
    """Return a size in GiB: "21.3 GiB", "0.05 GiB"."""
    size = size_bytes / _GIB
    if size >= 100:  # noqa: PLR2004 - three digits need no decimals
        return f"{size:.0f} GiB"
    return f"{size:.1f} GiB" if size >= 1 or size == 0 else f"{size:.2f} GiB"
