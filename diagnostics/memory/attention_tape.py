"""Owns what attention allocates: its projections, rotary embedding, and the kernel itself."""

from collections.abc import Sequence

from diagnostics.memory.architecture import Linear
from diagnostics.memory.layer_tape import FLOAT32, LayerTape
from diagnostics.memory.linear_tape import add_linear
from diagnostics.memory.workload import Attention, Half


def add_attention(on: LayerTape, normed: str) -> str:
    """Projections, rotary embedding, the attention kernel, the output projection."""
    model, tape = on.model, on.tape
    inner, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    closing, projections = _split(model.linears, inner, model.hidden_size)
    query, key, value = _projected(on, projections, normed, inner, keys)
    if model.qk_norm:
        query = on.norm("q_norm", query, inner)
        key = on.norm("k_norm", key, keys)
    is_one = query == value
    each = on.each(value, projections[0].outputs if is_one else keys)
    wide, narrow = each * inner * on.tokens, each * keys * on.tokens
    query = _rotated(on, "query", query, wide if is_one else tape.sizes[query])
    key = _rotated(on, "key", key, narrow if is_one else tape.sizes[key])
    held = (query, key, value)
    if (on.work.masked or on.work.attention is Attention.EAGER) and inner != keys:
        key = tape.add("keys", tape.sizes[key] * inner / keys, [key])
        value = tape.add("values", wide, [value])
    if on.work.autocast and each > on.half:
        value = tape.add("value.cast", on.half * keys * on.tokens, [value])
    if on.work.autocast:
        query, key = _halved(on, query, inner), _halved(on, key, inner)
    attended = _kernel(on, query, key, value, inner)
    result = add_linear(on, closing, attended) if closing is not None else attended
    on.hold(normed, *held)
    return result


def _projected(
    on: LayerTape, projections: Sequence[Linear], normed: str, inner: int, keys: int
) -> tuple[str, str, str]:
    """Queries, keys and values: of a linear layer each, views of one, or of several (MLA)."""
    named = {item.name: item for item in projections}
    if named.keys() == {"q_proj", "k_proj", "v_proj"}:
        query, key, value = (add_linear(on, item, normed) for item in projections)
        return query, key, value
    if len(projections) == 1:
        whole = add_linear(on, projections[0], normed)
        return whole, whole, whole
    source = normed
    for item in projections:
        source = add_linear(on, item, source if _takes(on, item, source) else normed)
    add, half, tokens = on.tape.add, on.half, on.tokens
    return (
        add("queries", half * inner * tokens, [source]),
        add("keys_", half * keys * tokens, [source]),
        add("values_", half * keys * tokens, [source]),
    )


def _rotated(on: LayerTape, name: str, source: str, size: float) -> str:
    """Rotary embedding of queries or keys, which may be a part of `source`."""
    add = on.tape.add
    if on.work.liger:
        return add(name, size, [source])
    add(f"{name}.cos", size, [source])
    add(f"{name}.half", size, [source])
    add(f"{name}.sin", size, [f"{name}.half"])
    return add(name, size, [f"{name}.cos", f"{name}.sin"])


def _halved(on: LayerTape, name: str, width: int) -> str:
    """Autocast gives the attention kernel half precision, whatever the norms made of it."""
    size = on.half * width * on.tokens
    if on.each(name, width) <= on.half or on.tape.sizes[name] <= size:
        return name
    return on.tape.add(f"{name}.cast", size, [name])


def _takes(on: LayerTape, linear: Linear, source: str) -> bool:
    return on.tape.sizes[source] == on.half * linear.inputs * on.tokens


def _kernel(on: LayerTape, query: str, key: str, value: str, inner: int) -> str:
    """The attention itself: fused kernels keep their operands, eager keeps the scores."""
    write = _eager if on.work.attention is Attention.EAGER else _fused
    return write(on, query, key, value, inner)


def _fused(on: LayerTape, query: str, key: str, value: str, inner: int) -> str:
    """A fused kernel keeps its operands and what it makes."""
    add, half, tokens, heads = on.tape.add, on.half, on.tokens, on.model.heads
    size = half * inner * tokens
    on.tape.sizes["lse"] = FLOAT32 * heads * tokens
    # A padding mask is bool; the kernel makes and keeps a copy of it in half precision.
    is_copied = on.work.masked and not on.work.neat_packing
    mask = half * on.work.sequence if is_copied else 0.0
    return add(
        "attention",
        size,
        [query, key, value],
        saved=(query, key, value, "attention", "lse"),
        kept_bytes=mask * tokens,
    )


def _eager(on: LayerTape, query: str, key: str, value: str, inner: int) -> str:
    """Eager attention keeps the scores of every pair of tokens."""
    add, half, tokens, heads = on.tape.add, on.half, on.tokens, on.model.heads
    size = half * inner * tokens
    scores = heads * on.work.sequence * tokens
    add("scores", half * scores, [query, key], saved=(query, key))
    add("scores.scaled", half * scores, ["scores"])
    if on.model.attention_softcap:
        add("scores.capped", half * scores, ["scores.scaled"], saved=("scores.capped",))
        add("scores.regrown", half * scores, ["scores.capped"])
    last = "scores.regrown" if on.model.attention_softcap else "scores.scaled"
    last = add("scores.masked", half * scores, [last])
    if on.half < FLOAT32 and on.work.half is not Half.FLOAT16:
        # CUDA's softmax widens float16 by itself, bfloat16 is made float32 before it.
        last = add("scores.float", FLOAT32 * scores, [last])
    # CUDA's backward of softmax multiplies gradient and output into a tensor of its own.
    add(
        "softmax",
        FLOAT32 * scores,
        [last],
        saved=("softmax",),
        backward_bytes=FLOAT32 * scores,
    )
    add("softmax.cast", half * scores, ["softmax"])
    add("attention.heads", size, ["softmax.cast", value], saved=("softmax.cast", value))
    return add("attention", size, ["attention.heads"])


def _split(
    linears: Sequence[Linear], inner: int, hidden: int
) -> tuple[Linear | None, list[Linear]]:
    """Return attention's output projection, and those before it."""
    found = [one for one in linears if one.group == "attention"]
    fitting = [one for one in found if (one.inputs, one.outputs) == (inner, hidden)]
    closing = next((one for one in fitting if one.name == "o_proj"), None)
    closing = closing or (fitting[-1] if fitting else None)
    return closing, [one for one in found if one is not closing]
