"""Owns one micro-step of one GPU: its sizes, and its decoder layers walked forward and back."""

from functools import cached_property

from diagnostics.memory.counting import Counts
from diagnostics.memory.layer import decoder_layer
from diagnostics.memory.layer_tape import LayerKind, residual_bytes
from diagnostics.memory.tape import Walk, walk
from diagnostics.memory.workload import Attention, Checkpointing, Method


class MicroStep:
    """What the moments of a step are worked out from; sizes are in bytes."""

    def __init__(self, counts: Counts) -> None:
        self.counts, self.model, self.work = counts, counts.model, counts.work
        self.tokens = self.work.batch * self.work.sequence
        self.stream = residual_bytes(counts)
        """Of one element that flows between layers."""
        self.half = counts.compute_bytes
        """Of one element that a layer computes."""

    @property
    def accumulates(self) -> bool:
        """Whether gradients wait for more micro-steps."""
        return self.work.accumulation > 1

    @property
    def checkpointed(self) -> bool:
        """Whether a layer keeps only its input until its backward."""
        return self.work.checkpointing is not Checkpointing.OFF

    @property
    def head_trains(self) -> bool:
        """Whether the output head has a gradient."""
        return self.work.method is Method.FULL

    @property
    def hidden(self) -> int:
        """Elements of a tensor that is as wide as the model."""
        return self.model.hidden_size * self.tokens

    @property
    def layer_input(self) -> float:
        """What flows into a layer."""
        return float(self.stream * self.hidden)

    @property
    def mask(self) -> float:
        """What the attention mask takes, of all layers together."""
        pairs = float(self.tokens * self.work.sequence)
        if self.work.attention is Attention.EAGER or (self.work.masked and self.work.neat_packing):
            return self.half * pairs
        return pairs if self.work.masked else 0.0

    @cached_property
    def trained(self) -> Walk:
        """A layer in which something trains."""
        own = self.work.method in {Method.FULL, Method.FREEZE}
        adapted = self.counts.adapted if self.work.adapter is not None else ()
        return self._walked(LayerKind(own, adapted))

    @cached_property
    def frozen(self) -> Walk:
        """A layer in which nothing trains."""
        return self._walked(LayerKind(trains=False))

    def _walked(self, kind: LayerKind) -> Walk:
        return walk(decoder_layer(self.counts, kind, self.tokens, stream_bytes=self.stream))
