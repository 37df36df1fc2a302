"""Owns the prefixes of log records: LLaMA-Factory's and transformers', old and new, and ranks'."""

import re
from dataclasses import dataclass

_FORMS = (
    re.compile(  # LLaMA-Factory since 0.9.1
        r"\[(?P<level>[A-Z]+)\|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] (?P<name>[\w.]+):\d+ >> (?P<msg>.*)"
    ),
    re.compile(  # transformers
        r"\[(?P<level>[A-Z]+)\|(?P<name>[^|\]]+?):\d+\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} >> ?"
        r"(?P<msg>.*)"
    ),
    re.compile(  # LLaMA-Factory up to 0.9.0
        r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d - (?P<level>[A-Z]+) - (?P<name>[\w.]+) - (?P<msg>.*)"
    ),
    re.compile(  # DeepSpeed
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] \[(?P<level>[A-Z]+)\] "
        r"\[(?P<name>[^\]]+)\] (?P<msg>.*)"
    ),
)
_RANK = re.compile(r"^\[rank(\d{1,5})\]: ?")


@dataclass(frozen=True, slots=True)
class Record:
    """A log record: its level, who wrote it, what it says, and where in the line it begins."""

    level: str
    name: str
    message: str
    start: int


def parse_record(text: str) -> Record | None:
    """Return the log record in a line, or None; a bar may stand before it."""
    for form in _FORMS:
        match = form.search(text)
        if match is not None:
            return Record(match["level"], match["name"], match["msg"], match.start())
    return None


def split_rank(text: str) -> tuple[int | None, str]:
    """Return the rank of a `[rankN]:` prefix and the line without it."""
    match = _RANK.match(text)
    return (int(match.group(1)), text[match.end() :]) if match else (None, text)
