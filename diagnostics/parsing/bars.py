"""Owns tqdm's progress bars: telling one from the text around it.

What a bar counts is not known here.
"""

import re
from dataclasses import dataclass

_MAX_DESCRIPTION = 120
_BEFORE = re.compile(r"(\d{1,3})$")
_DESCRIPTION = re.compile(r"[^{}\[\]<>|\"]*")
_AFTER = re.compile(
    r"[^|]{0,512}\| *(?P<done>[\d.,]{1,20})(?P<du>[kKMGT]?)i?B?"
    r"/(?P<total>[\d.,]{1,20})(?P<tu>[kKMGT]?)i?B? \[(?P<elapsed>[\d:]{1,16})<(?P<eta>[\d:?]{1,16})"
    r"(?:, *(?P<rate>[\d.?]{1,20})[kKMGT]? ?(?P<unit>s/[\w ]{1,24}|[\w ]{1,24}/s))?[^\]]{0,256}\]"
)
_REDRAWN = rb"\r {0,3}\d{1,3}%\|[^|\r\n]{0,512}\| *"
_SAME = rb"/(?P=total) \["
_REDRAWS = re.compile(
    # At most as many at a time as leave enough of them to tell the pace by.
    rb"(" + _REDRAWN + rb"\d{1,15}/(?P<total>\d{1,15}) \[[^\]\r\n]{0,256}\])"
    rb"(?:" + _REDRAWN + rb"\d{1,15}" + _SAME + rb"[^\]\r\n]{0,256}\]"
    rb"(?=" + _REDRAWN + rb"(?P<next>\d{1,15})" + _SAME + rb")){1,8}+"
)
_REDRAWN_DONE = re.compile(rb"\| *(\d+)/")
_PLAIN = re.compile(
    r" *\d{1,3}%\|[^|]{0,512}\| *(\d{1,15})/(\d{1,15}) "
    r"\[(?:(\d{1,6}):)?(\d{1,2}):(\d\d)<[\d:?]{1,16}"
    r"(?:, *([\d.]{1,20}|\?)(s/it|it/s)(?:, [^\]]{0,256})?)?\]"
)
_NO_TOTAL = re.compile(
    r"[^|\[\]{}]{0,160}?\d[\d.,]*[kKMGT]? ?\w{0,24} ?\[[\d:]{4,16}, [^\]]{1,64}\]$"
)
_DAYS = re.compile(r"([0-9]{1,5}) days?, (.*)$")
_CLOCK_PART = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Bar:
    """One state of a bar with a total; it stands at `start` to `end` in its line."""

    description: str
    done: int
    total: int
    elapsed_s: float | None
    seconds_per_item: float | None
    start: int
    end: int


def without_redraws(data: bytes) -> bytes:
    """Leave away most states of a bar that are drawn over by its next one at once."""
    return _REDRAWS.sub(_undrawn, data)


def _undrawn(match: re.Match[bytes]) -> bytes:
    drawn = [int(digits) for digits in _REDRAWN_DONE.findall(match.group())]
    drawn.append(int(match["next"]))
    return match.group(1) if drawn == sorted(drawn) else match.group()


def plain_bar(text: str) -> Bar | None:
    """Return the bar that a line consists of, where it is one without a description; quickly."""
    match = _PLAIN.fullmatch(text)
    if match is None:
        return None
    done, total, hours, minutes, seconds, rate, unit = match.groups()
    elapsed_s = float(3600 * int(hours or 0) + 60 * int(minutes) + int(seconds))
    pace = _pace(rate, unit)
    return Bar("", int(done), int(total), elapsed_s, pace, 0, match.end())


def find_bars(text: str) -> list[Bar]:
    """Return the bars of a line, in order."""
    found: list[Bar] = []
    start = 0
    anchor = text.find("%|")
    while anchor >= 0:
        bar = _bar(text, start, anchor)
        if bar is None:
            anchor = text.find("%|", anchor + 2)
            continue
        found.append(bar)
        start = bar.end
        anchor = text.find("%|", start)
    return found


def split_bars(text: str) -> list[Bar | str]:
    """Return the bars of a line and the texts around them, in order; a bar without total is none.

    One without a total ("200 examples [00:01, 150 examples/s]") is neither a line nor progress.
    """
    if "%|" not in text:
        return [] if "[" in text and _NO_TOTAL.match(text) else [text]
    parts: list[Bar | str] = []
    start = 0
    for bar in find_bars(text):
        parts += [text[start : bar.start], bar]
        start = bar.end
    parts.append(text[start:])
    return [part for part in parts if not isinstance(part, str) or part.strip()]


def _bar(text: str, start: int, anchor: int) -> Bar | None:
    """Return the bar around an anchor, in the text from `start` on."""
    after = _AFTER.match(text, anchor + 2)
    before = _BEFORE.search(text[max(start, anchor - 3) : anchor])
    if after is None or before is None:
        return None
    begin = anchor - len(before.group())
    lead = text[start:begin]
    # Where something else stands before it, a log record or half of one, that is no description.
    described = len(lead) <= _MAX_DESCRIPTION and _DESCRIPTION.fullmatch(lead) is not None
    return Bar(
        description=lead.strip().rstrip(":").rstrip() if described else "",
        done=_count(after["done"], after["du"]),
        total=_count(after["total"], after["tu"]),
        elapsed_s=clock_seconds(after["elapsed"]),
        seconds_per_item=_pace(after["rate"], after["unit"]),
        start=start if described else begin,
        end=after.end(),
    )


def _count(digits: str, unit: str) -> int:
    try:
        return int(float(digits.replace(",", "")) * _UNITS[unit])
    except (ValueError, OverflowError):
        return 0


def _pace(rate: str | None, unit: str | None) -> float | None:
    if rate is None or unit is None:
        return None
    try:
        value = float(rate)
    except ValueError:
        return None  # "?" before the first item is done
    if unit.startswith("s/"):
        return value
    return 1.0 / value if value > 0 else None


def clock_seconds(text: str) -> float | None:
    """Return the seconds of "H:MM:SS", "MM:SS" or "1 day, H:MM:SS"."""
    days = 0
    match = _DAYS.match(text) if "day" in text else None
    if match is not None:
        days, text = int(match.group(1)), match.group(2)
    parts = text.split(":")
    if len(parts) not in {2, 3} or not all(_CLOCK_PART.fullmatch(part) for part in parts):
        return None
    seconds = 0.0
    for part in parts:
        seconds = 60 * seconds + float(part)
    return _DAY * days + seconds
