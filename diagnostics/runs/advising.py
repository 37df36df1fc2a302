"""Owns the question that advice answers: a task, its data and the machine, read from a config."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.render import write_value
from diagnostics.datasets import DatasetReport, Use
from diagnostics.errors import RunError
from diagnostics.findings import Text
from diagnostics.memory.facts import MemoryFacts
from diagnostics.memory.gpus import known_gpu
from diagnostics.memory.options import Case
from diagnostics.memory.task import KEPT, Precision, Task
from diagnostics.sources.dataset import look

_MOST_TOKENS = 16_777_216
_CUTOFF_STEP = 256
_TEMPLATE_TOKENS = 64
"""What a chat template may add to a sample, roughly."""
_WANTED = ("model_name_or_path", "cutoff_len", "dataset", "dataset_dir", *KEPT)


def case_of(config: EffectiveConfig, facts: MemoryFacts, folder: Path) -> Case:
    """Return the case of a config: its model and data on this machine, whatever its method.

    Raises:
        LlamavetError: cutoff_len has no meaning.
    """
    kept = as_config(asked_of(config))
    task, notes = with_samples(task_of(kept), kept, [folder], asked=False)
    # What was measured of this config's method says nothing of the others.
    facts = replace(facts, calibration=None, anchored=False)
    return Case(task=task, facts=facts, precision=precision_of(facts), notes=notes)


def asked_of(config: EffectiveConfig) -> dict[str, object]:
    """Return the values of a config that hold whatever the method."""
    given = config.as_dict()
    return {key: given[key] for key in _WANTED if given.get(key) is not None}


def as_config(values: Mapping[str, object]) -> EffectiveConfig:
    """Return values as a config that nobody wrote."""
    text = "".join(f"{key}: {write_value(value)}\n" for key, value in values.items())
    return EffectiveConfig(parse_document(text.encode()))


def task_of(config: EffectiveConfig) -> Task:
    """Return what is to be trained on what.

    Raises:
        RunError: cutoff_len is no number of tokens.
    """
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


def with_samples(
    task: Task, config: EffectiveConfig, folders: Sequence[Path], *, asked: bool
) -> tuple[Task, tuple[Text, ...]]:
    """Return the task with the size of its data; where nobody can tell, that is said.

    Raises:
        RunError: the data was `asked` for by name, and cannot be counted.
    """
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


def precision_of(facts: MemoryFacts) -> Precision:
    """Return which half precision the GPUs compute with."""
    gpu = known_gpu(facts.device_name)
    if gpu is None:
        return Precision.UNKNOWN
    return Precision.BF16 if gpu.has_bf16 else Precision.FP16
