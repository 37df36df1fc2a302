"""A config and what a machine tells, together one prediction."""

from typing import Any

import pytest

from diagnostics.errors import LlamavetError
from diagnostics.memory.facts import MemoryFacts, forecast_config, workload_from
from diagnostics.memory.verdict import Verdict
from diagnostics.memory.workload import Quantization
from tests.memory.shapes import LLAMA_8B, config, model

ZERO_3 = "examples/deepspeed/ds_z3_config.json"


def facts(**parts: Any) -> MemoryFacts:
    return MemoryFacts(model(LLAMA_8B), **parts)


def test_a_model_that_is_not_known_is_refused_with_the_reason():
    with pytest.raises(LlamavetError, match="not on this machine") as caught:
        forecast_config(config(bf16=True), MemoryFacts(None, reason="m: not on this machine"))

    assert caught.value.remedy


def test_a_training_on_a_gpu_is_judged_by_the_gpu_and_one_on_the_cpu_by_the_host():
    known = facts(capacity_gib=80.0, host_gib=10.0)

    on_gpu = forecast_config(config(bf16=True), known)
    on_cpu = forecast_config(config(use_cpu=True), known)

    assert (on_gpu.capacity_gib, on_gpu.verdict) == (80.0, Verdict.FITS)
    assert (on_cpu.capacity_gib, on_cpu.verdict) == (10.0, Verdict.DOES_NOT_FIT)


def test_the_deepspeed_file_that_was_read_is_taken():
    known = facts(gpus=4, deepspeed={"ds.json": {"zero_optimization": {"stage": 2}}})

    work = workload_from(config(bf16=True, deepspeed="ds.json"), known)

    assert (work.sharding.zero_stage, work.sharding.gpus) == (2, 4)


def test_deepspeed_settings_inside_the_config_are_taken():
    settings = config("bf16: true\ndeepspeed:\n  zero_optimization:\n    stage: 1\n")

    assert workload_from(settings, facts(gpus=2)).sharding.zero_stage == 1


@pytest.mark.parametrize(
    ("path", "stage", "optimizer", "params"),
    [
        (ZERO_3, 3, False, False),
        ("cfg/ds_z3_offload_config.json", 3, True, True),
        ("cfg/ds_z2_offload_config.json", 2, True, False),
        ("zero1.json", 1, False, False),
        ("ds_z0_config.json", 0, False, False),
        ("mine.json", 0, False, False),
    ],
)
def test_a_deepspeed_file_that_is_not_there_is_taken_by_its_name_and_that_is_said(
    path: str, stage: int, *, optimizer: bool, params: bool
):
    work = workload_from(config(bf16=True, deepspeed=path), facts(gpus=2))

    sharding = work.sharding
    assert (sharding.zero_stage, sharding.offload_optimizer) == (stage, optimizer)
    assert sharding.offload_params == params
    assert path in work.assumptions[0].en


def test_a_checkpoint_that_is_quantized_already_needs_no_key_for_it():
    gptq = Quantization(4, "gptq", double=False)
    known = facts(quantized=gptq)

    work = workload_from(config(bf16=True), known)
    plain = forecast_config(config(bf16=True), facts())

    assert work.quantization == gptq
    assert forecast_config(config(bf16=True), known).allocated_gib < plain.allocated_gib


def test_the_longest_sample_of_the_data_lowers_the_prediction():
    known = facts(longest_tokens=300)

    short = forecast_config(config(bf16=True), known)

    assert short.work.sequence == 300
    assert short.allocated_gib < forecast_config(config(bf16=True), facts()).allocated_gib
