"""Owns the methods that are advised: what each sets in a config, and the reason for it.

Keys and values are LLaMA-Factory's, of its examples:
https://github.com/hiyouga/LLaMA-Factory/tree/main/examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from diagnostics.findings import Text

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


class Quality(StrEnum):
    """How good a result is to be expected, other things equal."""

    BEST = "best"
    NEAR = "near best"
    GOOD = "good"
    FAIR = "fair"
    LIMITED = "limited"


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
    Text("full bf16 8-bit Adam", "全参 bf16 8 位 Adam"),
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
    Text("QLoRA 4-bit rank 8", "QLoRA 4 位，秩 8"),
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
    Text("freeze, 2 layers", "冻结，只训 2 层"),
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
