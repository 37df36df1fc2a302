"""What LLaMA-Factory does with some models only."""

import pytest

from diagnostics.memory.support import supported
from diagnostics.memory.workload import Attention
from tests.memory.shapes import workload


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gemma3_text", "qwen2_5_vl_text"])
def test_liger_stays_on_for_a_family_that_it_has_kernels_for(model_type: str):
    work = workload(enable_liger_kernel=True)

    assert supported(work, model_type, flash_attn=None) == work


def test_liger_is_off_for_a_family_without_kernels_and_that_is_said():
    found = supported(workload(enable_liger_kernel=True), "cohere2", flash_attn="auto")

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

    assert supported(work, "gemma2", flash_attn=named).attention is wanted
    assert supported(work, "gemma3_text", flash_attn=named) == work
