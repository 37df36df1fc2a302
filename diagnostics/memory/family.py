"""Owns what there is to say of a family of decoders: modules' names, biases, norms, defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from diagnostics.memory.norms import NormKind, NormPlace

Switch: TypeAlias = bool | str
"""Whether something is there: always, never, or as this key of `config.json` says (default: no);
a key with "+" before it is yes where it is missing."""


class HeadNorms(StrEnum):
    """Norms of queries and keys."""

    NONE = ""
    HEAD = "of each head"
    WHOLE = "of all heads at once"


@dataclass(frozen=True, slots=True)
class Family:
    """How a family's decoder layer is built.

    Norms are counted in vectors of the hidden size: a norm with a bias is two.
    """

    projections: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    """Three names, or one of a projection that is all three."""
    closing: str = "o_proj"
    mlp: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    """The last goes back to the hidden size; two where gate and up are one or there is no gate."""
    gated: bool = True
    qkv_bias: Switch = "attention_bias"
    closing_bias: Switch = "attention_bias"
    mlp_bias: Switch = False
    tied: bool = False
    """Where `tie_word_embeddings` is missing."""
    layer_norms: int = 2
    norm_kind: NormKind = NormKind.RMS
    norm_place: NormPlace = NormPlace.BEFORE
    last_norms: int = 1
    head_norms: HeadNorms = HeadNorms.NONE
    head_norms_if: Switch = True
    head_bias: Switch = False
    grouped: bool = True
    """Whether several heads may share keys and values."""
    latent: bool = False
    """Multi-head latent attention (MLA)."""
    gated_queries: bool = False
    """Whether the query projection is twice as wide: its other half gates the output."""
    positions: int | None = None
    """Rows of learned positions above `max_position_embeddings`; None: none are learned."""
    embedding_norms: int = 0
    sinks: bool = False
    """One attention sink a head."""
    wide_mlp: bool = False
    """`intermediate_size` counts gate and up together."""
    quadruple: bool = False
    """The MLP is 4 times the hidden size where the config names no size."""
    expert_bias: bool = False
    expert_scores: bool = False
    """Whether the correction of each expert's score is a parameter."""
    shared_gate: bool = False
    """A gate from the hidden size to 1 before the shared expert."""
    layer_scalars: int = 0
    """Lone parameters of a layer, of its activation."""
    hybrid: bool = False
    """Whether most layers have linear attention."""
    defaults: Mapping[str, int] = field(default_factory=dict)
    """Sizes where the config does not name them."""
