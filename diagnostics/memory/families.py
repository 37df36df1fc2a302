"""Owns how each family of decoders builds its layers.

Each entry says what the family's modeling code does with its `config.json`; sizes are not here.
Sources: the modeling files of transformers 5.6 (https://github.com/huggingface/transformers), and
for baichuan, chatglm, internlm, minicpm and qwen the code beside their weights.
"""

from collections.abc import Mapping
from dataclasses import replace

from diagnostics.memory.family import Family, HeadNorms
from diagnostics.memory.gpt_families import GPT_FAMILIES
from diagnostics.memory.norms import NormKind, NormPlace

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
_GEMMA = Family(norm_kind=NormKind.WIDE_RMS, tied=True, defaults={"head_dim": 256})
_GEMMA2 = replace(_GEMMA, layer_norms=4, norm_place=NormPlace.AROUND)
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
_COHERE = Family(layer_norms=1, norm_kind=NormKind.CENTRED, norm_place=NormPlace.SHARED, tied=True)
_OLMO2 = Family(norm_kind=NormKind.WIDE_RMS, norm_place=NormPlace.AFTER, head_norms=HeadNorms.WHOLE)

FAMILIES: Mapping[str, Family] = {
    **GPT_FAMILIES,
    "apertus": Family(
        mlp=("up_proj", "down_proj"), gated=False, head_norms=HeadNorms.HEAD, layer_scalars=2
    ),
    "aquila": _LLAMA,
    "arcee": Family(mlp=("up_proj", "down_proj"), gated=False, mlp_bias="mlp_bias"),
    "baichuan": Family(projections=("W_pack",), qkv_bias=False, closing_bias=False, grouped=False),
    "chatglm": Family(
        projections=("query_key_value",),
        closing="dense",
        mlp=("dense_h_to_4h", "dense_4h_to_h"),
        qkv_bias="add_qkv_bias",
        closing_bias="add_bias_linear",
        mlp_bias="add_bias_linear",
    ),
    "cohere": replace(_COHERE, head_norms=HeadNorms.WHOLE, head_norms_if="use_qk_norm"),
    "cohere2": _COHERE,
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
    "exaone4": Family(
        norm_place=NormPlace.AFTER,
        qkv_bias=False,
        closing_bias=False,
        head_norms=HeadNorms.HEAD,
    ),
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA3,
    "glm": _GLM,
    "glm4": replace(_GLM, layer_norms=4, norm_place=NormPlace.AROUND),
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
    "glm4v_text": replace(_GLM, layer_norms=4, norm_place=NormPlace.AROUND, defaults={}),
    "gpt_oss": Family(
        qkv_bias="+attention_bias",
        closing_bias="+attention_bias",
        sinks=True,
        expert_bias=True,
        defaults={"head_dim": 64},
    ),
    "granite": _LLAMA,
    "granitemoe": Family(),
    "helium": replace(_LLAMA, norm_kind=NormKind.WIDE_RMS),
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
    "olmo": Family(layer_norms=0, last_norms=0, norm_kind=NormKind.NARROWED),
    "olmo2": _OLMO2,
    "olmo3": _OLMO2,
    "olmoe": Family(head_norms=HeadNorms.WHOLE),
    "phi3": Family(
        projections=("qkv_proj",),
        mlp=("gate_up_proj", "down_proj"),
        qkv_bias=False,
        closing_bias=False,
    ),
    "phimoe": Family(
        norm_kind=NormKind.FUSED, layer_norms=4, last_norms=2, head_bias="lm_head_bias"
    ),
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
        norm_kind=NormKind.FUSED,
        layer_norms=4,
        last_norms=2,
        head_norms=HeadNorms.WHOLE,
        head_norms_if="qk_layernorm",
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
