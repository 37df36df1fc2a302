"""Owns the families of decoders that follow GPT: an MLP without a gate, mostly norms with a bias.

Each entry says what the family's modeling code does with its `config.json`; sizes are not here.
Sources: the modeling files of transformers 5.6 (https://github.com/huggingface/transformers).
"""

from collections.abc import Mapping
from dataclasses import replace

from diagnostics.memory.family import Family
from diagnostics.memory.norms import NormKind, NormPlace

_PHI = Family(
    norm_kind=NormKind.FUSED,
    norm_place=NormPlace.SHARED,
    closing="dense",
    mlp=("fc1", "fc2"),
    gated=False,
    qkv_bias=True,
    closing_bias=True,
    mlp_bias=True,
    layer_norms=2,
    last_norms=2,
    head_bias=True,
)
_GPT = Family(
    norm_kind=NormKind.FUSED,
    projections=("query_key_value",),
    closing="dense",
    mlp=("dense_h_to_4h", "dense_4h_to_h"),
    gated=False,
    qkv_bias=True,
    closing_bias=True,
    mlp_bias=True,
    layer_norms=4,
    last_norms=2,
    grouped=False,
    quadruple=True,
)
_GPT2 = replace(
    _GPT,
    projections=("c_attn",),
    closing="c_proj",
    mlp=("c_fc", "c_proj"),
    tied=True,
    positions=0,
    defaults={"max_position_embeddings": 1024},
)

GPT_FAMILIES: Mapping[str, Family] = {
    "bloom": replace(_GPT, tied=True, embedding_norms=2),
    "falcon": replace(
        _GPT,
        qkv_bias="bias",
        closing_bias="bias",
        mlp_bias="bias",
        tied=True,
        layer_norms=2,
        norm_place=NormPlace.SHARED,
    ),
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2,
    "gpt_neo": replace(
        _GPT2,
        projections=("q_proj", "k_proj", "v_proj"),
        closing="out_proj",
        qkv_bias=False,
        defaults={"max_position_embeddings": 2048},
    ),
    "gpt_neox": replace(_GPT, qkv_bias="+attention_bias", closing_bias="+attention_bias"),
    "gptj": replace(
        _PHI,
        closing="out_proj",
        mlp=("fc_in", "fc_out"),
        qkv_bias=False,
        closing_bias=False,
        quadruple=True,
        grouped=False,
    ),
    "jais2": Family(
        norm_kind=NormKind.FUSED,
        mlp=("up_proj", "down_proj"),
        gated=False,
        qkv_bias="+attention_bias",
        closing_bias="+attention_bias",
        mlp_bias="+mlp_bias",
        layer_norms=4,
        last_norms=2,
    ),
    "mpt": Family(
        norm_kind=NormKind.FUSED,
        projections=("Wqkv",),
        closing="out_proj",
        mlp=("up_proj", "down_proj"),
        gated=False,
        qkv_bias=False,
        closing_bias=False,
        tied=True,
        grouped=False,
        quadruple=True,
    ),
    "nemotron": Family(
        norm_kind=NormKind.PLAIN,
        mlp=("up_proj", "down_proj"),
        gated=False,
        mlp_bias="mlp_bias",
        layer_norms=4,
        last_norms=2,
    ),
    "opt": Family(
        norm_kind=NormKind.FUSED,
        closing="out_proj",
        mlp=("fc1", "fc2"),
        gated=False,
        qkv_bias="+enable_bias",
        closing_bias="+enable_bias",
        mlp_bias="+enable_bias",
        tied=True,
        layer_norms=4,
        last_norms=2,
        grouped=False,
        positions=2,
        defaults={"max_position_embeddings": 2048},
    ),
    "phi": _PHI,
    "starcoder2": Family(
        norm_kind=NormKind.FUSED,
        mlp=("c_fc", "c_proj"),
        gated=False,
        qkv_bias="+use_bias",
        closing_bias="+use_bias",
        mlp_bias="+use_bias",
        tied=True,
        layer_norms=4,
        last_norms=2,
    ),
}
