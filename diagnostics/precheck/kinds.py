"""Owns telling what a YAML file is for: a check is of trainings, not of all that has keys."""

from collections.abc import Mapping
from enum import StrEnum


class ConfigKind(StrEnum):
    """What reads a YAML file."""

    TRAINING = "training"
    OTHER_COMMAND = "other command"  # llamafactory-cli export, chat, api
    VERSION_1 = "v1"  # USE_V1=1: other keys
    ACCELERATE = "accelerate"
    UNKNOWN = "unknown"


_TRAINING = frozenset({"stage", "do_train", "do_predict", "do_eval", "output_dir", "dataset"})
_COMMON = frozenset({"model_name_or_path", "finetuning_type", "template", "adapter_name_or_path"})
_VERSION_1 = frozenset(
    {"model", "train_dataset", "dist_config", "peft_config", "kernel_config", "init_config"}
)
_ACCELERATE = frozenset({"compute_environment", "distributed_type", "num_processes"})


def kind_of(values: Mapping[str, object]) -> ConfigKind:
    """Tell what a config is for by its keys."""
    keys = values.keys()
    if len(keys & _ACCELERATE) > 1:
        return ConfigKind.ACCELERATE
    if "model_name_or_path" not in keys and len(keys & _VERSION_1) > 1:
        return ConfigKind.VERSION_1
    if "export_dir" in keys:
        return ConfigKind.OTHER_COMMAND
    if keys & _TRAINING:
        return ConfigKind.TRAINING
    return ConfigKind.OTHER_COMMAND if keys & _COMMON else ConfigKind.UNKNOWN


_MEGATRON = frozenset({"tensor_model_parallel_size", "pipeline_model_parallel_size"})


def may_be_of_a_backend(key: str, values: Mapping[str, object]) -> bool:
    """Tell whether a key that LLaMA-Factory lacks may be one of a backend with keys of its own.

    Those are Megatron's (USE_MCA=1, USE_MEGATRON_BRIDGE=1) and KTransformers' fork of transformers.
    """
    return bool(values.keys() & _MEGATRON) or (
        key.startswith("kt_") and values.get("use_kt") is True
    )
