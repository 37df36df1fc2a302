"""Owns the demo's memory model: which allocations a training step makes on one GPU, in bytes.

Pure arithmetic over a dense Llama-like model and a recipe. It knows no process, file or clock, and
it is the demo's own: an estimate for a user's run comes from elsewhere.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from types import MappingProxyType

_NF4_BYTES = 0.5159  # four bits and doubly quantised scales for blocks of 64
_INT8_BYTES = 1.01
_ADAMW_8BIT_BYTES = 2.03  # two states of one byte, and their scales for blocks of 256

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a decoder layer, by the names that `lora_target` takes."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a dense Llama-like model, as its config.json gives them."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied_embeddings: bool

    @property
    def linear_shapes(self) -> Mapping[str, tuple[int, int]]:
        """The (inputs, outputs) of each linear layer of one decoder layer."""
        query, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes = (
            (self.hidden, query),
            (self.hidden, kv),
            (self.hidden, kv),
            (query, self.hidden),
            (self.hidden, self.intermediate),
            (self.hidden, self.intermediate),
            (self.intermediate, self.hidden),
        )
        return MappingProxyType(dict(zip(LINEARS, shapes, strict=True)))

    @property
    def linear_params(self) -> int:
        """Parameters in the linear layers of one decoder layer."""
        return sum(inputs * outputs for inputs, outputs in self.linear_shapes.values())

    @property
    def embedding_params(self) -> int:
        """Parameters of the embedding, and of the output layer where it is one of its own."""
        return self.vocab * self.hidden * (1 if self.tied_embeddings else 2)

    @property
    def params(self) -> int:
        """All parameters of the model."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.layers * self.linear_params + self.embedding_params + norms


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        model.name: model
        for model in (
            Architecture("Llama-3.2-3B", 28, 3072, 8192, 24, 8, 128, 128_256, True),
            Architecture("Llama-3.1-8B", 32, 4096, 14_336, 32, 8, 128, 128_256, False),
            Architecture("Qwen2.5-7B", 28, 3584, 18_944, 28, 4, 128, 152_064, False),
        )
    }
)
"""The models that the demo knows."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the memory of a training, next to the tokens of its batches."""

    model: Architecture
    finetuning_type: str = "lora"
    """"lora", "freeze" or "full"."""
    lora_rank: int = 8
    lora_targets: tuple[str, ...] = LINEARS
    freeze_layers: int = 2
    quantization_bit: int | None = None
    half_precision: bool = True
    """bf16 or fp16 mixed precision."""
    pure_bf16: bool = False
    optim: str = "adamw_torch_fused"
    accumulation_steps: int = 1
    gradient_checkpointing: bool = True
    offload_activations: bool = False
    """LLaMA-Factory's `use_unsloth_gc`: what checkpointing stores lies in host memory."""
    fused_loss: bool = False
    """Liger's loss, which never holds the whole matrix of logits."""

    @property
    def trainable_params(self) -> int:
        """Parameters that are trained."""
        if self.finetuning_type == "full":
            return self.model.params
        if self.finetuning_type == "freeze":
            layer = self.model.linear_params + 2 * self.model.hidden
            return min(abs(self.freeze_layers), self.model.layers) * layer
        shapes = self.model.linear_shapes
        width = sum(sum(shapes[target]) for target in self.lora_targets)
        return self.lora_rank * width * self.model.layers

    @property
    def all_params(self) -> int:
        """Parameters of the model and of its adapter."""
        adapter = self.trainable_params if self.finetuning_type == "lora" else 0
        return self.model.params + adapter

    @property
    def trainable_bytes(self) -> int:
        """Bytes of one trained parameter: LLaMA-Factory upcasts to fp32 unless pure_bf16."""
        return 2 if self.pure_bf16 else 4

    @property
    def gradient_bytes(self) -> int:
        """Bytes of all gradients."""
        return self.trainable_bytes * self.trainable_params

    @property
    def optimizer_bytes(self) -> int:
        """Bytes that the optimizer's states hold on the GPU."""
        if "8bit" in self.optim:
            return int(_ADAMW_8BIT_BYTES * self.trainable_params)
        if self.optim in {"adafactor", "sgd"}:
            return 0
        return 2 * self.trainable_bytes * self.trainable_params


class Stage(StrEnum):
    """Where in a training an allocation is made."""

    LOAD = "load"
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"


@dataclass(frozen=True, slots=True)
class Allocation:
    """One change of the allocated memory; a negative size frees."""

    stage: Stage
    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest allocated memory of a training, and the stage it is reached in."""

    peak_bytes: int
    stage: Stage


def load_allocations(recipe: Recipe) -> tuple[Allocation, ...]:
    """Return what loading the model allocates, tensor by tensor."""
    model = recipe.model
    whole = 2 if recipe.finetuning_type != "full" or recipe.pure_bf16 else 4
    linear = {4: _NF4_BYTES, 8: _INT8_BYTES}.get(recipe.quantization_bit or 16, float(whole))
    tensors = [("embedding", whole * model.embedding_params)]
    tensors += [
        (name, int(linear * inputs * outputs))
        for _ in range(model.layers)
        for name, (inputs, outputs) in model.linear_shapes.items()
    ]
    tensors.append(("norms", whole * (2 * model.layers + 1) * model.hidden))
    if recipe.finetuning_type == "lora":
        tensors.append(("adapter", recipe.trainable_bytes * recipe.trainable_params))
    elif recipe.finetuning_type == "freeze":
        upcast = (recipe.trainable_bytes - 2) * recipe.trainable_params
        tensors.append(("upcast layers", upcast))
    return tuple(Allocation(Stage.LOAD, name, size) for name, size in tensors)


def step_allocations(recipe: Recipe, tokens: int, *, first: bool) -> tuple[Allocation, ...]:
    """Return what one optimizer step over micro-batches of `tokens` allocates and frees, in order.

    The first step also makes the optimizer's states, which stay.
    """
    held = recipe.accumulation_steps > 1  # gradients wait through the next forward pass
    micro = tuple(_micro_step(recipe, tokens, gradients_held=False))
    if held:
        micro += tuple(_micro_step(recipe, tokens, gradients_held=True))
    foreach = recipe.optim == "adamw_torch"  # one more copy of the trained set for a moment
    transient = recipe.gradient_bytes if foreach else 0
    ending = (
        *((("optimizer states", recipe.optimizer_bytes),) if first else ()),
        ("square roots", transient),
        ("square roots", -transient),
        ("gradients", -recipe.gradient_bytes),
    )
    return micro + tuple(Allocation(Stage.OPTIMIZER, name, size) for name, size in ending if size)


def training_peak(recipe: Recipe, tokens: int) -> Peak:
    """Return the highest allocated memory of a training whose longest micro-batch has `tokens`."""
    return highest(
        chain(
            load_allocations(recipe),
            step_allocations(recipe, tokens, first=True),
            step_allocations(recipe, tokens, first=False),
        )
    )


def highest(allocations: Iterable[Allocation], start_bytes: int = 0) -> Peak:
    """Return the highest sum that a sequence of allocations reaches."""
    peak, now = Peak(start_bytes, Stage.LOAD), start_bytes
    for allocation in allocations:
        now += allocation.size_bytes
        if now > peak.peak_bytes:
            peak = Peak(now, allocation.stage)
    return peak


def _micro_step(recipe: Recipe, tokens: int, *, gradients_held: bool) -> Iterable[Allocation]:
    model = recipe.model
    casts = 2 * recipe.trainable_params if recipe.half_precision and not recipe.pure_bf16 else 0
    stored, layers = _stored_bytes(recipe, tokens), _storing_layers(recipe)
    yield Allocation(Stage.FORWARD, "casts", casts)
    for _ in range(layers):
        yield Allocation(Stage.FORWARD, "activations", stored)
    if recipe.quantization_bit is not None:
        yield from _for_a_moment(Stage.FORWARD, "dequantised", 2 * _largest_linear(model))
    yield from _loss(recipe, tokens)
    if recipe.gradient_checkpointing:
        recomputed = tokens * _layer_bytes(recipe)
        yield Allocation(Stage.BACKWARD, "recomputed layer", recomputed)
    else:
        recomputed = 0
    width = _width(recipe)
    work = tokens * (2 * width * model.intermediate + 4 * width * model.hidden)
    yield from _for_a_moment(Stage.BACKWARD, "layer work", work)
    if recipe.quantization_bit is not None:
        yield from _for_a_moment(Stage.BACKWARD, "dequantised", 2 * _largest_linear(model))
    yield Allocation(Stage.BACKWARD, "recomputed layer", -recomputed)
    yield Allocation(Stage.BACKWARD, "activations", -stored * layers)
    yield Allocation(Stage.BACKWARD, "casts", -casts)
    if not gradients_held:
        yield Allocation(Stage.BACKWARD, "gradients", recipe.gradient_bytes)


def _loss(recipe: Recipe, tokens: int) -> Iterable[Allocation]:
    model = recipe.model
    if recipe.fused_loss:
        gradient = 2 * tokens * model.hidden
        yield Allocation(Stage.LOSS, "gradient of the hidden states", gradient)
        yield from _for_a_moment(Stage.LOSS, "chunk of logits", 10 * tokens * model.hidden)
        yield Allocation(Stage.BACKWARD, "gradient of the hidden states", -gradient)
        return
    logits = tokens * model.vocab
    yield Allocation(Stage.FORWARD, "logits", 2 * logits)
    yield Allocation(Stage.LOSS, "logits in fp32", 4 * logits)
    yield Allocation(Stage.LOSS, "log-softmax", 4 * logits)
    yield Allocation(Stage.LOSS, "logits", -6 * logits)
    yield Allocation(Stage.BACKWARD, "gradient of the likelihood", 4 * logits)
    yield Allocation(Stage.BACKWARD, "gradient of log-softmax", 4 * logits)
    yield Allocation(Stage.BACKWARD, "logits", -12 * logits)


def _for_a_moment(stage: Stage, name: str, size: int) -> Iterable[Allocation]:
    yield Allocation(stage, name, size)
    yield Allocation(stage, name, -size)


def _width(recipe: Recipe) -> int:
    """Return the bytes of one activation."""
    half = recipe.half_precision or recipe.pure_bf16 or recipe.finetuning_type != "full"
    return 2 if half else 4


def _layer_bytes(recipe: Recipe) -> int:
    """Return the activations of one whole layer, bytes per token."""
    model, width = recipe.model, _width(recipe)
    query = model.heads * model.head_dim
    norms = 8 * model.hidden
    attention = 4 * width * query + 4 * model.heads  # q, out, and k, v repeated for each head
    swiglu = 3 * width * model.intermediate
    residual = 2 * width * model.hidden
    if recipe.finetuning_type == "lora":
        shapes = model.linear_shapes
        inputs = width * sum(shapes[target][0] for target in recipe.lora_targets)
    else:
        inputs = 10 * model.hidden
    return norms + attention + swiglu + residual + inputs


def _stored_bytes(recipe: Recipe, tokens: int) -> int:
    """Return what one layer keeps from forward to backward."""
    if not recipe.gradient_checkpointing:
        return tokens * _layer_bytes(recipe)
    if recipe.offload_activations:
        return 0
    return tokens * _width(recipe) * recipe.model.hidden


def _storing_layers(recipe: Recipe) -> int:
    if recipe.finetuning_type == "freeze":
        return min(abs(recipe.freeze_layers), recipe.model.layers)
    return recipe.model.layers


def _largest_linear(model: Architecture) -> int:
    return max(math.prod(shape) for shape in model.linear_shapes.values())
