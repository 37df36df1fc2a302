"""Owns `llamavet rules`: list, show, test, schema."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from diagnostics.casebook import case_files, read_cases, run_case
from diagnostics.errors import LlamavetError
from diagnostics.findings import Language
from diagnostics.rule_fields import RuleError
from diagnostics.rule_pages import page
from diagnostics.rule_schema import rule_schema
from diagnostics.ruleset import load_rules, rule_roots
from diagnostics.sources.dataset import look
from tui.loaded_rules import rules_or_warn

DONE, FAILED = 0, 1


def rules_list(args: argparse.Namespace) -> int:
    """List all rules, those of the user too."""
    language = Language(args.lang)
    rules = sorted(rules_or_warn(args.rules).rules, key=lambda rule: rule.id)
    if args.format == "json":
        listed = [
            {
                "id": rule.id,
                "severity": rule.severity.label,
                "status": rule.status,
                "title": rule.title.to(language),
                "fixes": [fix.id for fix in rule.fixes],
                "path": str(rule.path),
            }
            for rule in rules
        ]
        print(json.dumps(listed, ensure_ascii=False))
        return DONE
    width = max((len(rule.id) for rule in rules), default=0)
    for rule in rules:
        print(f"{rule.id:<{width}}  {rule.severity.label:<8}  {rule.title.to(language)}")
    return DONE


def rules_show(args: argparse.Namespace) -> int:
    """Explain one rule."""
    rule = next((one for one in rules_or_warn(args.rules).rules if one.id == args.id), None)
    if rule is None:
        raise LlamavetError(f"{args.id}: no such rule", remedy="`llamavet rules list` has them all")
    print(page(rule))
    print(rule.path)
    return DONE


def rules_schema(_args: argparse.Namespace) -> int:
    """Print the JSON Schema of rule files."""
    print(json.dumps(rule_schema(), indent=2))
    return DONE


def rules_test(args: argparse.Namespace) -> int:
    """Run the cases beside the rules: ours, or those of files and folders of the user."""
    paths: list[Path] = args.paths
    for path in paths:
        if not path.exists():
            raise LlamavetError(f"{path}: no such file or folder")
    own = tuple(path if path.is_dir() else path.parent for path in paths)
    rules = load_rules(rule_roots(own))
    faults = [str(fault) for fault in rules.faults]
    count = 0
    for path in _case_files(paths):
        try:
            cases = read_cases(path)
        except RuleError as fault:
            faults.append(str(fault))
            continue
        count += len(cases)
        for case in cases:
            faults += [f"{path}: {case.name}: {text}" for text in run_case(case, rules, look)]
    for text in faults:
        print(text)
    print(f"{count} cases, {len(faults)} faults")
    return FAILED if faults else DONE


def _case_files(paths: Sequence[Path]) -> list[Path]:
    if not paths:
        return case_files(tuple(rule_roots()))
    found = list(case_files(tuple(path for path in paths if path.is_dir())))
    for path in paths:
        if path.is_file():
            beside = path.with_name(f"{path.name.removesuffix('.yaml')}.test.yaml")
            found.append(path if path.name.endswith(".test.yaml") else beside)
    missing = [path for path in found if not path.is_file()]
    if missing:
        raise LlamavetError(f"{missing[0]}: no cases there", remedy="write some beside the rule")
    return found
