"""Owns what an optimizer holds and needs: its states, and the memory of its step.

Sources: torch.optim (foreach copies the set, fused does not), bitsandbytes (8-bit states in blocks
of 256, paged states outside torch's memory), transformers' Adafactor (row and column factors), and
the papers of GaLore, APOLLO and BAdam.
"""

from dataclasses import dataclass

from diagnostics.findings import Text
from diagnostics.memory.counting import ADAM_BLOCK, Counts
from diagnostics.memory.workload import Optimizer, Workload

FLOAT32 = 4
_EIGHT_BIT_STATE = 1 + FLOAT32 / ADAM_BLOCK
_BNB_STATES = {"ademamix": 3, "adamw": 2, "lion": 1, "rmsprop": 1}
_SMALL = 4096
"""Elements below which bitsandbytes keeps a tensor's states in float32."""
_PAGED = 100_000
"""Elements from which its paged optimizers keep a tensor's states where the driver likes."""
_ELSEWHERE = Text(
    "paged optimizer states are not counted: they move to host memory where the GPU is full",
    "分页优化器状态未计入：GPU 装满时会移到主机内存",
)
_LISTED_COPIES = {"adamw_torch": 1, "rmsprop": 1, "adagrad": 2}
"""`foreach` works on lists: square roots of all second moments, and all updates of Adagrad."""
_ONE_STATE = ("sgd", "adagrad", "rmsprop", "muon")


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
    if any(word in optimizer.name for word in ("8bit", "32bit", "bnb", "paged", "ademamix")):
        return _bitsandbytes(counts, optimizer.name, trainable)
    return _named(optimizer.name, work, trainable, largest=_largest(counts))


def _bitsandbytes(counts: Counts, name: str, trainable: int) -> OptimizerMemory:
    """8-bit or float32 states, tensor by tensor; those of embeddings stay in float32."""
    is_paged, is_small = "paged" in name, "8bit" in name
    kept = 0.0
    for tensor in counts.trained_tensors:
        if is_paged and tensor.elements >= _PAGED:
            continue
        is_whole = not is_small or tensor.elements < _SMALL or tensor.embeds
        each = FLOAT32 if is_whole else _EIGHT_BIT_STATE
        kept += each * tensor.elements * tensor.count
    states = next((count for word, count in _BNB_STATES.items() if word in name), 2)
    share = trainable / max(1, counts.trainable)
    return OptimizerMemory(states * kept * share, 0.0, _ELSEWHERE if is_paged else None)


def _named(name: str, work: Workload, trainable: int, *, largest: int) -> OptimizerMemory:
    width = work.trainable_bytes
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
    copies = _LISTED_COPIES.get(name, 0)
    return OptimizerMemory(float(states * width * trainable), float(copies * width * trainable))


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
