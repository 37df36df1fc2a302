"""Owns what the feed-forward part allocates: gated, plain, or a mixture of experts."""

from collections.abc import Sequence

from diagnostics.memory.activations import add_activation
from diagnostics.memory.architecture import Linear
from diagnostics.memory.layer_tape import FLOAT32, LayerTape
from diagnostics.memory.linear_tape import add_linear


def add_mlp(on: LayerTape, normed: str) -> str:
    """The feed-forward part: gate, up and down, or one wide layer and its activation."""
    linears = [item for item in on.model.linears if item.group == "mlp"]
    named = {item.name: item for item in linears}
    if {"gate_proj", "up_proj", "down_proj"} <= named.keys():
        gate = add_linear(on, named["gate_proj"], normed)
        output = _gated(on, gate, named["up_proj"], named["down_proj"], normed)
        on.hold(normed)
        return output
    if len(linears) == 2:  # noqa: PLR2004 - one in, one out
        wide = add_linear(on, linears[0], normed)
        each = on.each(wide, linears[0].outputs)
        if on.model.gated_mlp:
            size = each * linears[1].inputs * on.tokens
            active = on.tape.add("active", size, [wide], saved=(wide,))
            active = on.tape.add("product", size, [active], saved=(active,))
            return add_linear(on, linears[1], active)
        given = FLOAT32 if on.work.autocast else each
        elements = linears[0].outputs * on.tokens
        active = add_activation(on.tape, on.model.activation, wide, elements, given)
        return add_linear(on, linears[1], active)
    return _routed(on, normed, linears)


def _gated(on: LayerTape, gate: str, up: Linear, down: Linear, normed: str) -> str:
    """SwiGLU."""
    add, sizes = on.tape.add, on.tape.sizes
    if on.work.liger:
        wide = add_linear(on, up, normed)
        product = add("product", sizes[wide], [gate, wide], saved=(gate, wide))
        return add_linear(on, down, product)
    active = add("active", sizes[gate], [gate], saved=(gate,))
    wide = add_linear(on, up, normed)
    product = add("product", sizes[wide], [active, wide], saved=(active, wide))
    return add_linear(on, down, product)


def _routed(on: LayerTape, normed: str, shared: Sequence[Linear]) -> str:
    """Experts: each token goes through a few of them, and through the shared one."""
    model, add = on.model, on.tape.add
    experts = model.experts
    if experts is None:
        width = sum(item.outputs for item in shared) or model.intermediate_size
    else:
        width = experts.per_token * experts.intermediate_size
        width += experts.shared_intermediate_size
    size = on.half * width * on.tokens
    gate = add("experts.gate", size, [normed], saved=(normed,))
    active = add("experts.active", size, [gate], saved=(gate,))
    wide = add("experts.up", size, [normed], saved=(normed,))
    product = add("experts.product", size, [active, wide], saved=(active, wide))
    times = experts.per_token if experts is not None else 1
    spread = on.half * model.hidden_size * on.tokens * times
    add("experts.down", spread, [product], saved=(product,) if on.kind.trains else ())
    return add("experts.sum", on.half * model.hidden_size * on.tokens, ["experts.down"])
