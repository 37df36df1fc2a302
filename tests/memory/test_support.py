"""What LLaMA-Factory does with some models only."""

import pytest

from diagnostics.memory.support import supported
from diagnostics.memory.workload import Attention
from tests.memory.shapes import SMALL, model, workload


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gemma3_text", "qwen2_5_vl_text"])
def test_liger_stays_on_for_a_family_that_it_has_kernels_for(model_type: str):
    work = workload(enable_liger_kernel=True)

    assert supported(work, model(SMALL, model_type=model_type), flash_attn=None) == work


def test_liger_is_off_for_a_family_without_kernels_and_that_is_said():
    found = supported(
        workload(enable_liger_kernel=True), model(SMALL, model_type="cohere2"), flash_attn="auto"
    )

    assert not found.liger
    assert "cohere2" in found.assumptions[-1].en
    assert "cohere2" in found.assumptions[-1].zh


@pytest.mark.parametrize(
    ("named", "wanted"),
    [
        (None, Attention.EAGER),
        ("auto", Attention.EAGER),
        ("fa2", Attention.FLASH),
        ("sdpa", Attention.SDPA),
    ],
)
def test_gemma_2_is_eager_unless_the_config_asks_for_another_attention(
    named: str | None, wanted: Attention
):
    work = workload() if named is None else workload(flash_attn=named)

    second, third = (model(SMALL, model_type=name) for name in ("gemma2", "gemma3_text"))
    assert supported(work, second, flash_attn=named).attention is wanted
    assert supported(work, third, flash_attn=named) == work


def test_a_float32_checkpoint_stays_so_where_pure_bf16_casts_nothing():
    work = workload(finetuning_type="full", pure_bf16=True)
    wide = model(SMALL, torch_dtype="float32")

    found = supported(work, wide, flash_attn=None)

    assert (found.trainable_bytes, found.compute_bytes) == (4, 4)
    assert "float32" in found.assumptions[-1].en
    assert supported(work, model(SMALL), flash_attn=None) == work
