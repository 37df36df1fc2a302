"""Owns the closed form: a training's peak of GPU memory, by phase and by term.

The peak of allocated memory of one steady step on one GPU is the largest of its phases. Terms and
their sources are in docs/memory.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from diagnostics.findings import Text
from diagnostics.memory.architecture import Architecture
from diagnostics.memory.counting import Counts
from diagnostics.memory.kept import (
    backward_working,
    forward_working,
    hidden_states,
    kept_by_layers,
    kept_by_tail,
    weight_casts,
)
from diagnostics.memory.logits import (
    all_logits,
    bytes_of_logit,
    logits_in_forward,
    logits_in_loss,
)
from diagnostics.memory.micro_step import MicroStep
from diagnostics.memory.optimizers import OptimizerMemory, optimizer_memory
from diagnostics.memory.peak import Peak, Phase, Terms
from diagnostics.memory.sharded import Share, share_of
from diagnostics.memory.workload import Workload

_MIXED_HALVES = Text(
    "the weights are of another 16-bit kind than the training: each is cast where it is used",
    "权重与训练所用的 16 位类型不同：每次使用都要转换",
)


@lru_cache(maxsize=512)
def predict(model: Architecture, work: Workload) -> Peak:
    """Work out the peak of one GPU."""
    counts = Counts(model, work)
    step, share = MicroStep(counts), share_of(counts)
    rest = _Rest(share, optimizer_memory(counts, share.optimized), step.accumulates)
    phases = {
        Phase.LOAD: _load(counts, share),
        Phase.FORWARD: _largest(_forward(step, rest)),
        Phase.LOSS: _largest(_loss(step, rest)),
        Phase.BACKWARD: _largest(_backward(step, rest)),
        Phase.OPTIMIZER: _optimizer(rest),
    }
    if work.eval_batch is not None:
        phases[Phase.EVAL] = _largest(_evaluation(step, rest, work.eval_batch))
    mixed = _MIXED_HALVES if counts.mixes_halves else None
    remarks = (mixed, rest.states.remark, *share.remarks)
    return Peak(phases, counts.trainable, counts.total, tuple(text for text in remarks if text))


@dataclass(frozen=True, slots=True)
class _Rest:
    """What is in memory at every moment: weights, optimizer states, gradients that wait."""

    share: Share
    states: OptimizerMemory
    accumulates: bool

    @property
    def fresh_gradients(self) -> float:
        """All gradients of one micro-step, where none wait for it."""
        return 0.0 if self.accumulates else self.share.gradients

    def beside(
        self,
        *,
        gradients: float = 0.0,
        activations: float = 0.0,
        logits: float = 0.0,
        other: float = 0.0,
    ) -> Terms:
        """Return the terms of a moment that has this beside what is always there."""
        share = self.share
        waiting = share.gradients if self.accumulates else 0.0
        return Terms(
            weights=share.weights,
            gradients=waiting + gradients,
            optimizer=share.states_scale * self.states.states + share.master,
            activations=activations,
            logits=logits,
            other=share.buffers + other,
        )


def _largest(moments: Iterator[Terms]) -> Terms:
    return max(moments, key=lambda terms: terms.total)


def _load(counts: Counts, share: Share) -> Terms:
    """Each GPU reads the whole model, quantized on the way; ZeRO-3 and FSDP read it apart."""
    sharding = counts.work.sharding
    if sharding.zero_stage == 3 or sharding.fsdp:  # noqa: PLR2004
        return Terms(weights=share.weights)
    if counts.work.quantization is not None:
        return Terms(weights=counts.base_bytes)
    return Terms(weights=float(counts.total * counts.model.weight_bytes))


def _forward(step: MicroStep, rest: _Rest) -> Iterator[Terms]:
    """Its end, where the logits are made, and the last layer at its most."""
    kept, casts = kept_by_layers(step), weight_casts(step)
    output = 0.0 if step.head_trains and step.stream == step.half else step.layer_input
    activations = kept + kept_by_tail(step) + output + hidden_states(step)
    yield rest.beside(activations=activations, logits=logits_in_forward(step), other=casts)
    yield rest.beside(activations=kept + step.mask + forward_working(step), other=casts)


def _loss(step: MicroStep, rest: _Rest) -> Iterator[Terms]:
    """The gradient of the logits; then, where the head trains, that of the head."""
    kept = kept_by_layers(step) + kept_by_tail(step)
    yield rest.beside(activations=kept, logits=logits_in_loss(step))
    if not step.head_trains or step.work.liger or step.work.stage == "rm":
        return
    # The head's own gradient is made beside the logits', in half precision under autocast;
    # then it is made float32, when the half-precision copy of the weight is gone.
    narrow = float(step.half * step.counts.embedding)
    wide = float(step.work.trainable_bytes * step.counts.embedding)
    yield rest.beside(gradients=narrow, activations=kept, logits=all_logits(step, step.half))
    if step.work.autocast:
        yield rest.beside(gradients=narrow + wide, activations=kept - narrow)


def _backward(step: MicroStep, rest: _Rest) -> Iterator[Terms]:
    """The first layer that is worked on, the last one, and the embedding after it."""
    embedding = step.work.trainable_bytes * step.counts.embedding
    tied = step.model.tied_embeddings and step.head_trains
    fresh_head = step.head_trains and not step.accumulates
    working = backward_working(step)
    yield rest.beside(
        gradients=embedding * rest.share.gradient_scale if fresh_head else 0.0,
        activations=kept_by_layers(step) + working + step.mask,
    )
    done = rest.fresh_gradients
    own = 0.0 if step.accumulates else step.trained.gradient_bytes
    not_yet = embedding if fresh_head and not tied else 0.0
    last_kept = step.layer_input if step.checkpointed else step.trained.kept_bytes
    yield rest.beside(
        gradients=max(done - not_yet - own, 0.0),
        activations=last_kept + working + step.mask,
    )
    if tied:
        done += 2 * embedding
    elif step.head_trains and step.accumulates:
        done += embedding
    yield rest.beside(gradients=done, activations=step.layer_input)


def _optimizer(rest: _Rest) -> Terms:
    working = rest.share.states_scale * rest.states.step
    return rest.beside(gradients=rest.fresh_gradients, other=working)


def _evaluation(step: MicroStep, rest: _Rest, batch: int) -> Iterator[Terms]:
    """A forward that keeps nothing: its logits, which a fused loss makes here too, or one layer."""
    tokens = batch * step.work.sequence
    hidden = float(step.stream * step.model.hidden_size * tokens)
    logits = bytes_of_logit(step) * step.model.vocab_size * tokens
    yield rest.beside(activations=3 * hidden, logits=logits)
    yield rest.beside(activations=step.frozen.forward_peak_bytes * (tokens / step.tokens))
