"""Owns how a config reads line by line: findings under their line, values to be stepped. Pure.

Only the rows in view are made, however long the file is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from diagnostics.findings import Finding, Language, Safety, Severity
from tui import words
from tui.widgets.cells import Line, Role, Span, cut, cut_line, inert, rule, wrap
from tui.widgets.findings import SEVERITY_ROLES, first_fix
from tui.words import say

MOST_LINES = 2_000
CAUSE_ROWS = 4
MARGIN = 3
"""Rows that stay in view above and below the selected line."""
GUTTER = 5
INDENT = " " * (GUTTER + 2)


@dataclass(frozen=True, slots=True)
class Value:
    """A value that can be stepped, as it is written."""

    now: str
    was: str
    """What the config says; differs from `now` where a change is tried."""

    @property
    def changed(self) -> bool:
        """Whether a change is tried."""
        return self.now != self.was


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the file, or what belongs to none: a heading, a finding, a key not set."""

    text: str
    """All of it; up to the value where there is one."""
    number: int | None = None
    key: str = ""
    value: Value | None = None
    tail: str = ""
    """What the file has after the value."""
    note: str = ""
    findings: tuple[Finding, ...] = ()
    is_heading: bool = False

    @property
    def matters(self) -> bool:
        """Whether it is worth a stop: there is a value to step, or something was found."""
        return self.value is not None or bool(self.findings)


@dataclass(frozen=True, slots=True)
class View:
    """Which entry is selected, and which row is the first in view."""

    cursor: int = 0
    top: int = 0


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rows in view, and the first of all rows that is."""

    lines: Sequence[Line]
    top: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Findings by the line that they are shown at; `elsewhere` has no line of the file."""

    by_line: Mapping[int, tuple[Finding, ...]] = field(default_factory=dict)
    elsewhere: tuple[Finding, ...] = ()


def placed(findings: Sequence[Finding], source: str) -> Placed:
    """Return findings by the first line of the file `source` that shows them."""
    by_line: dict[int, tuple[Finding, ...]] = {}
    elsewhere: list[Finding] = []
    for finding in findings:
        lines = (one.line for one in finding.evidence if one.source == source and one.line)
        line = next(lines, None)
        if line is None:
            elsewhere.append(finding)
        else:
            by_line[line] = (*by_line.get(line, ()), finding)
    return Placed(by_line, tuple(elsewhere))


def next_stop(entries: Sequence[Entry], cursor: int, *, forward: bool) -> int:
    """Return the next entry that matters, round the end; the cursor where there is none."""
    step = 1 if forward else -1
    for distance in range(1, len(entries) + 1):
        at = (cursor + step * distance) % len(entries)
        if entries[at].matters:
            return at
    return cursor


def next_line(entries: Sequence[Entry], cursor: int, by: int) -> int:
    """Return the entry some rows away that is no heading, within the ends."""
    if not entries:
        return 0
    at = min(max(cursor + by, 0), len(entries) - 1)
    step = 1 if by > 0 else -1
    while 0 <= at < len(entries) and entries[at].is_heading:
        at += step
    return at if 0 <= at < len(entries) else cursor


def draw(
    entries: Sequence[Entry], view: View, width: int, height: int, language: Language
) -> Drawn:
    """Return the rows that are in view, with the selected entry among them."""
    if not entries or height <= 0:
        return Drawn((), 0)
    cursor = min(view.cursor, len(entries) - 1)
    selected = entry_rows(entries[cursor], width, language, selected=True)
    sizes = [1 + len(entry.findings) for entry in entries]
    sizes[cursor] = len(selected)
    starts = [0, *accumulate(sizes)]
    first, past = starts[cursor], starts[cursor + 1]
    margin = min(MARGIN, height // 4)
    top = min(max(view.top, past + margin - height), max(first - margin, 0))
    top = max(min(top, first, starts[-1] - height), 0)
    lines: list[Line] = []
    for index, entry in enumerate(entries):
        if starts[index + 1] <= top:
            continue
        if starts[index] >= top + height:
            break
        rows = selected if index == cursor else entry_rows(entry, width, language, selected=False)
        lines += rows[max(top - starts[index], 0) :]
    return Drawn(lines[:height], top)


def entry_rows(entry: Entry, width: int, language: Language, *, selected: bool) -> list[Line]:
    """Return an entry's line, and a row for each finding; of the selected one the causes too."""
    if entry.is_heading:
        return [rule(entry.text, width)]
    rows = [_line(entry, width, language, selected=selected)]
    for finding in entry.findings:
        mark = words.SEVERITY_MARKS[finding.severity]
        title = inert(finding.title.to(language))
        head: Line = ((INDENT, Role.TEXT), (f"{mark} {title}", SEVERITY_ROLES[finding.severity]))
        rows.append(cut_line(head, width))
        if selected:
            rows += _cause(finding, width, language)
    return rows


def _cause(finding: Finding, width: int, language: Language) -> list[Line]:
    room = width - len(INDENT) - 2
    texts = [
        ((row, Role.TEXT),) for row in wrap(inert(finding.cause.to(language)), room, CAUSE_ROWS)
    ]
    fix = first_fix(finding)
    if fix is not None:
        form = words.ADVICE_LINE if fix.safety is Safety.MANUAL else words.FIX_LINE
        title = say(form, language, title=inert(fix.title.to(language)))
        texts.append(((cut(title, room), Role.DIM),))
    return [((f"{INDENT}  ", Role.TEXT), *row) for row in texts]


def _line(entry: Entry, width: int, language: Language, *, selected: bool) -> Line:
    number = f"{entry.number:>{GUTTER - 1}} " if entry.number is not None else " " * GUTTER
    if selected:
        number = f"{number.strip() or '·':>{GUTTER - 1}} "
    value = entry.value
    worst = max((one.severity for one in entry.findings), default=None)
    if value is not None and value.changed:
        mark: Span = ("● ", Role.WARN)
    elif worst is not None and worst > Severity.NOTE:
        mark = (f"{words.SEVERITY_MARKS[worst]} ", SEVERITY_ROLES[worst])
    else:
        mark = ("  ", Role.TEXT)
    line: list[Span] = [(number, Role.BADGE if selected else Role.DIM), mark]
    line += _text(entry.text, selected=selected)
    if value is not None:
        line += _value(value, language, selected=selected)
    line += [(inert(entry.tail), Role.DIM)]
    if entry.note:
        line += [(f"  {inert(entry.note)}", Role.DIM)]
    return cut_line(tuple(line), width)


def _text(text: str, *, selected: bool) -> list[Span]:
    """Return a line's text: its comment dim, the rest strong where it is selected."""
    shown = inert(text)
    at = 0 if shown.lstrip().startswith("#") else shown.find(" #")
    code, comment = (shown, "") if at < 0 else (shown[:at], shown[at:])
    return [(code, Role.STRONG if selected else Role.TEXT), (comment, Role.DIM)]


def _value(value: Value, language: Language, *, selected: bool) -> list[Span]:
    now = inert(value.now)
    role = Role.WARN if value.changed else Role.ACCENT
    shown: Span = (f"◂ {now} ▸" if selected else now, role)
    if not value.changed:
        return [shown]
    was = say(words.WAS, language, value=inert(value.was))
    return [shown, (f"  {was}", Role.DIM)]
