"""Owns a report as lines for a person: 80 columns, no colour, no escape codes."""

from collections.abc import Iterator

from diagnostics.findings import Evidence, Finding, Fix, Language, Safety, Severity, Text
from diagnostics.report import words
from diagnostics.report.clean import shown, shown_lines
from diagnostics.report.layout import WIDTH, between, columns, cut, wrapped
from diagnostics.report.model import Remedy, Report, describe_changes
from diagnostics.report.outlook import memory_line
from diagnostics.report.summary import (
    capital,
    facts,
    fix_line,
    fixes_heading,
    other_fixes,
    place_of,
    price_line,
    remedy_heading,
    short_name,
    status_line,
)

MAX_EVIDENCE = 3
MAX_EVIDENCE_LINES = 3
MAX_DIFF_LINES = 60
MAX_DIFF_COLUMNS = 400
_INDENT = "  "


def as_text(report: Report, language: Language) -> str:
    """Return one report."""
    return "\n".join(_lines(report, language)) + "\n"


def _lines(report: Report, language: Language) -> Iterator[str]:
    status = capital(status_line(report, language))
    yield between(status, cut(short_name(report), WIDTH - columns(status) - 2))
    known = facts(report, language)
    room = max((columns(name) for name, _ in known), default=0)
    for name, value in known:
        yield cut(f"{name}{' ' * (room - columns(name))}  {value}", WIDTH)
    if not report.diagnosis.findings:
        yield ""
        yield capital(words.NOTHING.to(language)) + ("." if language is Language.EN else "。")
    for finding in report.diagnosis.findings:
        yield ""
        yield from _finding(finding, report, language)


def _finding(finding: Finding, report: Report, language: Language) -> Iterator[str]:
    severity = words.SEVERITIES[finding.severity].to(language)
    title = f"{severity}  {shown(finding.title.to(language))}"
    place = f"[{finding.id}]"
    if columns(title) + columns(place) + 2 <= WIDTH:
        yield between(title, place)
    else:
        yield from wrapped(title)
        yield between("", place)
    yield from wrapped(shown(finding.cause.to(language)), _INDENT)
    yield from _evidence(finding.evidence, all_of_it=finding.severity > Severity.NOTE)
    yield from _to_be_sure(finding, language)
    remedy = report.remedy
    if remedy is not None and remedy.finding_id == finding.id:
        yield from _remedy(remedy, report, language)
    yield from _fixes(other_fixes(finding, report), fixes_heading(finding, report), language)
    if finding.consequences:
        yield ""
        yield f"{_INDENT}{words.FOLLOWED.to(language)}"
        for one in finding.consequences:
            yield f"{_INDENT * 2}{_consequence(one, language)}"


def _to_be_sure(finding: Finding, language: Language) -> Iterator[str]:
    if finding.to_be_sure.to(language):
        yield ""
        label, text = words.TO_BE_SURE.to(language), finding.to_be_sure.to(language)
        yield from wrapped(f"{label}  {shown(text)}", _INDENT)


def _evidence(evidence: tuple[Evidence, ...], *, all_of_it: bool) -> Iterator[str]:
    shown_ones = list(dict.fromkeys(evidence))[: MAX_EVIDENCE if all_of_it else 1]
    for item in shown_ones:
        yield ""
        yield cut(f"{_INDENT}{place_of(item)}", WIDTH)
        yield from wrapped(shown(item.text), _INDENT * 2, most=MAX_EVIDENCE_LINES)


def _remedy(remedy: Remedy, report: Report, language: Language) -> Iterator[str]:
    fix = remedy.fix
    is_advice = fix.safety is Safety.MANUAL
    name = (words.ADVICE if is_advice else words.FIX).to(language)
    yield ""
    yield from _hanging(name, remedy_heading(fix, language))
    if is_advice or remedy.fault:
        yield from wrapped(shown(describe_changes(fix, language)), _INDENT * 2)
        yield from wrapped(shown(fix.why.to(language)), _INDENT * 2)
    if remedy.fault:
        fault = words.NOT_EDITED.to(language).format(reason=shown(remedy.fault))
        yield from wrapped(fault, _INDENT * 2)
    yield from wrapped(memory_line(fix, language), _INDENT * 2)
    yield from wrapped(price_line(fix, language), _INDENT * 2)
    yield from wrapped(shown(fix.caveat.to(language)), _INDENT * 2)
    if remedy.diff:
        yield ""
        yield from (f"{_INDENT * 2}{line}" for line in diff_lines(remedy.diff, language))
    if report.relaunch:
        yield ""
        yield f"{_INDENT}{words.RELAUNCH.to(language)}"
        yield from (f"{_INDENT * 2}{shown(line)}" for line in report.relaunch)


def diff_lines(diff: str, language: Language) -> list[str]:
    """Return the lines of a diff, each free of control characters; of a huge one the first."""
    text = shown_lines(diff).replace("\t", "    ").rstrip("\n")
    lines = [cut(line, MAX_DIFF_COLUMNS) for line in text.split("\n")]
    if len(lines) <= MAX_DIFF_LINES:
        return lines
    more = words.MORE_LINES.to(language).format(count=len(lines) - MAX_DIFF_LINES)
    return [*lines[:MAX_DIFF_LINES], f"... {more}"]


def _fixes(fixes: list[Fix], heading: Text, language: Language) -> Iterator[str]:
    if not fixes:
        return
    yield ""
    yield f"{_INDENT}{heading.to(language)}"
    names = [words.SAFETIES[fix.safety].to(language) for fix in fixes]
    room = max(columns(name) for name in names)
    for name, fix in zip(names, fixes, strict=True):
        start = f"{_INDENT * 2}{name}{' ' * (room - columns(name))}  "
        yield cut(f"{start}{fix_line(fix, language)}", WIDTH)
        yield from wrapped(memory_line(fix, language), " " * columns(start))


def _hanging(name: str, text: str) -> list[str]:
    """Put a name before a text, whose further lines stand below its first."""
    start = f"{_INDENT}{name}  "
    lines = wrapped(text, " " * columns(start))
    return [start + lines[0].lstrip(), *lines[1:]] if lines else [start.rstrip()]


def _consequence(finding: Finding, language: Language) -> str:
    line = shown(finding.title.to(language))
    for item in finding.evidence[:1]:
        if item.line is not None:
            line += f", {place_of(item)}"
    return cut(f"{line}  [{finding.id}]", WIDTH - len(_INDENT * 2))
