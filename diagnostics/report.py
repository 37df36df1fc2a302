"""Owns a diagnosis as text and as the JSON that other programs depend on. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnostics.config.unset import UNSET
from diagnostics.findings import Diagnosis, Finding, Fix, KeyChange, Language

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a report says of the run itself; None is unknown."""

    config: str | None = None
    output_dir: str | None = None
    llamafactory: str | None = None
    status: str = "unknown"
    exit_code: int | None = None
    step: int | None = None
    total_steps: int | None = None


def as_json(run: RunFacts, diagnosis: Diagnosis, language: Language) -> dict[str, Any]:
    """Return the report as a JSON value."""
    return {
        "schema": SCHEMA,
        "run": {
            "config": run.config,
            "output_dir": run.output_dir,
            "llamafactory": run.llamafactory,
            "status": run.status,
            "exit_code": run.exit_code,
            "step": run.step,
            "total_steps": run.total_steps,
        },
        "findings": [_finding_json(finding, language) for finding in diagnosis.findings],
        "blind": [{"id": item.id, "missing": list(item.missing)} for item in diagnosis.blind],
    }


def _finding_json(finding: Finding, language: Language) -> dict[str, Any]:
    return {
        "id": finding.id,
        "severity": finding.severity.label,
        "primary": finding.primary,
        "title": finding.title.to(language),
        "cause": finding.cause.to(language),
        "evidence": [
            {"source": item.source, "line": item.line, "text": item.text}
            for item in finding.evidence
        ],
        "fixes": [_fix_json(fix, language) for fix in finding.fixes],
    }


def _fix_json(fix: Fix, language: Language) -> dict[str, Any]:
    return {
        "id": fix.id,
        "title": fix.title.to(language),
        "safety": fix.safety.label,
        "why": fix.why.to(language),
        "changes": [_change_json(change) for change in fix.changes],
        "env": dict(fix.env),
        "predicted": None,
    }


def _change_json(change: KeyChange) -> Mapping[str, object]:
    return {
        "key": change.key,
        "from": None if change.old is UNSET else change.old,
        "to": None if change.new is UNSET else change.new,
    }


def describe_change(change: KeyChange) -> str:
    """Return a change in a few words: "cutoff_len 2048 -> 1024"."""
    old = "" if change.old is UNSET else f"{change.old} -> "
    new = "not set" if change.new is UNSET else str(change.new)
    return f"{change.key} {old}{new}"


def as_text(run: RunFacts, diagnosis: Diagnosis, language: Language) -> str:
    """Return the report as lines for a person; no colour, no escape codes."""
    lines = [_headline(run)]
    if not diagnosis.findings:
        lines.append("没有发现问题。" if language is Language.ZH else "Nothing wrong found.")
    for finding in diagnosis.findings:
        lines.append("")
        lines.append(f"{finding.severity.label}: {finding.title.to(language)}  [{finding.id}]")
        if finding.cause.to(language):
            lines.append(f"  {finding.cause.to(language)}")
        lines.extend(_evidence_lines(finding))
        lines.extend(_fix_lines(finding, language))
    return "\n".join(lines) + "\n"


def _headline(run: RunFacts) -> str:
    parts = [f"run {run.status}"]
    if run.step is not None:
        parts.append(f"at step {run.step}" + (f" of {run.total_steps}" if run.total_steps else ""))
    if run.exit_code is not None:
        parts.append(f"exit code {run.exit_code}")
    if run.config is not None:
        parts.append(f"config {run.config}")
    return ", ".join(parts)


def _evidence_lines(finding: Finding) -> list[str]:
    return [
        f"  {item.source}{f':{item.line}' if item.line is not None else ''}: {item.text[:200]}"
        for item in finding.evidence[:3]
    ]


def _fix_lines(finding: Finding, language: Language) -> list[str]:
    lines = []
    for fix in finding.fixes:
        lines.append(f"  fix ({fix.safety.label}): {fix.title.to(language)}")
        changes = [describe_change(change) for change in fix.changes]
        changes += [f"{name}={value}" for name, value in fix.env.items()]
        if changes:
            lines.append(f"      {', '.join(changes)}")
        elif fix.why.to(language):
            lines.append(f"      {fix.why.to(language)}")
        if fix.caveat.to(language):
            lines.append(f"      ({fix.caveat.to(language)})")
    return lines
