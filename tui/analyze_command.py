"""Owns `llamavet analyze`: what is read, what is printed where, and the exit code.

Only what a post-mortem needs is imported: on a small run that takes most of the time.
"""

import argparse
import json
from dataclasses import dataclass, field
from typing import Any

from diagnostics.errors import LlamavetError, RunError
from diagnostics.findings import Language
from diagnostics.postmortem import PostMortem, examine_remains
from diagnostics.report.model import Report, describe_changes
from diagnostics.ruleset import RuleSet
from diagnostics.runs.gather import Gathered, gather
from diagnostics.runs.log_parts import check_readable
from diagnostics.runs.mended import write_mended
from diagnostics.runs.remains import Remains
from tui.loaded_rules import rules_or_warn
from tui.outputs import passes, put_out, remark

DONE, FOUND, UNREADABLE = 0, 1, 2


@dataclass(slots=True)
class _Told:
    """What came of the runs: their sections, the worst that was found, whether all were read."""

    sections: list[Any] = field(default_factory=list)
    worst: int = -1
    failed: bool = False


def analyze(args: argparse.Namespace) -> int:
    """Diagnose what the paths name; print one report, with a section for each run."""
    gathered = gather(args.paths)
    if args.write_config is not None and len(gathered.runs) > 1:
        raise RunError(
            f"--write-config is for one run, and these are {len(gathered.runs)}",
            remedy="name the files of one run",
        )
    for fault in gathered.faults:
        remark(str(fault))
    told = _Told(failed=bool(gathered.faults))
    if gathered.runs:
        _examine_all(args, gathered, told)
    if told.sections:
        put_out(_document(told.sections, args.format, Language(args.lang)))
    if told.failed:
        return UNREADABLE
    return DONE if passes(told.worst, args.fail_on) else FOUND


def _examine_all(args: argparse.Namespace, gathered: Gathered, told: _Told) -> None:
    rules = rules_or_warn(args.rules)
    optional = gathered.expanded and len(gathered.runs) > 1
    unknown: list[str] = []
    for left in gathered.runs:
        try:
            found = _examined(left, rules)
        except LlamavetError as fault:
            told.failed = True
            remark(str(fault))
            continue
        for source, broken in found.snapshot.faults.items():
            remark(f"{source}: {broken.reason}; what could be read of it is reported")
        if not found.recognised:
            unknown.append(left.name)
            if optional or args.format != "json":
                continue
        told.worst = max([told.worst, *(one.severity for one in found.diagnosis.findings)])
        report = _report(args, found, told)
        told.sections.append(_section(report, args.format, Language(args.lang)))
    if unknown and not (optional and told.sections):
        told.failed = True
        remark(
            f"{', '.join(unknown[:3])}: nothing in it is of a LLaMA-Factory training;"
            " name a training's console log, its output_dir, or a folder of runs"
        )


def _examined(left: Remains, rules: RuleSet) -> PostMortem:
    """Read one run.

    Raises:
        LlamavetError: nothing of it can be read.
    """
    if not left.stream and left.output_dir is None:
        check_readable(left.logs)
    try:
        return examine_remains(left, rules)
    except OSError as error:
        raise RunError(f"{left.name}: cannot be read: {error.strerror or error}") from error


def _report(args: argparse.Namespace, found: PostMortem, told: _Told) -> Report:
    """Return what is told of a run; the mended config is written first, so that it can be named."""
    try:
        report = found.report(args.fix)
        if args.write_config is None:
            return report
        write_mended(found.left, report.remedy, args.write_config, force=args.force)
    except LlamavetError as fault:
        told.failed = True
        remark(str(fault))
        return found.report()
    if report.remedy is not None:
        changes = describe_changes(report.remedy.fix)
        remark(f"{args.write_config}: written with {changes}; {report.run.config} is as it was")
    return found.report(args.fix, str(args.write_config))


def _section(report: Report, form: str, language: Language) -> Any:
    match form:
        case "json":
            from diagnostics.report.json import as_json  # noqa: PLC0415 - only what is asked for

            return as_json(report, language)
        case "md":
            from diagnostics.report.markdown import as_markdown  # noqa: PLC0415 - the same

            return as_markdown(report, language)
        case "html":
            from diagnostics.report.html import section  # noqa: PLC0415 - the same

            return section(report, language)
        case _:
            from diagnostics.report.text import as_text  # noqa: PLC0415 - the same

            return as_text(report, language)


def _document(sections: list[Any], form: str, language: Language) -> str:
    match form:
        case "json":
            from diagnostics.report.json import SCHEMA  # noqa: PLC0415 - only what is asked for

            value = sections[0] if len(sections) == 1 else {"schema": SCHEMA, "runs": sections}
            return json.dumps(value, ensure_ascii=False) + "\n"
        case "md":
            return "\n---\n\n".join(sections)
        case "html":
            from diagnostics.report.html import page  # noqa: PLC0415 - only what is asked for

            return page(sections, language)
        case _:
            return ("\n" + "=" * 80 + "\n\n").join(sections)
