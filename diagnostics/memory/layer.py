"""Owns the tape of one decoder layer: what transformers' and peft's code allocates in it.

Read from modeling_llama (transformers 5.6: RMSNorm in float32, rotary embedding, SwiGLU) and from
peft's LoRA layer (0.18); the dtypes are those of torch's autocast.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diagnostics.memory.architecture import Linear
from diagnostics.memory.counting import Counts
from diagnostics.memory.tape import Tape
from diagnostics.memory.workload import Attention, Method

FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class LayerKind:
    """How a layer takes part: whether its own weights train, and which linears are adapted."""

    trains: bool
    adapted: tuple[Linear, ...] = ()


def residual_bytes(counts: Counts) -> int:
    """Return the bytes of one element that flows between layers: the embedding's dtype.

    Mixed precision with trainable float32 embeddings makes the stream float32.
    """
    work = counts.work
    if work.method is Method.FULL:
        return work.trainable_bytes
    if work.quantization is not None:
        return counts.compute_bytes
    return counts.model.weight_bytes


def decoder_layer(
    counts: Counts, kind: LayerKind, tokens: int, *, stream_bytes: int | None = None
) -> Tape:
    """Return the tape of a decoder layer for `tokens` tokens of a micro-step."""
    build = _Builder(counts, kind, tokens, stream_bytes)
    model, tape = counts.model, build.tape
    normed = build.norm("input_norm", tape.source, model.hidden_size)
    attended = build.attention(normed)
    output = build.residual("attended", tape.source, attended)
    normed = build.norm("post_norm", output, model.hidden_size)
    build.residual("output", output, build.mlp(normed))
    return tape


class _Builder:
    """Writes the operations of one layer."""

    def __init__(
        self, counts: Counts, kind: LayerKind, tokens: int, stream_bytes: int | None
    ) -> None:
        self.counts, self.model, self.work = counts, counts.model, counts.work
        self.kind, self.tokens = kind, tokens
        self.adapted = {linear.name for linear in kind.adapted}
        self.half = counts.compute_bytes
        self.stream = stream_bytes or residual_bytes(counts)
        self.tape = Tape("input")
        self.tape.sizes["input"] = self.stream * self.model.hidden_size * tokens

    def norm(self, name: str, source: str, width: int) -> str:
        """RMSNorm: computed in float32, then cast back."""
        add, train = self.tape.add, self.kind.trains
        size = FLOAT32 * width * self.tokens
        if self.work.liger:
            return add(name, self.tape.sizes[source], [source], saved=(source,))
        wide = source
        narrow = self.tape.sizes[source] < size
        if narrow:
            wide = add(f"{name}.float", size, [source])
        mean = FLOAT32 * self.tokens
        add(f"{name}.square", size, [wide], saved=(wide,))
        add(f"{name}.mean", mean, [f"{name}.square"])
        scaled = add(f"{name}.scaled", size, [wide, f"{name}.mean"], saved=(wide, f"{name}.mean"))
        if narrow:
            scaled = add(f"{name}.cast", self.tape.sizes[source], [scaled])
        # A float32 weight that trains makes the output float32 too.
        wide_weight = train and self.work.trainable_bytes == FLOAT32
        output = size if wide_weight else self.tape.sizes[source]
        return add(name, output, [scaled], saved=(scaled,) if train else ())

    def linear(self, linear: Linear, source: str) -> str:
        """One linear layer, with its adapter where it has one."""
        add, tokens, half = self.tape.add, self.tokens, self.half
        name, trains = linear.name, self.kind.trains
        taken = source
        wanted = half * linear.inputs * tokens
        if self.work.autocast and self.tape.sizes[source] > wanted:
            taken = add(f"{name}.cast", wanted, [source])
        weight = linear.weights
        quantized = self.work.quantization is not None
        cast = (
            self.work.autocast
            and (self.work.trainable_bytes if trains else self.model.weight_bytes) == FLOAT32
        )
        gradient = self.work.trainable_bytes * weight if trains else 0.0
        output = add(
            f"{name}.out",
            half * linear.outputs * tokens,
            [taken],
            saved=(taken,) if trains else (),
            kept_bytes=half * weight if cast and not quantized else 0.0,
            forward_bytes=half * weight if quantized else 0.0,
            backward_bytes=half * weight if quantized else half * weight if cast and trains else 0,
            gradient_bytes=gradient,
        )
        return self.adapter(linear, source, output) if name in self.adapted else output

    def adapter(self, linear: Linear, source: str, output: str) -> str:
        """The low-rank branch: x goes through a cast, A and B, and is added."""
        add, tokens = self.tape.add, self.tokens
        name, adapter = linear.name, self.work.adapter
        if adapter is None:
            return output
        if self.work.method is Method.OFT:
            size = self.half * linear.inputs * tokens
            copy = add(f"{name}.blocks", size, [source])
            kept = (copy, source) if source.endswith("_norm") else (copy,)
            turned = add(f"{name}.turned", size, [copy], saved=kept)
            return add(f"{name}.oft", self.tape.sizes[output], [turned, output])
        width = self.work.trainable_bytes
        inner = self.half if self.work.autocast else width
        taken = source
        # On a bitsandbytes layer peft leaves the input as it is under autocast.
        keeps = self.work.quantization is not None and self.work.autocast
        if not keeps and self.tape.sizes[source] < width * linear.inputs * tokens:
            taken = add(f"{name}.wide", width * linear.inputs * tokens, [taken])
        if self.work.autocast and self.tape.sizes[taken] > inner * linear.inputs * tokens:
            taken = add(f"{name}.narrow", inner * linear.inputs * tokens, [taken])
        low = adapter.rank
        cast = self.half if self.work.autocast and width == FLOAT32 else 0
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
        # The code's variables hold its input, and the cast of it, until the branch is done.
        held = tuple({source, f"{name}.wide"} & self.tape.sizes.keys())
        size = inner * linear.outputs * tokens
        if adapter.dora:
            identity = (inner if keeps else width + (inner if inner < width else 0)) * linear.inputs
            return self.decomposed(linear, output, held, float(identity * linear.inputs))
        add(f"{name}.scaled", size, [f"{name}.b"], holds=held)
        wide = max(self.tape.sizes[output], inner * linear.outputs * tokens)
        result = add(f"{name}.sum", wide, [output, f"{name}.scaled"])
        if wide > self.half * linear.outputs * tokens:
            result = add(f"{name}.back", self.half * linear.outputs * tokens, [result])
        return result

    def decomposed(
        self, linear: Linear, output: str, held: tuple[str, ...], identity_bytes: float
    ) -> str:
        """DoRA: a magnitude in float32 scales both branches, which are kept for its gradient.

        peft works the update out by sending an identity matrix of inputs x inputs through A and B.
        """
        add, name, tokens = self.tape.add, linear.name, self.tokens
        size = FLOAT32 * linear.outputs * tokens
        # The identity with its cast; the weight and its update, to take their norm.
        norm = identity_bytes + 3.0 * FLOAT32 * linear.weights
        add(f"{name}.magnified", size, [f"{name}.b"], saved=(f"{name}.b",), forward_bytes=norm)
        add(f"{name}.base", size, [output], saved=(output,), holds=held)
        add(f"{name}.sum", size, [f"{name}.magnified", f"{name}.base"])
        return add(f"{name}.back", self.half * linear.outputs * tokens, [f"{name}.sum"])

    def rotated(self, source: str) -> str:
        """Rotary embedding of queries or keys."""
        add, size = self.tape.add, self.tape.sizes[source]
        if self.work.liger:
            return add(f"{source}.rotated", size, [source])
        add(f"{source}.cos", size, [source])
        add(f"{source}.half", size, [source])
        add(f"{source}.sin", size, [f"{source}.half"])
        return add(f"{source}.rotated", size, [f"{source}.cos", f"{source}.sin"])

    def attention(self, normed: str) -> str:
        """Projections, rotary embedding, the attention kernel, the output projection."""
        model, add = self.model, self.tape.add
        linears = {item.name: item for item in model.linears if item.group == "attention"}
        inner = model.heads * model.head_dim
        keys = model.kv_heads * model.head_dim
        if {"q_proj", "k_proj", "v_proj"} <= linears.keys():
            query = self.linear(linears["q_proj"], normed)
            key = self.linear(linears["k_proj"], normed)
            value = self.linear(linears["v_proj"], normed)
        else:
            query, key, value = self.fused_projection(linears, normed, inner, keys)
        if model.qk_norm:
            query = self.norm("q_norm", query, inner)
            key = self.norm("k_norm", key, keys)
        query, key = self.rotated(query), self.rotated(key)
        held = (query, key, value)
        if self.work.attention is not Attention.FLASH and inner != keys:
            times = inner / keys
            key = add("keys", self.tape.sizes[key] * times, [key])
            value = add("values", self.tape.sizes[value] * times, [value])
        if self.work.autocast:
            query, key = self.halved(query, inner), self.halved(key, inner)
        attended = self.kernel(query, key, value, inner)
        closing = linears.get("o_proj") or _last(linears, inner, model.hidden_size)
        result = self.linear(closing, attended) if closing is not None else attended
        self.hold(normed, *held)
        return result

    def hold(self, *names: str) -> None:
        """Let variables of the model's code keep tensors until the last operation so far."""
        last = self.tape.operations[-1]
        kept = tuple(name for name in names if name != self.tape.source)
        self.tape.operations[-1] = replace(last, holds=(*last.holds, *kept))

    def halved(self, name: str, width: int) -> str:
        """Autocast gives the attention kernel half precision, whatever the norms made of it."""
        size = self.half * width * self.tokens
        if self.tape.sizes[name] <= size:
            return name
        return self.tape.add(f"{name}.cast", size, [name])

    def fused_projection(
        self, linears: dict[str, Linear], normed: str, inner: int, keys: int
    ) -> tuple[str, str, str]:
        """Queries, keys and values out of one linear layer (or of several: MLA)."""
        source = normed
        for item in linears.values():
            if item.outputs == self.model.hidden_size and item.inputs == inner:
                continue
            source = self.linear(item, source if self._takes(item, source) else normed)
        add, half, tokens = self.tape.add, self.half, self.tokens
        return (
            add("queries", half * inner * tokens, [source]),
            add("keys_", half * keys * tokens, [source]),
            add("values_", half * keys * tokens, [source]),
        )

    def _takes(self, linear: Linear, source: str) -> bool:
        return self.tape.sizes[source] == self.half * linear.inputs * self.tokens

    def kernel(self, query: str, key: str, value: str, inner: int) -> str:
        """The attention itself: fused kernels keep their operands, eager keeps the scores."""
        add, half, tokens, heads = self.tape.add, self.half, self.tokens, self.model.heads
        size = half * inner * tokens
        if self.work.attention is not Attention.EAGER:
            self.tape.sizes["lse"] = FLOAT32 * heads * tokens
            # A padding mask is bool; the kernel makes and keeps a copy of it in half precision.
            mask = 0.0 if self.work.attention is Attention.FLASH else half * self.work.sequence
            return add(
                "attention",
                size,
                [query, key, value],
                saved=(query, key, value, "attention", "lse"),
                kept_bytes=mask * tokens,
            )
        scores = heads * self.work.sequence * tokens
        add("scores", half * scores, [query, key], saved=(query, key))
        add("scores.scaled", half * scores, ["scores"])
        if self.model.attention_softcap:
            add("scores.capped", half * scores, ["scores.scaled"], saved=("scores.capped",))
            add("scores.regrown", half * scores, ["scores.capped"])
        last = "scores.regrown" if self.model.attention_softcap else "scores.scaled"
        add("scores.masked", half * scores, [last])
        # CUDA's backward of softmax multiplies gradient and output into a tensor of its own.
        add(
            "softmax",
            FLOAT32 * scores,
            ["scores.masked"],
            saved=("softmax",),
            backward_bytes=FLOAT32 * scores,
        )
        add("softmax.cast", half * scores, ["softmax"])
        add("attention.heads", size, ["softmax.cast", value], saved=("softmax.cast", value))
        return add("attention", size, ["attention.heads"])

    def mlp(self, normed: str) -> str:
        """The feed-forward part: gate, up and down, or one wide layer and its activation."""
        linears = [item for item in self.model.linears if item.group == "mlp"]
        named = {item.name: item for item in linears}
        if {"gate_proj", "up_proj", "down_proj"} <= named.keys():
            gate = self.linear(named["gate_proj"], normed)
            output = self.gated(gate, named["up_proj"], named["down_proj"], normed)
            self.hold(normed)
            return output
        if len(linears) == 2:  # noqa: PLR2004 - one in, one out
            wide = self.linear(linears[0], normed)
            size = self.half * linears[1].inputs * self.tokens
            active = self.tape.add("active", size, [wide], saved=(wide,))
            if self.model.gated_mlp:
                active = self.tape.add("product", size, [active], saved=(active,))
            return self.linear(linears[1], active)
        return self.routed(normed, linears)

    def gated(self, gate: str, up: Linear, down: Linear, normed: str) -> str:
        """SwiGLU."""
        add, sizes = self.tape.add, self.tape.sizes
        if self.work.liger:
            wide = self.linear(up, normed)
            product = add("product", sizes[wide], [gate, wide], saved=(gate, wide))
            return self.linear(down, product)
        active = add("active", sizes[gate], [gate], saved=(gate,))
        wide = self.linear(up, normed)
        product = add("product", sizes[wide], [active, wide], saved=(active, wide))
        return self.linear(down, product)

    def routed(self, normed: str, shared: Sequence[Linear]) -> str:
        """Experts: each token goes through a few of them, and through the shared one."""
        model, add = self.model, self.tape.add
        experts = model.experts
        if experts is None:
            width = sum(item.outputs for item in shared) or model.intermediate_size
        else:
            width = experts.per_token * experts.intermediate_size
            width += experts.shared_intermediate_size
        size = self.half * width * self.tokens
        gate = add("experts.gate", size, [normed], saved=(normed,))
        active = add("experts.active", size, [gate], saved=(gate,))
        wide = add("experts.up", size, [normed], saved=(normed,))
        product = add("experts.product", size, [active, wide], saved=(active, wide))
        times = experts.per_token if experts is not None else 1
        spread = self.half * model.hidden_size * self.tokens * times
        add("experts.down", spread, [product], saved=(product,) if self.kind.trains else ())
        return add("experts.sum", self.half * model.hidden_size * self.tokens, ["experts.down"])

    def residual(self, name: str, source: str, addend: str) -> str:
        """Add to the stream."""
        return self.tape.add(name, self.tape.sizes["input"], [source, addend])


def _last(linears: dict[str, Linear], inputs: int, outputs: int) -> Linear | None:
    fitting = [one for one in linears.values() if (one.inputs, one.outputs) == (inputs, outputs)]
    return fitting[-1] if fitting else None
