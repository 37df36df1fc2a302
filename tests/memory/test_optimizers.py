"""What optimizers hold and need, in bytes of a trainable parameter."""

from typing import Any

import pytest

from diagnostics.memory.counting import Counts
from diagnostics.memory.optimizers import OptimizerMemory, optimizer_memory
from tests.memory.shapes import LLAMA_8B, SMALL, model, workload

TRAINED = 1_000_000


def memory(name: str = "adamw_torch_fused", **keys: Any) -> OptimizerMemory:
    """What an optimizer takes for a million parameters of a full tuning in float32."""
    work = workload(finetuning_type="full", optim=name, **keys)
    return optimizer_memory(Counts(model(SMALL), work), TRAINED)


@pytest.mark.parametrize(
    ("name", "each"),
    [
        ("adamw_torch_fused", 8),
        ("adamw_torch", 8),
        ("ademamix", 12),
        ("lion_32bit", 4),
        ("sgd", 0),
    ],
)
def test_states_of_float32_parameters(name: str, each: int):
    assert memory(name).states == pytest.approx(each * TRAINED)


def test_states_of_half_precision_parameters_are_half_precision():
    assert memory("adamw_torch", pure_bf16=True).states == 4 * TRAINED
    wide = memory("ademamix", pure_bf16=True).states
    assert wide == pytest.approx(12 * TRAINED)


def test_the_listed_step_copies_the_set_and_the_fused_one_does_not():
    assert memory("adamw_torch").step == 4 * TRAINED
    assert memory("adamw_torch", pure_bf16=True).step == 2 * TRAINED
    assert memory("adagrad").step == 8 * TRAINED
    assert memory("adamw_torch_fused").step == 0
    assert memory("sgd").step == 0


def test_eight_bit_states_have_a_scale_for_256_elements_and_whole_embeddings():
    one = model(LLAMA_8B)
    work = workload(finetuning_type="full", optim="adamw_8bit")
    counts = Counts(one, work)
    embedding = counts.embedding

    states = optimizer_memory(counts, counts.total).states

    small = counts.total - embedding
    assert states == pytest.approx(2 * (small * (1 + 4 / 256) + 4 * embedding))


def test_eight_bit_states_of_small_tensors_are_in_float32():
    small, large = (
        Counts(model(SMALL), workload(optim="adamw_bnb_8bit", lora_rank=rank)) for rank in (2, 64)
    )

    # Matrices of 2 x 1,024 stay below bitsandbytes' least size of 4,096.
    narrow, wide = (optimizer_memory(one, one.trainable).states for one in (small, large))
    assert narrow == pytest.approx(2 * 4 * small.trainable)
    assert wide == pytest.approx(2 * large.trainable * (1 + 4 / 256))


def test_paged_states_are_not_in_torchs_memory_but_for_those_of_small_tensors():
    counts = Counts(model(LLAMA_8B), workload(finetuning_type="full", optim="paged_adamw_8bit"))
    vectors = 65 * 4096

    states = optimizer_memory(counts, counts.trainable).states

    assert states == pytest.approx(2 * vectors * (1 + 4 / 256))


def test_paged_states_are_said_to_be_left_out():
    remark = memory("paged_adamw_8bit").remark

    assert remark is not None
    assert "host" in remark.en
    assert remark.zh
    assert memory("adamw_8bit").remark is None


def test_adafactor_keeps_nearly_nothing():
    assert memory("adafactor").states < 0.01 * memory("adamw_torch").states
    assert memory("adafactor").step > 0


@pytest.mark.parametrize("variant", ["use_galore", "use_apollo"])
def test_low_rank_states_grow_with_the_rank_and_stay_below_full_ones(variant: str):
    def states(rank: int) -> float:
        key = variant.replace("use_", "") + "_rank"
        work = workload(finetuning_type="full", **{variant: True, key: rank})
        counts = Counts(model(LLAMA_8B), work)
        return optimizer_memory(counts, counts.trainable).states

    whole = Counts(model(LLAMA_8B), workload(finetuning_type="full"))

    assert states(8) < states(64) < optimizer_memory(whole, whole.trainable).states


def test_badam_holds_the_states_of_one_block():
    work = workload(finetuning_type="full", use_badam=True)
    counts = Counts(model(LLAMA_8B), work)

    one = optimizer_memory(counts, counts.trainable)

    # A float32 copy and two moments of one of 32 layers.
    assert one.states == 12 * counts.layer
    assert one.remark is not None


def test_an_unknown_optimizer_is_taken_for_one_with_two_states():
    assert memory("some_new_optimizer").states == 8 * TRAINED
