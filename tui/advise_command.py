"""Owns `llamavet advise`: what is read, printed and written, and the exit code."""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import RunError
from diagnostics.findings import Language, Text
from diagnostics.memory.advice import Advice, yaml_of
from diagnostics.memory.advice import advise as weigh
from diagnostics.memory.options import Case, Preference
from diagnostics.report.advice import as_text, as_value
from diagnostics.runs.advising import as_config, asked_of, precision_of, task_of, with_samples
from diagnostics.runs.files import write_atomic
from tui.inputs import facts_of, folders_of, read_config
from tui.outputs import put_out, remark

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
    given = Path(args.model) if Path(args.model).suffix.lower() in _CONFIGS else None
    config, folders = _config(args, given), folders_of(given)
    facts = facts_of(args, config, folders)
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


def _config(args: argparse.Namespace, path: Path | None) -> EffectiveConfig:
    """Return what the command line says, over what a given config says, as a config."""
    values: dict[str, object] = {"model_name_or_path": args.model}
    if path is not None:
        values = asked_of(read_config(path, []))
    said = {"cutoff_len": args.cutoff, "dataset": args.dataset, "dataset_dir": args.dataset_dir}
    values.update({key: value for key, value in said.items() if value is not None})
    return as_config(values)


def _print(advice: Advice, form: str, language: Language) -> None:
    if form == "json":
        value = as_value(advice, language)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        text = as_text(advice, language)
    put_out(text)


def _write(advice: Advice, path: Path, language: Language, *, force: bool) -> None:
    chosen = advice.recommended
    if chosen is None:
        reason = "nothing fits" if advice.nothing_fits else "the size of the GPU is not known"
        raise RunError(f"{path}: nothing is written: {reason}", remedy="name a GPU with --gpu")
    text = yaml_of(advice, chosen, language)
    if not force and os.path.lexists(path):
        raise RunError(f"{path}: exists already", remedy="--force overwrites it")
    write_atomic(path, text.encode("utf-8"), mode=_READABLE)
    remark(f"{path}: written, {chosen.recipe.title.to(language)}")
