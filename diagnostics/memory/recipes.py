"""Owns the methods that are advised: what each sets in a config, and the file that is written.

Keys and values are LLaMA-Factory's, of its examples:
https://github.com/hiyouga/LLaMA-Factory/tree/main/examples.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from diagnostics.config.render import write_value
from diagnostics.findings import Language, Text
from diagnostics.templates import find_model

EFFECTIVE_BATCH = 16
"""Samples an optimizer step: per device, times accumulation, times GPUs."""
_ZERO_3: Mapping[str, object] = {
    "stage": 3,
    "overlap_comm": False,
    "contiguous_gradients": True,
    "reduce_bucket_size": "auto",
    "stage3_prefetch_bucket_size": "auto",
    "stage3_param_persistence_threshold": "auto",
    "stage3_gather_16bit_weights_on_model_save": True,
}
_BATCHES: Mapping[str, object] = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "bf16": {"enabled": "auto"},
    "fp16": {"enabled": "auto"},
}
"""DeepSpeed takes these from the keys of the config itself."""
_HOST = {"device": "cpu", "pin_memory": True}
EPOCHS = 3
_SHORT_RUN_STEPS = 500
_FEW_STEPS = 50


class Quality(StrEnum):
    """How good a result is to be expected, other things equal."""

    BEST = "best"
    NEAR = "near best"
    GOOD = "good"
    FAIR = "fair"
    LIMITED = "limited"


class Precision(StrEnum):
    """What a GPU computes in."""

    BF16 = "bf16"
    FP16 = "fp16"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One method: the keys that make it, and the reason for them."""

    id: str
    title: Text
    values: Mapping[str, object]
    quality: Quality
    why: Text
    learning_rate: float
    sharded: bool = False
    pure: bool = False
    """Whether it trains in bfloat16 throughout, which needs a GPU that can."""


def _lora(rank: int, quality: Quality) -> Recipe:
    return Recipe(
        f"lora_r{rank}",
        Text(f"LoRA rank {rank}", f"LoRA 秩 {rank}"),
        {"finetuning_type": "lora", "lora_rank": rank, "lora_alpha": 2 * rank},
        quality,
        Text("small matrices train, the model stays frozen", "只训练低秩矩阵，原模型冻结"),
        1e-4,
    )


FULL = Recipe(
    "full",
    Text("full", "全参数"),
    {"finetuning_type": "full"},
    Quality.BEST,
    Text("all parameters train, kept in float32", "训练全部参数，以 float32 保存"),
    1e-5,
)
FULL_BF16 = Recipe(
    "full_bf16",
    Text("full bf16 8-bit Adam", "全参数 bf16 8 位"),
    {"finetuning_type": "full", "pure_bf16": True, "optim": "adamw_8bit"},
    Quality.NEAR,
    Text(
        "all parameters train, in bfloat16 with 8-bit optimizer states (needs bitsandbytes)",
        "以 bfloat16 训练全部参数，优化器状态 8 位（需要 bitsandbytes）",
    ),
    1e-5,
    pure=True,
)
QLORA = Recipe(
    "qlora_r8",
    Text("QLoRA 4-bit rank 8", "QLoRA 4 位 秩 8"),
    {
        "finetuning_type": "lora",
        "lora_rank": 8,
        "lora_alpha": 16,
        "quantization_bit": 4,
        "quantization_method": "bnb",
    },
    Quality.GOOD,
    Text(
        "LoRA on a frozen model in 4 bits (needs bitsandbytes)",
        "在 4 位冻结模型上训练 LoRA（需要 bitsandbytes）",
    ),
    1e-4,
)
FREEZE = Recipe(
    "freeze",
    Text("freeze, 2 layers", "冻结，训 2 层"),
    {"finetuning_type": "freeze", "freeze_trainable_layers": 2},
    Quality.LIMITED,
    Text("the last 2 layers train, the rest stays frozen", "只训练最后 2 层，其余冻结"),
    5e-5,
)
ZERO_3 = Recipe(
    "full_zero3",
    Text("full ZeRO-3", "全参数 ZeRO-3"),
    {"finetuning_type": "full", "deepspeed": {**_BATCHES, "zero_optimization": _ZERO_3}},
    Quality.BEST,
    Text(
        "weights, gradients and optimizer states are spread over the GPUs (needs deepspeed)",
        "权重、梯度与优化器状态分散到各 GPU（需要 deepspeed）",
    ),
    1e-5,
    sharded=True,
)
ZERO_3_OFFLOAD = Recipe(
    "full_zero3_offload",
    Text("full ZeRO-3 offload", "全参数 ZeRO-3 卸载"),
    {
        "finetuning_type": "full",
        "deepspeed": {
            **_BATCHES,
            "zero_optimization": {
                **_ZERO_3,
                "offload_optimizer": _HOST,
                "offload_param": _HOST,
            },
        },
    },
    Quality.BEST,
    Text(
        "as ZeRO-3, and what is not in use waits in host memory (needs deepspeed)",
        "同 ZeRO-3，闲置部分放在主机内存（需要 deepspeed）",
    ),
    1e-5,
    sharded=True,
)
LORA_ZERO_3 = Recipe(
    "lora_zero3",
    Text("LoRA ZeRO-3", "LoRA ZeRO-3"),
    {**_lora(8, Quality.GOOD).values, "deepspeed": ZERO_3.values["deepspeed"]},
    Quality.GOOD,
    ZERO_3.why,
    1e-4,
    sharded=True,
)
RECIPES = (
    FULL,
    FULL_BF16,
    ZERO_3,
    ZERO_3_OFFLOAD,
    _lora(16, Quality.GOOD),
    _lora(8, Quality.GOOD),
    _lora(4, Quality.FAIR),
    QLORA,
    FREEZE,
)
LORA = next(one for one in RECIPES if one.id == "lora_r8")


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained: a model and its data, with what a config given already says of them."""

    model: str
    cutoff_tokens: int = 2048
    samples: int | None = None
    dataset: str | None = None
    dataset_dir: str | None = None
    kept: Mapping[str, object] = field(default_factory=dict)
    """Keys of a given config that hold whatever the method: the stage, the template, the loss."""


KEPT = (
    *("model_revision", "trust_remote_code", "flash_attn", "enable_liger_kernel", "stage"),
    *("ref_model", "reward_model", "pref_beta", "pref_loss", "pref_ftx", "template"),
    *("max_samples", "packing", "neat_packing", "train_on_prompt", "mask_history", "media_dir"),
    *("image_max_pixels", "video_max_pixels", "freeze_vision_tower"),
)
"""What is kept of a given config, beside its model, cutoff_len and data."""


NOTHING = Text("", "")


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a config; one that is `open` is left as a comment, to be filled in."""

    section: str
    key: str
    value: object
    why: Text = NOTHING
    open: bool = False


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a config is written for, and how many samples a GPU takes at once."""

    gpus: int = 1
    precision: Precision = Precision.UNKNOWN
    batch: int = 1


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


def accumulation_of(hardware: Hardware) -> int:
    """Return how many micro-steps make the effective batch."""
    return max(1, EFFECTIVE_BATCH // (hardware.batch * hardware.gpus))


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
            why = NOTHING
    if recipe.values["finetuning_type"] == "lora":
        yield Setting("method", "lora_target", "all")


def _data(task: Task, kept: dict[str, object]) -> Iterator[Setting]:
    if task.dataset is None:
        yield Setting(
            "data",
            "dataset",
            "FILL_IN_YOUR_DATASET",
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
    batch, times = hardware.batch, accumulation_of(hardware)
    total = batch * times * hardware.gpus
    yield Setting(
        "train",
        "per_device_train_batch_size",
        batch,
        Text("what fits with room to spare", "在留有余量时放得下") if batch > 1 else NOTHING,
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
    yield Setting("train", "num_train_epochs", float(EPOCHS))
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
    why = unsure if precision is Precision.UNKNOWN else NOTHING
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
    return max(1, -(-task.samples // EFFECTIVE_BATCH) * EPOCHS)
