"""Owns `llamavet estimate`: what is read, what is printed, and the exit code."""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from diagnostics.errors import RunError
from diagnostics.findings import Language, Text
from diagnostics.memory.facts import MemoryFacts, forecast_config
from diagnostics.memory.forecast import Forecast, as_json, with_simulated
from diagnostics.memory.model_names import config_named
from diagnostics.memory.verdict import Verdict
from diagnostics.report.memory import as_text
from diagnostics.runs.environment_probe import probe
from diagnostics.runs.exact import simulate
from diagnostics.runs.lessons import with_lessons
from tui.inputs import facts_of, folders_of, read_config
from tui.outputs import put_out

DONE, DOES_NOT_FIT = 0, 1


def estimate(args: argparse.Namespace) -> int:
    """Predict the memory of one config; exit with 1 where it does not fit."""
    config = read_config(args.config, args.overrides)
    facts = with_lessons(config, facts_of(args, config, folders_of(args.config)))
    told = forecast_config(config, facts)
    if args.exact:
        told = _simulated(told, facts, args.python)
    language = Language(args.lang)
    if args.format == "json":
        put_out(json.dumps(as_json(told, language), ensure_ascii=False, allow_nan=False) + "\n")
    else:
        put_out(as_text(told, str(args.config), language, no_gpu=facts.no_gpu))
    return DOES_NOT_FIT if told.verdict is Verdict.DOES_NOT_FIT else DONE


def _simulated(told: Forecast, facts: MemoryFacts, python: Path | None) -> Forecast:
    """Return the forecast with the peak that the model's own code has on tensors without data.

    Raises:
        RunError: it cannot be simulated, and why.
    """
    environment = probe(python, os.environ, Path.cwd())
    runs = environment.python
    if runs is None and python is None and find_spec("torch") is not None:
        runs = Path(sys.executable)  # llamavet[exact] brings what the training's Python would
    if runs is None or (python is not None and environment.python_version is None):
        raise RunError(environment.reason or "no Python with torch was found; --python names one")
    config: Mapping[str, object] | None = config_named(facts.name)
    if facts.folder is not None and (facts.folder / "config.json").is_file():
        config = {"model_path": str(facts.folder)}
    if config is None:
        raise RunError(
            f"{facts.name}: its config.json is not on this machine, so it cannot be built",
            remedy="download the model, or leave --exact out",
        )
    found = simulate(runs, config, told.work, os.environ)
    packages = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    seconds = f"{found.seconds:.0f}"
    notes = (
        Text(
            f"run without data by {packages}, in {seconds} s",
            f"由 {packages} 无数据运行，{seconds} 秒",
        ),
        *(Text(note, "") for note in found.notes),
    )
    return with_simulated(told, found.allocated_gib, found.reserved_gib, notes)
