"""Owns a report as Markdown, made for pasting into an issue: nothing in a log can break out."""

import re
from collections.abc import Iterator

from diagnostics.findings import Evidence, Finding, Fix, Language, Safety
from diagnostics.report import words
from diagnostics.report.clean import shown, shown_lines
from diagnostics.report.model import Remedy, Report, describe_changes
from diagnostics.report.outlook import memory_line
from diagnostics.report.summary import (
    facts,
    fix_line,
    fixes_heading,
    other_fixes,
    place_of,
    price_line,
    remedy_heading,
    status_line,
)

MAX_EVIDENCE_CHARS = 2_000
_SPECIAL = re.compile(r"([\\`*_\[\]<|~$&]|^[-+>#=]|^\d+(?=[.)]))")
_MENTION = re.compile(r"([@#])(?=\w)")


def as_markdown(report: Report, language: Language) -> str:
    """Return one report."""
    return "\n".join(_lines(report, language)) + "\n"


def escaped(text: str) -> str:
    """Return text that stands for itself: no markup, no link, no mention of a person or issue."""
    return _MENTION.sub("\\1\u2060", _SPECIAL.sub(_escape, shown(text).strip()))


def _escape(match: re.Match[str]) -> str:
    found = match.group()
    return f"{found[:-1]}\u2060{found[-1]}" if found.isdigit() else f"\\{found}"


def code(text: str) -> str:
    """Return text as code in a line."""
    text = shown(text)
    ticks = "`" * (1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{ticks}{space}{text}{space}{ticks}" if text else ""


def fenced(text: str, kind: str = "text") -> list[str]:
    """Return text as a block of code; its fence is longer than any in it."""
    text = shown_lines(text).rstrip("\n")
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return [f"{fence}{kind}", *text.split("\n"), fence]


def _lines(report: Report, language: Language) -> Iterator[str]:
    yield f"### llamavet: {escaped(status_line(report, language))}"
    yield ""
    for name, value in facts(report, language):
        yield words.labelled(f"- {escaped(name)}", code(value), language)
    if not report.diagnosis.findings:
        yield ""
        yield f"{words.NOTHING.to(language)}"
    for finding in report.diagnosis.findings:
        yield ""
        yield from _finding(finding, report, language)


def _finding(finding: Finding, report: Report, language: Language) -> Iterator[str]:
    yield finding_heading(finding, language)
    if finding.cause.to(language):
        yield ""
        yield escaped(finding.cause.to(language))
    yield from _evidence(finding.evidence)
    if finding.to_be_sure.to(language):
        yield ""
        text = escaped(finding.to_be_sure.to(language))
        yield words.labelled(words.TO_BE_SURE.to(language), text, language)
    remedy = report.remedy
    if remedy is not None and remedy.finding_id == finding.id:
        yield from _remedy(remedy, report, language)
    fixes = other_fixes(finding, report)
    if fixes:
        yield ""
        yield words.labelled(fixes_heading(finding, report).to(language), "", language)
        yield ""
        yield from (_fix(fix, language) for fix in fixes)
    if finding.consequences:
        yield ""
        yield words.labelled(words.FOLLOWED.to(language), "", language)
        yield ""
        for one in finding.consequences:
            yield f"- {escaped(one.title.to(language))}{words.aside(code(one.id), language)}"


def finding_heading(finding: Finding, language: Language) -> str:
    """Return a finding's heading: how bad it is, its title and its id."""
    severity = words.SEVERITIES[finding.severity].to(language)
    title = escaped(finding.title.to(language)) + words.aside(code(finding.id), language)
    return f"#### {words.labelled(severity, title, language)}"


def fix_item(fix: Fix, language: Language) -> str:
    """Return a fix as an item of a list: how safe it is, what to do, what it changes."""
    safety = words.SAFETIES[fix.safety].to(language)
    return f"- {words.labelled(safety, escaped(fix_line(fix, language)), language)}"


def _evidence(evidence: tuple[Evidence, ...]) -> Iterator[str]:
    lines = [f"{place_of(item)}: {shown(item.text)[:MAX_EVIDENCE_CHARS]}" for item in evidence[:3]]
    if lines:
        yield ""
        yield from fenced("\n".join(dict.fromkeys(lines)))


def _remedy(remedy: Remedy, report: Report, language: Language) -> Iterator[str]:
    fix = remedy.fix
    is_advice = fix.safety is Safety.MANUAL
    name = (words.ADVICE if is_advice else words.FIX).to(language)
    yield ""
    yield words.labelled(f"**{name}**", escaped(remedy_heading(fix, language)), language)
    if is_advice or remedy.fault:
        for text in (describe_changes(fix, language), fix.why.to(language)):
            if text:
                yield ""
                yield escaped(text)
    if remedy.fault:
        yield ""
        yield escaped(words.NOT_EDITED.to(language).format(reason=remedy.fault))
    if fix.predicted is not None:
        yield ""
        yield escaped(memory_line(fix, language))
    if price_line(fix, language):
        yield ""
        yield escaped(price_line(fix, language))
    if remedy.diff:
        yield ""
        yield from fenced(remedy.diff, "diff")
    if report.relaunch:
        yield ""
        yield from fenced("\n".join(shown(line) for line in report.relaunch), "sh")


def _fix(fix: Fix, language: Language) -> str:
    line = fix_item(fix, language)
    told = memory_line(fix, language)
    return f"{line} — {escaped(told)}" if told else line
