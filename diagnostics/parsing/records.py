"""Owns the prefixes of log records, LLaMA-Factory's and its libraries', old and new, and ranks'."""

import re
from dataclasses import dataclass

_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (  # LLaMA-Factory since 0.9.1: module:line; its Board's running_log.txt: file.py:line
        "|",
        re.compile(
            rf"\[(?P<level>[A-Z]{{4,8}})\|{_TIME}\] (?P<name>[\w.]{{1,120}}):\d+ >> ?"
            r"(?P<message>.*)"
        ),
    ),
    (  # transformers
        "|",
        re.compile(
            r"\[(?P<level>[A-Z]{4,8})\|(?P<name>[^|\]]{1,240}?):\d+\] "
            rf"{_TIME},\d{{3}} >> ?(?P<message>.*)"
        ),
    ),
    (  # LLaMA-Factory up to 0.9.0
        " - ",
        re.compile(
            r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d - (?P<level>[A-Z]{4,8}) - (?P<name>[\w.]{1,120})"
            r" - (?P<message>.*)"
        ),
    ),
    (  # DeepSpeed, and torchrun before PyTorch 2.4
        "] [",
        re.compile(
            rf"\[{_TIME},\d{{3}}\] \[?(?P<level>[A-Z]{{4,8}})\] \[(?P<name>[^\]]{{1,240}})\] "
            r"(?P<message>.*)"
        ),
    ),
    (
        ": [",
        re.compile(
            rf"\[{_TIME},\d{{3}}\] (?P<name>[\w.]{{1,240}}): \[(?P<level>[A-Z]{{4,8}})\] "
            r"(?P<message>.*)"
        ),
    ),
    (  # torchrun since PyTorch 2.4
        "] ",
        re.compile(
            r"(?P<level>[WEIF])\d{4} \d\d:\d\d:\d\d\.\d{3,6} \d+ (?P<name>[\w./-]{1,240}):\d+\] ?"
            r"(?P<message>.*)"
        ),
    ),
    (  # PyTorch's own, in C++
        "] ",
        re.compile(
            r"\[(?P<level>[WEIF])\d{4} \d\d:\d\d:\d\d\.\d+ (?P<name>[\w.-]{1,120}):\d+\] ?"
            r"(?P<message>.*)"
        ),
    ),
    (  # logging that nobody set up
        ":torch.",
        re.compile(
            r"(?P<level>WARNING|ERROR|INFO|CRITICAL):(?P<name>torch\.[\w.]{1,240}):(?P<message>.*)"
        ),
    ),
    ("[transformers]", re.compile(r"(?P<level>)\[(?P<name>transformers)\] (?P<message>.*)")),
)
BOARD = frozenset({"logging.py", "callbacks.py"})
"""Who prints metrics in the Board's running_log.txt, which has no others."""
_LEVELS = {"W": "WARNING", "E": "ERROR", "I": "INFO", "F": "FATAL"}
_RANK = re.compile(r"^\[rank(\d{1,5})\]: ?")
_CARRIER = re.compile(
    r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?\] (?!\[(?:INFO|WARNING|ERROR|DEBUG)\])"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)? (?!- )"
    r"(?:std(?:out|err) [FP](?: |$))?"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w.-]{1,63} [\w./-]{1,63}(?:\[\d{1,10}\])?: "
    r"|\((?:[\w.]{1,80} )?pid=\d{1,10}(?:, ip=[\w.:]{1,45})?\) "
    r"|[a-z0-9][\w.-]{0,62}(?:-\d{1,4}| ) +\|(?: |$)"
    r"|(?:\d{1,3}(?:\.\d{1,3}){3}|[a-z][a-z0-9-]{0,62}\d): "
    r"|\[default(\d{1,5})\]: ?"
    r"|\[\d{1,5},(\d{1,5})\]<std(?:out|err)>: ?"
    r"| {0,4}(\d{1,5}): "
)
"""What carries a line puts before it: a time, a process, a machine, or a launcher's rank."""


@dataclass(frozen=True, slots=True)
class Record:
    """A log record; `level` is empty where its form has none."""

    level: str
    name: str
    """The logger or the file that wrote it."""
    message: str
    start: int
    """Where in the line it begins: other output may stand before it."""


def parse_record(text: str) -> Record | None:
    """Return the first log record in a line, or None."""
    found: Record | None = None
    if "] " not in text and " - " not in text and ":torch." not in text:
        return None
    for hint, form in _FORMS:
        if hint not in text:
            continue
        match = form.search(text)
        if match is not None and (found is None or match.start() < found.start):
            level = _LEVELS.get(match["level"], match["level"])
            found = Record(level, match["name"], match["message"], match.start())
    return found


def split_rank(text: str) -> tuple[int | None, str]:
    """Return the rank of a `[rankN]:` prefix, and the line without it and its carrier's prefix."""
    carried: str | None = None
    carrier = _CARRIER.match(text)
    if carrier is not None:
        text = text[carrier.end() :]
        carried = carrier.group(1) or carrier.group(2) or carrier.group(3)
    match = _RANK.match(text) if text.startswith("[rank") else None
    if match is not None:
        return int(match.group(1)), text[match.end() :]
    return (int(carried) if carried is not None else None), text
