"""Owns what a language model is made of: the sizes that decide its memory.

Sizes are those of Hugging Face's `config.json`; nothing is read here.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from diagnostics.findings import Text
from diagnostics.memory.activations import Activation
from diagnostics.memory.norms import NormKind, NormPlace


class Confidence(StrEnum):
    """How far a prediction, or what it rests on, can be trusted."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer: `name` as in the model's code, in `group` "attention" or "mlp"."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False
    group: str = "mlp"

    @property
    def weights(self) -> int:
        """Number of weights, the bias not counted."""
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts, per layer."""

    count: int
    per_token: int
    intermediate_size: int
    shared_intermediate_size: int = 0
    """Width of what every token goes through beside the routed experts."""
    dense_layers: int = 0
    """Layers, of the model's, that have one common MLP instead."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder's sizes. Counts are of elements, not of bytes."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    tied_embeddings: bool = False
    attention_bias: bool = False
    """Whether q, k and v have biases."""
    qk_norm: bool = False
    gated_mlp: bool = True
    activation: Activation = Activation.FUSED
    logit_softcap: bool = False
    """Whether logits go through a tanh, which is kept for the backward (Gemma 2)."""
    attention_softcap: bool = False
    """Whether attention scores do."""
    norms_per_layer: int = 2
    norm_kind: NormKind = NormKind.RMS
    norm_place: NormPlace = NormPlace.BEFORE
    linears: tuple[Linear, ...] = ()
    """The linear layers of one decoder layer, named as in the model's code."""
    experts: Experts | None = None
    tower_params: int = 0
    """Parameters beside the decoder: a vision or audio tower and its projector."""
    weight_bytes: int = 2
    """Bytes of one weight in the checkpoint: 4 where it is stored in float32."""
    half: str = ""
    """Which 16-bit numbers the checkpoint has: "bfloat16" or "float16"; empty if not known."""
    known_params: int | None = None
    """All parameters where the sizes alone do not make them: counted in the checkpoint's headers,
    or with uneven layers, norms and positions."""
    source: str = ""
    """Where it is from: a path, "table", or a name."""
    confidence: Confidence = Confidence.HIGH
    remarks: tuple[Text, ...] = field(default=())
    """What was assumed, in words."""
