"""Owns the checks of the model, its adapter, its quantization and how it is loaded."""

from collections.abc import Callable

from diagnostics.config.exclusions.exclusion import Exclusion
from diagnostics.config.settings import Settings

_BNB_BITS, _HQQ_BITS, _EETQ_BITS = (4, 8), (1, 2, 3, 4, 5, 6, 8), (8,)


def _bits(method: str, allowed: tuple[int, ...]) -> Callable[[Settings], bool]:
    return lambda s: (
        s.text("quantization_method") == method
        and s.quantized
        and s.value("quantization_bit") not in allowed
    )


def _unused_fa3(settings: Settings) -> bool:
    name = settings.text("model_name_or_path").lower().replace("_", "-")
    return settings.text("flash_attn") == "fa3" and "gpt-oss" not in name


def _below(small: str, large: str) -> Callable[[Settings], bool]:
    return lambda s: 0 < s.number(small) < s.number(large)


MODEL = (
    Exclusion(
        "image_pixels",
        ("image_max_pixels", "image_min_pixels"),
        _below("image_max_pixels", "image_min_pixels"),
        "image_max_pixels is below image_min_pixels",
        "ValueError: `image_max_pixels` cannot be smaller than `image_min_pixels`.",
    ),
    Exclusion(
        "video_pixels",
        ("video_max_pixels", "video_min_pixels"),
        _below("video_max_pixels", "video_min_pixels"),
        "video_max_pixels is below video_min_pixels",
        "ValueError: `video_max_pixels` cannot be smaller than `video_min_pixels`.",
    ),
    Exclusion(
        "export_quantization_dataset",
        ("export_quantization_bit", "export_quantization_dataset"),
        lambda s: s.has("export_quantization_bit") and not s.has("export_quantization_dataset"),
        "export_quantization_bit needs export_quantization_dataset",
        "ValueError: Quantization dataset is necessary for exporting.",
    ),
    Exclusion(
        "adapter_only_lora",
        ("adapter_name_or_path", "finetuning_type"),
        lambda s: s.knows_method and s.has("adapter_name_or_path") and s.method != "lora",
        "adapter_name_or_path is for finetuning_type lora only",
        "ValueError: Adapter is only valid for the LoRA method.",
    ),
    Exclusion(
        "quantization_needs_adapter",
        ("quantization_bit", "finetuning_type"),
        lambda s: s.knows_method and s.quantized and s.method in {"freeze", "full"},
        "a quantized model can be trained with finetuning_type lora or oft only",
        "ValueError: Quantization is only compatible with the LoRA or OFT method.",
        ("finetuning_type", "lora"),
    ),
    Exclusion(
        "quantization_pissa",
        ("pissa_init", "quantization_bit"),
        lambda s: s.quantized and s.method == "lora" and s.on("pissa_init"),
        "pissa_init needs the full weights, and the model is quantized",
        "ValueError: Please use scripts/pissa_init.py to initialize PiSSA for a quantized model.",
        ("pissa_init", False),
    ),
    Exclusion(
        "quantization_resize_vocab",
        ("resize_vocab", "quantization_bit"),
        lambda s: s.quantized and s.on("resize_vocab"),
        "the vocabulary of a quantized model cannot be resized",
        "ValueError: Cannot resize embedding layers of a quantized model.",
        ("resize_vocab", False),
    ),
    Exclusion(
        "quantization_new_adapter",
        ("create_new_adapter", "quantization_bit", "adapter_name_or_path"),
        lambda s: s.quantized and s.has("adapter_name_or_path") and s.on("create_new_adapter"),
        "a new adapter cannot be made upon a quantized model with an adapter",
        "ValueError: Cannot create new adapter upon a quantized model.",
        ("create_new_adapter", False),
    ),
    Exclusion(
        "quantization_many_adapters",
        ("adapter_name_or_path", "quantization_bit"),
        lambda s: s.quantized and len(s.words("adapter_name_or_path")) > 1,
        "a quantized model takes one adapter only",
        "ValueError: Quantized model only accepts a single adapter. Merge them first.",
    ),
    Exclusion(
        "quantization_device_map",
        ("quantization_device_map", "do_train"),
        lambda s: s.on("do_train") and s.text("quantization_device_map") == "auto",
        "quantization_device_map auto is not for training",
        "ValueError: Cannot use device map for quantized models in training.",
        ("quantization_device_map", None),
    ),
    Exclusion(
        "bnb_bits",
        ("quantization_bit", "quantization_method"),
        _bits("bnb", _BNB_BITS),
        "bitsandbytes quantizes to 4 or 8 bits only",
        "ValueError: Bitsandbytes only accepts 4-bit or 8-bit quantization.",
        ("quantization_bit", 4),
    ),
    Exclusion(
        "hqq_bits",
        ("quantization_bit", "quantization_method"),
        _bits("hqq", _HQQ_BITS),
        "HQQ quantizes to 1, 2, 3, 4, 5, 6 or 8 bits only",
        "ValueError: HQQ only accepts 1/2/3/4/5/6/8-bit quantization.",
        ("quantization_bit", 4),
    ),
    Exclusion(
        "eetq_bits",
        ("quantization_bit", "quantization_method"),
        _bits("eetq", _EETQ_BITS),
        "EETQ quantizes to 8 bits only",
        "ValueError: EETQ only accepts 8-bit quantization.",
        ("quantization_bit", 8),
    ),
    Exclusion(
        "infer_backend",
        ("infer_backend", "do_train"),
        lambda s: s.text("infer_backend") in {"vllm", "sglang"},
        "infer_backend vllm and sglang are for chat and API, not for training",
        "ValueError: vLLM/SGLang backend is only available for API, CLI and Web.",
        ("infer_backend", "huggingface"),
        in_training=True,
    ),
    Exclusion(
        "fa3_other_model",
        ("flash_attn", "model_name_or_path"),
        _unused_fa3,
        "LLaMA-Factory up to 0.9.5 takes flash_attn fa3 for gpt-oss models only",
        "NotImplementedError: Unknown attention type: fa3",
        ("flash_attn", "auto"),
        rejected=None,
    ),
    Exclusion(
        "unsloth_oft",
        ("use_unsloth", "finetuning_type"),
        lambda s: s.on("use_unsloth") and s.method == "oft",
        "unsloth cannot train OFT",
        "ValueError: Unsloth is currently not supported for OFT.",
        ("use_unsloth", False),
        in_training=True,
    ),
    Exclusion(
        "unsloth_zero3",
        ("use_unsloth", "deepspeed"),
        lambda s: s.on("use_unsloth") and s.zero3,
        "unsloth cannot be used with ZeRO-3",
        "ValueError: Unsloth is incompatible with DeepSpeed ZeRO-3.",
        ("use_unsloth", False),
        in_training=True,
    ),
    Exclusion(
        "pissa_zero3",
        ("pissa_init", "deepspeed"),
        lambda s: s.on("pissa_init") and s.zero3 and s.method == "lora",
        "pissa_init needs whole weights, and ZeRO-3 splits them",
        "ValueError: Please use scripts/pissa_init.py to initialize PiSSA in DeepSpeed ZeRO-3.",
        ("pissa_init", False),
        in_training=True,
    ),
    Exclusion(
        "pure_bf16_zero3",
        ("pure_bf16", "deepspeed"),
        lambda s: s.on("pure_bf16") and s.zero3,
        "pure_bf16 cannot be used with ZeRO-3",
        "ValueError: `pure_bf16` is incompatible with DeepSpeed ZeRO-3.",
        ("pure_bf16", False),
        in_training=True,
    ),
    Exclusion(
        "predict_zero3",
        ("predict_with_generate", "deepspeed"),
        lambda s: s.on("predict_with_generate") and s.zero3,
        "predict_with_generate cannot be used with ZeRO-3",
        "ValueError: `predict_with_generate` is incompatible with DeepSpeed ZeRO-3.",
        ("predict_with_generate", False),
        in_training=True,
    ),
    Exclusion(
        "fp8_quantization",
        ("fp8", "quantization_bit"),
        lambda s: s.on("fp8") and s.quantized,
        "fp8 training cannot be used on a quantized model",
        "ValueError: FP8 training is not compatible with quantization. Please disable one of them.",
        ("fp8", False),
        in_training=True,
    ),
)
