"""Owns what a simulation is asked: the model's config and the workload, both checked."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from diagnostics.memory.simulation.failures import UnsupportedError
from diagnostics.memory.simulation.optimizers import is_modelled

NUMBERS = {
    "batch": (1, 4096),
    "sequence": (8, 4_194_304),
    "accumulation": (1, 1_000_000),
    "compute_bytes": (2, 4),
    "trainable_bytes": (2, 4),
}
DEFAULTS: dict[str, Any] = {
    "stage": "sft",
    "method": "lora",
    "autocast": True,
    "checkpointing": "on",
    "reentrant": True,
    "attention": "sdpa",
    "liger": False,
    "packing": False,
    "neat_packing": False,
    "optimizer": {"name": "adamw_torch_fused"},
    "batch": 8,
    "sequence": 2048,
    "accumulation": 1,
    "compute_bytes": 2,
    "trainable_bytes": 4,
}
CHOICES = {
    "method": {"full", "freeze", "lora", "oft"},
    "checkpointing": {"on", "off", "offloaded"},
    "attention": {"sdpa", "flash", "eager"},
}


def read_workload(asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a checked workload and what of it is assumed or modelled.

    Raises:
        UnsupportedError: it has something that is not simulated.
    """
    work = {**DEFAULTS, **{name: value for name, value in asked.items() if value is not None}}
    for name, (least, most) in NUMBERS.items():
        value = work[name]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise UnsupportedError(f"{name} is {value!r}")
    for name, choices in CHOICES.items():
        if work[name] not in choices:
            raise UnsupportedError(f"{name} is {work[name]!r}")
    if not isinstance(work["optimizer"], Mapping) or "name" not in work["optimizer"]:
        raise UnsupportedError("no optimizer is named")
    _refuse(work)
    return work, _notes(work)


def _refuse(work: Mapping[str, Any]) -> None:
    if work["stage"] not in {"sft", "pt"}:
        raise UnsupportedError(f"the stage {work['stage']} is not simulated")
    sharding = work.get("sharding") or {}
    if sharding.get("zero_stage") is not None or sharding.get("fsdp"):
        raise UnsupportedError("a model split over GPUs is not simulated")
    if sharding.get("gpus", 1) > 1:
        raise UnsupportedError("what a GPU needs beside others is not simulated")
    if work.get("reference_model"):
        raise UnsupportedError("a second model is not simulated")
    if work.get("on_cpu"):
        raise UnsupportedError("a training in host memory is not simulated")


def _notes(work: Mapping[str, Any]) -> list[str]:
    notes: list[str] = []
    if work["attention"] == "sdpa" and not work["packing"]:
        notes.append("samples of a batch differ in length, so attention has a mask")
    if work["attention"] == "flash":
        notes.append("flash attention is modelled: its kernels need a graphics card")
    if work["liger"]:
        notes.append("liger's kernels are modelled after liger-kernel 0.8")
    if work.get("quantization"):
        notes.append("quantized weights are modelled after bitsandbytes 0.50")
    name = str(work["optimizer"]["name"])
    if is_modelled(name):
        notes.append(f"{name} is modelled after bitsandbytes 0.50")
    if "paged" in name:
        notes.append("paged optimizer states are not counted: they may lie in host memory")
    notes.append("reserved is what torch keeps where the card is large enough for all of it")
    notes.append("workspaces of CUDA's libraries and its context come on top")
    return notes


def read_config(asked: Mapping[str, Any]) -> Any:
    """Return the transformers config of a model.

    Raises:
        UnsupportedError: the model is not one that is simulated.
    """
    transformers = import_module("transformers")
    if "model_path" in asked:
        config = transformers.AutoConfig.from_pretrained(
            str(Path(asked["model_path"])), local_files_only=True, trust_remote_code=False
        )
    else:
        values = {name: value for name, value in asked.items() if name != "transformers_version"}
        model_type = values.pop("model_type", "")
        if "auto_map" in values:
            raise UnsupportedError("the model has code of its own")
        try:
            config = transformers.AutoConfig.for_model(model_type, **values)
        except ValueError as error:
            raise UnsupportedError(
                f"this transformers has no model of type {str(model_type)[:80]!r}"
            ) from error
    if getattr(config, "quantization_config", None):
        raise UnsupportedError("the checkpoint is quantized")
    if hasattr(config, "text_config") or not getattr(config, "num_hidden_layers", 0):
        raise UnsupportedError("the model is not a language model of like layers alone")
    return config


def stored_dtype(config: Any) -> str:
    """Return the dtype of the checkpoint's weights; empty where its config does not say."""
    stored = getattr(config, "dtype", None) or getattr(config, "torch_dtype", None)
    name = str(stored).removeprefix("torch.")
    return name if name in {"float32", "float16", "bfloat16"} else ""
