"""Owns `llamavet check`: what is read, printed and written, and the exit code."""

import argparse
import json
import sys
from pathlib import Path

from diagnostics.config.document import MAX_BYTES
from diagnostics.config.edit import unified_diff
from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import ConfigError, RunError
from diagnostics.findings import Language
from diagnostics.precheck.report import CheckReport, as_markdown, as_text, as_value
from diagnostics.report.clean import shown_lines
from diagnostics.report.model import describe_changes
from diagnostics.runs.check import Checker, Mended, make_checker, mend
from diagnostics.runs.config_file import read_config_bytes
from tui.inputs import NAME_A_TRAINING, devices_of
from tui.loaded_rules import rules_or_warn
from tui.outputs import passes, put_out, remark

DONE, FOUND = 0, 1


def check(args: argparse.Namespace) -> int:
    """Say what would stop or harm the training of a config, before it is launched."""
    if args.fix is not None and "=" in args.fix:
        raise RunError(f"{args.fix} is no fix", remedy="put --fix last, or write --fix=ID")
    rules = rules_or_warn(args.rules).rules
    checker = make_checker(
        str(args.config),
        args.overrides,
        rules,
        python=args.python,
        probe=not args.no_probe,
        devices=devices_of(args),
    )
    try:
        config = checker.read(_data(checker))
    except ConfigError as error:
        if error.line is None:
            raise
        report = checker.unreadable(error)
    else:
        report = checker.check(config)
        if args.fix is not None or args.apply:
            report = _mend(args, checker, report)
    _print(report, args.format, Language(args.lang))
    worst = max((one.severity for one in report.diagnosis.findings), default=-1)
    return DONE if passes(worst, args.fail_on) else FOUND


def _data(checker: Checker) -> bytes:
    if checker.name == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    return read_config_bytes(checker.path, NAME_A_TRAINING)


def _mend(args: argparse.Namespace, checker: Checker, report: CheckReport) -> CheckReport:
    """Show what the fixes change, or write it; return what is left then."""
    if args.apply and checker.name == "-":
        raise RunError("--apply cannot write to standard input", remedy="name the config's file")
    mended = mend(checker, report, args.fix or "", unsafe=args.unsafe_fixes)
    if not mended.fixes:
        remark("no fix can be taken by itself; --unsafe-fixes, or --fix=ID, takes the others")
        return report
    for fix in mended.fixes:
        remark(f"{'took' if args.apply else 'would take'} {fix.id}: {describe_changes(fix)}")
    if not args.apply:
        remark("nothing was written; --apply writes it")
        sys.stderr.write(shown_lines(_diff(mended)))
        return report
    from diagnostics.runs.amend import amend  # noqa: PLC0415 - rarely needed

    ids = [fix.id for fix in mended.fixes]
    backup = amend(mended.before, mended.after.config, ids, mended.changes)
    remark(f"{checker.name}: written; `llamavet undo {checker.name}` takes it back ({backup})")
    return mended.after


def _diff(mended: Mended) -> str:
    name = Path(mended.after.name).name
    return unified_diff(_text(mended.before), _text(mended.after.config), name)


def _text(config: EffectiveConfig) -> str:
    return config.document.text if config.document is not None else ""


def _print(report: CheckReport, form: str, language: Language) -> None:
    match form:
        case "json":
            text = json.dumps(as_value(report, language), ensure_ascii=False) + "\n"
        case "md":
            text = as_markdown(report, language)
        case _:
            text = as_text(report, language)
    put_out(text)
