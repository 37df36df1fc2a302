"""Owns how each family of decoders builds its layers: modules' names, biases, norms, defaults.

Each entry says what the family's modeling code does with its `config.json`; sizes are not here.
Sources: the modeling files of transformers 5.6 (https://github.com/huggingface/transformers), and
for baichuan, chatglm, internlm, minicpm and qwen the code beside their weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

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


_7B: Mapping[str, int] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
}
_LLAMA = Family(mlp_bias="mlp_bias", defaults={**_7B, "intermediate_size": 11008})
_MISTRAL = Family(
    qkv_bias=False,
    closing_bias=False,
    defaults={**_7B, "intermediate_size": 14336, "num_key_value_heads": 8},
)
_QWEN2 = Family(qkv_bias=True, closing_bias=False)
_QWEN3 = Family(head_norms=HeadNorms.HEAD, defaults={"head_dim": 128})
_QWEN3_5 = Family(
    head_norms=HeadNorms.HEAD,
    gated_queries=True,
    hybrid=True,
    defaults={
        "head_dim": 256,
        "full_attention_interval": 4,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
    },
)
_GEMMA = Family(tied=True, defaults={"head_dim": 256})
_GEMMA2 = replace(_GEMMA, layer_norms=4)
_GEMMA3 = replace(
    _GEMMA2,
    head_norms=HeadNorms.HEAD,
    defaults={
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
    },
)
_GLM = Family(
    mlp=("gate_up_proj", "down_proj"),
    qkv_bias="+attention_bias",
    closing_bias=False,
    defaults={"head_dim": 128},
)
_DEEPSEEK = Family(
    latent=True,
    defaults={
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
    },
)
_ONE_SHARED: Mapping[str, int] = {"n_shared_experts": 1, "first_k_dense_replace": 1}
_PHI = Family(
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
_OLMO2 = Family(head_norms=HeadNorms.WHOLE)

FAMILIES: Mapping[str, Family] = {
    "apertus": Family(
        mlp=("up_proj", "down_proj"), gated=False, head_norms=HeadNorms.HEAD, layer_scalars=2
    ),
    "aquila": _LLAMA,
    "arcee": Family(mlp=("up_proj", "down_proj"), gated=False, mlp_bias="mlp_bias"),
    "baichuan": Family(projections=("W_pack",), qkv_bias=False, closing_bias=False, grouped=False),
    "bloom": replace(_GPT, tied=True, embedding_norms=2),
    "chatglm": Family(
        projections=("query_key_value",),
        closing="dense",
        mlp=("dense_h_to_4h", "dense_4h_to_h"),
        qkv_bias="add_qkv_bias",
        closing_bias="add_bias_linear",
        mlp_bias="add_bias_linear",
    ),
    "cohere": Family(
        layer_norms=1, head_norms=HeadNorms.WHOLE, head_norms_if="use_qk_norm", tied=True
    ),
    "cohere2": Family(layer_norms=1, tied=True),
    "cwm": _MISTRAL,
    "deepseek_v2": replace(_DEEPSEEK, defaults={**_DEEPSEEK.defaults, "n_shared_experts": 2}),
    "deepseek_v3": replace(
        _DEEPSEEK,
        defaults={**_DEEPSEEK.defaults, "n_shared_experts": 1, "first_k_dense_replace": 3},
    ),
    "dots1": Family(head_norms=HeadNorms.HEAD),
    "ernie4_5": Family(
        qkv_bias="use_bias", closing_bias="use_bias", mlp_bias="use_bias", tied=True
    ),
    "ernie4_5_moe": Family(
        qkv_bias="use_bias",
        closing_bias="use_bias",
        mlp_bias="use_bias",
        tied=True,
        expert_scores=True,
        defaults={"moe_layer_start_index": 1, "moe_num_shared_experts": 2, "moe_k": 6},
    ),
    "exaone4": Family(qkv_bias=False, closing_bias=False, head_norms=HeadNorms.HEAD),
    "falcon": replace(
        _GPT, qkv_bias="bias", closing_bias="bias", mlp_bias="bias", tied=True, layer_norms=2
    ),
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA3,
    "glm": _GLM,
    "glm4": replace(_GLM, layer_norms=4),
    "glm4_moe": Family(
        closing_bias=False,
        head_norms=HeadNorms.HEAD,
        head_norms_if="use_qk_norm",
        defaults=_ONE_SHARED,
    ),
    "glm4_moe_lite": replace(
        _DEEPSEEK,
        defaults={
            **_ONE_SHARED,
            "q_lora_rank": 768,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 192,
            "qk_rope_head_dim": 64,
            "v_head_dim": 256,
        },
    ),
    "glm4v_text": replace(_GLM, layer_norms=4, defaults={}),
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
    "gpt_oss": Family(
        qkv_bias="+attention_bias",
        closing_bias="+attention_bias",
        sinks=True,
        expert_bias=True,
        defaults={"head_dim": 64},
    ),
    "gptj": replace(
        _PHI,
        closing="out_proj",
        mlp=("fc_in", "fc_out"),
        qkv_bias=False,
        closing_bias=False,
        quadruple=True,
        grouped=False,
    ),
    "granite": _LLAMA,
    "granitemoe": Family(),
    "helium": _LLAMA,
    "hunyuan_v1_dense": Family(head_norms=HeadNorms.HEAD),
    "internlm": Family(qkv_bias="+bias", closing_bias="+bias", grouped=False),
    "internlm2": Family(
        projections=("wqkv",),
        closing="wo",
        mlp=("w1", "w3", "w2"),
        qkv_bias="+bias",
        closing_bias="+bias",
    ),
    "internlm3": Family(qkv_bias="qkv_bias", closing_bias="bias", mlp_bias="bias"),
    "jais2": Family(
        mlp=("up_proj", "down_proj"),
        gated=False,
        qkv_bias="+attention_bias",
        closing_bias="+attention_bias",
        mlp_bias="+mlp_bias",
        layer_norms=4,
        last_norms=2,
    ),
    "kimi_k2": _DEEPSEEK,
    "llama": _LLAMA,
    "llama4_text": Family(defaults={"interleave_moe_layer_step": 1, "num_experts_per_tok": 1}),
    "minicpm": Family(tied=True),
    "minicpm3": replace(_DEEPSEEK, tied=True, defaults={}),
    "minimax_m2": Family(qkv_bias=False, closing_bias=False, head_norms=HeadNorms.WHOLE),
    "ministral": _MISTRAL,
    "ministral3": _MISTRAL,
    "mistral": _MISTRAL,
    "mixtral": _MISTRAL,
    "mllama_text_model": replace(_LLAMA, qkv_bias=False, closing_bias=False, mlp_bias=False),
    "mpt": Family(
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
        mlp=("up_proj", "down_proj"), gated=False, mlp_bias="mlp_bias", layer_norms=4, last_norms=2
    ),
    "olmo": Family(layer_norms=0, last_norms=0),
    "olmo2": _OLMO2,
    "olmo3": _OLMO2,
    "olmoe": _OLMO2,
    "opt": Family(
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
    "phi3": Family(
        projections=("qkv_proj",),
        mlp=("gate_up_proj", "down_proj"),
        qkv_bias=False,
        closing_bias=False,
    ),
    "phimoe": Family(layer_norms=4, last_norms=2, head_bias="lm_head_bias"),
    "qwen": Family(
        projections=("c_attn",),
        closing="c_proj",
        mlp=("w1", "w2", "c_proj"),
        qkv_bias=True,
        closing_bias=False,
        grouped=False,
        wide_mlp=True,
    ),
    "qwen2": _QWEN2,
    "qwen2_5_omni_text": _QWEN2,
    "qwen2_5_vl_text": _QWEN2,
    "qwen2_moe": Family(qkv_bias="+qkv_bias", closing_bias=False, shared_gate=True),
    "qwen2_vl_text": _QWEN2,
    "qwen3": _QWEN3,
    "qwen3_5_moe_text": replace(_QWEN3_5, shared_gate=True),
    "qwen3_5_text": _QWEN3_5,
    "qwen3_moe": replace(_QWEN3, defaults={}),
    "qwen3_next": replace(_QWEN3_5, shared_gate=True),
    "qwen3_vl_moe_text": _QWEN3,
    "qwen3_vl_text": _QWEN3,
    "seed_oss": Family(
        qkv_bias="+attention_bias",
        closing_bias="attention_out_bias",
        mlp_bias="mlp_bias",
        defaults={"head_dim": 128},
    ),
    "smollm3": replace(_LLAMA, tied=True),
    "solar_open": Family(defaults={"n_shared_experts": 1, "num_experts_per_tok": 8}),
    "stablelm": Family(
        qkv_bias="use_qkv_bias",
        closing_bias=False,
        layer_norms=4,
        last_norms=2,
        head_norms=HeadNorms.WHOLE,
        head_norms_if="qk_layernorm",
    ),
    "starcoder2": Family(
        mlp=("c_fc", "c_proj"),
        gated=False,
        qkv_bias="+use_bias",
        closing_bias="+use_bias",
        mlp_bias="+use_bias",
        tied=True,
        layer_norms=4,
        last_norms=2,
    ),
    "xverse": _LLAMA,
    "yi": _LLAMA,
}

NOT_DECODERS = frozenset(
    {
        "albert", "bart", "bert", "bigbird_pegasus", "blenderbot", "clip", "convbert", "deberta",
        "deberta-v2", "distilbert", "electra", "ernie", "esm", "falcon_mamba", "led", "longformer",
        "longt5", "m2m_100", "mamba", "mamba2", "marian", "mbart", "megatron-bert", "modernbert",
        "mpnet", "mt5", "nomic_bert", "pegasus", "roberta", "roformer", "rwkv", "siglip",
        "siglip2", "speecht5", "switch_transformers", "t5", "umt5", "vit", "wav2vec2", "whisper",
        "xlm-roberta", "xlnet", "xlstm",
    }
)  # fmt: skip
"""Types whose sizes have the same names and mean something else."""
