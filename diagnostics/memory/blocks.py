"""Owns the parts of one decoder layer: attention, MLP, experts; and what layers differ in."""

from diagnostics.findings import Text
from diagnostics.memory.architecture import Architecture, Confidence, Experts, Linear
from diagnostics.memory.family import Family, HeadNorms
from diagnostics.memory.sizes import (
    DENSE_LAYERS,
    EXPERTS,
    LAYERS,
    PER_TOKEN,
    POSITIONS,
    SHARED_EXPERTS,
    SPARSE_STEP,
    Sizes,
)


def attention(
    read: Sizes, family: Family, hidden: int, queries: int, keys: int
) -> tuple[Linear, ...]:
    """Return the projections; `queries` and `keys` are the widths of all their heads."""
    bias = read.switch(family.qkv_bias)
    if len(family.projections) == 1:
        widths: tuple[int, ...] = (queries + 2 * keys,)
    else:
        widths = (queries * (2 if family.gated_queries else 1), keys, keys)
    into = tuple(
        Linear(name, hidden, width, bias, "attention")
        for name, width in zip(family.projections, widths, strict=True)
    )
    closing_bias = read.switch(family.closing_bias)
    return (*into, Linear(family.closing, queries, hidden, closing_bias, "attention"))


def latent_attention(read: Sizes, family: Family, hidden: int, heads: int) -> tuple[Linear, ...]:
    """Return the projections of multi-head latent attention."""
    nope, rope = read.size("qk_nope_head_dim"), read.size("qk_rope_head_dim")
    values, low_kv = read.size("v_head_dim"), read.size("kv_lora_rank")
    low_q = read.optional(("q_lora_rank",))
    bias = read.switch(family.qkv_bias)
    closing_bias = read.switch(family.closing_bias)
    text = Text(
        "multi-head latent attention: its activations are rough",
        "多头潜在注意力（MLA）：激活值为粗略估计",
    )
    read.remark(text, Confidence.MEDIUM)
    queries = heads * (nope + rope)
    into: tuple[Linear, ...] = (Linear("q_proj", hidden, queries, group="attention"),)
    if low_q is not None:
        into = (
            Linear("q_a_proj", hidden, low_q, bias, "attention"),
            Linear("q_b_proj", low_q, queries, group="attention"),
        )
    return (
        *into,
        Linear("kv_a_proj_with_mqa", hidden, low_kv + rope, bias, "attention"),
        Linear("kv_b_proj", low_kv, heads * (nope + values), group="attention"),
        Linear("o_proj", heads * values, hidden, closing_bias, "attention"),
    )


def mlp(read: Sizes, family: Family, hidden: int, inner: int) -> tuple[Linear, ...]:
    """Return the linear layers of one feed-forward part."""
    bias = read.switch(family.mlp_bias)
    into, closing = family.mlp[:-1], family.mlp[-1]
    width = 2 * inner if family.gated and len(into) == 1 else inner
    return (
        *(Linear(name, hidden, width, bias) for name in into),
        Linear(closing, inner, hidden, bias),
    )


def experts(name: str, read: Sizes, inner: int) -> Experts | None:
    """Return the mixture of experts of a layer, where it has one."""
    count = read.optional(EXPERTS, least=0) or 0
    if count <= 1:
        return None
    width = read.optional(("moe_intermediate_size",)) or inner
    shared = read.optional(("shared_expert_intermediate_size",), least=0)
    if name == "llama4_text":
        shared = width
    elif shared is None:
        shared = width * (read.optional(SHARED_EXPERTS, least=0) or 0)
    per_token = read.optional(PER_TOKEN)
    if per_token is None:
        text = Text(
            "config.json does not say how many experts a token has: 2",
            "config.json 未写每个 token 使用几个专家：按 2 个计算",
        )
        read.remark(text, Confidence.LOW)
        per_token = 2
    if per_token > count:
        raise read.refusal(f"{PER_TOKEN[0]} is {per_token}, of only {count} experts")
    text = Text(
        "a mixture of experts: how its tokens spread decides its activations",
        "混合专家模型：激活值取决于 token 在专家间的分布",
    )
    read.remark(text, Confidence.MEDIUM)
    return Experts(count, per_token, width, shared, _dense_layers(read))


def _dense_layers(read: Sizes) -> int:
    layers = read.optional(LAYERS) or 0
    first = read.optional(DENSE_LAYERS, least=0)
    if first is not None:
        return min(first, layers)
    only = read.config.get("mlp_only_layers")
    listed = {item for item in only if isinstance(item, int)} if isinstance(only, list) else set()
    step = read.optional(SPARSE_STEP) or 1
    return sum(1 for layer in range(layers) if layer in listed or (layer + 1) % step)


def uneven_params(model: Architecture, family: Family, read: Sizes) -> int:
    """Return the parameters that the sizes of an Architecture leave out, or count too many.

    They are norms of other widths, learned positions, lone biases, and layers unlike the others.
    """
    hidden, layers = model.hidden_size, model.layers
    count = (family.last_norms - 1 + family.embedding_norms) * hidden
    count += layers * family.layer_scalars
    if family.positions is not None:
        count += (read.size(*POSITIONS) + family.positions) * hidden
    if read.switch(family.head_bias):
        count += model.vocab_size
    if model.qk_norm and family.head_norms is HeadNorms.WHOLE:
        count += layers * (model.heads + model.kv_heads - 2) * model.head_dim
    if family.sinks:
        count += layers * model.heads
    if family.latent:
        count += layers * ((read.optional(("q_lora_rank",)) or 0) + read.size("kv_lora_rank"))
    if family.hybrid:
        count += _linear_attention(model, read)
    if model.experts is not None:
        count += _uneven_experts(model, model.experts, family, read)
    return count


def _uneven_experts(model: Architecture, mixture: Experts, family: Family, read: Sizes) -> int:
    sparse = model.layers - mixture.dense_layers
    routed = mixture.count * mixture.intermediate_size + mixture.shared_intermediate_size
    each = (3 if model.gated_mlp else 2) * model.hidden_size * routed
    inner = read.optional(("intermediate_size_mlp",)) or model.intermediate_size
    dense = sum(
        item.weights + (item.outputs if item.bias else 0)
        for item in mlp(read, family, model.hidden_size, inner)
    )
    count = mixture.dense_layers * (dense - each - model.hidden_size * mixture.count)
    if family.shared_gate:
        count += sparse * model.hidden_size
    if family.expert_scores:
        count += sparse * mixture.count
    if family.expert_bias:
        count += sparse * mixture.count * (2 * mixture.intermediate_size + model.hidden_size + 1)
    return count


def _linear_attention(model: Architecture, read: Sizes) -> int:
    """Return what layers with linear attention have more than those with the usual one."""
    value_heads, value_dim = read.size("linear_num_value_heads"), read.size("linear_value_head_dim")
    keys = read.size("linear_num_key_heads") * read.size("linear_key_head_dim")
    values = value_heads * value_dim
    mixed = 2 * keys + values
    linear = model.hidden_size * (mixed + 2 * values + 2 * value_heads)
    linear += mixed * read.size("linear_conv_kernel_dim") + 2 * value_heads + value_dim
    usual = sum(item.weights for item in model.linears if item.group == "attention")
    usual += 2 * model.head_dim
    kinds = read.config.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == model.layers:
        count = sum(1 for kind in kinds if kind == "linear_attention")
    else:
        count = model.layers - model.layers // read.size("full_attention_interval")
    return count * (linear - usual)
