"""Owns the diagnosis: every rule judged on one snapshot, causes before consequences. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from diagnostics.conditions import Verdict, evaluate
from diagnostics.findings import Blind, Diagnosis, Finding, Fix, Severity
from diagnostics.fixes import NO_TEXT, work_out
from diagnostics.phrases import filled, joined
from diagnostics.rule_reader import Rule
from diagnostics.signals import Context
from diagnostics.signals.errors import error_chain, error_evidence

_ABOUT_MEMORY = ("gpu_oom.", "host_oom.alloc")
"""Findings whose fixes are there to make the training fit."""
_NO_TRAINING = ("gpu_oom.export", "export.")
"""Findings of a merge or an export: a training's memory says nothing of them."""


def diagnose(rules: Iterable[Rule], context: Context) -> Diagnosis:
    """Judge all rules; a rule whose data is not there is blind, not fine."""
    met: list[tuple[Rule, Verdict]] = []
    blind: list[Blind] = []
    there = context.snapshot.observed | _given(context)
    for rule in rules:
        absent = tuple(need for need in rule.needs if need not in there)
        if absent:
            blind.append(Blind(rule.id, absent))
            continue
        verdict = evaluate(rule.when, context)
        if verdict.truth:
            met.append((rule, verdict))
        elif verdict.truth is None:
            blind.append(Blind(rule.id, verdict.missing))
    findings = [finding_of(rule, verdict, context) for rule, verdict in _told(met)]
    return Diagnosis(tuple(_ranked(findings, [rule for rule, _ in met], context)), tuple(blind))


def _told(met: list[tuple[Rule, Verdict]]) -> list[tuple[Rule, Verdict]]:
    """Leave out the fallbacks where another rule explains how the run ended."""
    explained = any(
        rule.severity is Severity.CRITICAL and not rule.fallback and _cites_a_line(verdict)
        for rule, verdict in met
    )
    return [(rule, verdict) for rule, verdict in met if not (rule.fallback and explained)]


def _cites_a_line(verdict: Verdict) -> bool:
    return any(item.line is not None for item in verdict.evidence)


def _ranked(findings: list[Finding], rules: list[Rule], context: Context) -> list[Finding]:
    """Put causes first, each with what only followed from it; the first is the one to act on."""
    explains = {rule.id: rule.explains for rule in rules}
    place = {item: number for number, item in enumerate(_error_places(context))}

    def order(finding: Finding) -> tuple[int, bool, str]:
        cited = any((item.source, item.line) in place for item in finding.evidence)
        return (-finding.severity, not cited, finding.id)

    found = sorted(findings, key=order)
    causes = {
        finding.id: next(
            (one.id for one in found if covers(explains[one.id], finding.id, one.id)), None
        )
        for finding in found
    }
    roots = {finding.id: _first_cause(finding.id, causes) for finding in found}
    told = [
        replace(
            finding,
            consequences=tuple(
                one for one in found if one.id != finding.id and roots[one.id] == finding.id
            ),
        )
        for finding in found
        if roots[finding.id] == finding.id
    ]
    if told and told[0].severity > Severity.NOTE:
        told[0] = replace(told[0], primary=True)
    return told


def _first_cause(rule_id: str, causes: Mapping[str, str | None]) -> str:
    """Follow causes to the one that has none; rules that explain each other stay as they are."""
    seen = [rule_id]
    while (cause := causes[seen[-1]]) is not None:
        if cause in seen:
            return rule_id
        seen.append(cause)
    return seen[-1]


def covers(covered: tuple[str, ...], rule_id: str, own: str) -> bool:
    """Tell whether a rule's `explains` covers an id: by itself, or by its family as "loss.*"."""
    if rule_id == own:
        return False
    return any(
        rule_id == one or (one.endswith(".*") and rule_id.startswith(one[:-1])) for one in covered
    )


def _error_places(context: Context) -> list[tuple[str, int | None]]:
    chain = error_chain(context)
    return [(shown.source, shown.line) for shown in map(error_evidence, chain)]


def _given(context: Context) -> frozenset[str]:
    given = {"config": context.config, "dataset": context.datasets}
    return frozenset(name for name, value in given.items() if value is not None)


def finding_of(rule: Rule, verdict: Verdict, context: Context) -> Finding:
    """Return what a rule says, with what showed it and what helps."""
    captures = verdict.captures
    return Finding(
        id=rule.id,
        severity=rule.severity,
        title=filled(rule.title, context, captures) or rule.title,
        cause=joined([filled(one, context, captures) for one in rule.cause]),
        evidence=verdict.evidence,
        to_be_sure=filled(rule.to_be_sure, context, captures) or NO_TEXT,
        fixes=_fixes(rule, context, captures),
    )


def _fixes(rule: Rule, context: Context, captures: Mapping[str, str]) -> tuple[Fix, ...]:
    if context.memory is None or rule.id.startswith(_NO_TRAINING):
        made = (work_out(fix, context, captures) for fix in rule.fixes)
        return tuple(fix for fix in made if fix is not None)
    from diagnostics.outlook import with_outlook  # noqa: PLC0415 - most runs need no prediction

    cures_memory = rule.id.startswith(_ABOUT_MEMORY)
    return with_outlook(rule.fixes, context, captures, cures_memory=cures_memory)
