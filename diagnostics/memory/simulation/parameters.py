"""Owns a simulated model's parameters: fake tensors in the order and dtypes of LLaMA-Factory.

The base is in the checkpoint's dtype; what trains is then made float32 unless `pure_bf16` and alike
(https://github.com/hiyouga/LLaMA-Factory, `model/adapter.py`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from diagnostics.memory.simulation.blueprint import Plan
from diagnostics.memory.simulation.failures import UnsupportedError
from diagnostics.memory.simulation.quantized import BITS, forward_of, packed_sizes
from diagnostics.memory.simulation.recorder import Recorder

FLOAT32_BYTES = 4
NORMS = ("norm", "ln")

_Packing = dict[tuple[int, str], Callable[[Any], Any]]


class Names:
    """Which layer, and which recorded block, a parameter belongs to by its name."""

    def __init__(self, module: Any, layers: Sequence[Any], plan: Plan) -> None:
        first = next(name for name, one in module.named_modules() if one is layers[0])
        self._pattern = re.compile(rf"(?:^|\.){re.escape(first.removesuffix('0'))}(\d+)\.")
        self.plan = plan

    def layer(self, name: str) -> int | None:
        """Return the simulated layer of a parameter."""
        found = self._pattern.search(name)
        return int(found[1]) if found else None

    def block(self, name: str) -> int | None:
        """Return the recorded block of a parameter."""
        layer = self.layer(name)
        return None if layer is None else self.plan.block_of[layer]


def half_of(work: Mapping[str, Any]) -> Any:
    """Return the 16-bit type that a workload computes in."""
    return torch.float16 if work.get("half") == "float16" else torch.bfloat16


def materialize(
    module: Any, work: Mapping[str, Any], recorder: Recorder, names: Names
) -> tuple[int, int]:
    """Give a model on the meta device fake parameters; count the whole model's, and who train."""
    packing = _quantize(module, work)
    total, trainable = _count(module, names)
    _load(module, work, recorder, names, packing)
    for owner in module.modules():
        for key, one in owner._buffers.items():
            if one is not None and one.device.type == "meta":
                owner._buffers[key] = torch.empty(one.shape, dtype=one.dtype)
    _cast(module, work, recorder, names)
    return total, trainable


def _count(module: Any, names: Names) -> tuple[int, int]:
    """Return the parameters of the whole model, and how many of them train."""
    times = names.plan.times()
    seen: set[int] = set()
    total = trainable = 0
    for _, _, one, name in _parameters(module):
        if id(one) not in seen:
            seen.add(id(one))
            block = names.block(name)
            count = one.numel() * (1 if block is None else times[block])
            total += count
            trainable += count * one.requires_grad
    return total, trainable


def _load(
    module: Any, work: Mapping[str, Any], recorder: Recorder, names: Names, packing: _Packing
) -> None:
    stored = _stored(work)
    new: dict[int, Any] = {}
    for owner, key, one, name in list(_parameters(module)):
        pack = packing.get((id(owner), key))
        if id(one) not in new:
            with recorder.belonging_to(names.block(name)):
                if pack is not None:
                    new[id(one)] = pack(one)
                else:
                    made = torch.empty(one.shape, dtype=stored)
                    new[id(one)] = nn.Parameter(made, requires_grad=one.requires_grad)
        owner._parameters[key] = new[id(one)]


def _stored(work: Mapping[str, Any]) -> Any:
    return getattr(torch, work["stored"]) if work.get("stored") else half_of(work)


def _parameters(module: Any) -> Iterator[tuple[Any, str, Any, str]]:
    for prefix, owner in module.named_modules():
        for key, one in owner._parameters.items():
            if one is not None:
                yield owner, key, one, f"{prefix}.{key}" if prefix else key


def _quantize(module: Any, work: Mapping[str, Any]) -> _Packing:
    """Give the base model's linear layers their quantized forward; say how to pack each weight."""
    asked = work.get("quantization")
    if not asked:
        return {}
    bits, double = asked["bits"], bool(asked.get("double", True))
    if asked.get("method", "bnb") != "bnb" or bits not in BITS:
        raise UnsupportedError("only quantization by bitsandbytes is simulated")
    if work["autocast"] and _stored(work) not in {torch.float32, half_of(work)}:
        raise UnsupportedError("fp16 with a quantized bfloat16 model is not simulated")
    compute = torch.float32 if work["compute_bytes"] == FLOAT32_BYTES else half_of(work)
    packing: _Packing = {}
    for name, one in module.named_modules():
        if not isinstance(one, nn.Linear) or "lm_head" in name or "lora_" in name:
            continue
        one.forward = forward_of(one, bits, compute)
        # peft asks a layer that has this attribute for its dequantized weight.
        one.W_q = True
        one.dequantize = partial(torch.empty, one.weight.shape, dtype=compute)
        packing[id(one), "weight"] = partial(_packed, one, bits, double)
    for one in module.modules():
        if hasattr(one, "lora_A") and work["autocast"]:
            # Adapters of quantized layers leave the cast of their input to autocast.
            one.cast_input_dtype_enabled = False
    return packing


def _packed(owner: Any, bits: int, double: bool, weight: Any) -> Any:  # noqa: FBT001
    sizes = packed_sizes(weight.numel(), owner.out_features, bits, double=double)
    parts = [torch.empty((size,), dtype=torch.uint8) for size in sizes]
    owner.scales = parts[1:]
    return nn.Parameter(parts[0], requires_grad=False)


def _cast(module: Any, work: Mapping[str, Any], recorder: Recorder, names: Names) -> None:
    """Make parameters float32 where LLaMA-Factory does."""
    trained = work["trainable_bytes"] == FLOAT32_BYTES
    norms = work.get("upcast_layernorm", False)
    for _, _, one, name in _parameters(module):
        upcast = trained and one.requires_grad
        upcast = upcast or (norms and one.ndim == 1 and any(part in name for part in NORMS))
        if upcast and one.is_floating_point() and one.dtype != torch.float32:
            with recorder.belonging_to(names.block(name)):
                one.data = one.data.to(torch.float32)
