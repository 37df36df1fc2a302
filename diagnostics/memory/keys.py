"""Owns which keys of a config decide its memory: a fix that changes one is worth a prediction."""

MEMORY_KEYS = frozenset(
    {
        *("model_name_or_path", "stage", "finetuning_type", "ref_model", "pref_loss"),
        *("per_device_train_batch_size", "gradient_accumulation_steps", "cutoff_len", "packing"),
        *("per_device_eval_batch_size", "eval_strategy", "do_eval"),
        *("lora_rank", "lora_target", "use_dora", "additional_target", "oft_target"),
        *("oft_block_size", "freeze_trainable_layers", "freeze_trainable_modules"),
        *("freeze_extra_modules", "quantization_bit", "quantization_method"),
        *("double_quantization", "bf16", "fp16", "pure_bf16", "upcast_layernorm"),
        *("upcast_lmhead_output", "flash_attn", "enable_liger_kernel", "use_cpu"),
        *("disable_gradient_checkpointing", "use_unsloth_gc", "use_reentrant_gc", "optim"),
        *("use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon", "galore_rank"),
        *("apollo_rank", "deepspeed", "fsdp", "freeze_vision_tower", "neat_packing"),
    }
)
