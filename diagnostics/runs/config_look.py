"""Owns looking at a run's config before its next launch: text, findings, what predicts its memory.

Only reads. What cannot be read is said in the look itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import Environment
from diagnostics.errors import ConfigError, LlamavetError
from diagnostics.findings import Finding
from diagnostics.history import Snapshot
from diagnostics.memory.facts import MemoryFacts
from diagnostics.memory.peak import GIB
from diagnostics.observations import Missing
from diagnostics.outlook import as_observed
from diagnostics.precheck.judge import foresee, judge, judge_unreadable
from diagnostics.precheck.kinds import ConfigKind, kind_of
from diagnostics.rule_reader import Rule
from diagnostics.runs.config_file import read_config_bytes
from diagnostics.runs.environment import find_python
from diagnostics.runs.environment_probe import probe
from diagnostics.runs.forecasting import Devices, gather_facts
from diagnostics.runs.lessons import with_lessons
from diagnostics.runs.model import Run
from diagnostics.runs.surroundings import look_around
from diagnostics.signals import Context

_TRAINS = {ConfigKind.TRAINING, ConfigKind.OTHER_COMMAND}


@dataclass(frozen=True, slots=True)
class ConfigLook:
    """A config as it stands now. `text` is its file's, to be shown even where it does not parse."""

    path: Path | None
    text: str = ""
    config: EffectiveConfig | None = None
    """None where it cannot be read."""
    fault: LlamavetError | None = None
    """Why it cannot be read."""
    facts: MemoryFacts | None = None
    contradicted: bool = False
    """Whether the run showed that a prediction of it would be wrong."""
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class ConfigCheck:
    """What a check finds in it, and the environment that was asked."""

    findings: tuple[Finding, ...]
    environment: Environment | None = None


def look_at_config(run: Run, snapshot: Snapshot) -> ConfigLook:
    """Read a run's config anew and gather what predicts its memory."""
    path = _path(run)
    simulated = run.simulated_gpu is not None
    if path is None and run.config is None:
        return ConfigLook(None, simulated=simulated)
    text, config = "", run.config
    if path is not None:
        try:
            data = read_config_bytes(path, "put it back")
            text = data.decode("utf-8", "replace")
            document = parse_document(data, path)
        except ConfigError as error:
            return ConfigLook(path, text, fault=error, simulated=simulated)
        args = config.args if config is not None else None
        config = EffectiveConfig(document, args)
    if config is None:
        return ConfigLook(path, text, simulated=simulated)
    facts = _facts(run, config, snapshot)
    seen = as_observed(facts, config, Context(snapshot, config))
    if seen is not None:
        # An earlier attempt counts where this one taught nothing.
        facts = seen if seen.calibration is not None else with_lessons(config, seen)
    return ConfigLook(
        path,
        text,
        config,
        facts=facts,
        contradicted=seen is None,
        simulated=simulated,
    )


def check_config(run: Run, look: ConfigLook, rules: Sequence[Rule]) -> ConfigCheck:
    """Judge the config that was looked at, in the environment that the run was launched in."""
    if isinstance(look.fault, ConfigError) and look.path is not None and look.fault.line:
        return ConfigCheck(judge_unreadable(rules, look.fault, look.path.name).findings)
    config = look.config
    if config is None or kind_of(config.as_dict()) not in _TRAINS:
        return ConfigCheck(())
    environment = _environment(run)
    around = look_around(config, run.cwd, _environ(run), environment)
    # What a run wrote itself is no fault of its config: a relaunch works out how to go on.
    around = replace(around, output=None)
    return ConfigCheck(
        judge(rules, config, around, foresee(config, around)).findings, around.environment
    )


def _path(run: Run) -> Path | None:
    document = run.config.document if run.config is not None else None
    if document is not None:
        return document.path
    if run.config is not None or run.launch is None:
        return None
    # A config that did not parse when the run was found has left it without one.
    words = [word for word in run.launch.argv if word.endswith((".yaml", ".yml", ".json"))]
    return run.launch.cwd / words[0] if words else None


def _environ(run: Run) -> Mapping[str, str]:
    return run.launch.environ if run.launch is not None else {}


def _facts(run: Run, config: EffectiveConfig, snapshot: Snapshot) -> MemoryFacts:
    limit = run.launch.limits.get("data") if run.launch is not None else None
    return gather_facts(
        config,
        run.cwd,
        _environ(run),
        devices=_simulated(snapshot) if run.simulated_gpu is not None else None,
        data_limit_bytes=limit[0] if limit is not None else None,
    )


def _simulated(snapshot: Snapshot) -> Devices:
    for one in snapshot.gpus.values():
        if not isinstance(one.memory_total_bytes, Missing):
            return Devices(len(snapshot.gpus), one.memory_total_bytes / GIB, one.name)
    return Devices(1, None, reason="no GPU: the simulated one was not read yet")


def _environment(run: Run) -> Environment:
    if run.simulated_gpu is not None:
        return Environment(None, reason="the training is simulated")
    launch = run.launch
    if launch is None:
        return Environment(None, reason="how it was launched is not known")
    python = find_python(launch.argv, launch.environ, launch.cwd)
    if python is None:
        return Environment(None, reason="its Python was not found")
    return probe(python, launch.environ, launch.cwd)
