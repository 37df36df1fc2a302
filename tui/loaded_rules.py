"""Owns the rules that a command judges by: ours, the user's, and those of --rules."""

import sys
from collections.abc import Iterable
from pathlib import Path

from diagnostics.ruleset import RuleSet, load_rules, rule_roots


def rules_or_warn(folders: Iterable[Path]) -> RuleSet:
    """Load the rules; a broken one is told on stderr and left out."""
    rules = load_rules(rule_roots(tuple(folders)))
    for fault in rules.faults:
        print(f"llamavet: {fault} (this rule is left out)", file=sys.stderr)
    return rules
