"""Owns the simulated model: the real classes of transformers and peft, with fewer layers.

It is built on the meta device; `parameters.py` then gives it fake parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn

from diagnostics.memory.simulation.blueprint import Plan, kinds_of, plan, reduced
from diagnostics.memory.simulation.checkpointing import enable_checkpointing
from diagnostics.memory.simulation.failures import UnsupportedError
from diagnostics.memory.simulation.liger import apply_liger
from diagnostics.memory.simulation.parameters import Names, materialize
from diagnostics.memory.simulation.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Model:
    """A model ready to train; the counts are of the whole one."""

    module: Any
    base: Any
    """The same without adapters."""
    plan: Plan
    total_params: int
    trainable_params: int


def build(config: Any, work: Mapping[str, Any], recorder: Recorder, *, whole: bool) -> Model:
    """Build a model for a workload, its parameters made under `recorder`.

    Raises:
        UnsupportedError: this model is not simulated.
    """
    chosen = plan(kinds_of(config, _trains(config.num_hidden_layers, work)), whole=whole)
    module = base = _on_meta(reduced(config, chosen.kept), work)
    layers = _decoder_layers(module)
    if len(layers) != len(chosen.kept):
        raise UnsupportedError("the model's layers were not found")
    if work["checkpointing"] != "off":
        enable_checkpointing(module, work)
    if work["liger"]:
        apply_liger(module)
    if work["method"] == "freeze":
        _freeze(module, work, Names(module, layers, chosen))
    elif work["method"] in {"lora", "oft"}:
        module = _adapted(module, work)
    if work.get("upcast_lm_head") and isinstance(getattr(base, "lm_head", None), nn.Linear):
        base.lm_head.register_forward_hook(lambda _, __, out: out.to(torch.float32))
    total, trainable = materialize(module, work, recorder, Names(base, layers, chosen))
    _mark(layers, chosen, recorder)
    module.train()
    return Model(module, base, chosen, total, trainable)


def _trains(count: int, work: Mapping[str, Any]) -> list[bool]:
    """Return for each layer of the whole model whether it trains."""
    if work["method"] != "freeze":
        return [True] * count
    last = (work.get("frozen") or {}).get("layers", 2)
    return [layer >= count - last if last > 0 else layer < -last for layer in range(count)]


def _on_meta(config: Any, work: Mapping[str, Any]) -> Any:
    transformers = import_module("transformers")
    attention = "eager" if work["attention"] == "eager" else "sdpa"
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)


def _decoder_layers(module: Any) -> list[Any]:
    """Return the model's layers: the list of modules that has most of its parameters."""
    lists = [one for one in module.modules() if isinstance(one, nn.ModuleList)]
    return list(max(lists, key=lambda one: sum(p.numel() for p in one.parameters()), default=[]))


def _freeze(module: Any, work: Mapping[str, Any], names: Names) -> None:
    """Let only some layers train, or some modules of them, and named modules outside."""
    frozen = work.get("frozen") or {}
    trains = _trains(names.plan.layers, work)
    modules = frozen.get("modules") or ["all"]
    extra = frozen.get("extra_modules") or []
    for name, one in module.named_parameters():
        layer = names.layer(name)
        inside = layer is not None and trains[names.plan.kept[layer]]
        inside = inside and ("all" in modules or any(f".{part}." in name for part in modules))
        one.requires_grad_(inside or any(part in name for part in extra))


def _adapted(module: Any, work: Mapping[str, Any]) -> Any:
    """Put peft's adapters on a model."""
    peft = import_module("peft")
    adapter = work.get("adapter") or {}
    common = {
        "task_type": "CAUSAL_LM",
        "target_modules": _targets(module, adapter.get("targets") or ["all"]),
        "modules_to_save": list(adapter.get("extra_targets") or ()) or None,
    }
    rank = adapter.get("rank", 8)
    if work["method"] == "oft":
        size = adapter.get("block_size", 32)
        settings = peft.OFTConfig(r=0 if size else rank, oft_block_size=size, **common)
    else:
        dora = bool(adapter.get("dora"))
        dropout = 0.1 if adapter.get("dropout") else 0.0
        settings = peft.LoraConfig(
            r=rank, lora_alpha=2 * rank, use_dora=dora, lora_dropout=dropout, **common
        )
    with torch.device("meta"):
        return peft.get_peft_model(module, settings)


def _targets(module: Any, asked: Sequence[str]) -> list[str]:
    if list(asked) != ["all"]:
        return list(asked)
    found = {
        name.rsplit(".", 1)[-1]
        for name, one in module.named_modules()
        if isinstance(one, nn.Linear) and "lm_head" not in name
    }
    if not found:
        raise UnsupportedError("the model has no linear layers that adapters are put on")
    return sorted(found)


def _mark(layers: Sequence[Any], chosen: Plan, recorder: Recorder) -> None:
    """Have each block tell the recorder when it begins to work, in both directions.

    Its class is replaced, not its hooks used: under checkpointing they see other tensors.
    """
    final = len(layers) - 1
    for at, layer in enumerate(layers):
        block = chosen.block_of[at]
        first = at == 0 or chosen.block_of[at - 1] != block
        last = at == final or chosen.block_of[at + 1] != block
        ends = "loss" if at == final else ""
        layer.__class__ = _marked(
            type(layer), recorder, block, enters=first, leaves=last, ends=ends
        )


def _marked(
    kind: Any, recorder: Recorder, block: int, *, enters: bool, leaves: bool, ends: str
) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if recorder.part != "forward":
            return kind.__call__(self, *args, **kwargs)
        if enters:
            recorder.enter("forward", block)
        out = kind.__call__(self, *args, **kwargs)
        if ends:
            recorder.enter(ends)
        result = out[0] if isinstance(out, tuple) else out
        if leaves and result.requires_grad:
            result.register_hook(lambda _: recorder.enter("backward", block))
        return out

    return type(kind.__name__, (kind,), {"__call__": call})
