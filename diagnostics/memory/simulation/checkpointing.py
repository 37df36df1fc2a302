"""Owns computing layers again in the backward, as LLaMA-Factory's wrapper has them do.

Only layers with trainable parameters are; `use_unsloth_gc` keeps their inputs in host memory
(https://github.com/hiyouga/LLaMA-Factory, `model/model_utils/checkpointing.py`).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def enable_checkpointing(module: Any, work: Mapping[str, Any]) -> None:
    """Turn it on in a model that has it."""
    if not getattr(module, "supports_gradient_checkpointing", False):
        return
    again: Callable[..., Any] = partial(
        checkpoint, use_reentrant=work.get("reentrant", True), preserve_rng_state=False
    )
    if work["checkpointing"] == "offloaded":
        again = _Offloaded.apply

    def run(function: Any, *args: Any, **kwargs: Any) -> Any:
        bound: Any = function.func if isinstance(function, partial) else function
        owner = bound.__self__
        if not any(one.requires_grad for one in owner.parameters()):
            return function(*args, **kwargs)
        for one in args:
            if isinstance(one, torch.Tensor) and one.is_floating_point():
                one.requires_grad_(True)
                break
        return again(function, *args, **kwargs)

    module._set_gradient_checkpointing(enable=True, gradient_checkpointing_func=run)
    module.config.use_cache = False


class _Offloaded(torch.autograd.Function):  # type: ignore[misc]
    """A layer's input waits in host memory for its backward."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], hidden: Any, *args: Any) -> Any:
        with torch.no_grad():
            out = function(hidden, *args)
        ctx.function, ctx.args, ctx.like = function, args, (hidden.shape, hidden.dtype)
        ctx.half = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        shape, dtype = ctx.like
        hidden = torch.empty(shape, dtype=dtype, requires_grad=True)
        with torch.enable_grad(), torch.autocast("cpu", ctx.half, enabled=ctx.half is not None):
            out = ctx.function(hidden, *ctx.args)
        torch.autograd.backward(out[0] if isinstance(out, tuple) else out, gradient)
        return None, hidden.grad, *(None for _ in ctx.args)
