"""Owns how fast methods are beside each other: arithmetic per token, and what is published.

Counted are multiplications and additions of one token's forward, of what checkpointing computes
again, and of its backward: gradients of activations, and of weights where these train. Left out are
the optimizer's step, loading data, and communication between GPUs.
"""

from diagnostics.memory.architecture import Architecture
from diagnostics.memory.counting import Counts
from diagnostics.memory.workload import Checkpointing, Method, Workload

QUANTIZED_COST = 1.39
"""4-bit weights are unpacked in every pass: 39 % more time was measured with a 7B model
(https://magazine.sebastianraschka.com/p/practical-tips-for-finetuning-llms)."""


def cost_per_token(model: Architecture, work: Workload) -> float:
    """Return a token's arithmetic, in multiplications and additions. Only ratios of it matter."""
    counts = Counts(model, work)
    weights, scores, head = _active(counts), _scores(model, work), counts.embedding
    layers = model.layers
    trained = counts.trainable_layers
    forward = layers * (weights + scores) + head
    again = 0.0 if work.checkpointing is Checkpointing.OFF else trained * (weights + scores)
    gradients = trained * (weights + 2 * scores) + head
    if work.method is Method.FULL:
        gradients += layers * weights + head
    elif work.method is Method.FREEZE:
        gradients += trained * weights
    else:
        # An adapter runs in the forward, again, and twice in the backward.
        gradients += 4.0 * layers * counts.adapter_in_layer
    cost = forward + again + gradients
    return cost * QUANTIZED_COST if work.quantization is not None else cost


def _active(counts: Counts) -> float:
    """Weights of one layer that a token meets."""
    model, experts = counts.model, counts.model.experts
    dense = float(sum(linear.weights for linear in model.linears))
    if experts is None:
        return dense
    matrices = 3 if model.gated_mlp else 2
    width = experts.per_token * experts.intermediate_size + experts.shared_intermediate_size
    return dense + matrices * model.hidden_size * width + model.hidden_size * experts.count


def _scores(model: Architecture, work: Workload) -> float:
    """Scores and weighted values of one layer's attention, of half the sequence on average."""
    return float(work.sequence * model.heads * model.head_dim)
