"""Owns `llamavet advise`: what is read, printed and written, and the exit code."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import RunError
from diagnostics.findings import Language, Text
from diagnostics.memory.advice import Advice, yaml_of
from diagnostics.memory.advice import advise as weigh
from diagnostics.memory.facts import MemoryFacts
from diagnostics.memory.options import Case, Preference
from diagnostics.memory.recipes import KEPT
from diagnostics.report.advice import as_text, as_value
from diagnostics.runs.advising import as_config, precision_of, task_of, with_samples
from diagnostics.runs.files import write_atomic
from diagnostics.runs.forecasting import gather_facts
from tui.inputs import devices_of, read_config

DONE, NOTHING_FITS = 0, 1
_CONFIGS = frozenset({".yaml", ".yml", ".json"})
_MOST_SAMPLES, _MOST_TOKENS, _MOST_GPUS = 10**12, 16_777_216, 4096
_READABLE = 0o644


def advise(args: argparse.Namespace) -> int:
    """Say which method to begin with, and write its config; 1 where nothing fits."""
    _in_range("--samples", args.samples, _MOST_SAMPLES)
    _in_range("--cutoff", args.cutoff, _MOST_TOKENS)
    _in_range("--gpus", args.gpus, _MOST_GPUS)
    language = Language(args.lang)
    advice = weigh(_case(args))
    _print(advice, args.format, language)
    if args.write is not None:
        _write(advice, args.write, language, force=args.force)
    return NOTHING_FITS if advice.nothing_fits else DONE


def _in_range(option: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise RunError(f"{option} {value} is not from 1 to {most:,}")


def _case(args: argparse.Namespace) -> Case:
    config, folders = _config(args), [Path.cwd()]
    if _is_config(args.model):
        folders.append(Path(args.model).parent)
    facts = _facts(args, config, folders)
    task = task_of(config)
    notes: tuple[Text, ...] = ()
    if args.samples is not None:
        task = replace(task, samples=args.samples)
    else:
        task, notes = with_samples(task, config, folders, asked=args.dataset is not None)
    return Case(
        task=task,
        facts=facts,
        precision=precision_of(facts),
        preference=Preference(args.prefer) if args.prefer is not None else None,
        notes=notes,
    )


def _is_config(name: str) -> bool:
    return Path(name).suffix.lower() in _CONFIGS


def _config(args: argparse.Namespace) -> EffectiveConfig:
    """Return what the command line says, over what a given config says, as a config."""
    values: dict[str, object] = {}
    if _is_config(args.model):
        given = read_config(Path(args.model), []).as_dict()
        wanted = ("model_name_or_path", "cutoff_len", "dataset", "dataset_dir", *KEPT)
        values = {key: given[key] for key in wanted if given.get(key) is not None}
    else:
        values["model_name_or_path"] = args.model
    said = {"cutoff_len": args.cutoff, "dataset": args.dataset, "dataset_dir": args.dataset_dir}
    values.update({key: value for key, value in said.items() if value is not None})
    return as_config(values)


def _facts(
    args: argparse.Namespace, config: EffectiveConfig, folders: Sequence[Path]
) -> MemoryFacts:
    devices = devices_of(args)
    found = [gather_facts(config, folder, os.environ, devices=devices) for folder in folders]
    return next((one for one in found if one.model is not None), found[0])


def _print(advice: Advice, form: str, language: Language) -> None:
    if form == "json":
        value = as_value(advice, language)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        text = as_text(advice, language)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal's character set may lack some
    sys.stdout.write(text)
    sys.stdout.flush()


def _write(advice: Advice, path: Path, language: Language, *, force: bool) -> None:
    chosen = advice.recommended
    if chosen is None:
        reason = "nothing fits" if advice.nothing_fits else "the size of the GPU is not known"
        raise RunError(f"{path}: nothing is written: {reason}", remedy="name a GPU with --gpu")
    text = yaml_of(advice, chosen, language)
    if not force and os.path.lexists(path):
        raise RunError(f"{path}: exists already", remedy="--force overwrites it")
    write_atomic(path, text.encode("utf-8"), mode=_READABLE)
    sys.stderr.write(f"llamavet: {path}: written, {chosen.recipe.title.to(language)}\n")
