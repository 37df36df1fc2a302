"""Owns the training step as the Trainer does it: forward, loss, backward, clipping, update."""

import gc
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from diagnostics.memory.simulation.kernels import cuda_kernels
from diagnostics.memory.simulation.liger import rotary_of
from diagnostics.memory.simulation.masks import mask_of, no_needless_masks
from diagnostics.memory.simulation.model import Model, build
from diagnostics.memory.simulation.optimizers import optimizer_of
from diagnostics.memory.simulation.parameters import half_of
from diagnostics.memory.simulation.recorder import Recorder
from diagnostics.memory.trace import Stretch

STEPS = 2
"""The first makes the optimizer's states, the second is like all that follow."""


def record(
    config: Any, work: Mapping[str, Any], *, whole: bool = False
) -> tuple[Model, list[Stretch]]:
    """Record loading a model and training it for two steps."""
    recorder = Recorder()
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        recorder,
        cuda_kernels(),
        ExitStack() as stack,
    ):
        model = build(config, work, recorder, whole=whole)
        stack.enter_context(no_needless_masks(work))
        stack.enter_context(rotary_of(model.base) if work.get("liger") else nullcontext())
        with recorder.inheriting():
            optimizer = optimizer_of(model.module, work)
        for _ in range(STEPS):
            for _ in range(min(2, work.get("accumulation", 1))):
                _micro_step(model.module, work, recorder)
            recorder.enter("optimizer")
            with recorder.inheriting():
                _update(model.module, optimizer)
            recorder.enter("zero")
            for one in model.module.parameters():
                one.grad = None
        stretches = list(recorder.stretches)
        recorder.enter("end")
    return model, stretches


def _micro_step(module: Any, work: Mapping[str, Any], recorder: Recorder) -> None:
    recorder.enter("forward")
    inputs = _inputs(work)
    with torch.autocast("cpu", dtype=half_of(work)) if work["autocast"] else nullcontext():
        out = module(**inputs)
    loss = out.loss
    if work["autocast"] and out.logits is not None:
        # accelerate gives a model's outputs back in float32.
        wide = out.logits.float()
        del wide
    del out, inputs
    recorder.enter("loss_backward")
    loss.backward()
    del loss
    gc.collect()
    recorder.enter("between")


def _inputs(work: Mapping[str, Any]) -> dict[str, Any]:
    shape = (work["batch"], work["sequence"])
    inputs = {
        "input_ids": torch.empty(shape, dtype=torch.int64),
        "labels": torch.empty(shape, dtype=torch.int64),
        "num_items_in_batch": torch.empty((), dtype=torch.int64),
        "use_cache": False,
    }
    mask = mask_of(work)
    return inputs if mask is None else {**inputs, "attention_mask": mask}


def _update(module: Any, optimizer: Any) -> None:
    trained = [one for one in module.parameters() if one.requires_grad]
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
