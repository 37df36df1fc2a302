"""The memory model: known sizes, and which changes shrink the peak."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.demo.card import (
    CAPACITY_BYTES,
    GIB,
    TOTAL_BYTES,
    Card,
    CardFullError,
)
from diagnostics.demo.failures import out_of_memory, size
from diagnostics.demo.memory import (
    ARCHITECTURES,
    Recipe,
    Stage,
    load_allocations,
    step_allocations,
    training_peak,
)

LLAMA = ARCHITECTURES["Llama-3.2-3B"]
LORA = Recipe(LLAMA, accumulation_steps=2)
TOKENS = 8 * 2048


@pytest.mark.parametrize(
    ("name", "params"),
    [("Llama-3.2-3B", 3_212_749_824), ("Llama-3.1-8B", 8_030_261_248)],
)
def test_parameters_are_those_of_the_published_models(name: str, params: int) -> None:
    assert ARCHITECTURES[name].params == params


def test_lora_of_rank_8_on_all_linear_layers_trains_as_many_parameters_as_peft_says() -> None:
    assert LORA.trainable_params == 12_156_928


@pytest.mark.parametrize(
    "smaller",
    [
        replace(LORA, fused_loss=True),
        replace(LORA, quantization_bit=8),
        replace(LORA, quantization_bit=4),
        replace(LORA, offload_activations=True),
        replace(LORA, lora_rank=4),
    ],
)
def test_each_saving_option_lowers_the_peak(smaller: Recipe) -> None:
    assert training_peak(smaller, TOKENS).peak_bytes < training_peak(LORA, TOKENS).peak_bytes


def test_four_bits_save_more_than_eight_and_the_fused_loss_saves_most_of_all() -> None:
    four, eight = (
        training_peak(replace(LORA, quantization_bit=bits), TOKENS).peak_bytes for bits in (4, 8)
    )
    fused = training_peak(replace(LORA, fused_loss=True), TOKENS).peak_bytes
    assert fused < four < eight


def test_halving_the_batch_with_double_the_accumulation_lowers_the_peak() -> None:
    halved = training_peak(replace(LORA, accumulation_steps=4), TOKENS // 2)
    assert halved.peak_bytes < training_peak(LORA, TOKENS).peak_bytes


def test_without_checkpointing_the_activations_of_all_layers_stay() -> None:
    kept = training_peak(replace(LORA, gradient_checkpointing=False), TOKENS)
    assert kept.peak_bytes > 2 * training_peak(LORA, TOKENS).peak_bytes


def test_full_training_needs_sixteen_bytes_a_parameter_and_lora_two() -> None:
    full = replace(LORA, finetuning_type="full", fused_loss=True)
    lora = replace(LORA, fused_loss=True)
    assert training_peak(full, 1).peak_bytes / LLAMA.params == pytest.approx(16, rel=0.15)
    assert training_peak(lora, 1).peak_bytes / LLAMA.params == pytest.approx(2, rel=0.15)


def test_the_optimizer_counts_in_full_training() -> None:
    full = replace(LORA, finetuning_type="full", fused_loss=True)
    peaks = [
        training_peak(replace(full, optim=optim), 64).peak_bytes
        for optim in ("adafactor", "adamw_8bit", "adamw_torch_fused", "adamw_torch")
    ]
    assert peaks == sorted(set(peaks))


def test_freezing_most_layers_lies_between_lora_and_full() -> None:
    lora, freeze, full = (
        training_peak(replace(LORA, finetuning_type=method, fused_loss=True), 64).peak_bytes
        for method in ("lora", "freeze", "full")
    )
    assert lora < freeze < full


def test_the_logits_make_the_peak_of_a_lora_training() -> None:
    peak = training_peak(LORA, TOKENS)
    assert peak.stage is Stage.BACKWARD
    assert peak.peak_bytes > 12 * TOKENS * LLAMA.vocab


@given(
    tokens=st.integers(1, 100_000),
    method=st.sampled_from(["lora", "freeze", "full"]),
    bits=st.sampled_from([None, 4, 8]),
    accumulation=st.integers(1, 16),
    checkpointing=st.booleans(),
    fused=st.booleans(),
    first=st.booleans(),
)
def test_a_step_frees_all_that_it_allocates_but_the_optimizers_states(
    *,
    tokens: int,
    method: str,
    bits: int | None,
    accumulation: int,
    checkpointing: bool,
    fused: bool,
    first: bool,
) -> None:
    recipe = Recipe(
        LLAMA,
        finetuning_type=method,
        quantization_bit=bits,
        accumulation_steps=accumulation,
        gradient_checkpointing=checkpointing,
        fused_loss=fused,
    )
    left = sum(a.size_bytes for a in step_allocations(recipe, tokens, first=first))
    assert left == (recipe.optimizer_bytes if first else 0)


def test_the_cured_demo_leaves_the_card_about_85_to_90_percent_full() -> None:
    recipe = replace(LORA, accumulation_steps=4)
    card = Card()
    card.run(load_allocations(recipe))
    card.run(step_allocations(recipe, 4 * 2048, first=True))
    card.run(step_allocations(recipe, 4 * 2048, first=False))
    assert 0.85 <= card.used_bytes / TOTAL_BYTES <= 0.90


def test_the_card_keeps_what_it_reserved_and_never_more_than_it_has() -> None:
    card = Card()
    card.run(load_allocations(LORA))
    with pytest.raises(CardFullError) as caught:
        card.run(step_allocations(LORA, TOKENS, first=True))
    full = caught.value
    assert full.stage is Stage.LOSS
    assert full.requested_bytes > full.free_bytes > 0
    assert full.free_bytes + full.process_bytes == CAPACITY_BYTES
    assert card.used_bytes <= CAPACITY_BYTES


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_has_a_traceback_of_its_own(stage: Stage) -> None:
    full = CardFullError(stage, requested_bytes=2 * GIB, allocated_bytes=20 * GIB, cached_bytes=GIB)
    text = out_of_memory(full).traceback()
    assert text.startswith("Traceback (most recent call last):\n")
    assert "Tried to allocate 2.00 GiB." in text
    frames = {
        Stage.LOAD: "from_pretrained",
        Stage.FORWARD: "modules/linear.py",
        Stage.LOSS: "ForCausalLMLoss",
        Stage.BACKWARD: "in _engine_run_backward",
        Stage.OPTIMIZER: "torch/optim/adamw.py",
    }
    assert frames[stage] in text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (512, "512 bytes"),
        (1536, "1.50 KiB"),
        (134 * 1024**2, "134.00 MiB"),
        (8 * 1024**3, "8.00 GiB"),
    ],
)
def test_sizes_are_written_as_pytorch_writes_them(count: int, text: str) -> None:
    assert size(count) == text
