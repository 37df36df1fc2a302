"""Owns how a config becomes a Workload: which keys decide memory, and what they mean.

Defaults and dtypes are LLaMA-Factory 0.9.5's: trainable parameters are cast to float32 unless
`pure_bf16`, BAdam or ZeRO-3 keep them (its `model/adapter.py`).
"""

import json
from collections.abc import Mapping

from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import ConfigError
from diagnostics.findings import Text
from diagnostics.memory.deepspeed import sharding_of
from diagnostics.memory.workload import (
    Adapter,
    Attention,
    Checkpointing,
    Frozen,
    Half,
    Method,
    Optimizer,
    Quantization,
    Sharding,
    Workload,
)

_LIMITS = {
    "per_device_train_batch_size": 65_536,
    "per_device_eval_batch_size": 65_536,
    "cutoff_len": 16_777_216,
    "gradient_accumulation_steps": 1_048_576,
    "lora_rank": 65_536,
    "oft_block_size": 65_536,
    "freeze_trainable_layers": 10_000,
    "galore_rank": 65_536,
    "apollo_rank": 65_536,
}
"""Above these a number is a slip of the pen: no GPU of any kind could hold it."""

_PAIRED_STAGES = {"dpo", "rm"}
"""Each sample is two sequences: the chosen and the rejected answer."""


def workload_of(
    config: EffectiveConfig,
    *,
    gpus: int = 1,
    deepspeed: Mapping[str, object] | None = None,
    longest_tokens: int | None = None,
) -> Workload:
    """Read what a training asks of each GPU.

    `deepspeed` is the parsed JSON that the config names, where it could be read.
    `longest_tokens` is the longest sample of the data, where it is known.

    Raises:
        ConfigError: a value that decides memory has no meaning, with its line.
    """
    read = _Reader(config)
    stage = read.word("stage", {"pt", "sft", "rm", "ppo", "dpo", "kto"}, "sft")
    method = Method(read.word("finetuning_type", {item.value for item in Method}, "lora"))
    half = read.flag("bf16") or read.flag("fp16")
    pure = read.flag("pure_bf16")
    badam = read.flag("use_badam")
    quantization = _quantization(read)
    if quantization is not None and method not in {Method.LORA, Method.OFT}:
        raise read.refusal("quantization_bit", "works with lora and oft only")
    sharding = sharding_of(deepspeed, gpus) if deepspeed is not None else Sharding(gpus=gpus)
    # peft makes adapters float32 by itself; DeepSpeed's engine takes them back.
    kept = (pure or badam) and method in {Method.FULL, Method.FREEZE}
    kept = kept or (sharding.zero_stage == 3 and quantization is None)  # noqa: PLR2004
    batch = read.count("per_device_train_batch_size", 8)
    packing = _packing(read, stage)
    sequence = _sequence(read, None if packing else longest_tokens)
    if stage in _PAIRED_STAGES:
        read.assume(
            f"stage {stage}: each sample is two sequences",
            f"{stage} 阶段：每个样本是两条序列",
        )
        batch *= 2
    return Workload(
        stage=stage,
        method=method,
        batch=batch,
        sequence=sequence,
        accumulation=read.count("gradient_accumulation_steps", 1),
        compute_bytes=2 if half or pure else 4,
        half=Half.FLOAT16 if read.flag("fp16") else Half.BFLOAT16,
        autocast=half and not pure,
        trainable_bytes=2 if kept and (half or pure) else 4,
        checkpointing=_checkpointing(read),
        reentrant=read.flag("use_reentrant_gc", default=True),
        attention=_attention(read),
        liger=read.flag("enable_liger_kernel") and stage in {"pt", "sft"},
        packing=packing,
        neat_packing=read.flag("neat_packing"),
        optimizer=_optimizer(read),
        quantization=quantization,
        adapter=_adapter(read, method),
        frozen=_frozen(read) if method is Method.FREEZE else None,
        sharding=sharding,
        eval_batch=_eval_batch(read, stage),
        reference_model=_has_reference(read, stage, method),
        compared=_is_compared(read, stage),
        upcast_layernorm=read.flag("upcast_layernorm"),
        upcast_lm_head=read.flag("upcast_lmhead_output"),
        train_tower=not read.flag("freeze_vision_tower", default=True),
        on_cpu=read.flag("use_cpu"),
        assumptions=tuple(read.assumptions),
    )


class _Reader:
    """Reads values of a config, each refused with its place where it has no meaning."""

    def __init__(self, config: EffectiveConfig) -> None:
        self.config = config
        self.assumptions: list[Text] = []

    def assume(self, en: str, zh: str) -> None:
        self.assumptions.append(Text(en, zh))

    def value(self, key: str) -> object:
        return self.config.value(key)

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self.value(key)
        if value is None:
            return default
        if isinstance(value, str):
            return value.strip().lower() in {"true", "1", "yes", "y", "on"}
        return bool(value)

    def count(self, key: str, default: int) -> int:
        """Return a whole number from 1 up."""
        number = self.number(key, default)
        if number < 1:
            raise self.refusal(key, "needs a whole number from 1 up")
        return number

    def number(self, key: str, default: int) -> int:
        value = self.value(key)
        if value is None:
            return default
        if isinstance(value, str):
            value = _parsed(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124
            raise self.refusal(key, "needs a whole number")
        if abs(value) > _LIMITS.get(key, 10**9):
            raise self.refusal(key, f"is above {_LIMITS.get(key, 10**9):,}: no GPU could hold it")
        if value != int(value):
            raise self.refusal(key, "needs a whole number")
        return int(value)

    def share(self, key: str) -> float:
        """Return a number from 0 to 1."""
        value = self.value(key)
        number = _parsed(value) if isinstance(value, str) else value
        if number is None:
            return 0.0
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
            raise self.refusal(key, "needs a number from 0 to 1")
        return float(number)

    def word(self, key: str, choices: set[str], default: str) -> str:
        value = self.value(key)
        text = default if value is None else str(value).strip().lower()
        if text not in choices:
            raise self.refusal(key, f"needs one of {', '.join(sorted(choices))}")
        return text

    def words(self, key: str, default: str) -> tuple[str, ...]:
        value = self.value(key)
        parts = value if isinstance(value, list | tuple) else str(value or default).split(",")
        return tuple(str(part).strip() for part in parts if str(part).strip()) or (default,)

    def refusal(self, key: str, what: str) -> ConfigError:
        shown = json.dumps(self.value(key), default=str)[:60]
        document = self.config.document
        place = self.config.place(key)
        return ConfigError(
            f"{key}: {shown} {what}",
            path=document.path if document is not None else None,
            line=place.line if place is not None else None,
            remedy=f"correct {key}",
        )


def _parsed(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _sequence(read: _Reader, longest_tokens: int | None) -> int:
    cutoff = read.count("cutoff_len", 2048)
    if longest_tokens is not None and 0 < longest_tokens < cutoff:
        read.assume(
            f"the longest sample has {longest_tokens:,} tokens, below cutoff_len",
            f"最长样本 {longest_tokens:,} 个 token，低于 cutoff_len",
        )
        return longest_tokens
    read.assume(
        f"the longest batch fills cutoff_len: {cutoff:,} tokens a sample",
        f"最长的批次填满 cutoff_len：每个样本 {cutoff:,} 个 token",
    )
    return cutoff


def _checkpointing(read: _Reader) -> Checkpointing:
    if read.flag("disable_gradient_checkpointing"):
        return Checkpointing.OFF
    return Checkpointing.OFFLOADED if read.flag("use_unsloth_gc") else Checkpointing.ON


def _attention(read: _Reader) -> Attention:
    value = str(read.value("flash_attn") or "auto").strip().lower()
    if value in {"fa2", "fa3"}:
        return Attention.FLASH
    return Attention.EAGER if value in {"disabled", "off"} else Attention.SDPA


def _packing(read: _Reader, stage: str) -> bool:
    by_itself = stage == "pt" and read.value("packing") is None
    return by_itself or read.flag("packing") or read.flag("neat_packing")


def _optimizer(read: _Reader) -> Optimizer:
    name = str(read.value("optim") or "adamw_torch_fused").strip().lower()
    for variant in ("galore", "apollo", "badam", "adam_mini", "muon"):
        if read.flag(f"use_{variant}"):
            rank = read.count(f"{variant}_rank", 16) if variant in {"galore", "apollo"} else 16
            return Optimizer(name, variant, rank, layerwise=read.flag(f"{variant}_layerwise"))
    return Optimizer(name)


def _quantization(read: _Reader) -> Quantization | None:
    if read.value("quantization_bit") is None:
        return None
    bits = read.number("quantization_bit", 4)
    method = str(read.value("quantization_method") or "bnb").strip().lower()
    if method not in {"bnb", "hqq", "eetq"}:
        read.assume(
            f"quantization_method: {method[:40]} quantizes nothing (bnb, hqq or eetq do)",
            f"quantization_method: {method[:40]} 不会量化（bnb、hqq、eetq 才会）",
        )
        return None
    if bits not in {1, 2, 3, 4, 5, 6, 8}:
        raise read.refusal("quantization_bit", "needs 4 or 8")
    return Quantization(bits, method, read.flag("double_quantization", default=True))


def _adapter(read: _Reader, method: Method) -> Adapter | None:
    extra = read.words("additional_target", "") if read.value("additional_target") else ()
    if method is Method.LORA:
        return Adapter(
            rank=read.count("lora_rank", 8),
            targets=read.words("lora_target", "all"),
            dora=read.flag("use_dora"),
            dropout=read.share("lora_dropout") > 0,
            extra_targets=extra,
        )
    if method is Method.OFT:
        return Adapter(
            targets=read.words("oft_target", "all"),
            block_size=read.count("oft_block_size", 32),
            extra_targets=extra,
        )
    return None


def _frozen(read: _Reader) -> Frozen:
    extra = read.value("freeze_extra_modules")
    return Frozen(
        layers=read.number("freeze_trainable_layers", 2),
        modules=read.words("freeze_trainable_modules", "all"),
        extra_modules=read.words("freeze_extra_modules", "") if extra else (),
    )


def _eval_batch(read: _Reader, stage: str) -> int | None:
    strategy = str(read.value("eval_strategy") or "no").strip().lower()
    if strategy not in {"steps", "epoch"} and not read.flag("do_eval"):
        return None
    batch = read.count("per_device_eval_batch_size", 8)
    return batch * 2 if stage in _PAIRED_STAGES else batch


def _has_reference(read: _Reader, stage: str, method: Method) -> bool:
    """Tell whether a second model is in memory; with LoRA the base itself serves as one."""
    needs_one = _is_compared(read, stage) or stage == "ppo"
    return needs_one and (method is not Method.LORA or bool(read.value("ref_model")))


def _is_compared(read: _Reader, stage: str) -> bool:
    """Tell whether a loss needs a reference's logits: ORPO's and SimPO's do not."""
    loss = str(read.value("pref_loss") or "sigmoid").strip().lower()
    return stage == "kto" or (stage == "dpo" and loss not in {"orpo", "simpo"})
