"""Owns what is known of a training's keys: type, default, choices, and what to mind.

Defaults are those of LLaMA-Factory 0.9.5 with transformers 5.6. Keys that matter for memory,
speed, quality, output and evaluation; LLaMA-Factory has more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key. `type_name` is "int", "float", "bool", "str" or "list" (of words)."""

    type_name: str
    default: object = None
    choices: tuple[str, ...] = ()
    remark: str = ""
    beside: str | None = None
    """The key that a new line with this one is best written after."""


_BATCH = "per_device_train_batch_size"
_MODEL = "model_name_or_path"

_RUN = {
    _MODEL: KeyInfo("str", None, remark="path or hub name; a run cannot start without it"),
    "adapter_name_or_path": KeyInfo("str", None, remark="LoRA to go on with", beside=_MODEL),
    "trust_remote_code": KeyInfo("bool", False, remark="runs code of the model", beside=_MODEL),
    "stage": KeyInfo("str", "sft", ("pt", "sft", "rm", "ppo", "dpo", "kto")),
    "do_train": KeyInfo("bool", False),
    "do_eval": KeyInfo("bool", False, remark="implied by eval_strategy"),
    "do_predict": KeyInfo("bool", False),
    "finetuning_type": KeyInfo("str", "lora", ("lora", "oft", "freeze", "full")),
    "template": KeyInfo("str", None, remark="a wrong one gives no error, only bad loss"),
    "seed": KeyInfo("int", 42),
    "use_cpu": KeyInfo("bool", False, remark="train without a GPU"),
    "ddp_timeout": KeyInfo("int", 1800, remark="seconds; tokenising counts"),
}
_ADAPTERS = {
    "lora_rank": KeyInfo("int", 8, beside="finetuning_type"),
    "lora_alpha": KeyInfo("int", None, remark="twice the rank by default", beside="lora_rank"),
    "lora_dropout": KeyInfo("float", 0.0, beside="lora_rank"),
    "lora_target": KeyInfo("str", "all", remark="every linear layer but the head"),
    "additional_target": KeyInfo("str", None, beside="lora_target"),
    "use_rslora": KeyInfo("bool", False, beside="lora_rank"),
    "use_dora": KeyInfo("bool", False, remark="slower, more memory", beside="lora_rank"),
    "pissa_init": KeyInfo("bool", False, remark="not with quantization", beside="lora_rank"),
    "loraplus_lr_ratio": KeyInfo("float", None, beside="lora_rank"),
    "create_new_adapter": KeyInfo("bool", False),
    "oft_block_size": KeyInfo("int", 32, beside="finetuning_type"),
    "freeze_trainable_layers": KeyInfo("int", 2, remark="below 0: the first layers"),
    "freeze_trainable_modules": KeyInfo("str", "all", beside="freeze_trainable_layers"),
    "freeze_extra_modules": KeyInfo("str", None, beside="freeze_trainable_layers"),
}
_MEMORY = {
    _BATCH: KeyInfo("int", 8, remark="the first lever against out of memory"),
    "gradient_accumulation_steps": KeyInfo("int", 1, remark="costs no memory", beside=_BATCH),
    "cutoff_len": KeyInfo("int", 2048, remark="longer samples are cut silently", beside="template"),
    "disable_gradient_checkpointing": KeyInfo(
        "bool", False, remark="checkpointing is on by default", beside=_BATCH
    ),
    "use_reentrant_gc": KeyInfo("bool", True, beside=_BATCH),
    "use_unsloth_gc": KeyInfo("bool", False, remark="activations in host memory", beside=_BATCH),
    "use_unsloth": KeyInfo("bool", False, remark="LoRA only, not with ZeRO-3", beside=_MODEL),
    "enable_liger_kernel": KeyInfo(
        "bool", False, remark="fused loss; needs liger-kernel", beside=_BATCH
    ),
    "flash_attn": KeyInfo("str", "auto", ("auto", "disabled", "sdpa", "fa2", "fa3"), beside=_MODEL),
    "quantization_bit": KeyInfo("int", None, remark="LoRA and OFT only", beside=_MODEL),
    "quantization_method": KeyInfo(
        "str",
        "bnb",
        ("bnb", "hqq", "eetq"),
        remark="`bitsandbytes` quantizes nothing since 0.9.3",
        beside="quantization_bit",
    ),
    "quantization_type": KeyInfo("str", "nf4", ("nf4", "fp4"), beside="quantization_bit"),
    "double_quantization": KeyInfo("bool", True, beside="quantization_bit"),
    "bf16": KeyInfo("bool", False, remark="Ampere or newer; not with fp16"),
    "fp16": KeyInfo("bool", False, remark="not with bf16"),
    "pure_bf16": KeyInfo("bool", False, remark="halves full tuning; not with ZeRO-3"),
    "upcast_layernorm": KeyInfo("bool", False, remark="more memory"),
    "upcast_lmhead_output": KeyInfo("bool", False, remark="more memory"),
    "optim": KeyInfo(
        "str",
        "adamw_torch_fused",
        (
            *("adamw_torch", "adamw_torch_fused", "adamw_torch_8bit", "adamw_torch_4bit"),
            *("adafactor", "sgd", "adagrad", "rmsprop", "lomo", "adalomo", "grokadamw"),
            *("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit"),
            *("lion_8bit", "lion_32bit", "paged_lion_8bit", "paged_lion_32bit"),
            *("ademamix", "ademamix_8bit", "paged_ademamix_8bit", "paged_ademamix_32bit"),
            *("rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit", "stable_adamw"),
            *("galore_adamw", "galore_adamw_8bit", "galore_adafactor", "apollo_adamw"),
            *("galore_adamw_layerwise", "apollo_adamw_layerwise", "schedule_free_adamw"),
            *("schedule_free_sgd", "schedule_free_radam", "adamw_apex_fused"),
            *("adamw_anyprecision", "adamw_torch_xla", "adamw_torch_npu_fused", "adamw_hf"),
        ),
        remark="8bit and paged need bitsandbytes",
    ),
    "use_galore": KeyInfo("bool", False, remark="full and freeze only", beside="finetuning_type"),
    "use_apollo": KeyInfo("bool", False, remark="needs optim: adamw_torch"),
    "use_badam": KeyInfo("bool", False, beside="finetuning_type"),
    "use_adam_mini": KeyInfo("bool", False, beside="finetuning_type"),
    "use_muon": KeyInfo("bool", False, beside="finetuning_type"),
    "galore_rank": KeyInfo("int", 16, beside="use_galore"),
    "apollo_rank": KeyInfo("int", 16, beside="use_apollo"),
    "deepspeed": KeyInfo("str", None, remark="path of a JSON; needs torchrun"),
    "fsdp": KeyInfo("str", None),
    "auto_find_batch_size": KeyInfo("bool", False, remark="retries by itself", beside=_BATCH),
    "torch_empty_cache_steps": KeyInfo("int", None, remark="slower", beside=_BATCH),
    "packing": KeyInfo("bool", None, remark="on by default in stage pt", beside="cutoff_len"),
    "neat_packing": KeyInfo("bool", False, remark="sft only", beside="packing"),
    "image_max_pixels": KeyInfo("int", 589824, beside=_MODEL),
    "video_max_pixels": KeyInfo("int", 65536, beside=_MODEL),
    "resize_vocab": KeyInfo("bool", False, beside=_MODEL),
    "freeze_vision_tower": KeyInfo("bool", True, beside="finetuning_type"),
}
_DATA = {
    "dataset": KeyInfo("str", None, remark="names with commas between"),
    "dataset_dir": KeyInfo("str", "data", beside="dataset"),
    "max_samples": KeyInfo("int", None, beside="dataset"),
    "streaming": KeyInfo("bool", False, remark="needs max_steps", beside="dataset"),
    "tokenized_path": KeyInfo("str", None, remark="if it exists, other data keys do nothing"),
    "overwrite_cache": KeyInfo("bool", False, beside="dataset"),
    "preprocessing_num_workers": KeyInfo("int", None, beside="dataset"),
    "preprocessing_batch_size": KeyInfo("int", 1000, beside="preprocessing_num_workers"),
    "media_dir": KeyInfo("str", None, remark="dataset_dir by default", beside="dataset_dir"),
    "dataloader_num_workers": KeyInfo("int", 0, remark="0 often starves the GPU"),
    "disable_shuffling": KeyInfo("bool", False, beside="dataset"),
    "train_on_prompt": KeyInfo("bool", False, beside="dataset"),
    "mask_history": KeyInfo("bool", False, beside="dataset"),
}
_SCHEDULE = {
    "learning_rate": KeyInfo("float", 5e-5),
    "num_train_epochs": KeyInfo("float", 3.0),
    "max_steps": KeyInfo("int", -1, remark="above 0 it wins over num_train_epochs"),
    "lr_scheduler_type": KeyInfo(
        "str",
        "linear",
        (
            *("linear", "cosine", "cosine_with_restarts", "polynomial", "constant"),
            *("constant_with_warmup", "inverse_sqrt", "reduce_lr_on_plateau"),
            *("cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", "greedy"),
        ),
    ),
    "warmup_steps": KeyInfo("float", 0, remark="below 1 it is a share of all steps"),
    "warmup_ratio": KeyInfo("float", 0.0, remark="deprecated: warmup_steps"),
    "weight_decay": KeyInfo("float", 0.0),
    "max_grad_norm": KeyInfo("float", 1.0, beside="learning_rate"),
    "neftune_noise_alpha": KeyInfo("float", None),
    "pref_beta": KeyInfo("float", 0.1),
}
_OUTPUT = {
    "output_dir": KeyInfo("str", "trainer_output"),
    "overwrite_output_dir": KeyInfo("bool", False, remark="true never resumes by itself"),
    "resume_from_checkpoint": KeyInfo("str", None, remark="a path, or true", beside="output_dir"),
    "logging_steps": KeyInfo("int", 500, beside="output_dir"),
    "logging_first_step": KeyInfo("bool", False, beside="logging_steps"),
    "save_steps": KeyInfo("int", 500, beside="output_dir"),
    "save_strategy": KeyInfo("str", "steps", ("no", "steps", "epoch", "best"), beside="save_steps"),
    "save_total_limit": KeyInfo("int", None, beside="save_steps"),
    "save_only_model": KeyInfo("bool", False, remark="no true resume", beside="save_steps"),
    "plot_loss": KeyInfo("bool", False, beside="output_dir"),
    "report_to": KeyInfo("list", "none", remark="`all` before transformers 5", beside="output_dir"),
    "disable_tqdm": KeyInfo("bool", None, beside="logging_steps"),
    "include_num_input_tokens_seen": KeyInfo("bool", False, beside="logging_steps"),
    "enable_jit_checkpoint": KeyInfo("bool", False, remark="saves on SIGTERM", beside="save_steps"),
    "export_dir": KeyInfo("str", None),
    "export_quantization_bit": KeyInfo("int", None, beside="export_dir"),
    "export_device": KeyInfo("str", "cpu", ("cpu", "auto"), beside="export_dir"),
}
_EVALUATION = {
    "eval_strategy": KeyInfo("str", "no", ("no", "steps", "epoch"), remark='quote "no"'),
    "eval_steps": KeyInfo("int", None, remark="logging_steps by default", beside="eval_strategy"),
    "per_device_eval_batch_size": KeyInfo("int", 8, beside="eval_strategy"),
    "eval_accumulation_steps": KeyInfo("int", None, beside="per_device_eval_batch_size"),
    "eval_dataset": KeyInfo("str", None, beside="eval_strategy"),
    "val_size": KeyInfo("float", 0.0, remark="below 1 a share, else a count"),
    "load_best_model_at_end": KeyInfo("bool", False, remark="save and eval strategy must match"),
    "metric_for_best_model": KeyInfo("str", None, beside="load_best_model_at_end"),
    "early_stopping_steps": KeyInfo("int", None, remark="counted in evaluations"),
    "compute_accuracy": KeyInfo("bool", False, beside="eval_strategy"),
    "predict_with_generate": KeyInfo("bool", False, remark="sft only, not with ZeRO-3"),
}
KEYS: Mapping[str, KeyInfo] = MappingProxyType(
    {**_RUN, **_ADAPTERS, **_MEMORY, **_DATA, **_SCHEDULE, **_OUTPUT, **_EVALUATION}
)

_RENAMED = {
    # LLaMA-Factory's own, of earlier versions
    "badam_switch_block_every": "badam_switch_interval",
    "cache_path": "tokenized_path",
    "checkpoint_dir": "adapter_name_or_path",
    "dpo_beta": "pref_beta",
    "dpo_ftx": "pref_ftx",
    "dpo_loss": "pref_loss",
    "dpo_ref_model": "ref_model",
    "hf_auth_token": "hf_hub_token",
    "image_dir": "media_dir",
    "lora_bf16_mode": "pure_bf16",
    "max_source_length": "cutoff_len",
    "name_module_trainable": "freeze_trainable_modules",
    "neft_alpha": "neftune_noise_alpha",
    "new_special_tokens": "add_special_tokens",
    "num_layer_trainable": "freeze_trainable_layers",
    "orpo_beta": "pref_beta",
    "ref_model_checkpoint": "ref_model",
    "reward_model_checkpoint": "reward_model",
    "sft_packing": "packing",
    "system_prompt": "default_system",
    # transformers', of earlier versions
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "per_gpu_train_batch_size": _BATCH,
    "push_to_hub_model_id": "hub_model_id",
    "push_to_hub_token": "hub_token",
    # other tools' names for the same
    "accumulation_steps": "gradient_accumulation_steps",
    "adapter_path": "adapter_name_or_path",
    "base_model": _MODEL,
    "batch_size": _BATCH,
    "cutoff_length": "cutoff_len",
    "deepspeed_config": "deepspeed",
    "dropout": "lora_dropout",
    "early_stopping_patience": "early_stopping_steps",
    "epoch": "num_train_epochs",
    "epochs": "num_train_epochs",
    "eval_batch_size": "per_device_eval_batch_size",
    "grad_accum_steps": "gradient_accumulation_steps",
    "lora_modules": "lora_target",
    "lora_path": "adapter_name_or_path",
    "lora_r": "lora_rank",
    "lora_target_modules": "lora_target",
    "lr": "learning_rate",
    "lr_scheduler": "lr_scheduler_type",
    "max_len": "cutoff_len",
    "max_length": "cutoff_len",
    "max_seq_len": "cutoff_len",
    "max_seq_length": "cutoff_len",
    "micro_batch_size": _BATCH,
    "model": _MODEL,
    "model_max_length": "cutoff_len",
    "model_name": _MODEL,
    "model_path": _MODEL,
    "num_epochs": "num_train_epochs",
    "num_workers": "dataloader_num_workers",
    "optimizer": "optim",
    "per_device_batch_size": _BATCH,
    "prompt_template": "template",
    "save_path": "output_dir",
    "scheduler": "lr_scheduler_type",
    "seq_len": "cutoff_len",
    "seq_length": "cutoff_len",
    "target_modules": "lora_target",
    "train_batch_size": _BATCH,
    "use_liger_kernel": "enable_liger_kernel",
    "val_ratio": "val_size",
}

_OTHER_KEYS = frozenset(
    {
        *("apollo_target", "galore_target", "oft_target", "ppo_target", "pissa_iter", "ld_alpha"),
        *("export_quantization_dataset", "export_quantization_maxlen", "export_size"),
        *("export_quantization_nsamples", "ref_model_quantization_bit", "eval_on_each_dataset"),
        *(
            "reward_model_quantization_bit",
            "image_min_pixels",
            "video_min_pixels",
            "train_mm_proj_only",
        ),
        *("freeze_language_model", "freeze_multi_modal_projector", "train_sampling_strategy"),
        *(
            "include_tokens_per_second",
            "gradient_checkpointing",
            "logging_strategy",
            "eval_on_start",
        ),
        *("ddp_bucket_cap_mb", "dataloader_pin_memory", "dataloader_persistent_workers"),
        *(
            "lr_scheduler_kwargs",
            "generation_max_length",
            "data_seed",
            "local_rank",
            "optim_target_modules",
            "save_safetensors",
        ),
    }
)
"""Keys of some version that resemble another: none of them is that other one misspelt."""


def default_of(key: str) -> object:
    """Return a key's default; None where the key is not known or has none."""
    info = KEYS.get(key)
    return info.default if info is not None else None


def nearest_key(name: str) -> str | None:
    """Return the known key that a misspelt or former name most likely means."""
    if name in KEYS or name in _OTHER_KEYS:
        return name
    plain = name.lstrip("-").replace("-", "_").lower()
    if plain in _RENAMED:
        return _RENAMED[plain]
    found = get_close_matches(plain[:100], KEYS, n=1, cutoff=0.75)
    return found[0] if found else None


def nearest_value(key: str, value: object) -> object:
    """Return the accepted value that a key's value most likely means; None where none is near.

    A value of the wrong kind becomes the default: of "learning_rate: fast" nothing can be kept.
    """
    info = KEYS.get(key)
    if info is None:
        return None
    if info.choices:
        if value is False and "no" in info.choices:
            return "no"  # YAML reads a bare no as false
        found = get_close_matches(str(value).lower()[:100], info.choices, n=1, cutoff=0.5)
        return found[0] if found else info.default
    if info.type_name in {"int", "float"} and isinstance(value, str):
        return info.default
    return None
