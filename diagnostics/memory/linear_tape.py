"""Owns what a linear layer allocates, with its adapter where it has one: LoRA, DoRA or OFT.

Read from peft (0.18); the dtypes are those of torch's autocast.
"""

from diagnostics.memory.architecture import Linear
from diagnostics.memory.layer_tape import FLOAT32, LayerTape
from diagnostics.memory.workload import Adapter, Method


def add_linear(on: LayerTape, linear: Linear, source: str) -> str:
    """One linear layer, with its adapter where it has one."""
    add, tokens, half = on.tape.add, on.tokens, on.half
    name, trains = linear.name, on.kind.trains
    if on.work.method is Method.OFT and name in on.adapted:
        source = _turned(on, linear, source)
    taken = source
    wanted = half * linear.inputs * tokens
    if on.work.autocast and on.tape.sizes[source] > wanted:
        taken = add(f"{name}.cast", wanted, [source])
    weight = linear.weights
    quantized = on.quantized
    width = on.work.trainable_bytes if trains else on.model.weight_bytes
    cast = on.work.autocast and (width == FLOAT32 or (on.counts.mixes_halves and not trains))
    gradient = on.work.trainable_bytes * weight if trains else 0.0
    # A quantized layer gives back the dtype that it was given.
    each = on.each(source, linear.inputs) if quantized else half
    output = add(
        f"{name}.out",
        each * linear.outputs * tokens,
        [taken],
        saved=(taken,) if trains else (),
        kept_bytes=half * weight if cast and not quantized else 0.0,
        forward_bytes=half * weight if quantized else 0.0,
        backward_bytes=half * weight if quantized else half * weight if cast and trains else 0,
        gradient_bytes=gradient,
    )
    return _adapter(on, linear, source, output) if name in on.adapted else output


def _adapter(on: LayerTape, linear: Linear, source: str, output: str) -> str:
    """The low-rank branch: x goes through a cast, A and B, and is added."""
    add, tokens = on.tape.add, on.tokens
    name, adapter = linear.name, on.work.adapter
    if adapter is None or on.work.method is Method.OFT:
        return output
    width = on.work.trainable_bytes
    inner = on.half if on.work.autocast else width
    taken = source
    # On a bitsandbytes layer peft leaves the input as it is under autocast.
    keeps = on.work.quantization is not None and on.work.autocast
    if not keeps and on.tape.sizes[source] < width * linear.inputs * tokens:
        taken = add(f"{name}.wide", width * linear.inputs * tokens, [taken])
    if adapter.dropout:
        on.tape.sizes[f"{name}.mask"] = linear.inputs * tokens
        taken = add(f"{name}.dropped", on.tape.sizes[taken], [taken], saved=(f"{name}.mask",))
    if on.work.autocast and on.tape.sizes[taken] > inner * linear.inputs * tokens:
        taken = add(f"{name}.narrow", inner * linear.inputs * tokens, [taken])
    _low_rank(on, linear, adapter.rank, taken, inner)
    # The code's variables hold its input, and the cast of it, until the branch is done.
    held = tuple({source, f"{name}.wide"} & on.tape.sizes.keys())
    size = inner * linear.outputs * tokens
    if adapter.dora:
        identity = (inner if keeps else width + (inner if inner < width else 0)) * linear.inputs
        return _decomposed(on, linear, output, held, float(identity * linear.inputs))
    add(f"{name}.scaled", size, [f"{name}.b"], holds=held)
    given = on.tape.sizes[output]
    wide = max(given, inner * linear.outputs * tokens)
    result = add(f"{name}.sum", wide, [output, f"{name}.scaled"])
    return add(f"{name}.back", given, [result]) if wide > given else result


def _low_rank(on: LayerTape, linear: Linear, low: int, taken: str, inner: int) -> None:
    """A and B, each kept with its input; autocast keeps casts of float32 weights too."""
    add, tokens, name = on.tape.add, on.tokens, linear.name
    width = on.work.trainable_bytes
    cast = on.half if on.work.autocast and width == FLOAT32 else 0
    into, out = low * linear.inputs, low * linear.outputs
    add(
        f"{name}.a",
        inner * low * tokens,
        [taken],
        saved=(taken,),
        kept_bytes=cast * into,
        gradient_bytes=width * into,
    )
    add(
        f"{name}.b",
        inner * linear.outputs * tokens,
        [f"{name}.a"],
        saved=(f"{name}.a",),
        kept_bytes=cast * out,
        gradient_bytes=width * out,
    )


def _turned(on: LayerTape, linear: Linear, source: str) -> str:
    """OFT: the input is turned, block by block, before the layer's own weight."""
    add, name, tokens, sizes = on.tape.add, linear.name, on.tokens, on.tape.sizes
    adapter, elements = on.work.adapter or Adapter(), linear.inputs * tokens
    width = on.work.trainable_bytes
    inner = on.half if on.work.autocast else width
    wide = taken = source
    if sizes[source] < width * elements:
        wide = taken = add(f"{name}.wide", width * elements, [source])
    if sizes[wide] > inner * elements:
        taken = add(f"{name}.narrow", inner * elements, [wide])
    # The rotation is a series of powers of a skew-symmetric matrix: seven are kept, and it.
    powers = linear.inputs * adapter.block_size * (7 * inner + width)
    result = add(
        f"{name}.turned",
        inner * elements,
        [taken],
        saved=(taken,),
        holds=(wide,) if wide != source else (),
        kept_bytes=powers,
        gradient_bytes=width * on.counts.adapter_of(linear, adapter),
    )
    if inner < width and on.work.quantization is None:
        result = add(f"{name}.widened", width * elements, [result])
    if sizes[result] != sizes[source]:
        result = add(f"{name}.back", sizes[source], [result])
    return result


def _decomposed(
    on: LayerTape,
    linear: Linear,
    output: str,
    held: tuple[str, ...],
    identity_bytes: float,
) -> str:
    """DoRA: a magnitude in float32 scales both branches, which are kept for its gradient.

    peft works the update out by sending an identity matrix of inputs x inputs through A and B.
    """
    add, name, tokens = on.tape.add, linear.name, on.tokens
    size = FLOAT32 * linear.outputs * tokens
    # The identity with its cast; the weight and its update, to take their norm.
    norm = identity_bytes + 3.0 * FLOAT32 * linear.weights
    add(f"{name}.magnified", size, [f"{name}.b"], saved=(f"{name}.b",), forward_bytes=norm)
    add(f"{name}.base", size, [output], saved=(output,), holds=held)
    add(f"{name}.sum", size, [f"{name}.magnified", f"{name}.base"])
    return add(f"{name}.back", on.half * linear.outputs * tokens, [f"{name}.sum"])
