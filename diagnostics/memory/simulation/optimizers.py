"""Owns the optimizers of the simulated step: torch's and transformers' own, bitsandbytes' modelled.

States of bitsandbytes' 8-bit optimizers have a byte each and a scale for 256 of them; small
parameters and embeddings keep them in float32, and paged ones are not in torch's memory
(https://github.com/bitsandbytes-foundation/bitsandbytes, `optim/optimizer.py`).
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import nn

from diagnostics.memory.simulation.failures import UnsupportedError

SMALL = 4096
"""Elements below which 8-bit optimizers keep a parameter's states in float32."""
PAGED = 100_000
"""Elements from which paged optimizers keep them outside torch's memory."""
STATES = {"adamw": 2, "lion": 1, "rmsprop": 1, "ademamix": 3}


def optimizer_of(module: Any, work: Mapping[str, Any]) -> Any:
    """Return the optimizer of a workload, in the parameter groups that the Trainer makes.

    Raises:
        UnsupportedError: it is not known how this optimizer uses memory.
    """
    settings = work["optimizer"]
    name = settings["name"]
    if settings.get("variant"):
        raise UnsupportedError(f"the optimizer {settings['variant']} is not simulated")
    groups = _groups(module)
    if name == "adamw_torch":
        return torch.optim.AdamW(groups, lr=1e-4, foreach=True)
    if name == "adamw_torch_fused":
        return torch.optim.AdamW(groups, lr=1e-4, fused=True)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=1e-4, foreach=True)
    if name == "adagrad":
        return torch.optim.Adagrad(groups, lr=1e-4, foreach=True)
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=1e-4, foreach=True)
    if name == "adafactor":
        optimizers = import_module("transformers.optimization")
        return optimizers.Adafactor(groups, lr=1e-4, scale_parameter=False, relative_step=False)
    for family, states in STATES.items():
        if family in name and ("bit" in name or "bnb" in name or "paged" in name):
            return _Bitsandbytes(groups, module, states, name)
    raise UnsupportedError(f"the optimizer {name} is not simulated")


def is_modelled(name: str) -> bool:
    """Whether an optimizer is a model of what another package does."""
    return "bit" in name or "bnb" in name or "paged" in name


def _groups(module: Any) -> list[dict[str, Any]]:
    decayed: list[Any] = []
    others: list[Any] = []
    for key, one in module.named_parameters():
        if one.requires_grad:
            (others if "norm" in key or key.endswith("bias") else decayed).append(one)
    return [{"params": group, "weight_decay": 0.0} for group in (decayed, others) if group]


class _Bitsandbytes(torch.optim.Optimizer):  # type: ignore[misc]
    def __init__(self, groups: Any, module: Any, states: int, name: str) -> None:
        super().__init__(groups, {"lr": 1e-4})
        self.states, self.paged, self.half = states, "paged" in name, "8bit" in name
        self.embeddings = {
            id(one.weight) for one in module.modules() if isinstance(one, nn.Embedding)
        }

    def step(self, closure: Any = None) -> None:
        del closure
        for group in self.param_groups:
            for one in group["params"]:
                if one.grad is not None and not self.state[one]:
                    self.state[one]["kept"] = self._state(one)

    def _state(self, one: Any) -> list[Any]:
        if self.paged and one.numel() >= PAGED:
            return []
        if not self.half or one.numel() < SMALL or id(one) in self.embeddings:
            return [torch.empty_like(one, dtype=torch.float32) for _ in range(self.states)]
        scales = -(-one.numel() // 256)
        kept = [torch.empty_like(one, dtype=torch.uint8) for _ in range(self.states)]
        return kept + [one.new_empty((scales,), dtype=torch.float32) for _ in range(self.states)]
