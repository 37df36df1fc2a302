"""Owns what the loss needs: logits and their copies, or the chunks of a fused loss."""

from diagnostics.memory.micro_step import MicroStep

FLOAT32 = 4
_LOSS_BYTES = 12.0
"""Of a logit while the loss's backward begins."""
_COMPARED_BYTES = {"dpo": 16.0, "kto": 20.0}
"""The same while a reference's logits are made beside those that are kept: of each the logits in
float32 and their log-softmax; KTO keeps and makes those of mismatched answers too."""


def logits_in_forward(step: MicroStep) -> float:
    """Return what the logits take at their most, at the end of the forward."""
    if step.work.liger:
        return _kept_by_fused_loss(step) + _fused_loss_working(step)
    return all_logits(step, bytes_of_logit(step))


def logits_in_loss(step: MicroStep) -> float:
    """Return what the logits take when the loss's backward begins."""
    if step.work.liger:
        return _kept_by_fused_loss(step)
    if step.work.stage == "rm":
        return 0.0  # the rewards come from the last layer: the logits are thrown away
    compared = _COMPARED_BYTES.get(step.work.stage) if step.work.compared else None
    each = _LOSS_BYTES if compared is None else compared
    return all_logits(step, each + (step.half if step.model.logit_softcap else 0))


def all_logits(step: MicroStep, bytes_each: float) -> float:
    """Return the size of the logits of all tokens."""
    return bytes_each * (step.model.vocab_size * step.tokens)


def bytes_of_logit(step: MicroStep) -> float:
    """Return the bytes of a logit in the forward: itself, float32 where it was not, softmaxed."""
    capped = step.half if step.model.logit_softcap else 0
    widened = FLOAT32 if step.half < FLOAT32 else 0
    softmaxed = 0 if step.work.stage == "rm" else FLOAT32
    return step.half + widened + softmaxed + capped


def _kept_by_fused_loss(step: MicroStep) -> float:
    """Return what the fused loss keeps until the backward: gradients instead of logits."""
    kept = float(step.half * step.hidden)
    if step.head_trains:
        kept += step.work.trainable_bytes * step.counts.embedding
    return kept


def _fused_loss_working(step: MicroStep) -> float:
    """Return what the fused loss needs while it runs: a chunk of logits, the head's gradient."""
    vocab, hidden = step.model.vocab_size, step.model.hidden_size
    rows = -(-step.tokens // -(-vocab // hidden))
    chunk = 1 << max(0, rows - 1).bit_length()
    working = float((step.half + FLOAT32) * chunk * vocab)
    if step.head_trains:
        casts = 2 if step.work.autocast else 1
        working += casts * step.half * step.counts.embedding
    return working
