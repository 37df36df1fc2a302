"""Owns the diagnosis: every rule judged on one snapshot, causes before consequences. Pure."""

import re
from collections.abc import Iterable
from dataclasses import replace

from diagnostics.conditions import Verdict, evaluate
from diagnostics.findings import Blind, Diagnosis, Finding, Severity, Text
from diagnostics.fixes import work_out
from diagnostics.observations import Missing
from diagnostics.ruleset import Rule
from diagnostics.signals import SIGNALS, Context, read_signal

_GIB = 1024**3
_MIB = 1024**2
_FIELD = re.compile(r"\{([\w.]+)(?:\|(\w+))?\}")


def diagnose(rules: Iterable[Rule], context: Context) -> Diagnosis:
    """Judge all rules; a rule whose data is not there is blind, not fine."""
    met: list[tuple[Rule, Verdict]] = []
    blind: list[Blind] = []
    for rule in rules:
        absent = tuple(
            need for need in rule.needs if need not in context.snapshot.observed | _given(context)
        )
        if absent:
            blind.append(Blind(rule.id, absent))
            continue
        verdict = evaluate(rule.when, context)
        if verdict.truth:
            met.append((rule, verdict))
        elif verdict.truth is None:
            blind.append(Blind(rule.id, verdict.missing))
    explained = {covered for rule, _ in met for covered in rule.explains}
    kept = [(rule, verdict) for rule, verdict in met if not _covered(rule.id, explained)]
    findings = sorted(
        (_finding(rule, verdict, context) for rule, verdict in kept),
        key=lambda finding: (-finding.severity, finding.id),
    )
    if findings and findings[0].severity > Severity.NOTE:
        findings[0] = replace(findings[0], primary=True)
    return Diagnosis(tuple(findings), tuple(blind))


def _given(context: Context) -> frozenset[str]:
    return frozenset() if context.config is None else frozenset({"config"})


def _covered(rule_id: str, ids: Iterable[str]) -> bool:
    return any(rule_id == covered for covered in ids)


def _finding(rule: Rule, verdict: Verdict, context: Context) -> Finding:
    fixes = (work_out(fix, context) for fix in rule.fixes)
    return Finding(
        id=rule.id,
        severity=rule.severity,
        title=_filled(rule.title, context) or rule.title,
        cause=_joined([_filled(sentence, context) for sentence in rule.cause]),
        evidence=verdict.evidence,
        fixes=tuple(fix for fix in fixes if fix is not None),
    )


def _joined(sentences: list[Text | None]) -> Text:
    known = [sentence for sentence in sentences if sentence is not None]
    return Text(" ".join(text.en for text in known), "".join(text.zh for text in known))


def _filled(text: Text, context: Context) -> Text | None:
    """Put values in; None where one is not known, so that nothing half-said is shown."""
    values: dict[str, str] = {}
    for name, form in _FIELD.findall(text.en) + _FIELD.findall(text.zh):
        shown = _shown(name, form, context)
        if shown is None:
            return None
        values["{" + name + (f"|{form}" if form else "") + "}"] = shown

    def put(template: str) -> str:
        return _FIELD.sub(lambda match: values[match.group(0)], template)

    return Text(put(text.en), put(text.zh))


def _shown(name: str, form: str, context: Context) -> str | None:
    if name.startswith("config."):
        key = name.removeprefix("config.")
        value = context.config.value(key) if context.config is not None else None
        return None if value is None else str(value)
    if name not in SIGNALS:
        return None
    signal = read_signal(name, context)
    if signal is None or isinstance(signal.value, Missing):
        return None
    value = signal.value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_value(value, form)
    return str(value)


def format_value(value: float, form: str) -> str:
    """Format a number: "bytes" picks GiB or MiB, "pct" is whole percent."""
    match form:
        case "bytes" if value >= _GIB:
            return f"{value / _GIB:.2f} GiB"
        case "bytes":
            return f"{value / _MIB:.0f} MiB"
        case "pct":
            return f"{value:.0f} %"
        case _:
            return str(value)
