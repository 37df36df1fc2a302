"""Owns what is told of a checked config: as lines for a person, as JSON, as Markdown. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from diagnostics.config.effective import EffectiveConfig
from diagnostics.findings import Diagnosis, Evidence, Finding, Fix, Language, Safety, Severity, Text
from diagnostics.precheck.judge import column_of, name_of
from diagnostics.precheck.surroundings import Surroundings
from diagnostics.report import words
from diagnostics.report.clean import shown
from diagnostics.report.json import SCHEMA, as_json
from diagnostics.report.layout import WIDTH, columns, cut, wrapped
from diagnostics.report.markdown import code, escaped, fenced, finding_heading, fix_item
from diagnostics.report.model import Remedy, Report, RunFacts, describe_changes
from diagnostics.report.outlook import memory_line
from diagnostics.report.remedy import best_fix, work_out_remedy
from diagnostics.report.summary import counted, fix_line, price_line, remedy_heading
from diagnostics.report.text import diff_lines

NOTHING = Text("nothing found", "未发现问题")
LOOKED_AT = Text("{rules} rules, {keys} keys looked at", "检查了 {rules} 条规则、{keys} 个键")
NOT_LOOKED_AT = Text("not looked at", "未检查")
_INDENT = "  "
_MOST_PLACES = 4
_MOST_REASON = 2 * WIDTH
_PLACES_OF_A_NOTE = 1


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What came of a check. `name` is the config's as it was typed."""

    name: str
    config: EffectiveConfig
    around: Surroundings
    diagnosis: Diagnosis
    rules: int
    not_looked_at: tuple[str, ...] = ()
    llamafactory: str | None = None
    remedies: tuple[Remedy | None, ...] = ()
    """For each finding the fix that is shown in full."""

    @property
    def keys(self) -> int:
        """How many keys the config sets."""
        return len(self.config.as_dict())


def first_remedy(finding: Finding, config: EffectiveConfig) -> Remedy | None:
    """Return the best fix of a finding, worked out on the config."""
    chosen = best_fix(Diagnosis((replace(finding, primary=True),)))
    return work_out_remedy(*chosen, config) if chosen is not None else None


def place_of(item: Evidence, report: CheckReport) -> str:
    """Return where a piece of evidence stands: "train.yaml:12:1"."""
    own = item.source == name_of(report.config)
    parts = [report.name if own else item.source]
    column = column_of(item, report.config, report.around)
    parts += [str(number) for number in (item.line, column) if number is not None]
    return shown(":".join(parts))


def as_text(report: CheckReport, language: Language) -> str:
    """Return a check's result as lines of 80 columns, the place first."""
    return "\n".join(_lines(report, language)) + "\n"


def _lines(report: CheckReport, language: Language) -> Iterator[str]:
    findings = report.diagnosis.findings
    for finding, remedy in zip(findings, report.remedies, strict=True):
        yield from _finding(finding, remedy, report, language)
        yield ""
    yield from wrapped(_summary(report, language))


def _summary(report: CheckReport, language: Language) -> str:
    looked = LOOKED_AT.to(language).format(rules=report.rules, keys=report.keys)
    stop = "; " if language is Language.EN else "；"
    if report.not_looked_at:
        reasons = ", ".join(cut(shown(one), _MOST_REASON) for one in report.not_looked_at)
        looked += stop + words.labelled(NOT_LOOKED_AT.to(language), reasons, language)
    findings = report.diagnosis.findings
    if not findings:
        return NOTHING.to(language) + words.aside(looked, language)
    counts = {one: sum(f.severity is one for f in findings) for one in reversed(Severity)}
    told = [counted(count, one, language) for one, count in counts.items() if count]
    return stop.join(told) + words.aside(looked, language)


def _finding(
    finding: Finding, remedy: Remedy | None, report: CheckReport, language: Language
) -> Iterator[str]:
    first, *others = finding.evidence or (Evidence(name_of(report.config), None, ""),)
    severity = (
        finding.severity.label
        if language is Language.EN
        else (words.SEVERITIES[finding.severity].to(language))
    )
    yield cut(f"{place_of(first, report)} {severity} {finding.id}", WIDTH)
    yield from wrapped(shown(finding.title.to(language)), _INDENT)
    yield from wrapped(shown(first.text), _INDENT * 2, most=2)
    is_note = finding.severity is Severity.NOTE
    for item in others[: _PLACES_OF_A_NOTE if is_note else _MOST_PLACES]:
        yield from wrapped(f"{place_of(item, report)}: {shown(item.text)}", _INDENT * 2, most=2)
    yield from wrapped(shown(finding.cause.to(language)), _INDENT)
    if remedy is not None:
        yield from _remedy(remedy, language)
    yield from _others(finding, remedy, language)


def _remedy(remedy: Remedy, language: Language) -> Iterator[str]:
    fix = remedy.fix
    advice = fix.safety is Safety.MANUAL
    label = (words.ADVICE if advice else words.FIX).to(language)
    yield from wrapped(words.labelled(label, remedy_heading(fix, language), language), _INDENT)
    if advice or remedy.fault:
        yield from wrapped(shown(describe_changes(fix, language)), _INDENT * 2)
        yield from wrapped(shown(fix.why.to(language)), _INDENT * 2)
    if remedy.fault:
        reason = words.NOT_EDITED.to(language).format(reason=shown(remedy.fault))
        yield from wrapped(reason, _INDENT * 2)
    elif remedy.diff:
        yield from wrapped(memory_line(fix, language), _INDENT * 2)
        yield from wrapped(price_line(fix, language), _INDENT * 2)
        yield from (f"{_INDENT * 2}{line}" for line in diff_lines(remedy.diff, language))


def _others(finding: Finding, remedy: Remedy | None, language: Language) -> Iterator[str]:
    left = [fix for fix in finding.fixes if remedy is None or fix.id != remedy.fix.id]
    if not left:
        return
    heading = (words.OTHER_FIXES if remedy else words.FIXES).to(language)
    yield _INDENT + words.labelled(heading, "", language)
    names = [words.SAFETIES[fix.safety].to(language) for fix in left]
    room = max(map(columns, names))
    for name, fix in zip(names, left, strict=True):
        start = f"{_INDENT * 2}{name}{' ' * (room - columns(name))}  "
        yield cut(f"{start}{fix_line(fix, language)}", WIDTH)
        yield from wrapped(memory_line(fix, language), " " * columns(start))


def as_value(report: CheckReport, language: Language) -> dict[str, Any]:
    """Return a check's result as a JSON value: that of `analyze`, with columns."""
    document = report.config.document
    named = report.config.get("output_dir", None)
    run = RunFacts(
        config=report.name if document is not None else None,
        output_dir=named if isinstance(named, str) else None,
        llamafactory=report.llamafactory,
    )
    value = as_json(Report(run, report.diagnosis, name=report.name), language)
    for told, finding, remedy in zip(
        value["findings"], report.diagnosis.findings, report.remedies, strict=True
    ):
        for place, item in zip(told["evidence"], finding.evidence, strict=True):
            own = item.source == name_of(report.config)
            place["source"] = report.name if own else item.source
            place["column"] = column_of(item, report.config, report.around)
        told["diff"] = remedy.diff if remedy is not None else ""
    value["schema"] = SCHEMA
    value["not_looked_at"] = list(report.not_looked_at)
    del value["remedy"]
    return value


def as_markdown(report: CheckReport, language: Language) -> str:
    """Return a check's result as Markdown, made for a comment on a change."""
    return "\n".join(_markdown(report, language)) + "\n"


def _markdown(report: CheckReport, language: Language) -> Iterator[str]:
    yield f"### llamavet check: {code(report.name)}"
    yield ""
    yield escaped(_summary(report, language))
    for finding, remedy in zip(report.diagnosis.findings, report.remedies, strict=True):
        yield ""
        yield finding_heading(finding, language)
        yield ""
        if finding.cause.to(language):
            yield escaped(finding.cause.to(language))
            yield ""
        places = finding.evidence[: _MOST_PLACES + 1]
        yield from fenced(
            "\n".join(f"{place_of(one, report)}: {shown(one.text)}" for one in places)
        )
        if remedy is not None:
            yield ""
            label = words.ADVICE if remedy.fix.safety is Safety.MANUAL else words.FIX
            heading = escaped(remedy_heading(remedy.fix, language))
            yield words.labelled(f"**{label.to(language)}**", heading, language)
            if remedy.diff:
                yield ""
                yield from fenced(remedy.diff, "diff")
        yield from _other_items(finding, remedy, language)


def _other_items(finding: Finding, remedy: Remedy | None, language: Language) -> Iterator[str]:
    left: list[Fix] = [fix for fix in finding.fixes if remedy is None or fix.id != remedy.fix.id]
    if left:
        yield ""
    for fix in left:
        yield fix_item(fix, language)
