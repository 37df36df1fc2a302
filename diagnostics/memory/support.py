"""Owns what LLaMA-Factory does with some models only: Liger's kernels, Gemma 2's attention.

Read from its `model/model_utils/liger_kernel.py` and `attention.py`, release 0.9.5
(https://github.com/hiyouga/LLaMA-Factory).
"""

from dataclasses import replace

from diagnostics.findings import Text
from diagnostics.memory.architecture import Architecture
from diagnostics.memory.workload import Attention, Workload

_LIGER = frozenset(
    {
        *("gemma", "gemma2", "gemma3_text", "glm4", "glm4v_text", "gpt_oss", "llama", "mistral"),
        *("mixtral", "mllama_text_model", "olmo2", "phi3", "qwen2", "qwen2_5_vl_text"),
        *("qwen2_vl_text", "qwen3", "qwen3_5_text", "qwen3_moe", "qwen3_next"),
    }
)
"""Families that it puts Liger's fused loss in."""


def supported(work: Workload, model: Architecture, *, flash_attn: object) -> Workload:
    """Return a workload with what the model has, and what of it was taken otherwise."""
    notes: list[Text] = []
    family = model.model_type
    if work.liger and family not in _LIGER:
        work = replace(work, liger=False)
        notes.append(
            Text(
                f"enable_liger_kernel has no fused loss for {family}: taken as off",
                f"enable_liger_kernel 没有 {family} 的融合损失：按关闭计算",
            )
        )
    is_wide = model.weight_bytes > work.trainable_bytes and work.sharding.zero_stage is None
    if is_wide and work.quantization is None:
        computed = work.compute_bytes if work.autocast else model.weight_bytes
        work = replace(work, trainable_bytes=model.weight_bytes, compute_bytes=computed)
        notes.append(
            Text(
                "the checkpoint is float32 and is trained so: nothing makes it bfloat16",
                "权重为 float32 并以此训练：没有任何环节将其转为 bfloat16",
            )
        )
    named = "auto" if flash_attn is None else str(flash_attn).strip().lower()
    if family == "gemma2" and named == "auto":
        work = replace(work, attention=Attention.EAGER)
        notes.append(
            Text(
                "Gemma 2 uses eager attention unless flash-attn is installed: taken as eager",
                "未装 flash-attn 时 Gemma 2 用 eager 注意力：按 eager 计算",
            )
        )
    return replace(work, assumptions=(*work.assumptions, *notes)) if notes else work
