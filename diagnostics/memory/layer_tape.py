"""Owns the tape of one decoder layer while it is written, and what its operations depend on."""

from dataclasses import dataclass, replace

from diagnostics.memory.architecture import Linear
from diagnostics.memory.counting import Counts
from diagnostics.memory.norms import Norm, NormKind, add_norm
from diagnostics.memory.tape import Tape
from diagnostics.memory.workload import Method

FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class LayerKind:
    """How a layer takes part: whether its own weights train, and which linears are adapted."""

    trains: bool
    adapted: tuple[Linear, ...] = ()


def residual_bytes(counts: Counts) -> int:
    """Return the bytes of one element that flows between layers: the embedding's dtype.

    Mixed precision with trainable float32 embeddings makes the stream float32.
    """
    work = counts.work
    if work.method is Method.FULL:
        return work.trainable_bytes
    if counts.mixes_halves or (work.quantization is not None and _norms_widen(counts)):
        return FLOAT32  # quantized layers give back the dtype that norms give them
    return counts.model.weight_bytes


def _norms_widen(counts: Counts) -> bool:
    """Tell whether norms give float32 whatever they are given."""
    kind, work = counts.model.norm_kind, counts.work
    if kind is NormKind.FUSED:
        return work.autocast
    return kind is NormKind.RMS and work.upcast_layernorm


class LayerTape:
    """The tape of one decoder layer while it is written, and what its operations depend on."""

    def __init__(
        self, counts: Counts, kind: LayerKind, tokens: int, stream_bytes: int | None
    ) -> None:
        self.counts, self.model, self.work = counts, counts.model, counts.work
        self.kind, self.tokens = kind, tokens
        self.adapted = {linear.name for linear in kind.adapted}
        self.half = counts.compute_bytes
        self.quantized = self.work.quantization is not None
        self.stream = stream_bytes or residual_bytes(counts)
        self.tape = Tape("input")
        self.tape.sizes["input"] = self.stream * self.model.hidden_size * tokens

    def norm(self, name: str, source: str, width: int | None = None) -> str:
        """A norm of the layer, or of queries or keys that are `width` wide."""
        trains = self.kind.trains
        bare = FLOAT32 if self.work.upcast_layernorm else self.model.weight_bytes
        how = Norm(
            self.model.norm_kind,
            trains=trains,
            weight_bytes=self.work.trainable_bytes if trains else bare,
            autocast=self.work.autocast,
            kernel=self.work.liger,
        )
        shape = (self.tokens, width or self.model.hidden_size)
        return add_norm(self.tape, how, name, source, shape)

    def each(self, name: str, width: int) -> float:
        """Bytes of one element of a tensor that is `width` wide."""
        return self.tape.sizes[name] / (width * self.tokens)

    def hold(self, *names: str) -> None:
        """Let variables of the model's code keep tensors until the last operation so far."""
        last = self.tape.operations[-1]
        kept = tuple(name for name in names if name != self.tape.source)
        self.tape.operations[-1] = replace(last, holds=(*last.holds, *kept))

    def residual(self, name: str, source: str, addend: str) -> str:
        """Add to the stream."""
        return self.tape.add(name, self.tape.sizes["input"], [source, addend])
