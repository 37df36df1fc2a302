"""Owns what CUDA's kernels need where the CPU's need something else.

No score matrix is made by sdpa or flash attention.

Eager attention makes them, and of its softmax CUDA's kernel differs where it turns float16 into
float32: it does both at once (`SoftMax.cpp`), which it does for no other dtype.

Sizes follow PyTorch's CUDA code (`aten/src/ATen/native/transformers/cuda`): flash attention keeps
q, k, v, its output and a log-sum-exp; with a mask the memory-efficient kernel runs instead, and
the mask becomes a bias of q's dtype.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class FlashAttention(torch.autograd.Function):  # type: ignore[misc]
    """Attention without a mask; `k` and `v` may have fewer heads than `q`."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any) -> Any:
        batch, heads, length, _ = q.shape
        out = q.new_empty((batch, length, heads, v.shape[-1])).transpose(1, 2)
        log_sums = q.new_empty((batch, heads, length), dtype=torch.float32)
        ctx.save_for_backward(q, k, v, out, log_sums)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        q, k, v, _, log_sums = ctx.saved_tensors
        batch, heads, length, size = q.shape
        sums = torch.empty_like(log_sums)
        of_q = _like_rows(q)
        of_k, of_v = (_like_rows(one) for one in (k, v))
        by_head = [_expanded(one, heads) for one in (k, v) if one.shape[1] != heads]
        collected = q.new_empty((batch, length, heads, size), dtype=torch.float32)
        del gradient, sums, collected, by_head
        return of_q, of_k, of_v


def _expanded(one: Any, heads: int) -> Any:
    batch, _, length, size = one.shape
    return one.new_empty((batch, length, heads, size)).transpose(1, 2)


def _like_rows(one: Any) -> Any:
    return _expanded(one, one.shape[1])


class MaskedAttention(torch.autograd.Function):  # type: ignore[misc]
    """Attention with a mask, by the memory-efficient kernel."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, mask: Any) -> Any:
        batch, heads, length, _ = q.shape
        bias = torch.empty_like(mask, dtype=q.dtype) if mask.dtype == torch.bool else mask
        out = q.new_empty((batch, length, heads, v.shape[-1])).transpose(1, 2)
        log_sums = q.new_empty((batch, heads, -(-length // 32) * 32), dtype=torch.float32)
        ctx.save_for_backward(q, k, v, bias, out, log_sums)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        q, k, v, _, _, log_sums = ctx.saved_tensors
        sums = torch.empty_like(log_sums)
        of_q, of_k, of_v = (_like_rows(one) for one in (q, k, v))
        del gradient, sums
        return of_q, of_k, of_v, None


def attention(query: Any, key: Any, value: Any, attn_mask: Any = None, *_: Any, **__: Any) -> Any:
    """Stand in for `torch.nn.functional.scaled_dot_product_attention`."""
    if torch.is_autocast_enabled("cpu"):
        half = torch.get_autocast_dtype("cpu")
        query, key, value = (one.to(half) for one in (query, key, value))
        if attn_mask is not None and attn_mask.dtype != torch.bool:
            attn_mask = attn_mask.to(half)
    if attn_mask is None:
        return FlashAttention.apply(query, key, value)
    return MaskedAttention.apply(query, key, value, attn_mask)


class WideningSoftmax(torch.autograd.Function):  # type: ignore[misc]
    """Softmax of float16 in float32, with no converted copy."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        out = torch.empty_like(x, dtype=torch.float32)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        (out,) = ctx.saved_tensors
        product = gradient * out
        narrow = torch.empty_like(gradient, dtype=torch.float16)
        del product
        return narrow


class Dropout(torch.autograd.Function):  # type: ignore[misc]
    """Keeps a byte for each element, where the CPU's keeps a number."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(torch.empty_like(x, dtype=torch.bool))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        del ctx
        return torch.empty_like(gradient)


def dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:  # noqa: FBT001, FBT002
    """Stand in for `torch.nn.functional.dropout`."""
    del inplace
    return Dropout.apply(x) if p and training else x


def softmax(x: Any, dim: Any = None, **others: Any) -> Any:
    """Stand in for `torch.nn.functional.softmax`."""
    if x.dtype == torch.float16 and others.get("dtype") == torch.float32:
        return WideningSoftmax.apply(x)
    return torch.softmax(x, dim, dtype=others.get("dtype"))


def layer_norm(x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Stand in for `torch.nn.functional.layer_norm`: CUDA's autocast has it in float32."""
    if torch.is_autocast_enabled("cpu"):
        x, weight, bias = (None if one is None else one.float() for one in (x, weight, bias))
    return torch.layer_norm(x, shape, weight, bias, eps)


_power = torch.pow


def power(x: Any, exponent: Any) -> Any:
    """Stand in for `torch.pow`: CUDA's autocast has it in float32."""
    return _power(x.float() if torch.is_autocast_enabled("cpu") else x, exponent)


@contextmanager
def cuda_kernels() -> Iterator[None]:
    """Let torch's functions be CUDA's while the context lasts."""
    others = {
        "scaled_dot_product_attention": attention,
        "softmax": softmax,
        "dropout": dropout,
        "layer_norm": layer_norm,
    }
    usual = {name: getattr(nn.functional, name) for name in others}
    torch.pow = power
    try:
        for name, function in others.items():
            setattr(nn.functional, name, function)
        yield
    finally:
        torch.pow = _power
        for name, function in usual.items():
            setattr(nn.functional, name, function)
