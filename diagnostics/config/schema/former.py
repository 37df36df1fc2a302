"""Owns keys and values of earlier versions, and of other tools for the same."""

from diagnostics.config.unset import UNSET, Unset

_LARGEST_SIDE = 100_000
_BATCH = "per_device_train_batch_size"
_MODEL = "model_name_or_path"

RENAMED = {
    # LLaMA-Factory's own, of earlier versions
    "badam_switch_block_every": "badam_switch_interval",
    "cache_path": "tokenized_path",
    "checkpoint_dir": "adapter_name_or_path",
    "dev_ratio": "val_size",
    "dpo_beta": "pref_beta",
    "dpo_ftx": "pref_ftx",
    "dpo_loss": "pref_loss",
    "dpo_ref_model": "ref_model",
    "dpo_ref_model_checkpoint": "ref_model_adapters",
    "hf_auth_token": "hf_hub_token",
    "image_dir": "media_dir",
    "lora_bf16_mode": "pure_bf16",
    "max_source_length": "cutoff_len",
    "name_module_trainable": "freeze_trainable_modules",
    "neft_alpha": "neftune_noise_alpha",
    "new_special_tokens": "add_special_tokens",
    "num_layer_trainable": "freeze_trainable_layers",
    "orpo_beta": "pref_beta",
    "ref_model_checkpoint": "ref_model_adapters",
    "reward_model_checkpoint": "reward_model",
    "sft_packing": "packing",
    "system_prompt": "default_system",
    "vllm_dtype": "infer_dtype",
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
    "val_ratio": "val_size",
}
"""The present key for each; its value is not always of the same form."""

SUCCESSORS = {
    "group_by_length": "train_sampling_strategy",
    "image_resolution": "image_max_pixels",
    "video_resolution": "video_max_pixels",
}
"""The present key where the value takes another form, so that it cannot just be moved."""


def successor_value(name: str, value: object) -> object | Unset:
    """Return the successor's value for a former key's; UNSET where there is none."""
    if name == "group_by_length":
        return "group_by_length" if value is True else UNSET
    if name not in SUCCESSORS or isinstance(value, bool) or not isinstance(value, int):
        return UNSET
    return value * value if 0 < value < _LARGEST_SIDE else UNSET


FORMER_VALUES = {
    ("flash_attn", "off"): ("disabled", "llamafactory 0.8.1"),
    ("quantization_method", "bitsandbytes"): ("bnb", "llamafactory 0.9.3"),
    ("optim", "adamw_hf"): ("adamw_torch", "transformers 5.0"),
}
"""Values that were accepted once: what is written now, and since when."""

MEANT_VALUES = {
    ("finetuning_type", "sft"): "full",
    ("flash_attn", "eager"): "disabled",
    ("flash_attn", "flash_attention_2"): "fa2",
    ("flash_attn", "flash_attention_3"): "fa3",
    ("lr_scheduler_type", "cosine_with_warmup"): "cosine",
    ("lr_scheduler_type", "linear_with_warmup"): "linear",
    ("lr_scheduler_type", "wsd"): "warmup_stable_decay",
    ("optim", "adam"): "adamw_torch",
    ("optim", "adamw"): "adamw_torch",
    ("stage", "pretrain"): "pt",
    ("stage", "reward"): "rm",
}
"""What the names of other tools mean, where the nearest name is another thing; in lower case."""
