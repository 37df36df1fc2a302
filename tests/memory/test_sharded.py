"""What one GPU holds when several share a training."""

from typing import Any

import pytest

from diagnostics.memory.architecture import Architecture
from diagnostics.memory.counting import Counts
from diagnostics.memory.reading import workload_of
from diagnostics.memory.sharded import Share, share_of
from tests.memory.shapes import LLAMA_8B, LLAMA_8B_PARAMS, config, model

FULL = {"finetuning_type": "full", "bf16": True}
P = LLAMA_8B_PARAMS


def share(
    keys: dict[str, Any] | None = None,
    *,
    gpus: int = 1,
    zero: dict[str, Any] | None = None,
    of: Architecture | None = None,
) -> Share:
    deepspeed = None if zero is None else {"zero_optimization": zero}
    work = workload_of(config(**(keys or FULL)), gpus=gpus, deepspeed=deepspeed)
    return share_of(Counts(of or model(LLAMA_8B), work))


def test_one_gpu_holds_float32_weights_and_gradients_of_a_full_tuning():
    one = share()

    assert one.weights == 4 * P
    assert one.gradients == 4 * P
    assert one.optimized == P
    assert one.buffers == 0


def test_pure_half_precision_halves_both():
    one = share({"finetuning_type": "full", "pure_bf16": True})

    assert (one.weights, one.gradients) == (2 * P, 2 * P)


def test_data_parallel_gpus_each_hold_the_whole_and_a_second_copy_of_the_gradients():
    one = share(gpus=4)

    assert one.weights == share().weights
    assert one.gradients == 2 * share().gradients
    assert one.optimized == P
    assert one.buffers > 0
    assert "DDP" in one.remarks[0].en


def test_a_reference_model_is_a_second_one_in_half_precision():
    work = {**FULL, "stage": "dpo"}

    assert share(work).weights == share().weights + 2 * P


@pytest.mark.parametrize("stage", [1, 2])
def test_zero_1_and_2_keep_half_precision_weights_and_share_masters_and_states(stage: int):
    one = share(gpus=4, zero={"stage": stage})

    assert one.weights == 2 * P
    assert one.master == pytest.approx(4 * P / 4)
    assert one.optimized == pytest.approx(P / 4)
    assert one.gradients == pytest.approx(2 * P if stage == 1 else 2 * P / 4)


def test_zero_3_shares_the_weights_too():
    two, four = (share(gpus=gpus, zero={"stage": 3}) for gpus in (2, 4))

    assert two.weights == pytest.approx(P)
    assert four.weights == pytest.approx(two.weights / 2)
    assert four.gradients == pytest.approx(two.gradients / 2)
    assert four.optimized == pytest.approx(two.optimized / 2, abs=1)


def test_what_is_offloaded_is_not_on_the_gpu():
    one = share(
        gpus=2,
        zero={
            "stage": 3,
            "offload_optimizer": {"device": "cpu"},
            "offload_param": {"device": "cpu"},
        },
    )

    assert (one.weights, one.gradients, one.master, one.states_scale) == (0, 0, 0, 0)
    assert one.buffers > 0


def test_buckets_take_their_size_whatever_trains_and_twice_when_they_overlap():
    lora = {"finetuning_type": "lora", "bf16": True}
    small = share(lora, gpus=2, zero={"stage": 2, "reduce_bucket_size": 1000})
    large = share(lora, gpus=2, zero={"stage": 2, "reduce_bucket_size": 5e8})
    twice = share(lora, gpus=2, zero={"stage": 2, "reduce_bucket_size": 5e8, "overlap_comm": True})

    assert large.buffers - small.buffers == pytest.approx(2 * (500_000_000 - 1000))
    assert twice.buffers - large.buffers == pytest.approx(2 * 500_000_000)


def test_a_shared_training_says_how_sure_that_is():
    assert "20 %" in share(gpus=2, zero={"stage": 3}).remarks[0].en
    assert "ZeRO-3" in share(gpus=2, zero={"stage": 3}).remarks[0].zh


def test_more_gpus_never_take_more_of_each_under_zero():
    for stage in (1, 2, 3):
        sizes = [
            share(gpus=gpus, zero={"stage": stage}).weights
            + share(gpus=gpus, zero={"stage": stage}).master
            for gpus in (2, 3, 4, 8, 16)
        ]
        assert sizes == sorted(sizes, reverse=True)
