"""Owns the checks of the training method and its optimizers."""

from collections.abc import Callable

from diagnostics.config.exclusions.exclusion import Exclusion
from diagnostics.config.schema import bundled_facts
from diagnostics.config.settings import Settings

_TINY = 1e-6
"""What LLaMA-Factory takes for 0 of a share."""

_GALORE_OPTIMIZERS = frozenset(
    {"adamw_torch", "adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit", "adafactor"}
)


def _not_lora(key: str) -> Callable[[Settings], bool]:
    return lambda s: s.knows_method and s.method != "lora" and s.on(key)


def _only_lora(key: str, off: object) -> Exclusion:
    check = (
        (lambda s: s.knows_method and s.method != "lora" and s.has(key))
        if off is None
        else _not_lora(key)
    )
    return Exclusion(
        f"{key}_only_lora",
        (key, "finetuning_type"),
        check,
        f"{key} is for finetuning_type lora only",
        f"ValueError: `{key}` is only valid for LoRA training.",
        (key, off),
    )


def _is_other(settings: Settings, known: frozenset[str]) -> bool:
    """Tell whether the optimizer is one that exists and is none of these."""
    name = settings.text("optim")
    return name in bundled_facts().keys["optim"].choices and name not in known


METHOD = (
    Exclusion(
        "ref_model_bits",
        ("ref_model_quantization_bit",),
        lambda s: s.value("ref_model_quantization_bit") not in (None, 4, 8),
        "the reference model is quantized to 4 or 8 bits only",
        "AssertionError: We only accept 4-bit or 8-bit quantization.",
        ("ref_model_quantization_bit", 4),
    ),
    Exclusion(
        "reward_model_bits",
        ("reward_model_quantization_bit",),
        lambda s: s.value("reward_model_quantization_bit") not in (None, 4, 8),
        "the reward model is quantized to 4 or 8 bits only",
        "AssertionError: We only accept 4-bit or 8-bit quantization.",
        ("reward_model_quantization_bit", 4),
    ),
    Exclusion(
        "ppo_reward_model",
        ("stage", "reward_model"),
        lambda s: s.text("stage") == "ppo" and not s.has("reward_model"),
        "stage ppo needs reward_model",
        "ValueError: `reward_model` is necessary for PPO training.",
    ),
    Exclusion(
        "ppo_reward_lora",
        ("reward_model_type", "finetuning_type"),
        lambda s: (
            s.text("stage") == "ppo"
            and s.text("reward_model_type") == "lora"
            and s.knows_method
            and s.method != "lora"
        ),
        "reward_model_type lora needs finetuning_type lora",
        "ValueError: `reward_model_type` cannot be lora for Freeze/Full PPO training.",
        ("reward_model_type", "full"),
    ),
    Exclusion(
        "freeze_nothing",
        ("freeze_trainable_layers", "finetuning_type"),
        lambda s: (
            s.method == "freeze"
            and s.on("do_train")
            and s.value("freeze_trainable_layers") == 0
            and not s.has("freeze_extra_modules")
        ),
        "freeze_trainable_layers 0 leaves nothing that is trained",
    ),
    Exclusion(
        "asft_reference",
        ("use_asft_loss", "ref_model", "finetuning_type"),
        lambda s: (
            s.text("stage") == "sft"
            and s.on("use_asft_loss")
            and s.method == "lora"
            and not s.has("ref_model")
        ),
        "use_asft_loss compares with a reference model, and with finetuning_type lora only"
        " ref_model brings one",
        in_training=True,
    ),
    Exclusion(
        "label_smoothing_loss",
        ("dpo_label_smoothing", "pref_loss"),
        lambda s: (
            s.text("stage") == "dpo"
            and s.text("pref_loss") != "sigmoid"
            and s.number("dpo_label_smoothing") > _TINY
        ),
        "dpo_label_smoothing is for pref_loss sigmoid only",
        "ValueError: `dpo_label_smoothing` is only valid for sigmoid loss function.",
        ("dpo_label_smoothing", 0.0),
    ),
    Exclusion(
        "llama_pro_full",
        ("use_llama_pro", "finetuning_type"),
        lambda s: s.on("use_llama_pro") and s.method == "full",
        "use_llama_pro is for finetuning_type freeze and lora only",
        "ValueError: `use_llama_pro` is only valid for Freeze or LoRA training.",
        ("use_llama_pro", False),
    ),
    Exclusion(
        "lora_with_galore",
        ("use_galore", "use_apollo", "use_badam", "finetuning_type"),
        lambda s: (
            s.method == "lora"
            and any(s.on(key) for key in ("use_galore", "use_apollo", "use_badam"))
        ),
        "GaLore, APOLLO and BAdam train all weights, and cannot be used with LoRA",
        "ValueError: Cannot use LoRA with GaLore, APOLLO or BAdam together.",
        ("finetuning_type", "full"),
    ),
    Exclusion(
        "galore_apollo_badam",
        ("use_galore", "use_apollo", "use_badam"),
        lambda s: (
            s.method != "lora"
            and sum(s.on(key) for key in ("use_galore", "use_apollo", "use_badam")) > 1
        ),
        "only one of GaLore, APOLLO and BAdam can be used",
        "ValueError: Cannot use GaLore, APOLLO or BAdam together.",
    ),
    Exclusion(
        "pissa_stage",
        ("pissa_init", "stage"),
        lambda s: (
            s.on("pissa_init")
            and s.method == "lora"
            and (
                s.text("stage") in {"ppo", "kto"}
                or (s.text("stage") == "dpo" and s.text("pref_loss") not in {"orpo", "simpo"})
            )
        ),
        "pissa_init changes the base weights, which this stage needs as its reference",
        "ValueError: Cannot use PiSSA for current training stage.",
        ("pissa_init", False),
    ),
    _only_lora("loraplus_lr_ratio", None),
    _only_lora("use_rslora", off=False),
    _only_lora("use_dora", off=False),
    _only_lora("pissa_init", off=False),
    Exclusion(
        "galore_layerwise_accumulation",
        ("gradient_accumulation_steps", "galore_layerwise"),
        lambda s: (
            s.on("use_galore")
            and s.on("galore_layerwise")
            and s.number("gradient_accumulation_steps") != 1
        ),
        "layer-wise GaLore updates at each backward pass, so it cannot accumulate gradients",
        "ValueError: Per-layer GaLore does not support gradient accumulation.",
        ("gradient_accumulation_steps", 1),
        in_training=True,
    ),
    Exclusion(
        "apollo_layerwise_accumulation",
        ("gradient_accumulation_steps", "apollo_layerwise"),
        lambda s: (
            s.on("use_apollo")
            and s.on("apollo_layerwise")
            and s.number("gradient_accumulation_steps") != 1
        ),
        "layer-wise APOLLO updates at each backward pass, so it cannot accumulate gradients",
        "ValueError: Per-layer APOLLO does not support gradient accumulation.",
        ("gradient_accumulation_steps", 1),
        in_training=True,
    ),
    Exclusion(
        "galore_optim",
        ("optim", "use_galore"),
        lambda s: s.on("use_galore") and "optim" in s.given and _is_other(s, _GALORE_OPTIMIZERS),
        "GaLore is made for optim adamw_torch, adamw_8bit, paged_adamw_8bit and adafactor only",
        "NotImplementedError: Unknown optim",
        ("optim", "adamw_torch"),
        in_training=True,
    ),
    Exclusion(
        "galore_optim_unset",
        ("use_galore", "optim"),
        lambda s: s.on("use_galore") and "optim" not in s.given and s.fused_by_default,
        "GaLore needs optim adamw_torch, and the default is adamw_torch_fused with this PyTorch",
        "NotImplementedError: Unknown optim: adamw_torch_fused.",
        ("optim", "adamw_torch"),
        in_training=True,
    ),
    Exclusion(
        "apollo_optim",
        ("optim", "use_apollo"),
        lambda s: (
            s.on("use_apollo") and "optim" in s.given and _is_other(s, frozenset({"adamw_torch"}))
        ),
        "APOLLO is made for optim adamw_torch only",
        "NotImplementedError: Unknown optim",
        ("optim", "adamw_torch"),
        in_training=True,
    ),
    Exclusion(
        "apollo_optim_unset",
        ("use_apollo", "optim"),
        lambda s: s.on("use_apollo") and "optim" not in s.given and s.fused_by_default,
        "APOLLO needs optim adamw_torch, and the default is adamw_torch_fused with this PyTorch",
        "NotImplementedError: Unknown optim: adamw_torch_fused.",
        ("optim", "adamw_torch"),
        in_training=True,
    ),
    Exclusion(
        "galore_deepspeed",
        ("deepspeed", "use_galore", "use_apollo"),
        lambda s: s.has("deepspeed") and (s.on("use_galore") or s.on("use_apollo")),
        "GaLore and APOLLO cannot be used with DeepSpeed",
        "ValueError: GaLore and APOLLO are incompatible with DeepSpeed yet.",
        ("deepspeed", None),
        in_training=True,
    ),
    Exclusion(
        "galore_layerwise_distributed",
        ("galore_layerwise", "use_galore"),
        lambda s: s.distributed is True and s.on("use_galore") and s.on("galore_layerwise"),
        "layer-wise GaLore is for one GPU only",
        "ValueError: Distributed training does not support layer-wise GaLore.",
        ("galore_layerwise", False),
        in_training=True,
    ),
    Exclusion(
        "apollo_layerwise_distributed",
        ("apollo_layerwise", "use_apollo"),
        lambda s: s.distributed is True and s.on("use_apollo") and s.on("apollo_layerwise"),
        "layer-wise APOLLO is for one GPU only",
        "ValueError: Distributed training does not support layer-wise APOLLO.",
        ("apollo_layerwise", False),
        in_training=True,
    ),
    Exclusion(
        "badam_ratio_distributed",
        ("badam_mode", "use_badam"),
        lambda s: s.distributed is True and s.on("use_badam") and s.text("badam_mode") == "ratio",
        "BAdam by ratio is for one GPU only",
        "ValueError: Radio-based BAdam does not yet support distributed training, use layer-wise"
        " BAdam.",
        ("badam_mode", "layer"),
        in_training=True,
    ),
)
