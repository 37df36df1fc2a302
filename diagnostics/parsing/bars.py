"""Owns tqdm's progress bars: telling one from a line, and what it counts."""

import re
from dataclasses import dataclass

_BAR = re.compile(
    r"\d{1,3}%\|[^|]{0,1000}\| {0,20}(?P<done>[\d.,]{1,20})(?P<du>[kKMG]?)"
    r"/(?P<total>[\d.,]{1,20})(?P<tu>[kKMG]?) \[(?P<elapsed>[\d:]{1,20})<(?P<eta>[\d:?]{1,20})"
    r"(?:, {0,20}(?P<rate>[\d.?]{1,20}) ?(?P<unit>s/[\w ]{1,40}|[\w ]{1,40}/s))?[^\]]{0,400}\]"
)
_UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, slots=True)
class Bar:
    """One state of a bar; `end` is the offset after it in its line."""

    description: str
    done: int
    total: int
    elapsed_s: float | None
    seconds_per_item: float | None
    start: int
    end: int


def find_bars(text: str) -> list[Bar]:
    """Return the bars of a line, in order."""
    if "%|" not in text:
        return []
    found: list[Bar] = []
    end = 0
    for match in _BAR.finditer(text):
        found.append(_bar(match, text[end : match.start()]))
        end = match.end()
    return found


def _bar(match: re.Match[str], before: str) -> Bar:
    described = re.split(r"[|%]", before)[-1]
    return Bar(
        description=described.strip().rstrip(":").strip(),
        done=_count(match["done"], match["du"]),
        total=_count(match["total"], match["tu"]),
        elapsed_s=clock_seconds(match["elapsed"]),
        seconds_per_item=_pace(match["rate"], match["unit"]),
        start=match.start() - len(described),
        end=match.end(),
    )


def _count(digits: str, unit: str) -> int:
    try:
        return int(float(digits.replace(",", "")) * _UNITS[unit])
    except (ValueError, OverflowError):
        return 0


def _pace(rate: str | None, unit: str | None) -> float | None:
    if rate is None or unit is None or "?" in rate:
        return None
    try:
        value = float(rate)
    except ValueError:
        return None
    if unit.startswith("s/"):
        return value
    return 1.0 / value if value > 0 else None


def clock_seconds(text: str) -> float | None:
    """Return the seconds of "H:MM:SS", "MM:SS" or "1 day, H:MM:SS"."""
    days = 0
    match = re.match(r"(\d{1,5}) days?, (.*)$", text)
    if match is not None:
        days, text = int(match.group(1)), match.group(2)
    parts = text.split(":")
    if not 2 <= len(parts) <= 3 or not all(  # noqa: PLR2004 - minutes, or hours too
        part.replace(".", "", 1).isdecimal() for part in parts
    ):
        return None
    seconds = 0.0
    for part in parts:
        seconds = 60 * seconds + float(part)
    return 86_400 * days + seconds
