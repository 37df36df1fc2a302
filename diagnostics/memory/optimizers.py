"""Owns what an optimizer holds and needs: its states, and the memory of its step.

Sources: torch.optim (foreach copies the set, fused does not), bitsandbytes (8-bit states in blocks
of 256, paged states leave the GPU under pressure), transformers' Adafactor (row and column
factors), and the papers of GaLore, APOLLO and BAdam.
"""

from dataclasses import dataclass

from diagnostics.findings import Text
from diagnostics.memory.counting import ADAM_BLOCK, Counts
from diagnostics.memory.workload import Method, Optimizer, Workload

FLOAT32 = 4
_EIGHT_BIT_STATE = 1 + FLOAT32 / ADAM_BLOCK
_PAGED = Text(
    "paged optimizer states can move to host memory: the peak may be lower",
    "分页优化器状态可移到主机内存：峰值可能更低",
)
_ONE_STATE = ("sgd", "lion", "rmsprop", "adagrad", "muon")


@dataclass(frozen=True, slots=True)
class OptimizerMemory:
    """Bytes: `states` stay, `step` is needed while the step runs."""

    states: float
    step: float
    remark: Text | None = None


def optimizer_memory(counts: Counts, trainable: int) -> OptimizerMemory:
    """Return what the optimizer takes for `trainable` parameters (this GPU's share of them)."""
    work = counts.work
    optimizer = work.optimizer
    if optimizer.variant:
        return _variant(counts, optimizer, trainable)
    embedding = counts.embedding if work.method is Method.FULL else 0
    return _named(optimizer.name, work, trainable, largest=_largest(counts), embedding=embedding)


def _named(
    name: str, work: Workload, trainable: int, *, largest: int, embedding: int
) -> OptimizerMemory:
    width = work.trainable_bytes
    if "8bit" in name:
        states = 1 if name.startswith(("lion", "paged_lion", "rmsprop")) else 2
        remark = _PAGED if name.startswith("paged") else None
        # transformers keeps the states of embeddings in 32 bit.
        whole = min(trainable, embedding)
        small = _EIGHT_BIT_STATE * (trainable - whole) + FLOAT32 * whole
        return OptimizerMemory(states * small, 0.0, remark)
    if "4bit" in name:
        return OptimizerMemory(2 * 0.53 * trainable, 0.0)
    if name == "adafactor":
        # The update and its square are there at once, of the largest tensor; of a half-precision
        # one float32 copies of it and of its gradient too.
        copies = 2 if width == FLOAT32 else 4
        return OptimizerMemory(0.0005 * width * trainable, float(copies * FLOAT32 * largest))
    if name == "sgd" or name in {"lomo", "adalomo"}:
        # Without momentum nothing is kept; transformers' `sgd` has none.
        return OptimizerMemory(0.0, 0.0)
    states = 1 if name.startswith(_ONE_STATE) else 2
    if name.startswith(("ademamix", "paged_ademamix")):
        states = 3
    wide = FLOAT32 if "32bit" in name else width
    # `foreach` works on lists: the square roots of all second moments are there at once.
    listed = name in {"adamw_torch", "adagrad", "rmsprop"}
    remark = _PAGED if name.startswith("paged") else None
    return OptimizerMemory(
        float(states * wide * trainable), float(width * trainable) if listed else 0.0, remark
    )


def _variant(counts: Counts, optimizer: Optimizer, trainable: int) -> OptimizerMemory:
    work, model = counts.work, counts.model
    width = work.trainable_bytes
    if optimizer.variant == "badam":
        block = max(counts.layer, 1)
        return OptimizerMemory(
            3.0 * FLOAT32 * block,
            float(FLOAT32 * block),
            Text("BAdam: one block trains at a time", "BAdam：每次训练一个块"),
        )
    if optimizer.variant == "adam_mini":
        return OptimizerMemory(float(width * trainable), float(width * trainable))
    if optimizer.variant == "muon":
        return OptimizerMemory(float(width * trainable), float(width * _largest(counts)))
    factors = sum(
        optimizer.rank * (2 * max(item.inputs, item.outputs) + min(item.inputs, item.outputs))
        for item in model.linears
    )
    low_rank = model.layers * factors
    plain = trainable - model.layers * sum(item.weights for item in model.linears)
    each = _EIGHT_BIT_STATE if "8bit" in optimizer.name else float(width)
    states = each * (low_rank + 2 * max(0, plain))
    return OptimizerMemory(
        states,
        float(width * _largest(counts)),
        Text(f"{optimizer.variant}: low-rank states", f"{optimizer.variant}：低秩状态"),
    )


def _largest(counts: Counts) -> int:
    """Elements of the largest tensor that trains."""
    adapter = counts.work.adapter
    if adapter is not None and not counts.extra:
        return max(
            (adapter.rank * max(one.inputs, one.outputs) for one in counts.adapted), default=0
        )
    if counts.work.frozen is not None and not counts.extra:
        return max((one.weights for one in counts.model.linears), default=0)
    return max(counts.embedding, max((one.weights for one in counts.model.linears), default=0))
