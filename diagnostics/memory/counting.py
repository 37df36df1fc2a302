"""Owns how many parameters a model has, how many of them train, and their bytes at rest."""

from dataclasses import dataclass
from functools import cached_property

from diagnostics.memory.architecture import Architecture, Linear
from diagnostics.memory.workload import Adapter, Frozen, Method, Workload

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in blocks of 64 whose scales are quantized in turn, in blocks of 256."""
PLAIN_4BIT_BYTES = 0.5 + 4 / 64
"""The same with one float32 scale a block."""
ADAM_BLOCK = 256
"""Elements that share one scale in an 8-bit optimizer's states (bitsandbytes)."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Trained tensors of one size: of how many elements, and how many there are."""

    elements: int
    count: int
    embeds: bool = False
    """Whether it is the input embedding."""


@dataclass(frozen=True)
class Counts:
    """Parameters of a model under a training. Counts are of elements."""

    model: Architecture
    work: Workload

    @cached_property
    def compute_bytes(self) -> int:
        """Bytes of an activation: an adapter without mixed precision leaves the base's dtype."""
        work = self.work
        if work.adapter is not None and not work.autocast and work.trainable_bytes == 4:  # noqa: PLR2004
            return self.model.weight_bytes
        return work.compute_bytes

    @cached_property
    def mixes_halves(self) -> bool:
        """Whether frozen bfloat16 weights train under float16 autocast, or the other way round.

        Each weight is then cast where it is used, and sums of both kinds are float32.
        """
        model, work = self.model, self.work
        if not work.autocast or work.method is Method.FULL or model.weight_bytes == 4:  # noqa: PLR2004
            return False
        return bool(model.half) and model.half != work.half.value

    @cached_property
    def layer(self) -> int:
        """Parameters of one decoder layer, experts included."""
        return self.layer_weights + self.layer_small

    @cached_property
    def layer_weights(self) -> int:
        """Weights of the linear layers of one decoder layer: what quantization shrinks."""
        return sum(linear.weights for linear in self.model.linears) + self.expert_weights

    @cached_property
    def expert_weights(self) -> int:
        """Weights of one layer's routed and shared experts, its router counted too."""
        experts = self.model.experts
        if experts is None:
            return 0
        matrices = 3 if self.model.gated_mlp else 2
        width = experts.count * experts.intermediate_size + experts.shared_intermediate_size
        return matrices * self.model.hidden_size * width + self.model.hidden_size * experts.count

    @cached_property
    def layer_small(self) -> int:
        """Norms and biases of one decoder layer."""
        model = self.model
        biases = sum(linear.outputs for linear in model.linears if linear.bias)
        per_head = 2 * model.head_dim if model.qk_norm else 0
        return biases + per_head + model.norms_per_layer * model.hidden_size

    @cached_property
    def embedding(self) -> int:
        """Parameters of the input embedding."""
        return self.model.vocab_size * self.model.hidden_size

    @cached_property
    def head(self) -> int:
        """Parameters of an output head of its own; 0 where it is the embedding."""
        return 0 if self.model.tied_embeddings else self.embedding

    @cached_property
    def total(self) -> int:
        """All parameters; the checkpoint's own count where it is known."""
        if self.model.known_params is not None:
            return self.model.known_params
        model = self.model
        decoder = model.layers * self.layer + self.embedding + self.head + model.hidden_size
        return decoder + model.tower_params

    @cached_property
    def trainable_layers(self) -> int:
        """Decoder layers with something that trains in them."""
        if self.work.method is Method.FREEZE:
            frozen = self.work.frozen or Frozen()
            return min(abs(frozen.layers) or 0, self.model.layers)
        return self.model.layers

    @cached_property
    def adapted(self) -> tuple[Linear, ...]:
        """The linear layers of one decoder layer that get an adapter."""
        adapter = self.work.adapter
        if adapter is None:
            return ()
        if adapter.targets == ("all",):
            return self.model.linears
        return tuple(
            linear
            for linear in self.model.linears
            if any(linear.name == name.rsplit(".", 1)[-1] for name in adapter.targets)
        )

    @cached_property
    def adapter_in_layer(self) -> int:
        """Adapter parameters of one decoder layer."""
        adapter = self.work.adapter
        if adapter is None:
            return 0
        own = sum(self.adapter_of(linear, adapter) for linear in self.adapted)
        experts = self.model.experts
        if experts is None or adapter.targets != ("all",) or self.work.method is Method.OFT:
            return own
        # The experts that every token goes through are linear layers of their own.
        width = experts.shared_intermediate_size
        return own + (3 * adapter.rank * (self.model.hidden_size + width) if width else 0)

    def adapter_of(self, linear: Linear, adapter: Adapter) -> int:
        """Return the parameters of one linear layer's adapter."""
        if self.work.method is Method.OFT:
            return linear.inputs * (adapter.block_size - 1) // 2
        low_rank = adapter.rank * (linear.inputs + linear.outputs)
        return low_rank + (linear.outputs if adapter.dora else 0)

    @cached_property
    def extra(self) -> int:
        """Parameters of modules that train whole beside an adapter or the last layers."""
        names = self.work.adapter.extra_targets if self.work.adapter else ()
        names += self.work.frozen.extra_modules if self.work.frozen else ()
        count = 0
        for name in names:
            last = name.rsplit(".", 1)[-1]
            if last in {"embed_tokens", "wte", "lm_head", "embed_out"}:
                count += self.embedding
            elif last == "norm":
                count += self.model.hidden_size
        return count

    @cached_property
    def trainable(self) -> int:
        """Parameters that train."""
        work, model = self.work, self.model
        if work.method is Method.FULL:
            return self.total if work.train_tower else self.total - model.tower_params
        if work.method is Method.FREEZE:
            return self.trainable_layers * self.trained_in_layer + self.extra
        return model.layers * self.adapter_in_layer + self.extra

    @cached_property
    def trained_tensors(self) -> tuple[Tensor, ...]:
        """The tensors that train, largest kinds first; what is left are vectors."""
        layers, adapter = self.trainable_layers, self.work.adapter
        sizes: list[Tensor] = []
        if self.work.method is Method.LORA and adapter is not None:
            for linear in self.adapted:
                sizes += (
                    Tensor(adapter.rank * wide, layers) for wide in (linear.inputs, linear.outputs)
                )
        elif adapter is not None:
            sizes += (Tensor(self.adapter_of(linear, adapter), layers) for linear in self.adapted)
        else:
            sizes += (Tensor(linear.weights, layers) for linear in self.trained_linears)
            sizes.append(Tensor(self.expert_weights, layers))
        if self.work.method is Method.FULL:
            sizes += (Tensor(self.embedding, 1, embeds=True), Tensor(self.head, 1))
        elif self.extra >= self.embedding:
            sizes.append(Tensor(self.embedding, self.extra // self.embedding))
        left = self.trainable - sum(one.elements * one.count for one in sizes)
        vector = self.model.hidden_size
        return (*sizes, Tensor(vector, max(0, left) // vector))

    @cached_property
    def trained_linears(self) -> tuple[Linear, ...]:
        """The linear layers of one trainable decoder layer whose own weights train."""
        frozen = self.work.frozen
        if frozen is None or frozen.modules == ("all",):
            return self.model.linears
        groups = {"self_attn": "attention", "attn": "attention", "mlp": "mlp"}
        wanted = {groups.get(name, name) for name in frozen.modules}
        return tuple(linear for linear in self.model.linears if linear.group in wanted)

    @cached_property
    def trained_in_layer(self) -> int:
        """Parameters of one trainable decoder layer that train (not adapters)."""
        if self.work.method is Method.FULL:
            return self.layer
        frozen = self.work.frozen
        if self.work.method is not Method.FREEZE or frozen is None:
            return 0
        if frozen.modules == ("all",):
            return self.layer
        count = sum(
            linear.weights + (linear.outputs if linear.bias else 0)
            for linear in self.trained_linears
        )
        if "mlp" in frozen.modules:
            count += self.expert_weights
        norms = sum("norm" in name for name in frozen.modules)
        return count + norms * self.model.hidden_size

    @cached_property
    def base_bytes(self) -> float:
        """Bytes of the parameters that do not train."""
        model, work = self.model, self.work
        kept = self.total - (self.trainable if work.adapter is None else 0)
        plain = float(kept * model.weight_bytes)
        if work.quantization is not None and work.adapter is not None:
            plain += self.quantizable * (self.quantized_bytes - model.weight_bytes)
        if work.upcast_layernorm and work.method is not Method.FULL:
            norms = (model.layers * model.norms_per_layer + 1) * model.hidden_size
            plain += norms * (4 - model.weight_bytes)
        return plain

    @cached_property
    def quantizable(self) -> int:
        """Weights that quantization shrinks: all but embeddings, head, norms, biases, towers."""
        model = self.model
        small = model.layers * self.layer_small + model.hidden_size + model.tower_params
        return max(0, self.total - self.embedding - self.head - small)

    @cached_property
    def quantized_bytes(self) -> float:
        """Bytes of one weight of a quantized linear layer, its scales included."""
        quantization = self.work.quantization
        if quantization is None:
            return float(self.model.weight_bytes)
        if quantization.method == "bnb" and quantization.bits == 4:  # noqa: PLR2004
            return NF4_BYTES if quantization.double else PLAIN_4BIT_BYTES
        if quantization.bits == 8:  # noqa: PLR2004
            return 1.0 + 4 / max(1, self.model.hidden_size)
        return quantization.bits / 8 + 4 / 64
