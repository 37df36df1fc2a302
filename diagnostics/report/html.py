"""Owns a report as one HTML page: no script, nothing loaded from elsewhere, everything escaped."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from diagnostics.findings import Evidence, Finding, Fix, Language, Safety, Severity
from diagnostics.report import words
from diagnostics.report.clean import shown, shown_lines
from diagnostics.report.figures import figures
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
    status_line,
)

MAX_EVIDENCE_CHARS = 4_000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(sections: Sequence[str], language: Language) -> str:
    """Return the whole page."""
    tag = "zh-CN" if language is Language.ZH else "en"
    title = f"llamavet: {words.REPORT.to(language)}"
    style = files("diagnostics.report").joinpath("page.css").read_text("utf-8")
    return (
        f'<!doctype html>\n<html lang="{tag}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + f"\n</main>\n<footer>{words.MADE_BY.to(language)}</footer>\n</body>\n</html>\n"
    )


def section(report: Report, language: Language) -> str:
    """Return one run's part of the page."""
    return "\n".join(_section(report, language))


def _section(report: Report, language: Language) -> Iterator[str]:
    yield "<section>"
    yield f"<h1>{_text(capital(status_line(report, language)))}</h1>"
    yield f'<p class="name">{_text(report.name)}</p>'
    yield "<dl>"
    for name, value in facts(report, language):
        yield f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>"
    yield "</dl>"
    if not report.diagnosis.findings:
        nothing = _text(capital(words.NOTHING.to(language)))
        yield f'<article class="good"><h3>{nothing}</h3></article>'
    for finding in report.diagnosis.findings:
        yield from _finding(finding, report, language)
    yield f"<h2>{_text(words.CHARTS.to(language))}</h2>"
    yield '<div class="charts">'
    yield from figures(report, language)
    yield "</div>"
    yield "</section>"


def _finding(finding: Finding, report: Report, language: Language) -> Iterator[str]:
    severity = words.SEVERITIES[finding.severity].to(language)
    yield f'<article class="{finding.severity.label}">'
    yield f'<span class="severity">{_text(severity)}</span>'
    yield (
        f'<div class="head"><h3>{_text(finding.title.to(language))}</h3>'
        f'<span class="id">{_text(finding.id)}</span></div>'
    )
    yield from _paragraph(finding.cause.to(language))
    most = 3 if finding.severity > Severity.NOTE else 1
    for item in list(dict.fromkeys(finding.evidence))[:most]:
        yield from _evidence(item)
    if finding.to_be_sure.to(language):
        yield f"<h4>{_text(words.TO_BE_SURE.to(language))}</h4>"
        yield from _paragraph(finding.to_be_sure.to(language))
    remedy = report.remedy
    if remedy is not None and remedy.finding_id == finding.id:
        yield from _remedy(remedy, report, language)
    fixes = other_fixes(finding, report)
    if fixes:
        heading = fixes_heading(finding, report).to(language)
        yield f"<h4>{_text(heading)}</h4><ul class='fixes'>"
        yield from (_fix(fix, language) for fix in fixes)
        yield "</ul>"
    if finding.consequences:
        yield f"<h4>{_text(words.FOLLOWED.to(language))}</h4><ul>"
        for one in finding.consequences:
            name = f'<span class="id">{_text(one.id)}</span>'
            yield f"<li>{_text(one.title.to(language))} {name}</li>"
        yield "</ul>"
    yield "</article>"


def _evidence(item: Evidence) -> Iterator[str]:
    yield f'<p class="place"><code>{_text(place_of(item))}</code></p>'
    yield f'<pre class="said">{_text(item.text[:MAX_EVIDENCE_CHARS])}</pre>'


def _remedy(remedy: Remedy, report: Report, language: Language) -> Iterator[str]:
    fix = remedy.fix
    is_advice = fix.safety is Safety.MANUAL
    yield f"<h4>{_text((words.ADVICE if is_advice else words.FIX).to(language))}</h4>"
    yield from _paragraph(remedy_heading(fix, language))
    if is_advice or remedy.fault:
        yield from _paragraph(describe_changes(fix, language))
        yield from _paragraph(fix.why.to(language))
    if remedy.fault:
        yield from _paragraph(words.NOT_EDITED.to(language).format(reason=remedy.fault))
    yield from _paragraph(memory_line(fix, language))
    yield from _paragraph(price_line(fix, language))
    yield from _paragraph(fix.caveat.to(language))
    if remedy.diff:
        lines = shown_lines(remedy.diff).rstrip("\n").split("\n")
        yield '<pre class="diff">' + "".join(_diff_line(line) for line in lines) + "</pre>"
    if report.relaunch:
        yield f"<h4>{_text(words.RELAUNCH.to(language))}</h4>"
        yield f"<pre>{chr(10).join(_text(line) for line in report.relaunch)}</pre>"


def _diff_line(line: str) -> str:
    kinds = {"+": "added", "-": "removed", "@": "hunk"}
    kind = "hunk" if line.startswith(("+++", "---")) else kinds.get(line[:1], "same")
    return f'<span class="{kind}">{escape(line) or " "}</span>'


def _fix(fix: Fix, language: Language) -> str:
    safety = words.SAFETIES[fix.safety].to(language)
    line = _text(fix_line(fix, language))
    told = memory_line(fix, language)
    memory = f'<br><span class="memory">{_text(told)}</span>' if told else ""
    return f'<li><span class="safety">{_text(safety)}</span><span>{line}{memory}</span></li>'


def _paragraph(text: str) -> Iterator[str]:
    if text:
        yield f"<p>{_text(text)}</p>"


def _text(text: str) -> str:
    return escape(shown(text), quote=True)
