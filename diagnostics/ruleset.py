"""Owns collecting rules: those that ship, then the user's own, which add to them or override them.

A rule is one file; a remedy used by several rules is one file in a folder named `fixes`. A broken
file is reported and left out; the others work on.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diagnostics.conditions import patterns
from diagnostics.errors import LlamavetError
from diagnostics.fixes import FixRule
from diagnostics.rule_cache import read_cache, stamp, write_cache
from diagnostics.rule_fields import Fields, RuleError, read_fields
from diagnostics.rule_reader import Rule, Tuning, read_fix, read_rule, read_tuning

Thresholds = Mapping[str, int | float | str]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules that could be read, and the faults of those that could not."""

    rules: tuple[Rule, ...]
    faults: tuple[RuleError, ...] = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        """Every line pattern of every rule."""
        return tuple(dict.fromkeys(text for rule in self.rules for text in patterns(rule.when)))


def bundled_rules() -> Path:
    """Return the folder of the rules that ship: inside the package, or beside it in a checkout."""
    packaged = Path(__file__).parent / "_rules"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "rules"


def user_rules() -> Path:
    """Return the folder of a user's own rules, whether it is there or not."""
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "llamavet" / "rules"


def rule_roots(extra: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Return the folders to read, later ones winning: ours, the user's, those that were named.

    Raises:
        LlamavetError: a named folder is not there.
    """
    for folder in extra:
        if not folder.is_dir():
            raise LlamavetError(f"{folder}: no such folder of rules")
    own = user_rules()
    return (bundled_rules(), *((own,) if own.is_dir() else ()), *extra)


def load_rules(
    roots: Iterable[Path] | None = None,
    thresholds: Mapping[str, Thresholds] | None = None,
) -> RuleSet:
    """Read all rules under the roots (the bundled ones by default); a later root wins.

    `thresholds` overrides a rule's own, by rule id and name.
    """
    folders = [bundled_rules()] if roots is None else list(roots)
    files = [(root, path) for root in folders for path in _rule_files(root)]
    if thresholds:
        return _read(files, thresholds)
    now = stamp(path for _, path in files)
    kept = read_cache(now)
    if kept is not None:
        return RuleSet(kept)
    rules = _read(files, {})
    if not rules.faults:
        write_cache(now, rules.rules)
    return rules


def _read(files: list[tuple[Path, Path]], thresholds: Mapping[str, Thresholds]) -> RuleSet:
    reading = _Reading(thresholds)
    for _, path in files:
        if path.parent.name == "fixes":
            reading.take_fix(path)
    tunings = []
    for root, path in files:
        if path.parent.name != "fixes":
            tunings += reading.take(root, path)
    for tuning in tunings:
        reading.tune(tuning)
    return RuleSet(tuple(reading.rules.values()), tuple(reading.faults))


def _rule_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.yaml") if not path.name.endswith(".test.yaml"))


class _Reading:
    """What has been read so far."""

    def __init__(self, thresholds: Mapping[str, Thresholds]) -> None:
        self.rules: dict[str, Rule] = {}
        self.faults: list[RuleError] = []
        self._fixes: dict[str, FixRule] = {}
        self._roots: dict[str, Path] = {}
        self._thresholds = dict(thresholds)

    def take_fix(self, path: Path) -> None:
        try:
            fix = read_fix(read_fields(path))
        except RuleError as fault:
            self.faults.append(fault)
        else:
            self._fixes[fix.id] = fix

    def take(self, root: Path, path: Path) -> list[Tuning]:
        """Read a rule; return the change to another one where the file is that instead."""
        try:
            fields = read_fields(path)
            if fields.optional("tune") is not None:
                return [read_tuning(fields, path)]
            self._add(root, path, self._read(fields, path))
        except RuleError as fault:
            self.faults.append(fault)
        return []

    def _read(self, fields: Fields, path: Path) -> Rule:
        rule_id = fields.text("id")
        return read_rule(fields, path, self._fixes, self._thresholds.get(rule_id, {}))

    def _add(self, root: Path, path: Path, rule: Rule) -> None:
        if self._roots.get(rule.id) == root:
            other = self.rules[rule.id].path.name
            raise RuleError(path, 1, 1, f"{rule.id} is also in {other}")
        self.rules[rule.id] = rule
        self._roots[rule.id] = root

    def tune(self, tuning: Tuning) -> None:
        """Change a rule as its user wants it."""
        rule = self.rules.get(tuning.rule_id)
        if rule is None:
            reason = f"no rule {tuning.rule_id!r} to tune"
        elif unknown := tuning.thresholds.keys() - rule.thresholds.keys():
            reason = f"{rule.id} has no threshold {min(unknown)!r}"
        else:
            if not tuning.enabled:
                del self.rules[rule.id]
                return
            tuned = {**rule.thresholds, **tuning.thresholds}
            fields = read_fields(rule.path)
            again = read_rule(fields, rule.path, self._fixes, tuned)
            severity = rule.severity if tuning.severity is None else tuning.severity
            self.rules[rule.id] = replace(again, severity=severity)
            return
        self.faults.append(RuleError(tuning.path, tuning.line, 1, reason))
