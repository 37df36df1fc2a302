"""Owns linear layers with quantized weights, as bitsandbytes keeps and uses them.

4-bit weights are packed two in a byte with one scale for 64 of them, 8-bit ones have a scale a
row; both are dequantized for a multiplication and again in its backward
(https://github.com/bitsandbytes-foundation/bitsandbytes, `autograd/_functions.py`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

BITS = (4, 8)
BLOCK = 64
NESTED_BLOCK = 256


class Multiply4Bit(torch.autograd.Function):  # type: ignore[misc]
    """Dequantizes the weight, multiplies; keeps only the packed weight for its backward."""

    @staticmethod
    def forward(ctx: Any, x: Any, packed: Any, bias: Any, shape: Any) -> Any:
        ctx.save_for_backward(packed)
        ctx.shape = shape
        return nn.functional.linear(x, x.new_empty(shape), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return torch.matmul(gradient, gradient.new_empty(ctx.shape)), None, None, None


class Multiply8Bit(torch.autograd.Function):  # type: ignore[misc]
    """Quantizes the input for an integer multiplication; keeps the input."""

    @staticmethod
    def forward(ctx: Any, x: Any, packed: Any, shape: Any) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        halves = rows.to(torch.float16)
        quantized = torch.empty_like(halves, dtype=torch.int8)
        scales = halves.new_empty((halves.shape[0],), dtype=torch.float32)
        del halves
        counted = rows.new_empty((rows.shape[0], shape[0]), dtype=torch.int32)
        out = torch.empty_like(counted, dtype=x.dtype)
        del counted, quantized, scales
        ctx.save_for_backward(rows, packed)
        ctx.shape = shape
        return out.view(*x.shape[:-1], shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        weight = gradient.new_empty(ctx.shape)
        return torch.matmul(gradient, weight), None, None


def forward_of(layer: Any, bits: int, compute: Any) -> Callable[..., Any]:
    """Return the forward of a quantized layer: its result is a copy, as peft's adapters take it."""
    shape = (layer.out_features, layer.in_features)

    def four(x: Any, *_: Any, **__: Any) -> Any:
        bias = None if layer.bias is None else layer.bias.to(compute)
        out = Multiply4Bit.apply(x.to(compute), layer.weight, bias, shape)
        return out.to(x.dtype).clone()

    def eight(x: Any, *_: Any, **__: Any) -> Any:
        return Multiply8Bit.apply(x, layer.weight, shape).clone()

    return four if bits == min(BITS) else eight


def packed_sizes(elements: int, rows: int, bits: int, *, double: bool) -> tuple[int, ...]:
    """Return the bytes of a quantized weight: of its values, then of its scales."""
    if bits == max(BITS):
        return elements, 4 * rows
    scales = -(-elements // BLOCK)
    if not double:
        return -(-elements // 2), 4 * scales
    return -(-elements // 2), scales, 4 * -(-scales // NESTED_BLOCK)
