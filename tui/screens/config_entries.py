"""Owns what the config screen lists: the file's lines, then keys that are set elsewhere or not."""

from collections.abc import Iterator, Sequence

from diagnostics.config.document import Place, Shape
from diagnostics.config.effective import Origin
from diagnostics.config.nodes import LINE_BREAK
from diagnostics.config.render import write_value
from diagnostics.errors import LlamavetError
from diagnostics.findings import Finding, Language, Severity
from diagnostics.report.summary import counted
from diagnostics.runs.config_look import ConfigLook
from diagnostics.what_if import SUGGESTED, WhatIf
from tui import words
from tui.widgets.cells import Line, Role, cut, inert, rule
from tui.widgets.config_lines import MOST_LINES, Entry, Placed, Value, placed
from tui.widgets.findings import SEVERITY_ROLES
from tui.words import say


def entries_of(
    look: ConfigLook, what: WhatIf | None, findings: Sequence[Finding], language: Language
) -> Sequence[Entry]:
    """Return all that is listed; without `what` no value can be stepped."""
    name = look.path.name if look.path is not None else "config"
    shown = placed(findings, name)
    return (
        *_elsewhere(shown),
        *_file_lines(look, what, shown, language),
        *_command_line(what, language),
        *_not_set(what, language),
    )


def file_rule(
    look: ConfigLook | None,
    findings: Sequence[Finding],
    width: int,
    language: Language,
    *,
    checked: bool,
) -> Line:
    """Return the row above the lines: the file's name, and how much a check found."""
    path = look.path if look is not None else None
    name = path.name if path is not None else words.KEYS["config"].to(language)
    note: Line = ()
    if not checked:
        note = ((say(words.CHECKING, language), Role.DIM),)
    elif findings:
        counts = {one: sum(f.severity is one for f in findings) for one in reversed(Severity)}
        note = tuple(
            (f" {words.SEVERITY_MARKS[one]} {counted(count, one, language)}", SEVERITY_ROLES[one])
            for one, count in counts.items()
            if count
        )
    elif look is not None and look.config is not None:
        note = ((say(words.CLEAN, language), Role.GOOD),)
    return rule(cut(inert(name), max(width // 2, 10)), width, note)


def written(value: object) -> str:
    """Return a value as YAML writes it; as Python does where YAML cannot."""
    try:
        return write_value(value)
    except LlamavetError:
        return str(value)


def _elsewhere(shown: Placed) -> Iterator[Entry]:
    for finding in shown.elsewhere:
        place = finding.evidence[0] if finding.evidence else None
        yield Entry(place.text if place is not None else "", findings=(finding,))


def _file_lines(
    look: ConfigLook, what: WhatIf | None, shown: Placed, language: Language
) -> Iterator[Entry]:
    document = look.config.document if look.config is not None else None
    places = document.places if document is not None else {}
    keys = {place.line: (key, place) for key, place in places.items() if not place.inherited}
    start = 0
    for number, (text, after) in enumerate(_lines(look.text), 1):
        if number > MOST_LINES:
            left = look.text.count("\n", start) + (not look.text.endswith("\n"))
            yield Entry(say(words.MORE_LINES, language, count=left), is_heading=True)
            return
        findings = shown.by_line.get(number, ())
        entry = Entry(text, number, findings=findings)
        if number in keys and what is not None:
            entry = _keyed(entry, *keys[number], start=start, what=what, language=language)
        yield entry
        start = after


def _lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield each line with where the next one begins; the end of the text is no line."""
    start = 0
    for found in LINE_BREAK.finditer(text):
        yield text[start : found.start()], found.end()
        start = found.end()
    if start < len(text):
        yield text[start:], len(text)


def _keyed(
    entry: Entry, key: str, place: Place, *, start: int, what: WhatIf, language: Language
) -> Entry:
    """Return a key's line with its value apart, where that is on the line and can be stepped."""
    text, number, findings = entry.text, entry.number, entry.findings
    note = ""
    if what.config.origin(key) not in {Origin.FILE, Origin.DEFAULT}:
        value = written(what.config.value(key))
        note = f"{say(words.SAID_BY_COMMAND, language)}: {value}"
        return Entry(text, number, key, note=note, findings=findings)
    begin, end = place.start - start, place.end - start
    alone = place.shape in {Shape.SCALAR, Shape.EMPTY} and 0 <= begin <= end <= len(text)
    if not alone or not what.can_step(key):
        return Entry(text, number, key, findings=findings)
    was = text[begin:end]
    now = written(what.value(key)) if key in what.changes else was
    head = text[:begin] if text[:begin].endswith(" ") else f"{text[:begin]} "
    return Entry(head, number, key, Value(now, was), text[end:], findings=findings)


def _command_line(what: WhatIf | None, language: Language) -> Iterator[Entry]:
    if what is None:
        return
    keys = [
        key
        for key in what.config.as_dict()
        if what.config.origin(key) in {Origin.OVERRIDE, Origin.FLAG}
    ]
    if keys:
        yield Entry(say(words.SAID_BY_COMMAND, language), is_heading=True)
    for key in keys:
        yield _stepped(key, what)


def _not_set(what: WhatIf | None, language: Language) -> Iterator[Entry]:
    if what is None:
        return
    keys = [key for key in SUGGESTED if not what.config.is_set(key) and what.can_step(key)]
    if keys:
        yield Entry(say(words.NOT_SET_KEYS, language), is_heading=True)
    for key in keys:
        default = written(what.config.value(key))
        note = "" if key in what.changes else say(words.NOT_SET, language, value=default)
        yield _stepped(key, what, note)


def _stepped(key: str, what: WhatIf, note: str = "") -> Entry:
    was = written(what.config.value(key))
    if not what.can_step(key):
        return Entry(f"{key}: {was}", key=key, note=note)
    return Entry(f"{key}: ", key=key, value=Value(written(what.value(key)), was), note=note)
