"""Owns finding progress bars in a log's bytes: they tell the step and the phase beside them."""

import re

from diagnostics.sources.skim.blocks import Window

TOTAL = re.compile(rb"\| *\d{1,15}/(\d{1,15}) \[")
"""What tells a bar's length."""
_BAR = re.compile(rb"%\|[^|\r\n]{0,512}\| *\d{1,15}/(\d{1,15}) \[[^\]\r\n]{0,256}\]")
_LEAD_BYTES = 128
"""At most so much of a bar stands before its percent sign."""
_BEFORE_BAR = (b"\r", b"\n", b"]")
_MAX_LENGTHS = 4


def bar_at(data: bytes, place: int) -> tuple[int, re.Match[bytes]] | None:
    """Return where the bar begins whose percent sign is at a place, and the rest as a match."""
    match = _BAR.match(data, place)
    if match is None:
        return None
    begin = max(0, place - _LEAD_BYTES)
    return max(begin, *(data.rfind(char, begin, place) + 1 for char in _BEFORE_BAR)), match


def last_bars(data: bytes, end: int, line: int) -> list[Window]:
    """Return the last bar of each length in a piece of a log that ends at a place."""
    base = end - len(data)
    bars: dict[bytes, Window] = {}
    place = data.find(b"%|")
    while place >= 0:
        found = bar_at(data, place)
        if found is not None:
            begin, match = found
            text = data[begin : match.end()]
            bars.pop(match[1], None)
            bars[match[1]] = Window(base + begin, base + match.end(), line, text + b"\r")
        place = data.find(b"%|", place + 2)
    return list(bars.values())[-_MAX_LENGTHS:]
