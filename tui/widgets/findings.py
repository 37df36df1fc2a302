"""Owns how findings and fixes read: the dashboard's short form and the full one. Pure."""

from collections.abc import Sequence

from diagnostics.findings import (
    Diagnosis,
    Finding,
    Fix,
    Language,
    Prediction,
    Safety,
    Severity,
)
from diagnostics.report.outlook import memory_line
from diagnostics.report.words import SEVERITIES
from tui import words
from tui.widgets.cells import Line, Role, cut, cut_line, inert, rule, wrap
from tui.words import say

SEVERITY_ROLES = {Severity.CRITICAL: Role.BAD, Severity.WARNING: Role.WARN, Severity.NOTE: Role.DIM}
SAFETY_ROLES = {Safety.SAFE: Role.GOOD, Safety.UNSAFE: Role.WARN, Safety.MANUAL: Role.DIM}
INDENT = "  "


def treatable(diagnosis: Diagnosis) -> Finding | None:
    """Return the finding that the fix key is about: one with a remedy, the primary before others.

    A finding whose remedies llamavet can carry out comes before one with advice alone.
    """
    primary = diagnosis.primary
    ordered = [*([primary] if primary else []), *diagnosis.findings]
    able = (f for f in ordered if any(fix.safety is not Safety.MANUAL for fix in f.fixes))
    return next(able, None) or next((f for f in ordered if f.fixes), None)


def first_fix(finding: Finding) -> Fix | None:
    """Return the fix to offer first: of those not known to fail the safest, of these the first."""
    return finding.best_fix


def memory_role(predicted: Prediction) -> Role:
    """Return how a prediction is coloured."""
    roles = {"fits": Role.GOOD, "tight": Role.WARN, "does_not_fit": Role.BAD}
    return roles.get(predicted.verdict, Role.DIM)


def findings_lines(
    diagnosis: Diagnosis | None,
    width: int,
    language: Language,
    *,
    running: bool,
    can_fix: bool,
    limit: int,
) -> Sequence[Line]:
    """Return the findings section in at most `limit` rows."""
    head = rule(say(words.FINDINGS, language), width)
    if diagnosis is None:
        return (head, ((INDENT + cut(say(words.LOOKING, language), width - 2), Role.DIM),))
    if not diagnosis.findings:
        calm = words.HEALTHY if running else words.HEALTHY_ENDED
        ok = (("✔ ", Role.GOOD), (cut(say(calm, language), width - 2), Role.GOOD))
        return (head, ok, *_blind_line(diagnosis, width, language, running=running))
    first = diagnosis.primary or diagnosis.findings[0]
    cured = treatable(diagnosis)
    tail: list[Line] = []
    if cured is not None:
        tail = [fix_line(cured, width, language, can_fix=can_fix)]
    others = [finding for finding in diagnosis.findings if finding is not first]
    shown = others[: max(limit - 4 - len(tail), 0)]
    tail += [finding_title(finding, width, language) for finding in shown]
    if len(shown) < len(others):
        left = len(others) - len(shown)
        form = words.ONE_MORE_FINDING if left == 1 else words.MORE_FINDINGS
        text = say(form, language, count=left)
        tail.append(((cut(f"+ {text}", width), Role.DIM),))
    room = max(limit - 2 - len(tail), 1)
    after = followed(first, width, language)
    cause = wrap(inert(first.cause.to(language)), width - 2, max(room - len(after), 1))
    rows: list[Line] = [((INDENT + row, Role.TEXT),) for row in cause]
    rows += after if len(rows) < room else ()
    if len(rows) + len(tail) + 2 < limit:
        tail += _blind_line(diagnosis, width, language, running=running)
    return (head, finding_title(first, width, language), *rows, *tail)


def finding_title(finding: Finding, width: int, language: Language) -> Line:
    """Return a finding's severity, as a mark and a word, and its title."""
    role = SEVERITY_ROLES[finding.severity]
    word = SEVERITIES[finding.severity].to(language)
    mark = words.SEVERITY_MARKS[finding.severity]
    title = (inert(finding.title.to(language)), Role.STRONG)
    return cut_line(((f"{mark} {word}  ", role), title), width)


def followed(finding: Finding, width: int, language: Language) -> Sequence[Line]:
    """Return the row that tells what only followed from a finding; none where nothing did."""
    if not finding.consequences:
        return ()
    titles = ", ".join(inert(one.title.to(language)) for one in finding.consequences)
    text = say(words.FOLLOWED, language, titles=titles)
    return (((INDENT + cut(text, width - 2), Role.DIM),),)


def fix_line(finding: Finding, width: int, language: Language, *, can_fix: bool) -> Line:
    """Return the row that offers the first fix, with the key where the key works."""
    fix = first_fix(finding)
    if fix is None:
        return ()
    key: Line = ((" f ", Role.BADGE), (" ", Role.TEXT)) if can_fix else ((INDENT, Role.TEXT),)
    by_hand = fix.safety is Safety.MANUAL
    text = words.ADVICE_LINE if by_hand else words.FIX_LINE
    title = say(text, language, title=inert(fix.title.to(language)))
    tag: Line = ((f"  [{words.SAFETIES[fix.safety].to(language)}]", SAFETY_ROLES[fix.safety]),)
    if fix.predicted is not None:
        told = fix.predicted
        tag = (*tag, (f"  {told.before_gib:.1f} → {told.peak_gib:.1f} GiB", memory_role(told)))
    more = len(finding.fixes) - 1
    if more:
        tag = (*tag, (f"  + {say(words.MORE_FIXES, language, count=more)}", Role.DIM))
    used = sum(len(part) for part, _ in tag) + 8
    return cut_line((*key, (cut(title, max(width - used, 20)), Role.STRONG), *tag), width)


def _blind_line(
    diagnosis: Diagnosis, width: int, language: Language, *, running: bool
) -> Sequence[Line]:
    missing = dict.fromkeys(_kind(name) for blind in diagnosis.blind for name in blind.missing)
    if running:
        missing.pop("exit", None)  # a run that goes on has none
    if not missing:
        return ()
    names = ", ".join(inert(name) for name in missing)
    text = say(words.BLIND, language, missing=names)
    return (((INDENT + cut(text, width - 2), Role.DIM),),)


def _kind(missing: str) -> str:
    """Return what kind of thing is missing: "data.conflict_pct: no such folder" is data."""
    name = missing.partition(":")[0]
    return name if " " in name else name.partition(".")[0]


def full_lines(diagnosis: Diagnosis, width: int, language: Language) -> Sequence[Line]:
    """Return every finding with cause, evidence and fixes, then what could not be judged."""
    lines: list[Line] = []
    for finding in diagnosis.findings:
        lines += [*finding_full(finding, width, language), ()]
        for fix in finding.fixes:
            lines += [*fix_full(fix, width, language), ()]
    if not diagnosis.findings:
        lines += [((say(words.HEALTHY, language), Role.GOOD),), ()]
    for blind in diagnosis.blind:
        missing = ", ".join(inert(name) for name in blind.missing)
        text = say(words.NOT_JUDGED, language, id=inert(blind.id), missing=missing)
        lines += [((row, Role.DIM),) for row in wrap(text, width)]
    return lines


def finding_full(finding: Finding, width: int, language: Language) -> Sequence[Line]:
    """Return a finding's title, its whole cause, and the log lines that show it."""
    lines = [finding_title(finding, width, language)]
    lines += _paragraph(finding.cause.to(language), width, Role.TEXT)
    for evidence in finding.evidence:
        place = inert(evidence.source) + (f":{evidence.line}" if evidence.line else "")
        lines += _paragraph(f"{place}  {evidence.text}", width, Role.DIM)
    if finding.to_be_sure.to(language):
        text = say(words.TO_BE_SURE, language, text=finding.to_be_sure.to(language))
        lines += _paragraph(text, width, Role.TEXT)
    for one in finding.consequences:
        text = say(words.FOLLOWED, language, titles=one.title.to(language))
        lines += _paragraph(text, width, Role.DIM)
    return lines


def fix_full(fix: Fix, width: int, language: Language) -> Sequence[Line]:
    """Return a fix's title with its safety, then why, price and what could not be checked."""
    tag = words.SAFETIES[fix.safety].to(language)
    title = inert(fix.title.to(language))
    head: Line = ((title, Role.STRONG), (f"  [{tag}]", SAFETY_ROLES[fix.safety]))
    means = words.SAFETY_MEANS[fix.safety].to(language)
    lines = [cut_line((*head, (f"  {means}", Role.DIM)), width)]
    if fix.predicted is not None:
        lines += _paragraph(memory_line(fix, language), width, memory_role(fix.predicted))
    for text, form in ((fix.why, words.WHY), (fix.price, words.PRICE), (fix.caveat, words.CAVEAT)):
        if text.to(language):
            lines += _paragraph(say(form, language, text=text.to(language)), width, Role.TEXT)
    return lines


def _paragraph(text: str, width: int, role: Role) -> list[Line]:
    return [((INDENT + row, role),) for row in wrap(inert(text), width - 2)]
