"""Owns what one GPU holds of weights, gradients and optimizer states when several share them.

DeepSpeed's ZeRO (stages 1 to 3, with offload to the host), DDP's buckets and FSDP. Sources:
DeepSpeed's stage_1_and_2.py and stage3.py, and its documentation of `zero_optimization`.
"""

from dataclasses import dataclass

from diagnostics.findings import Text
from diagnostics.memory.counting import Counts

FLOAT32 = 4
_NCCL_BYTES = 0.4 * 2**30


@dataclass(frozen=True, slots=True)
class Share:
    """One GPU's share, in bytes; `optimized` is how many parameters its optimizer steps."""

    weights: float
    gradients: float
    optimized: int
    master: float = 0.0
    """Float32 copies that DeepSpeed's optimizer keeps."""
    buffers: float = 0.0
    states_scale: float = 1.0
    """0 where the optimizer's states are in host memory."""
    gradient_scale: float = 1.0
    remarks: tuple[Text, ...] = ()


def share_of(counts: Counts) -> Share:
    """Work out a GPU's share of a training."""
    work = counts.work
    sharding, trainable = work.sharding, counts.trainable
    width = work.trainable_bytes
    alone = Share(
        weights=counts.base_bytes + width * trainable,
        gradients=float(width * trainable),
        optimized=trainable,
    )
    if work.reference_model:
        quantized = work.quantization is not None
        whole = float(counts.total * counts.model.weight_bytes)
        reference = counts.base_bytes if quantized else whole
        alone = Share(alone.weights + reference, alone.gradients, alone.optimized)
    if sharding.zero_stage is not None and sharding.zero_stage > 0:
        return _zero(counts, alone)
    if sharding.gpus > 1 and sharding.fsdp:
        return _fsdp(counts, alone)
    if sharding.gpus > 1:
        # DDP averages gradients in buckets that are a second copy of them.
        return Share(
            alone.weights,
            2 * alone.gradients,
            trainable,
            buffers=_NCCL_BYTES,
            remarks=(Text("DDP: every GPU holds the whole model", "DDP：每块 GPU 都有完整模型"),),
        )
    return alone


def _zero(counts: Counts, alone: Share) -> Share:
    work = counts.work
    sharding, trainable, gpus = work.sharding, counts.trainable, work.sharding.gpus
    half = work.compute_bytes
    stage = sharding.zero_stage or 0
    each = -(-trainable // gpus)
    bucket = float(half * sharding.reduce_bucket_elements * (2 if sharding.overlap_comm else 1))
    host = sharding.offload_optimizer
    # DeepSpeed trains in half precision and keeps float32 masters of this GPU's part.
    master = 0.0 if host else float(FLOAT32 * each)
    scale = 0.0 if host else FLOAT32 / work.trainable_bytes
    remarks = (
        Text(
            f"ZeRO-{stage} over {gpus} GPU{'s' if gpus > 1 else ''}: an estimate within 20 %",
            f"ZeRO-{stage}，{gpus} 块 GPU：估计误差 20 % 以内",
        ),
    )
    base = counts.base_bytes + (
        alone.weights - counts.base_bytes - work.trainable_bytes * trainable
    )
    buffers = bucket + (_NCCL_BYTES if gpus > 1 else 0.0)
    if stage < 3:  # noqa: PLR2004
        gradients = float(half * trainable) if stage == 1 else half * trainable / gpus
        if host:
            gradients = 0.0 if stage == 2 else gradients  # noqa: PLR2004
        return Share(
            base + half * trainable,
            gradients,
            each,
            master,
            buffers,
            scale,
            gradient_scale=gradients / max(1.0, float(work.trainable_bytes * trainable)),
            remarks=remarks,
        )
    live = min(sharding.max_live_params, counts.total)
    window = float(
        half * (min(live, counts.embedding + 2 * counts.layer) + sharding.prefetch_elements)
    )
    sub_group = 0.0 if host else float(FLOAT32 * min(sharding.sub_group_elements, each))
    weights = 0.0 if sharding.offload_params else (base + half * trainable) / gpus
    gradients = 0.0 if host else half * trainable / gpus
    return Share(
        weights,
        gradients,
        each,
        master,
        buffers + window + sub_group,
        scale,
        gradient_scale=gradients / max(1.0, float(work.trainable_bytes * trainable)),
        remarks=remarks,
    )


def _fsdp(counts: Counts, alone: Share) -> Share:
    gpus = counts.work.sharding.gpus
    window = float(counts.work.compute_bytes * (2 * counts.layer + counts.embedding + counts.head))
    return Share(
        alone.weights / gpus,
        alone.gradients / gpus,
        -(-counts.trainable // gpus),
        buffers=window + _NCCL_BYTES,
        gradient_scale=1 / gpus,
        remarks=(
            Text(
                f"FSDP over {gpus} GPUs: an estimate within 20 %",
                f"FSDP，{gpus} 块 GPU：估计误差 20 % 以内",
            ),
        ),
    )
