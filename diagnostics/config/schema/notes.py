"""Owns what is known of keys beyond their definition: remarks, places, ranges, accepted types.

Written by hand. Ranges are those the software enforces, or outside of which nothing can work.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from diagnostics.config.unset import UNSET, Unset


@dataclass(frozen=True, slots=True)
class Note:
    """One key's; what is left out is as the definition says."""

    remark: str = ""
    beside: str | None = None
    default: object | Unset = UNSET
    type_name: str = ""
    choices: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    """Types that work although they are not declared."""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    refused: bool | None = None


_BATCH = "per_device_train_batch_size"
_MODEL = "model_name_or_path"
_WORDS = ("list",)  # split at commas where they are text, taken as they are where not

_RUN = {
    _MODEL: Note("path or hub name; a run cannot start without it"),
    "adapter_name_or_path": Note("LoRA to go on with", _MODEL),
    "trust_remote_code": Note("runs code of the model", _MODEL),
    "stage": Note(refused=True),
    "do_train": Note(),
    "do_eval": Note("implied by eval_strategy"),
    "do_predict": Note(),
    "finetuning_type": Note(refused=True),
    "template": Note("a wrong one gives no error, only bad loss"),
    "seed": Note(at_least=0, at_most=2**32 - 1, refused=True),
    "use_cpu": Note("train without a GPU"),
    "ddp_timeout": Note("seconds; tokenising counts", also=("float",), above=0),
}
_ADAPTERS = {
    "lora_rank": Note("", "finetuning_type", at_least=1, refused=True),
    "lora_alpha": Note(
        "twice the rank by default", "lora_rank", also=("float",), above=0, refused=False
    ),
    "lora_dropout": Note("", "lora_rank", at_least=0, at_most=1, refused=True),
    "lora_target": Note("every linear layer but the head", also=_WORDS),
    "additional_target": Note("", "lora_target", also=_WORDS),
    "use_rslora": Note("", "lora_rank"),
    "use_dora": Note("slower, more memory", "lora_rank"),
    "pissa_init": Note("not with quantization", "lora_rank"),
    "loraplus_lr_ratio": Note("", "lora_rank", above=0),
    "create_new_adapter": Note(),
    "oft_block_size": Note("", "finetuning_type", at_least=0),
    "oft_target": Note("", "oft_block_size", also=_WORDS),
    "freeze_trainable_layers": Note("below 0: the first layers"),
    "freeze_trainable_modules": Note("", "freeze_trainable_layers", also=_WORDS),
    "freeze_extra_modules": Note("", "freeze_trainable_layers", also=_WORDS),
}
_MEMORY = {
    _BATCH: Note("the first lever against out of memory", at_least=1, refused=True),
    "gradient_accumulation_steps": Note("costs no memory", _BATCH, at_least=1, refused=True),
    "cutoff_len": Note("longer samples are cut silently", "template", at_least=1, refused=True),
    "disable_gradient_checkpointing": Note("checkpointing is on by default", _BATCH),
    "use_reentrant_gc": Note("", _BATCH),
    "use_unsloth_gc": Note("activations in host memory", _BATCH),
    "use_unsloth": Note("LoRA only, not with ZeRO-3", _MODEL),
    "enable_liger_kernel": Note("fused loss; needs liger-kernel", _BATCH),
    "flash_attn": Note("", _MODEL, refused=True),
    "quantization_bit": Note("LoRA and OFT only", _MODEL),
    "quantization_method": Note(
        "`bitsandbytes` quantizes nothing since 0.9.3",
        "quantization_bit",
        choices=("bnb", "hqq", "eetq"),
        refused=False,
    ),
    "quantization_type": Note("", "quantization_bit", choices=("nf4", "fp4"), refused=True),
    "double_quantization": Note("", "quantization_bit"),
    "bf16": Note("Ampere or newer; not with fp16"),
    "fp16": Note("not with bf16"),
    "pure_bf16": Note("halves full tuning; not with ZeRO-3"),
    "upcast_layernorm": Note("more memory"),
    "upcast_lmhead_output": Note("more memory"),
    "optim": Note("8bit and paged need bitsandbytes", refused=True),
    "use_galore": Note("full and freeze only", "finetuning_type"),
    "use_apollo": Note("needs optim: adamw_torch"),
    "use_badam": Note("", "finetuning_type"),
    "use_adam_mini": Note("", "finetuning_type"),
    "use_muon": Note("", "finetuning_type"),
    "galore_rank": Note("", "use_galore", at_least=1),
    "galore_target": Note("", "use_galore", also=_WORDS),
    "apollo_rank": Note("", "use_apollo", at_least=1),
    "apollo_target": Note("", "use_apollo", also=_WORDS),
    "badam_update_ratio": Note("", "use_badam", at_least=0, at_most=1),
    "deepspeed": Note("path of a JSON; needs torchrun", type_name="str", also=("bool",)),
    "fsdp": Note(type_name="str", also=("bool",)),
    "auto_find_batch_size": Note("retries by itself", _BATCH),
    "torch_empty_cache_steps": Note("slower", _BATCH, at_least=1, refused=True),
    "packing": Note("on by default in stage pt", "cutoff_len"),
    "neat_packing": Note("sft only", "packing"),
    "image_max_pixels": Note("", _MODEL, at_least=1),
    "video_max_pixels": Note("", _MODEL, at_least=1),
    "resize_vocab": Note("", _MODEL),
    "freeze_vision_tower": Note("", "finetuning_type"),
}
_DATA = {
    "dataset": Note("names with commas between", also=_WORDS),
    "dataset_dir": Note("", "dataset", also=("dict",)),
    "max_samples": Note("", "dataset", at_least=1, refused=True),
    "streaming": Note("needs max_steps", "dataset"),
    "tokenized_path": Note("if it exists, other data keys do nothing"),
    "overwrite_cache": Note("", "dataset"),
    "preprocessing_num_workers": Note("", "dataset", at_least=1, refused=True),
    "preprocessing_batch_size": Note("", "preprocessing_num_workers", at_least=1),
    "media_dir": Note("dataset_dir by default", "dataset_dir"),
    "mix_strategy": Note("", "dataset"),
    "interleave_probs": Note("", "mix_strategy", also=_WORDS),
    "dataloader_num_workers": Note("0 often starves the GPU", at_least=0, refused=True),
    "dataloader_prefetch_factor": Note("", "dataloader_num_workers", at_least=0, refused=True),
    "disable_shuffling": Note("", "dataset"),
    "train_on_prompt": Note("", "dataset"),
    "mask_history": Note("", "dataset"),
}
_SCHEDULE = {
    "learning_rate": Note(above=0),
    "num_train_epochs": Note(above=0, refused=False),
    "max_steps": Note("above 0 it wins over num_train_epochs"),
    "lr_scheduler_type": Note(refused=True),
    "warmup_steps": Note("below 1 it is a share of all steps", at_least=0, refused=True),
    "warmup_ratio": Note("deprecated: warmup_steps", default=0.0, at_least=0, at_most=1),
    "weight_decay": Note(at_least=0, refused=True),
    "max_grad_norm": Note("", "learning_rate", at_least=0),
    "label_smoothing_factor": Note("", "learning_rate", at_least=0, at_most=1),
    "adam_beta1": Note("", "optim", at_least=0, below=1, refused=True),
    "adam_beta2": Note("", "optim", at_least=0, below=1, refused=True),
    "adam_epsilon": Note("", "optim", at_least=0, refused=True),
    "neftune_noise_alpha": Note(above=0),
    "pref_beta": Note(above=0),
    "pref_loss": Note("", "pref_beta", refused=False),
    "dpo_label_smoothing": Note("", "pref_beta", at_least=0, below=1),
}
_STEPS = ("int", "float")
_TRACKERS = (
    *("none", "all", "tensorboard", "wandb", "swanlab", "mlflow", "trackio", "comet_ml", "neptune"),
    *("clearml", "dvclive", "codecarbon", "azure_ml", "dagshub", "flyte", "kubeflow"),
)
_OUTPUT = {
    "output_dir": Note(default="trainer_output"),
    "overwrite_output_dir": Note("true never resumes by itself"),
    "resume_from_checkpoint": Note("a path, or true", "output_dir", also=("bool",)),
    "logging_strategy": Note("", "logging_steps", refused=True),
    "logging_steps": Note("", "output_dir", type_name="int", at_least=0, also=_STEPS),
    "logging_first_step": Note("", "logging_steps"),
    "save_steps": Note("", "output_dir", type_name="int", above=0, also=_STEPS),
    "save_strategy": Note("", "save_steps", refused=True),
    "save_total_limit": Note("", "save_steps"),
    "save_only_model": Note("no true resume", "save_steps"),
    "hub_strategy": Note(refused=True),
    "plot_loss": Note("", "output_dir"),
    "report_to": Note(
        "`all` before transformers 5",
        "output_dir",
        type_name="list",
        choices=_TRACKERS,
        refused=True,
    ),
    "disable_tqdm": Note("", "logging_steps"),
    "include_num_input_tokens_seen": Note("", "logging_steps", default=False, type_name="bool"),
    "enable_jit_checkpoint": Note("saves on SIGTERM", "save_steps"),
    "export_dir": Note(),
    "export_quantization_bit": Note("", "export_dir"),
    "export_device": Note("", "export_dir"),
}
_EVALUATION = {
    "eval_strategy": Note('quote "no"', refused=True),
    "eval_steps": Note("logging_steps by default", "eval_strategy", type_name="int", also=_STEPS),
    "per_device_eval_batch_size": Note("", "eval_strategy", at_least=1),
    "eval_accumulation_steps": Note("", "per_device_eval_batch_size", at_least=1),
    "eval_dataset": Note("", "eval_strategy", also=_WORDS),
    "val_size": Note("below 1 a share, else a count", at_least=0),
    "load_best_model_at_end": Note("save and eval strategy must match"),
    "metric_for_best_model": Note("", "load_best_model_at_end"),
    "early_stopping_steps": Note("counted in evaluations", at_least=1),
    "compute_accuracy": Note("", "eval_strategy"),
    "predict_with_generate": Note("sft only, not with ZeRO-3"),
}
_GENERATION = {
    "temperature": Note(at_least=0),
    "top_p": Note(above=0, at_most=1),
    "repetition_penalty": Note(above=0),
    "vllm_gpu_util": Note(above=0, at_most=1),
    "sglang_mem_fraction": Note(above=0, at_most=1),
    "train_sampling_strategy": Note(refused=False),
}
NOTES: Mapping[str, Note] = MappingProxyType(
    {**_RUN, **_ADAPTERS, **_MEMORY, **_DATA, **_SCHEDULE, **_OUTPUT, **_EVALUATION, **_GENERATION}
)
COMMON = frozenset({*_RUN, *_ADAPTERS, *_MEMORY, *_DATA, *_SCHEDULE, *_OUTPUT, *_EVALUATION})
"""The keys that people set; a misspelt name more likely means one of these."""
