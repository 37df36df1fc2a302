"""Owns the closed form: a training's peak of GPU memory, by phase and by term.

The peak of allocated memory of one steady step on one GPU is the largest of its phases. Terms and
their sources are in docs/memory.md.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from diagnostics.findings import Text
from diagnostics.memory.architecture import Architecture
from diagnostics.memory.counting import Counts
from diagnostics.memory.layer import LayerKind, decoder_layer, residual_bytes
from diagnostics.memory.optimizers import optimizer_memory
from diagnostics.memory.sharded import Share, share_of
from diagnostics.memory.tape import Walk, walk
from diagnostics.memory.workload import Attention, Checkpointing, Method, Workload

GIB = 2**30
FLOAT32 = 4


class Phase(StrEnum):
    """The moments of a step that can be its peak."""

    LOAD = "load"
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    EVAL = "eval"


@dataclass(frozen=True, slots=True)
class Terms:
    """Where the bytes of one phase are."""

    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return (
            self.weights
            + self.gradients
            + self.optimizer
            + self.activations
            + self.logits
            + self.other
        )


@dataclass(frozen=True, slots=True)
class Peak:
    """The peak of allocated memory on one GPU, in bytes, phase by phase."""

    phases: dict[Phase, Terms]
    trainable_params: int
    total_params: int
    remarks: tuple[Text, ...] = field(default=())

    @property
    def phase(self) -> Phase:
        """The phase that needs most."""
        return max(self.phases, key=lambda phase: self.phases[phase].total)

    @property
    def terms(self) -> Terms:
        """The terms of the phase that needs most."""
        return self.phases[self.phase]

    @property
    def allocated_gib(self) -> float:
        """The peak."""
        return self.terms.total / GIB


@lru_cache(maxsize=512)
def predict(model: Architecture, work: Workload) -> Peak:
    """Work out the peak of one GPU."""
    counts = Counts(model, work)
    step = _Step(counts)
    phases = {
        Phase.LOAD: step.load(),
        Phase.FORWARD: step.forward(),
        Phase.LOSS: step.loss(),
        Phase.BACKWARD: step.backward(),
        Phase.OPTIMIZER: step.optimizer(),
    }
    if work.eval_batch is not None:
        phases[Phase.EVAL] = step.evaluation(work.eval_batch)
    return Peak(phases, counts.trainable, counts.total, step.remarks)


class _Step:
    """One training step of one GPU: what is in memory at each of its moments."""

    def __init__(self, counts: Counts) -> None:
        self.counts, self.model, self.work = counts, counts.model, counts.work
        self.tokens = self.work.batch * self.work.sequence
        self.stream = residual_bytes(counts)
        self.half = counts.compute_bytes
        self.share: Share = share_of(counts)
        self.states = optimizer_memory(counts, self.share.optimized)
        self.full_vocab = self.model.vocab_size * self.tokens
        self.trained = self.walked(trains=True)
        self.frozen = self.walked(trains=False)
        self.remarks = tuple(text for text in (self.states.remark, *self.share.remarks) if text)

    def walked(self, *, trains: bool) -> Walk:
        own = trains and self.work.method in {Method.FULL, Method.FREEZE}
        adapted = self.counts.adapted if trains and self.work.adapter is not None else ()
        kind = LayerKind(own, adapted)
        return walk(decoder_layer(self.counts, kind, self.tokens, stream_bytes=self.stream))

    @property
    def accumulates(self) -> bool:
        return self.work.accumulation > 1

    def at_rest(self, **more: float) -> Terms:
        """Weights and optimizer states, and the gradients that wait for more micro-steps."""
        gradients = self.share.gradients if self.accumulates else 0.0
        return Terms(
            weights=self.share.weights,
            gradients=gradients + more.get("gradients", 0.0),
            optimizer=self.share.states_scale * self.states.states + self.share.master,
            activations=more.get("activations", 0.0),
            logits=more.get("logits", 0.0),
            other=self.share.buffers + more.get("other", 0.0),
        )

    @property
    def checkpointed(self) -> bool:
        return self.work.checkpointing is not Checkpointing.OFF

    @property
    def layer_input(self) -> float:
        return float(self.stream * self.model.hidden_size * self.tokens)

    @property
    def store(self) -> float:
        """What all layers keep until their backward."""
        trained, others = self.counts.trainable_layers, 0
        frozen = self.work.frozen
        if frozen is not None and frozen.layers < 0:
            # Gradients flow back through the frozen layers behind: they keep all they need.
            others = self.model.layers - trained
        kept_frozen = others * self.frozen.kept_bytes
        if self.work.checkpointing is Checkpointing.OFFLOADED:
            return self.layer_input + kept_frozen
        if self.checkpointed:
            return trained * self.layer_input + kept_frozen
        return trained * self.trained.kept_bytes + kept_frozen - self.unneeded

    @property
    def unneeded(self) -> float:
        """What the first trained layer need not keep: no gradient goes further down than it."""
        if self.work.method is Method.FULL or self.work.liger:
            return 0.0
        return float(FLOAT32 * self.model.hidden_size * self.tokens)

    @property
    def head_trains(self) -> bool:
        return self.work.method is Method.FULL

    @property
    def tail(self) -> float:
        """What the last norm and the output head keep, the masks and the rotary table."""
        hidden = self.model.hidden_size * self.tokens
        half = self.half
        kept = 0.0 if self.work.liger else float(FLOAT32 * hidden)
        if self.head_trains:
            kept += self.stream * hidden + half * hidden
            if self.work.autocast and not self.work.liger:
                kept += half * self.counts.embedding
        if self.stream == FLOAT32 and not self.work.liger and not self.head_trains:
            kept = float(FLOAT32 * hidden)
        return kept + self.mask

    @property
    def mask(self) -> float:
        if self.work.attention is Attention.FLASH:
            return 0.0
        if self.work.attention is Attention.EAGER:
            return float(self.half * self.tokens * self.work.sequence)
        return float(self.tokens * self.work.sequence)

    @property
    def casts(self) -> float:
        """Half-precision copies of trainable weights that autocast keeps during the forward."""
        if not self.work.autocast or self.work.trainable_bytes != FLOAT32:
            return 0.0
        if not self.checkpointed:
            return 0.0  # each layer keeps its copies for its backward: they are part of it
        trainable = self.counts.trainable
        if self.work.method is Method.FULL:
            small = self.model.layers * self.counts.layer_small + self.model.hidden_size
            trainable -= small + self.counts.embedding
            # the head's copy is kept for its backward: it is part of the tail
            trainable -= 0 if self.model.tied_embeddings else self.counts.embedding
        return float(self.work.compute_bytes * trainable)

    @property
    def logit_bytes(self) -> float:
        """Of one logit at the forward's peak: itself, in float32 where it was not, softmaxed."""
        capped = self.half if self.model.logit_softcap else 0
        return self.half + FLOAT32 + (FLOAT32 if self.half < FLOAT32 else 0) + capped

    @property
    def fused_loss(self) -> float:
        """What the fused loss keeps until the backward: gradients instead of logits."""
        kept = float(self.half * self.model.hidden_size * self.tokens)
        if self.head_trains:
            kept += self.work.trainable_bytes * self.counts.embedding
        return kept

    @property
    def fused_loss_working(self) -> float:
        """What the fused loss needs while it runs: a chunk of logits, the head's gradient."""
        vocab, hidden = self.model.vocab_size, self.model.hidden_size
        rows = -(-self.tokens // -(-vocab // hidden))
        chunk = 1 << max(0, rows - 1).bit_length()
        working = float((self.half + FLOAT32) * chunk * vocab)
        if self.head_trains:
            casts = 2 if self.work.autocast else 1
            working += casts * self.half * self.counts.embedding
        return working

    def logits(self, bytes_each: float) -> float:
        return bytes_each * self.full_vocab

    @property
    def working(self) -> float:
        """The most that one layer needs beside what is kept, while its backward runs."""
        backward = self.trained.backward_peak_bytes
        if not self.checkpointed:
            return backward - self.trained.kept_bytes + self.kept_input
        # The layer is run forward again first, with its output's gradient already there.
        return self.layer_input + max(backward, self.trained.forward_peak_bytes)

    @property
    def forward_working(self) -> float:
        """The most that one layer needs beside what is kept, while its forward runs."""
        if self.checkpointed:
            return self.trained.plain_peak_bytes
        return self.trained.forward_peak_bytes - self.trained.kept_bytes + self.kept_input

    @property
    def kept_input(self) -> float:
        """A layer's input where the layer itself keeps it: there before the layer runs."""
        return self.layer_input if self.stream == FLOAT32 or self.work.liger else 0.0

    def load(self) -> Terms:
        """Each GPU reads the whole model, quantized on the way; ZeRO-3 and FSDP read it apart."""
        sharding = self.work.sharding
        if sharding.zero_stage == 3 or sharding.fsdp:  # noqa: PLR2004
            return Terms(weights=self.share.weights)
        if self.work.quantization is not None:
            return Terms(weights=self.counts.base_bytes)
        return Terms(weights=float(self.counts.total * self.model.weight_bytes))

    def forward(self) -> Terms:
        hidden = self.stream * self.model.hidden_size * self.tokens
        output = 0.0 if self.head_trains and self.stream == self.half else hidden
        activations = self.store + self.tail + output
        logits = self.logits(self.logit_bytes)
        if self.work.liger:
            logits = self.fused_loss + self.fused_loss_working
        at_loss = self.at_rest(activations=activations, logits=logits, other=self.casts)
        in_layer = self.at_rest(
            activations=self.store + self.mask + self.forward_working, other=self.casts
        )
        return max(at_loss, in_layer, key=lambda terms: terms.total)

    def loss(self) -> Terms:
        each = 16.0 if self.work.stage in {"dpo", "kto"} else 12.0
        each += self.half if self.model.logit_softcap else 0
        logits = self.fused_loss if self.work.liger else self.logits(each)
        return self.at_rest(activations=self.store + self.tail, logits=logits)

    def backward(self) -> Terms:
        """The larger of its two ends: the first layer that is worked on, and the last."""
        gradients = self.share.gradients
        head = 0.0
        if self.head_trains and not self.accumulates:
            head = self.work.trainable_bytes * self.counts.embedding * self.share.gradient_scale
        working = self.working
        own = 0.0 if self.accumulates else self.trained.gradient_bytes
        first = self.at_rest(
            gradients=head,
            activations=self.store + working + self.mask,
        )
        tied = self.model.tied_embeddings and self.head_trains
        embedding = self.work.trainable_bytes * self.counts.embedding
        done = 0.0 if self.accumulates else gradients
        before_embedding = done - (
            embedding if self.head_trains and not tied and not self.accumulates else 0.0
        )
        last_store = self.layer_input if self.checkpointed else self.trained.kept_bytes
        last_layer = self.at_rest(
            gradients=max(before_embedding - own, 0.0),
            activations=last_store + working + self.mask,
        )
        end = self.at_rest(
            gradients=done
            + (
                2 * embedding
                if tied
                else embedding
                if self.head_trains and self.accumulates
                else 0.0
            ),
            activations=self.layer_input,
        )
        return max((first, last_layer, end), key=lambda terms: terms.total)

    def optimizer(self) -> Terms:
        gradients = 0.0 if self.accumulates else self.share.gradients
        return self.at_rest(gradients=gradients, other=self.share.states_scale * self.states.step)

    def evaluation(self, batch: int) -> Terms:
        tokens = batch * self.work.sequence
        hidden = self.stream * self.model.hidden_size * tokens
        scale = tokens / self.tokens
        working = self.frozen.forward_peak_bytes * scale
        logits = 0.0 if self.work.liger else self.logit_bytes * self.model.vocab_size * tokens
        return self.at_rest(
            activations=max(hidden * 3, working if not logits else 0.0), logits=logits
        )
