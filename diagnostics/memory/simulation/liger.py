"""Owns Liger's kernels as their memory is: norms, rotary embedding, gated MLP, the fused loss.

They are written in Triton and run on a graphics card only, so what they allocate is modelled
after their source (https://github.com/linkedin/Liger-Kernel, `src/liger_kernel/ops`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import MethodType
from typing import Any

import torch
from torch import nn

from diagnostics.memory.simulation.failures import UnsupportedError

PROCESSORS = 132
"""Of an H100: one partial gradient of a norm's weight for each."""


class Norm(torch.autograd.Function):  # type: ignore[misc]
    """Keeps the input itself and one scale a row; its gradient overwrites the output's."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any) -> Any:
        ctx.save_for_backward(
            x, weight, x.new_empty((x.numel() // x.shape[-1],), dtype=torch.float32)
        )
        return torch.empty_like(x, memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        _, weight, _ = ctx.saved_tensors
        if not ctx.needs_input_grad[1]:
            return gradient, None
        parts = weight.new_empty((PROCESSORS, weight.shape[0]), dtype=torch.float32)
        return gradient, parts.sum(dim=0).to(weight.dtype)


class Rotary(torch.autograd.Function):  # type: ignore[misc]
    """Turns queries and keys where they are."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, cos: Any, sin: Any) -> Any:
        ctx.save_for_backward(cos, sin)
        return q.transpose(1, 2).transpose(1, 2), k.transpose(1, 2).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, of_q: Any, of_k: Any) -> Any:
        del ctx
        return of_q, of_k, None, None


class Gate(torch.autograd.Function):  # type: ignore[misc]
    """Activation times gate in one kernel; its gradients overwrite what it kept."""

    @staticmethod
    def forward(ctx: Any, gate: Any, up: Any) -> Any:
        ctx.save_for_backward(gate, up)
        return torch.empty_like(gate)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        del gradient
        gate, up = ctx.saved_tensors
        return gate, up


class FusedLoss(torch.autograd.Function):  # type: ignore[misc]
    """Output head and loss in chunks of rows; gradients are made in the forward."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any) -> Any:
        rows, size = hidden.shape
        vocabulary = weight.shape[0]
        wanted = -(-rows // -(-vocabulary // size))
        chunk = min(rows, 1 << max(0, wanted - 1).bit_length())
        of_hidden = torch.zeros_like(hidden)
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        losses = hidden.new_empty((rows,), dtype=torch.float32)
        for start in range(0, rows, chunk):
            part = hidden[start : start + chunk]
            logits = part @ weight.t()
            of_hidden[start : start + chunk] = logits @ weight
            if of_weight is not None:
                cast = part.to(logits.dtype)
                del cast
            del logits
        ctx.save_for_backward(of_hidden, of_weight)
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        del gradient
        return ctx.saved_tensors


def apply_liger(module: Any) -> None:
    """Put the kernels in a model: its norms, its MLPs, its loss.

    Raises:
        UnsupportedError: the model has no output head of the usual form.
    """
    if not isinstance(getattr(module, "lm_head", None), nn.Linear) or not hasattr(module, "model"):
        raise UnsupportedError("liger's kernels are not simulated for this model")
    for one in module.modules():
        name = type(one).__name__
        if name.endswith("RMSNorm"):
            one.forward = MethodType(_norm, one)
        elif name.endswith("MLP") and hasattr(one, "gate_proj") and hasattr(one, "up_proj"):
            one.forward = MethodType(_mlp, one)
    module.forward = MethodType(_loss_only, module)


def _norm(self: Any, x: Any) -> Any:
    return Norm.apply(x, self.weight)


def _mlp(self: Any, x: Any) -> Any:
    return self.down_proj(Gate.apply(self.gate_proj(x), self.up_proj(x)))


def _loss_only(self: Any, **inputs: Any) -> Any:
    outputs = import_module("transformers.modeling_outputs")
    inputs.pop("labels")
    inputs.pop("num_items_in_batch", None)
    inputs.pop("return_dict", None)
    hidden = self.model(**inputs)[0]
    rows = hidden.reshape(-1, hidden.shape[-1])
    return outputs.CausalLMOutputWithPast(loss=FusedLoss.apply(rows, self.lm_head.weight))


@contextmanager
def rotary_of(module: Any) -> Iterator[None]:
    """Let the model's code turn queries and keys by Liger's kernel while the context lasts."""
    code: Any = sys.modules[type(module).__module__]
    usual = getattr(code, "apply_rotary_pos_emb", None)
    if usual is None:
        yield
        return
    code.apply_rotary_pos_emb = lambda q, k, cos, sin, *_, **__: Rotary.apply(q, k, cos, sin)
    try:
        yield
    finally:
        code.apply_rotary_pos_emb = usual
