"""What is read of a DeepSpeed JSON, whatever stands in it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.memory.deepspeed import is_deepspeed, sharding_of
from diagnostics.memory.workload import Sharding


def zero(**keys: Any) -> Sharding:
    return sharding_of({"zero_optimization": keys}, gpus=4)


def test_the_stage_and_offloads_are_read():
    one = zero(
        stage=3,
        offload_optimizer={"device": "cpu", "pin_memory": True},
        offload_param={"device": "nvme"},
    )

    assert (one.zero_stage, one.offload_optimizer, one.offload_params) == (3, True, True)
    assert one.gpus == 4


def test_an_offload_to_none_is_none():
    assert not zero(stage=2, offload_optimizer={"device": "none"}).offload_optimizer


def test_sizes_in_scientific_notation_are_numbers():
    one = zero(stage=2, reduce_bucket_size=2e8, stage3_max_live_parameters=5e8)

    assert one.reduce_bucket_elements == 200_000_000
    assert one.max_live_params == 500_000_000


def test_what_transformers_fills_at_run_time_has_its_default():
    one = zero(stage=3, reduce_bucket_size="auto", stage3_prefetch_bucket_size="auto")

    assert one.reduce_bucket_elements == Sharding().reduce_bucket_elements
    assert one.prefetch_elements == Sharding().prefetch_elements


@pytest.mark.parametrize("stage", ["auto", "3", -1, 4, 10**30, 2.5, None, [3], {}, float("nan")])
def test_a_stage_without_meaning_is_no_sharding(stage: object):
    assert zero(stage=stage).zero_stage == 0


@pytest.mark.parametrize("size", [-1, 10**30, float("nan"), float("inf"), "big", [1], True, None])
def test_a_size_without_meaning_falls_back_to_its_default(size: object):
    assert zero(stage=2, reduce_bucket_size=size).reduce_bucket_elements == 500_000_000


def test_a_config_without_zero_is_plain_data_parallel():
    assert sharding_of({}, gpus=2).zero_stage == 0
    assert sharding_of({"zero_optimization": "on"}, gpus=0).gpus == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "stage",
        "offload_optimizer",
        "offload_param",
        "reduce_bucket_size",
        "overlap_comm",
        "sub_group_size",
        "stage3_max_live_parameters",
        "stage3_prefetch_bucket_size",
    ]
)


@given(st.dictionaries(KEYS, JSON), st.integers(-9, 10**9))
def test_no_json_is_absurd_enough_to_raise(keys: dict[str, Any], gpus: int):
    one = sharding_of({"zero_optimization": keys}, gpus=gpus)

    assert one.gpus >= 1
    assert one.zero_stage in {0, 1, 2, 3}
    assert 0 <= one.reduce_bucket_elements <= 10**12


def test_a_deepspeed_config_is_told_from_other_json():
    assert is_deepspeed(json.loads('{"zero_optimization": {"stage": 2}}'))
    assert is_deepspeed({"train_micro_batch_size_per_gpu": "auto"})
    assert not is_deepspeed({"model_type": "llama"})
