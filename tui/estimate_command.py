"""Owns `llamavet estimate`: what is read, what is printed, and the exit code."""

import argparse
import json
import os
import shlex
from dataclasses import replace
from pathlib import Path

from diagnostics.config.argv import parse_launch
from diagnostics.config.document import MAX_BYTES, parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import ConfigError
from diagnostics.findings import Language
from diagnostics.memory.facts import forecast_config, workload_from
from diagnostics.memory.forecast import as_json
from diagnostics.memory.verdict import Verdict
from diagnostics.report.memory import as_text
from diagnostics.runs.forecasting import Devices, gather_facts, visible_devices
from diagnostics.runs.lessons import calibration_for

DONE, DOES_NOT_FIT = 0, 1


def estimate(args: argparse.Namespace) -> int:
    """Predict the memory of one config; exit with 1 where it does not fit."""
    config = read_config(args.config, args.overrides)
    cwd = Path.cwd()
    facts = gather_facts(config, cwd, os.environ, devices=devices_of(args))
    if facts.model is None and not args.config.parent.samefile(cwd):
        near = gather_facts(config, args.config.parent, os.environ, devices=devices_of(args))
        facts = near if near.model is not None else facts
    if facts.model is not None:
        learned = calibration_for(config, workload_from(config, facts))
        facts = replace(facts, calibration=learned)
    told = forecast_config(config, facts)
    language = Language(args.lang)
    if args.format == "json":
        print(json.dumps(as_json(told, language), ensure_ascii=False, allow_nan=False))
    else:
        print(as_text(told, str(args.config), language, no_gpu=facts.no_gpu), end="")
    return DOES_NOT_FIT if told.verdict is Verdict.DOES_NOT_FIT else DONE


def read_config(path: Path, overrides: list[str]) -> EffectiveConfig:
    """Read a config file and the `key=value` words that win over it.

    Raises:
        ConfigError: it cannot be read or is not a config, with the place.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}", path=path, remedy="name the YAML of a training"
        ) from error
    document = parse_document(data, path)
    if not overrides:
        return EffectiveConfig(document)
    words = ("llamafactory-cli", "train", str(path), *overrides)
    args = parse_launch(words)
    if args is None:
        raise ConfigError(
            f"{shlex.join(overrides)[:80]} is not key=value", remedy="write key=value"
        )
    return EffectiveConfig(document, args)


def devices_of(args: argparse.Namespace) -> Devices:
    """Return the GPUs that the command line names, else those that are here."""
    if args.gpu is None:
        found = visible_devices(os.environ)
        return replace(found, count=args.gpus) if args.gpus is not None else found
    from diagnostics.memory.gpus import parse_gpu  # noqa: PLC0415 - only where one is named

    capacity_gib, name = parse_gpu(args.gpu)
    return Devices(args.gpus or 1, capacity_gib, name)
