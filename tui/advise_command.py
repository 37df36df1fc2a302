"""Owns `llamavet advise`: what is read, printed and written, and the exit code."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.render import write_value
from diagnostics.datasets import DatasetReport, Use
from diagnostics.errors import RunError
from diagnostics.findings import Language, Text
from diagnostics.memory.advice import Advice, yaml_of
from diagnostics.memory.advice import advise as weigh
from diagnostics.memory.facts import MemoryFacts
from diagnostics.memory.gpus import known_gpu
from diagnostics.memory.options import Case, Preference
from diagnostics.memory.recipes import KEPT, Precision, Task
from diagnostics.report.advice import as_text, as_value
from diagnostics.runs.files import write_atomic
from diagnostics.runs.forecasting import gather_facts
from diagnostics.sources.dataset import look
from tui.inputs import devices_of, read_config

DONE, NOTHING_FITS = 0, 1
_CONFIGS = frozenset({".yaml", ".yml", ".json"})
_MOST_SAMPLES, _MOST_TOKENS, _MOST_GPUS = 10**12, 16_777_216, 4096
_CUTOFF_STEP = 256
_READABLE = 0o644
_TEMPLATE_TOKENS = 64
"""What a chat template may add to a sample, roughly."""


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
    task = _task(config)
    notes: tuple[Text, ...] = ()
    if args.samples is not None:
        task = replace(task, samples=args.samples)
    else:
        task, notes = _looked_at(task, config, folders, asked=args.dataset is not None)
    return Case(
        task=task,
        facts=facts,
        precision=_precision(facts),
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
    return _as_config(values)


def _as_config(values: Mapping[str, object]) -> EffectiveConfig:
    text = "".join(f"{key}: {write_value(value)}\n" for key, value in values.items())
    return EffectiveConfig(parse_document(text.encode()))


def _facts(
    args: argparse.Namespace, config: EffectiveConfig, folders: Sequence[Path]
) -> MemoryFacts:
    devices = devices_of(args)
    found = [gather_facts(config, folder, os.environ, devices=devices) for folder in folders]
    return next((one for one in found if one.model is not None), found[0])


def _task(config: EffectiveConfig) -> Task:
    cutoff = config.value("cutoff_len")
    if isinstance(cutoff, str) and cutoff.isascii() and cutoff.isdigit():
        cutoff = int(cutoff)
    if not isinstance(cutoff, int) or not 1 <= cutoff <= _MOST_TOKENS:
        raise RunError(f"cutoff_len: {cutoff} is no number of tokens", remedy="say it by --cutoff")
    dataset, folder = config.get("dataset", None), config.get("dataset_dir", None)
    return Task(
        model=str(config.value("model_name_or_path") or ""),
        cutoff_tokens=cutoff,
        dataset=_words(dataset),
        dataset_dir=folder if isinstance(folder, str) else None,
        kept={key: config.get(key) for key in KEPT if config.is_set(key)},
    )


def _words(value: object) -> str | None:
    if isinstance(value, list | tuple):
        return ",".join(str(one) for one in value) or None
    return str(value) if value is not None else None


def _looked_at(
    task: Task, config: EffectiveConfig, folders: Sequence[Path], *, asked: bool
) -> tuple[Task, tuple[Text, ...]]:
    """Return the task with the size of its data; where nobody can tell, that is said."""
    if task.dataset is None:
        return task, ()
    faults: list[str] = []
    for folder in folders:
        seen = [one for one in look(config, folder) if one.use is Use.TRAIN]
        faults = [_unread(one) for one in seen if _unread(one)]
        if seen and not faults:
            samples = sum(max(0, one.samples - one.dropped) for one in seen)
            return replace(task, samples=samples or None), tuple(_data_notes(seen, task))
    reason = "; ".join(faults)[:300] or "no name in it"
    if asked:
        raise RunError(f"dataset {reason}", remedy="say its size with --samples")
    note = Text(f"the size of the data is not known: {reason}", f"数据量未知：{reason}")
    return task, (note,)


def _unread(report: DatasetReport) -> str:
    if report.fault is not None:
        near = f" (is it {report.nearest}?)" if report.nearest else ""
        return f"{report.name}: {report.fault.source} {report.fault.text}{near}"
    return f"{report.name}: {report.not_looked_at}" if report.not_looked_at else ""


def _data_notes(seen: Sequence[DatasetReport], task: Task) -> Iterator[Text]:
    if not all(one.exact for one in seen):
        yield Text(
            "not all of the data was counted: it may have more samples (--samples says how many)",
            "未数完全部数据：样本可能更多（可用 --samples 指定）",
        )
    lengths = [one.lengths for one in seen]
    if any(one is None for one in lengths):
        return
    longest = max(one.longest for one in lengths if one is not None)
    enough = -(-(longest * 5 // 4 + _TEMPLATE_TOKENS) // _CUTOFF_STEP) * _CUTOFF_STEP
    if enough < task.cutoff_tokens:
        yield Text(
            f"the longest sample has about {longest:,} tokens: --cutoff {enough} would do",
            f"最长样本约 {longest:,} 个 token：--cutoff {enough} 即可",
        )


def _precision(facts: MemoryFacts) -> Precision:
    gpu = known_gpu(facts.device_name)
    if gpu is None:
        return Precision.UNKNOWN
    return Precision.BF16 if gpu.has_bf16 else Precision.FP16


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
