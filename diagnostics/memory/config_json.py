"""Owns how a model's `config.json` becomes an Architecture.

The parsed file is hostile: what cannot be understood is refused in one line, and what was taken
from a family's defaults or guessed is said in the remarks.
"""

from collections.abc import Mapping
from dataclasses import replace

from diagnostics.findings import Text
from diagnostics.memory import blocks
from diagnostics.memory.activations import BY_NAME, Activation
from diagnostics.memory.architecture import Architecture, Confidence
from diagnostics.memory.counting import Counts
from diagnostics.memory.families import FAMILIES, NOT_DECODERS
from diagnostics.memory.family import Family, HeadNorms
from diagnostics.memory.norms import NormPlace
from diagnostics.memory.sizes import HEAD_DIM, HEADS, HIDDEN, INNER, KV_HEADS, LAYERS, VOCAB, Sizes
from diagnostics.memory.towers import towers_of
from diagnostics.memory.workload import Quantization, Workload

_MAX_TYPE_CHARS = 64
_MAX_PARAMS = 10**14
"""Above it a file is damaged: the largest models have a hundredth of it."""
_WRAPPED: Mapping[str, str] = {
    "gemma3": "gemma3_text",
    "glm4v": "glm4v_text",
    "kimi_vl": "deepseek_v3",
    "llama4": "llama4_text",
    "llava": "llama",
    "llava_llama": "llama",
    "mllama": "mllama_text_model",
    "qwen2_5_omni_thinker": "qwen2_5_omni_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "qwen2_audio": "qwen2",
    "qwen2_vl": "qwen2_vl_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "refinedweb": "falcon",
    "refinedwebmodel": "falcon",
}
"""Types of whole models, or old names, and the family of their decoder."""
_PARTS = ("text_config", "llm_config", "language_config")
_TOWERS = ("vision_config", "audio_config")
_UNPACKED_METHODS = frozenset({"fp8", "mxfp4"})
_KNOWN_BITS = frozenset({1, 2, 3, 4, 5, 6, 8})
_DTYPES = frozenset({"float32", "bfloat16", "float16"})
_USUAL_BITS: Mapping[str, int] = {"aqlm": 2, "eetq": 8, "fbgemm_fp8": 8, "compressed-tensors": 8}


def architecture_of(config: Mapping[str, object], *, source: str = "") -> Architecture:
    """Return what a parsed `config.json` says of its model.

    `source` is where the file is from, for messages and for the result.

    Raises:
        ConfigError: a size is missing or has no meaning, or the model is no decoder.
    """
    whole = config
    thinker = config.get("thinker_config")
    if isinstance(thinker, Mapping):
        whole = thinker
    parts = (whole.get(key) for key in _PARTS)
    text = next((part for part in parts if isinstance(part, Mapping) and part), whole)
    has_towers = text is not whole or any(isinstance(whole.get(key), Mapping) for key in _TOWERS)
    read = Sizes(text, source, is_part=text is not whole)
    model = _decoder(read, whole)
    if has_towers:
        model = _with_towers(model, whole, read)
    if Counts(model, Workload()).total > _MAX_PARAMS:
        raise read.refusal("its sizes mean more parameters than any model has")
    stored = _stored(read, whole)
    return replace(
        model,
        weight_bytes=4 if stored == "float32" else 2,
        half="" if stored == "float32" else stored,
        source=source,
        confidence=read.confidence,
        remarks=tuple(dict.fromkeys(read.remarks)),
    )


def quantization_of(config: Mapping[str, object]) -> Quantization | None:
    """Return how the checkpoint is quantized and stays so when it trains.

    LLaMA-Factory turns fp8 and mxfp4 back into plain weights when it loads them.
    """
    found = config.get("quantization_config")
    if not isinstance(found, Mapping) or not found:
        return None
    said = found.get("quant_method")
    method = said.lower()[:_MAX_TYPE_CHARS] if isinstance(said, str) else ""
    if method in _UNPACKED_METHODS:
        return None
    if method == "bitsandbytes" or "load_in_4bit" in found or "load_in_8bit" in found:
        if found.get("load_in_4bit") is True:
            is_double = found.get("bnb_4bit_use_double_quant") is True
            return Quantization(4, "bnb", double=is_double)
        return Quantization(8, "bnb", double=False) if found.get("load_in_8bit") is True else None
    return Quantization(_bits(found, method), method or "unknown", double=False)


def _bits(found: Mapping[str, object], method: str) -> int:
    for key in ("bits", "w_bit", "nbits", "wbits"):
        value = found.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value in _KNOWN_BITS:
            return value
    return _USUAL_BITS.get(method, 4)


def _family(read: Sizes, whole: Mapping[str, object]) -> tuple[str, Family]:
    name = _model_type(read.config) or _model_type(whole)
    name = _WRAPPED.get(name, name)
    family = FAMILIES.get(name)
    if family is not None:
        if family.hybrid:
            text = Text(
                f"{name}: layers with linear attention are taken as usual",
                f"{name}：线性注意力层按普通层计算",
            )
            read.remark(text, Confidence.LOW)
        return name, family
    if name in NOT_DECODERS or whole.get("is_encoder_decoder") is True:
        raise read.refusal(f"model_type {name or 'unknown'} is no decoder")
    shown = f"model_type {name} is not known" if name else "no model_type"
    shown_zh = f"未知的 model_type {name}" if name else "没有 model_type"
    text = Text(f"{shown}: its layers are taken to be llama's", f"{shown_zh}：各层按 llama 计算")
    read.remark(text, Confidence.LOW)
    return name or "unknown", replace(FAMILIES["llama"], defaults={})


def _model_type(config: Mapping[str, object]) -> str:
    value = config.get("model_type")
    if not isinstance(value, str):
        return ""
    return "".join(char for char in value[:_MAX_TYPE_CHARS] if char.isprintable()).lower()


def _decoder(read: Sizes, whole: Mapping[str, object]) -> Architecture:
    name, family = _family(read, whole)
    family = _variant(name, family, read)
    read.defaults = family.defaults
    hidden, heads = read.size(*HIDDEN), read.size(*HEADS)
    inner = _inner(read, family, hidden)
    mixture = blocks.experts(name, read, inner)
    if family.latent:
        kv_heads = heads
        head_dim = read.size("qk_nope_head_dim") + read.size("qk_rope_head_dim")
        linears = blocks.latent_attention(read, family, hidden, heads)
    else:
        kv_heads, head_dim = _kv_heads(name, family, read, heads), _head_dim(read, hidden, heads)
        linears = blocks.attention(read, family, hidden, heads * head_dim, kv_heads * head_dim)
    if mixture is None:
        linears += blocks.mlp(read, family, hidden, inner)
    has_head_norms = family.head_norms is not HeadNorms.NONE and read.switch(family.head_norms_if)
    model = Architecture(
        model_type=name,
        hidden_size=hidden,
        intermediate_size=inner,
        layers=read.size(*LAYERS),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=read.size(*VOCAB),
        tied_embeddings=_is_tied(read, whole, family),
        attention_bias=read.switch(family.qkv_bias),
        qk_norm=has_head_norms,
        gated_mlp=family.gated,
        activation=_activation(read),
        logit_softcap=_capped(read, "final_logit_softcapping"),
        attention_softcap=_capped(read, "attn_logit_softcapping"),
        norms_per_layer=family.layer_norms,
        norm_kind=family.norm_kind,
        norm_place=family.norm_place,
        linears=linears,
        experts=mixture,
    )
    uneven = blocks.uneven_params(model, family, read)
    if not uneven:
        return model
    return replace(model, known_params=Counts(model, Workload()).total + uneven)


def _activation(read: Sizes) -> Activation:
    """Return how the MLP's activation is computed; by one kernel where that is not known."""
    named = read.config.get("hidden_act", read.config.get("activation_function"))
    if named == "xielu":
        rough = Text("its activation xielu is known only roughly", "激活函数 xielu 只能粗略估计")
        read.remark(rough, Confidence.LOW)
    return BY_NAME.get(named, Activation.FUSED) if isinstance(named, str) else Activation.FUSED


def _capped(read: Sizes, key: str) -> bool:
    """Whether a config caps logits; Gemma 2's own class does so where its file is silent."""
    default = 1.0 if str(read.config.get("model_type", "")).startswith("gemma2") else None
    return read.config.get(key, default) is not None


def _variant(name: str, family: Family, read: Sizes) -> Family:
    """Return what a config makes of its family, where more than sizes depend on it."""
    config = read.config
    if name == "falcon" and config.get("new_decoder_architecture") is True:
        one = config.get("num_ln_in_parallel_attn") == 1
        return replace(family, layer_norms=2 if one else 4)
    if name == "falcon" and config.get("parallel_attn") is False:
        return replace(family, layer_norms=4)
    if name == "stablelm" and config.get("use_parallel_residual") is True:
        return replace(family, layer_norms=2, norm_place=NormPlace.SHARED)
    return family


def _kv_heads(name: str, family: Family, read: Sizes, heads: int) -> int:
    config = read.config
    if name == "falcon":
        if config.get("new_decoder_architecture") is not True:
            return heads if config.get("multi_query") is False else 1
    elif name == "gpt_bigcode":
        return heads if config.get("multi_query") is False else 1
    elif name == "chatglm":
        is_grouped = config.get("multi_query_attention") is True
        return read.size("multi_query_group_num") if is_grouped else heads
    elif not family.grouped:
        return heads
    found = read.optional(KV_HEADS) or heads
    if found > heads or heads % found:
        raise read.refusal(f"{KV_HEADS[0]} is {found}: it must divide {heads} attention heads")
    return found


def _head_dim(read: Sizes, hidden: int, heads: int) -> int:
    found = read.optional(HEAD_DIM)
    if found is not None:
        return found
    if hidden % heads:
        raise read.refusal(f"hidden_size is {hidden}: no multiple of {heads} attention heads")
    return hidden // heads


def _inner(read: Sizes, family: Family, hidden: int) -> int:
    if family.quadruple and read.optional(INNER) is None:
        return 4 * hidden
    found = read.size(*INNER)
    return found // 2 if family.wide_mlp else found


def _is_tied(read: Sizes, whole: Mapping[str, object], family: Family) -> bool:
    for config in (whole, read.config):
        value = config.get("tie_word_embeddings")
        if isinstance(value, bool):
            return value
    return family.tied


def _with_towers(model: Architecture, whole: Mapping[str, object], read: Sizes) -> Architecture:
    towers = towers_of(whole, model.hidden_size)
    for remark in towers.remarks:
        read.remark(remark, Confidence.MEDIUM if towers.is_known else Confidence.LOW)
    known = model.known_params
    return replace(
        model,
        tower_params=towers.params,
        known_params=None if known is None else known + towers.params,
    )


def _stored(read: Sizes, whole: Mapping[str, object]) -> str:
    """Return the checkpoint's dtype; empty for 16 bits of a kind that the file does not name."""
    for config in (whole, read.config):
        for key in ("dtype", "torch_dtype"):
            value = config.get(key)
            if isinstance(value, str):
                name = value.removeprefix("torch.")
                return {"float": "float32", "half": "float16"}.get(
                    name, name if name in _DTYPES else ""
                )
    read.remark(
        Text(
            "config.json names no dtype: 2 bytes a weight are assumed",
            "config.json 未写 dtype：按每个权重 2 字节计算",
        )
    )
    return ""
