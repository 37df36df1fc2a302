"""Owns a check from end to end: reading the config, looking around, judging, mending on paper."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diagnostics.config.argv import launch_of
from diagnostics.config.document import ConfigDocument, parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import Environment
from diagnostics.config.packages import NAMES
from diagnostics.errors import ConfigError, LlamavetError, RunError
from diagnostics.findings import Finding, Fix, KeyChange, Safety
from diagnostics.fixes import plan
from diagnostics.precheck.folders import surely_absent
from diagnostics.precheck.judge import foresee, judge, judge_unreadable
from diagnostics.precheck.kinds import ConfigKind, kind_of
from diagnostics.precheck.report import CheckReport, first_remedy
from diagnostics.precheck.surroundings import Presence, Surroundings
from diagnostics.rule_reader import Rule
from diagnostics.runs.environment import probe_environment
from diagnostics.runs.environment_probe import probe as ask_environment
from diagnostics.runs.forecasting import Devices, gather_facts, visible_devices
from diagnostics.runs.surroundings import look_around

STDIN = "stdin.yaml"
_MOST_FIXES = 32
_NOT_CHECKED = {
    ConfigKind.VERSION_1: "is a config of USE_V1=1, whose keys are others: it is not checked",
    ConfigKind.ACCELERATE: "is a config of accelerate, not of a training",
    ConfigKind.UNKNOWN: "has no key of a LLaMA-Factory training",
}


@dataclass(frozen=True, slots=True)
class Checker:
    """What a check is made with, whatever the text of the config."""

    name: str
    """The config as it was typed."""
    path: Path
    overrides: tuple[str, ...]
    rules: tuple[Rule, ...]
    cwd: Path
    environment: Environment | None
    """None where it is not to be asked."""
    devices: Devices
    """The GPUs that it would train on."""

    def read(self, data: bytes) -> EffectiveConfig:
        """Return the config of a text with the command line's words over it.

        Raises:
            ConfigError: it does not parse.
            RunError: it is not of a training.
        """
        document = parse_document(data, self.path)
        config = EffectiveConfig(document, launch_of(str(self.path), self.overrides))
        refusal = _NOT_CHECKED.get(kind_of(config.as_dict()))
        if refusal is not None:
            raise RunError(f"{self.name}: {refusal}", remedy="name the YAML file of a training")
        return config

    def check(self, config: EffectiveConfig) -> CheckReport:
        """Judge a config as it stands now."""
        around = look_around(config, self.cwd, os.environ, self.environment)
        memory = gather_facts(config, self.cwd, os.environ, devices=self.devices)
        diagnosis = judge(self.rules, config, around, foresee(config, around), memory)
        return CheckReport(
            name=self.name,
            config=config,
            around=around,
            diagnosis=diagnosis,
            rules=len(self.rules),
            not_looked_at=(*_unseen(around), *self._unprobed()),
            llamafactory=self.environment.versions.get("llamafactory")
            if self.environment is not None
            else None,
            remedies=tuple(first_remedy(one, config) for one in diagnosis.findings),
        )

    def unreadable(self, error: ConfigError) -> CheckReport:
        """Tell of a config that does not parse."""
        diagnosis = judge_unreadable(self.rules, error, self.path.name)
        config = EffectiveConfig(ConfigDocument(self.path, "", {}, {}))
        return CheckReport(
            name=self.name,
            config=config,
            around=Surroundings(),
            diagnosis=diagnosis,
            rules=len(self.rules),
            remedies=tuple(first_remedy(one, config) for one in diagnosis.findings),
        )

    def _unprobed(self) -> tuple[str, ...]:
        if self.environment is None:
            return ("installed packages (--no-probe)",)
        reason = self.environment.reason
        return (f"installed packages ({reason})",) if reason is not None else ()


def make_checker(
    name: str,
    overrides: Sequence[str],
    rules: Sequence[Rule],
    *,
    python: Path | None,
    probe: bool,
    devices: Devices | None = None,
) -> Checker:
    """Return what a config is checked with; the environment is asked once.

    Raises:
        RunError: there is no such Python.
    """
    if python is not None and not python.is_file():
        raise RunError(f"{python}: no such Python", remedy="name the training's bin/python")
    cwd = Path.cwd()
    environment = None
    if probe:
        environment = _asked(python, cwd)
    path = Path(STDIN) if name == "-" else Path(name)
    gpus = devices or visible_devices(os.environ)
    return Checker(name, path, tuple(overrides), tuple(rules), cwd, environment, gpus)


def _asked(python: Path | None, cwd: Path) -> Environment:
    """Return what the training's Python answers, and what the names of its files add."""
    told = ask_environment(python, os.environ, cwd)
    if told.python is None:
        return told
    seen = probe_environment((str(told.python),), os.environ, cwd)
    there = {name: seen.has(name) for name in NAMES}
    versions = {name: seen.packages.get(name) for name, known in there.items() if known is not None}
    return replace(told, versions={**versions, **told.versions})


def _unseen(around: Surroundings) -> list[str]:
    reports = around.datasets or ()
    found = [f"{one.name} ({one.not_looked_at})" for one in reports if one.not_looked_at]
    absent = [one for one in around.paths if one.presence is Presence.ABSENT]
    found += [
        f"{one.value} (not on this machine)" for one in absent if not surely_absent(one, around)
    ]
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Mended:
    """A config with fixes in it, on paper."""

    before: EffectiveConfig
    after: CheckReport
    fixes: tuple[Fix, ...]

    @property
    def changes(self) -> tuple[KeyChange, ...]:
        """All that the fixes changed."""
        return tuple(change for fix in self.fixes for change in fix.changes)


def mend(checker: Checker, report: CheckReport, fix_id: str, *, unsafe: bool) -> Mended:
    """Put fixes into a config on paper, one after the other, each on what the one before left.

    `fix_id` names one; "" takes every safe one, with `unsafe` the others too.

    Raises:
        RunError: no finding has the fix that was named, or it is advice.
    """
    before, taken = report.config, list[Fix]()
    tried: set[tuple[str, tuple[KeyChange, ...]]] = set()
    for _ in range(_MOST_FIXES):
        chosen = _next(report, fix_id, tried, unsafe=unsafe)
        if chosen is None:
            break
        tried.add((chosen.id, chosen.changes))
        try:
            after = plan(chosen, report.config).after
        except LlamavetError:
            continue
        taken.append(chosen)
        report = checker.check(after)
    if fix_id and not taken:
        known = [fix.id for finding in report.diagnosis.findings for fix in finding.fixes]
        raise RunError(
            f"{fix_id}: no finding has this fix, or it is advice",
            remedy=f"there are {', '.join(dict.fromkeys(known))}" if known else "",
        )
    return Mended(before, report, tuple(taken))


def _next(
    report: CheckReport,
    fix_id: str,
    tried: set[tuple[str, tuple[KeyChange, ...]]],
    *,
    unsafe: bool,
) -> Fix | None:
    for finding in report.diagnosis.findings:
        for fix in _by_safety(finding):
            if not fix.changes or (fix.id, fix.changes) in tried or fix.safety is Safety.MANUAL:
                continue
            if fix.id == fix_id:
                return fix
            if not fix_id and (unsafe or fix.safety is Safety.SAFE):
                return fix
    return None


def _by_safety(finding: Finding) -> list[Fix]:
    return sorted(finding.fixes, key=lambda fix: -fix.safety)
