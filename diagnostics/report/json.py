"""Owns the JSON of a report, which other programs depend on."""

import math
from collections.abc import Mapping
from typing import Any

from diagnostics.config.unset import UNSET
from diagnostics.findings import Finding, Fix, KeyChange, Language, Prediction
from diagnostics.report.model import Remedy, Report

SCHEMA = 1
_MAX_DEPTH = 16


def as_json(report: Report, language: Language) -> dict[str, Any]:
    """Return the report as a JSON value."""
    run = report.run
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
            "name": report.name or None,
            "logs": list(report.logs),
        },
        "findings": [_finding(finding, language) for finding in report.diagnosis.findings],
        "blind": [
            {"id": item.id, "missing": list(item.missing)} for item in report.diagnosis.blind
        ],
        "remedy": None if report.remedy is None else _remedy(report.remedy, report.relaunch),
    }


def _finding(finding: Finding, language: Language) -> dict[str, Any]:
    return {
        "id": finding.id,
        "severity": finding.severity.label,
        "primary": finding.primary,
        "title": finding.title.to(language),
        "cause": finding.cause.to(language),
        "to_be_sure": finding.to_be_sure.to(language),
        "evidence": [
            {"source": item.source, "line": item.line, "text": item.text}
            for item in finding.evidence
        ],
        "fixes": [_fix(fix, language) for fix in finding.fixes],
        "consequences": [
            {"id": one.id, "title": one.title.to(language)} for one in finding.consequences
        ],
    }


def _fix(fix: Fix, language: Language) -> dict[str, Any]:
    return {
        "id": fix.id,
        "title": fix.title.to(language),
        "safety": fix.safety.label,
        "why": fix.why.to(language),
        "changes": [_change(change) for change in fix.changes],
        "env": dict(fix.env),
        "predicted": None if fix.predicted is None else _predicted(fix.predicted),
    }


def _predicted(predicted: Prediction) -> dict[str, Any]:
    capacity = predicted.capacity_gib
    return {
        "before_gib": round(predicted.before_gib, 3),
        "peak_gib": round(predicted.peak_gib, 3),
        "capacity_gib": None if capacity is None else round(capacity, 3),
        "verdict": predicted.verdict,
        "confidence": predicted.confidence,
        "method": predicted.method,
    }


def _change(change: KeyChange) -> Mapping[str, object]:
    return {
        "key": change.key,
        "from": None if change.old is UNSET else plain(change.old),
        "to": None if change.new is UNSET else plain(change.new),
    }


def _remedy(remedy: Remedy, relaunch: tuple[str, ...]) -> dict[str, Any]:
    return {
        "finding": remedy.finding_id,
        "fix": remedy.fix.id,
        "diff": remedy.diff,
        "relaunch": list(relaunch),
    }


def plain(value: object, depth: int = 0) -> object:
    """Return a value of a YAML file as JSON can have it: no date, no nan, no endless nesting."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {str(key): plain(one, depth + 1) for key, one in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set):
        return [plain(one, depth + 1) for one in value]
    return str(value)
