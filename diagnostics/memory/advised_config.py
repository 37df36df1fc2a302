"""Owns the config that an advised method is written as: its keys by section, each with its why.

Keys and values are LLaMA-Factory's, of its examples:
https://github.com/hiyouga/LLaMA-Factory/tree/main/examples.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from diagnostics.config.render import write_value
from diagnostics.datasets import TO_BE_FILLED_IN
from diagnostics.findings import Language, Text
from diagnostics.memory.recipes import Recipe
from diagnostics.memory.task import EFFECTIVE_BATCH, Hardware, Precision, Task
from diagnostics.templates import find_model

_EPOCHS = 3
_SHORT_RUN_STEPS = 500
_FEW_STEPS = 50
_NOTHING = Text("", "")


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a config; one that is `open` is left as a comment, to be filled in."""

    section: str
    key: str
    value: object
    why: Text = _NOTHING
    open: bool = False


def as_yaml(
    recipe: Recipe, task: Task, hardware: Hardware, language: Language, heading: tuple[str, ...]
) -> str:
    """Return a config's text: its keys by section, and comments that say why."""
    lines = [f"# {text}" for text in heading]
    section = ""
    for one in _settings(recipe, task, hardware):
        if one.section != section:
            section = one.section
            lines += ["", f"### {section}"]
        why = one.why.to(language)
        inner = one.value if isinstance(one.value, Mapping) else {}
        value = "" if one.open or inner else f" {write_value(one.value)}"
        lines.append(f"{'# ' * one.open}{one.key}:{value}" + (f"  # {why}" if why else ""))
        lines += _block(inner, "  ")
    return "\n".join(lines) + "\n"


def _block(values: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _block(value, indent + "  ")
        else:
            yield f"{indent}{key}: {write_value(value)}"


def _settings(recipe: Recipe, task: Task, hardware: Hardware) -> Iterator[Setting]:
    kept = dict(task.kept)
    yield Setting("model", "model_name_or_path", task.model)
    for key in ("model_revision", "trust_remote_code", "flash_attn", "enable_liger_kernel"):
        if key in kept:
            yield Setting("model", key, kept.pop(key))
    yield Setting("method", "stage", kept.pop("stage", "sft"))
    yield Setting("method", "do_train", True)
    yield from _method(recipe)
    yield from _data(task, kept)
    for key, value in kept.items():
        yield Setting("data", key, value)
    yield from _output(recipe, task)
    yield from _training(recipe, task, hardware)


def _method(recipe: Recipe) -> Iterator[Setting]:
    why = recipe.why
    for key, value in recipe.values.items():
        if key not in {"pure_bf16", "optim"}:
            yield Setting("method", key, value, why)
            why = _NOTHING
    if recipe.values["finetuning_type"] == "lora":
        yield Setting("method", "lora_target", "all")


def _data(task: Task, kept: dict[str, object]) -> Iterator[Setting]:
    if task.dataset is None:
        yield Setting(
            "data",
            "dataset",
            TO_BE_FILLED_IN,
            Text("its name in dataset_info.json", "dataset_info.json 中的数据集名"),
        )
    else:
        yield Setting("data", "dataset", task.dataset)
    if task.dataset_dir is not None:
        yield Setting("data", "dataset_dir", task.dataset_dir)
    if "template" in kept:
        yield Setting("data", "template", kept.pop("template"))
    else:
        yield _template(task.model)
    yield Setting("data", "cutoff_len", task.cutoff_tokens)


def _template(model: str) -> Setting:
    """Return the template that belongs to a model's name, or a line to fill in."""
    found = find_model(model)
    if found is not None and found.is_chat:
        of = Text(f"that of {found.family.name}", f"{found.family.name} 的模板")
        return Setting("data", "template", found.expected, of)
    if found is not None:
        asked = Text(
            f"{found.expected} for {found.family.name} chat models; a base model may take any",
            f"{found.family.name} 对话模型用 {found.expected}；基座模型可任选",
        )
    else:
        asked = Text(
            "fill in the one that the model was trained with", "请填写该模型训练时使用的模板"
        )
    return Setting("data", "template", None, asked, open=True)


def _output(recipe: Recipe, task: Task) -> Iterator[Setting]:
    name = re.sub(r"[^\w.-]+", "-", task.model.rstrip("/").rsplit("/", 1)[-1]).strip("-.")[:80]
    yield Setting("output", "output_dir", f"saves/{name or 'model'}/{recipe.id}")
    steps = _steps(task)
    few = steps is not None and steps < _FEW_STEPS
    yield Setting("output", "logging_steps", 1 if few else 10)
    if steps is not None and steps < _SHORT_RUN_STEPS:
        about = Text(f"the run has about {steps} steps", f"整个训练约 {steps} 步")
        yield Setting("output", "save_strategy", "epoch", about)
    else:
        yield Setting("output", "save_steps", _SHORT_RUN_STEPS)
    yield Setting("output", "plot_loss", True)


def _training(recipe: Recipe, task: Task, hardware: Hardware) -> Iterator[Setting]:
    batch, times = hardware.batch, hardware.accumulation
    total = batch * times * hardware.gpus
    yield Setting(
        "train",
        "per_device_train_batch_size",
        batch,
        Text("what fits with room to spare", "在留有余量时放得下") if batch > 1 else _NOTHING,
    )
    yield Setting(
        "train",
        "gradient_accumulation_steps",
        times,
        Text(
            f"{batch} x {times} x {hardware.gpus} GPUs = {total} samples a step"
            if hardware.gpus > 1
            else f"{batch} x {times} = {total} samples a step",
            f"{batch} x {times} x {hardware.gpus} GPU = 每步 {total} 个样本",
        ),
    )
    yield Setting("train", "learning_rate", recipe.learning_rate)
    yield Setting("train", "num_train_epochs", float(_EPOCHS))
    yield Setting("train", "lr_scheduler_type", "cosine")
    steps = _steps(task)
    warmup = max(1, min(100, steps // 10)) if steps is not None else 10
    yield Setting("train", "warmup_steps", warmup)
    if "optim" in recipe.values:
        yield Setting("train", "optim", recipe.values["optim"])
    yield from _precision(recipe, hardware.precision)


def _precision(recipe: Recipe, precision: Precision) -> Iterator[Setting]:
    unsure = Text(
        "needs compute capability 8.0 (A100, RTX 30 or newer); else fp16: true",
        "需要计算能力 8.0（A100、RTX 30 及更新）；否则用 fp16: true",
    )
    why = unsure if precision is Precision.UNKNOWN else _NOTHING
    if recipe.pure:
        yield Setting("train", "pure_bf16", True, why)
    elif precision is Precision.FP16:
        old = Text("this GPU has no bfloat16", "该 GPU 不支持 bfloat16")
        yield Setting("train", "fp16", True, old)
    else:
        yield Setting("train", "bf16", True, why)


def _steps(task: Task) -> int | None:
    """Return about how many optimizer steps the run has."""
    if task.samples is None:
        return None
    return max(1, -(-task.samples // EFFECTIVE_BATCH) * _EPOCHS)
