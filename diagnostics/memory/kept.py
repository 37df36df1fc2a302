"""Owns what of a step's activations is in memory: kept for the backward, or needed by one layer."""

from diagnostics.memory.micro_step import MicroStep
from diagnostics.memory.workload import Checkpointing, Method

FLOAT32 = 4


def kept_by_layers(step: MicroStep) -> float:
    """Return what all layers keep until their backward."""
    trained, others = step.counts.trainable_layers, 0
    frozen = step.work.frozen
    if frozen is not None and frozen.layers < 0:
        # Gradients flow back through the frozen layers behind: they keep all they need.
        others = step.model.layers - trained
    kept_frozen = others * step.frozen.kept_bytes
    if step.work.checkpointing is Checkpointing.OFFLOADED:
        return step.layer_input + kept_frozen
    if step.checkpointed:
        return trained * step.layer_input + kept_frozen
    return trained * step.trained.kept_bytes + kept_frozen - _unneeded(step)


def _unneeded(step: MicroStep) -> float:
    """Return what the first trained layer need not keep: no gradient goes further down than it."""
    if step.work.method is Method.FULL or step.work.liger:
        return 0.0
    return float(FLOAT32 * step.hidden)


def hidden_states(step: MicroStep) -> float:
    """Return what a reward model's forward holds: all layers' inputs, which others let go."""
    if step.work.stage != "rm" or step.work.checkpointing is Checkpointing.ON:
        return 0.0
    return step.model.layers * step.layer_input


def kept_by_tail(step: MicroStep) -> float:
    """Return what the last norm and the output head keep, with the masks."""
    work = step.work
    kept = 0.0 if work.liger else float(FLOAT32 * step.hidden)
    if step.head_trains:
        kept += step.stream * step.hidden + step.half * step.hidden
    width = work.trainable_bytes if step.head_trains else step.model.weight_bytes
    is_cast = width == FLOAT32 or step.counts.mixes_halves
    if work.autocast and is_cast and not work.liger:
        kept += step.half * step.counts.embedding
    return kept + step.mask


def weight_casts(step: MicroStep) -> float:
    """Return the half-precision copies of trainable weights that autocast keeps in the forward."""
    counts, work = step.counts, step.work
    if not work.autocast or work.trainable_bytes != FLOAT32:
        return 0.0
    if not step.checkpointed:
        return 0.0  # each layer keeps its copies for its backward: they are part of it
    trainable = counts.trainable
    if work.method is Method.FULL:
        small = step.model.layers * counts.layer_small + step.model.hidden_size
        trainable -= small + counts.embedding
        # the head's copy is kept for its backward: it is part of the tail
        trainable -= 0 if step.model.tied_embeddings else counts.embedding
    return float(work.compute_bytes * trainable)


def forward_working(step: MicroStep) -> float:
    """Return the most that one layer needs beside what is kept, while its forward runs."""
    if step.checkpointed:
        return step.trained.plain_peak_bytes
    return step.trained.forward_peak_bytes - step.trained.kept_bytes + _kept_input(step)


def backward_working(step: MicroStep) -> float:
    """Return the most that one layer needs beside what is kept, while its backward runs."""
    backward = step.trained.backward_peak_bytes
    if not step.checkpointed:
        return backward - step.trained.kept_bytes + _kept_input(step)
    # The layer is run forward again first, with its output's gradient already there.
    return step.layer_input + max(backward, step.trained.forward_peak_bytes)


def _kept_input(step: MicroStep) -> float:
    """Return a layer's input where the layer itself keeps it: there before the layer runs."""
    return step.layer_input if step.stream == FLOAT32 or step.work.liger else 0.0
