"""Owns `llamavet estimate`: what is read, what is printed, and the exit code."""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

from diagnostics.findings import Language
from diagnostics.memory.facts import forecast_config, workload_from
from diagnostics.memory.forecast import as_json
from diagnostics.memory.verdict import Verdict
from diagnostics.report.memory import as_text
from diagnostics.runs.forecasting import gather_facts
from diagnostics.runs.lessons import calibration_for
from tui.inputs import devices_of, read_config

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
