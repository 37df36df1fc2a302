"""The closed form: hand-worked phases, what more of a thing does, and recorded peaks."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.memory.config_json import architecture_of
from diagnostics.memory.counting import Counts
from diagnostics.memory.estimate import predict
from diagnostics.memory.peak import Peak, Phase, Terms
from diagnostics.memory.reading import workload_of
from tests.memory.shapes import (
    GIB,
    LLAMA_8B,
    LLAMA_8B_PARAMS,
    QWEN_7B,
    SMALL,
    config,
    model,
    workload,
)

RECORDED = [
    json.loads(line)
    for line in Path(__file__).with_name("peaks.jsonl").read_text(encoding="utf-8").splitlines()
]
P = LLAMA_8B_PARAMS
VOCAB = 128_256
TOKENS = 8 * 2048


def peak(shape: Any = LLAMA_8B, **keys: Any) -> Peak:
    return predict(model(shape), workload(**keys))


def phase(name: Phase, shape: Any = LLAMA_8B, **keys: Any) -> Terms:
    return peak(shape, **keys).phases[name]


def predicted(point: Any) -> Peak:
    return predict(architecture_of(point["config"]), workload_of(config(**point["settings"])))


@pytest.mark.parametrize("point", RECORDED, ids=[one["id"] for one in RECORDED])
def test_a_recorded_peak_is_met_within_three_per_cent(point: Any):
    found = predicted(point)

    assert found.allocated_gib == pytest.approx(point["allocated_gib"], rel=0.03)
    assert found.trainable_params == point["trainable_params"]
    optimizer = found.phases[Phase.OPTIMIZER].total / GIB
    assert optimizer == pytest.approx(point["optimizer_gib"], rel=0.03)


def test_recorded_peaks_are_met_within_half_a_per_cent_on_average():
    errors = [abs(predicted(one).allocated_gib / one["allocated_gib"] - 1) for one in RECORDED]

    assert len(errors) >= 40
    assert statistics.mean(errors) < 0.005
    assert statistics.median(errors) < 0.001


def test_full_tuning_in_mixed_precision_takes_sixteen_bytes_a_parameter_and_twenty_in_its_step():
    fused = phase(Phase.OPTIMIZER, finetuning_type="full", optim="adamw_torch_fused")
    listed = phase(Phase.OPTIMIZER, finetuning_type="full", optim="adamw_torch")

    assert (fused.weights, fused.gradients, fused.optimizer) == (4 * P, 4 * P, 8 * P)
    assert fused.total == 16 * P
    assert listed.total == 20 * P


def test_pure_half_precision_takes_eight_bytes_a_parameter_and_ten_in_its_step():
    fused = phase(Phase.OPTIMIZER, finetuning_type="full", pure_bf16=True)
    listed = phase(Phase.OPTIMIZER, finetuning_type="full", pure_bf16=True, optim="adamw_torch")

    assert fused.total == 8 * P
    assert listed.total == 10 * P


def test_lora_takes_two_bytes_a_frozen_parameter_and_sixteen_of_its_own():
    one = peak(lora_rank=8)
    step = one.phases[Phase.OPTIMIZER]

    assert one.trainable_params == 20_971_520
    assert step.weights == 2 * P + 4 * one.trainable_params
    assert step.total == 2 * P + 16 * one.trainable_params


def test_the_loss_takes_twelve_bytes_a_logit():
    assert phase(Phase.LOSS).logits == 12 * TOKENS * VOCAB


def test_preferences_take_sixteen_bytes_a_logit_of_both_answers():
    assert phase(Phase.LOSS, stage="dpo").logits == 16 * 2 * TOKENS * VOCAB


def test_the_forward_takes_ten_bytes_a_logit_and_evaluation_the_same_of_its_own_batch():
    assert phase(Phase.FORWARD).logits == 10 * TOKENS * VOCAB
    evaluated = phase(Phase.EVAL, eval_strategy="steps", per_device_eval_batch_size=2)
    assert evaluated.logits == 10 * 2 * 2048 * VOCAB


def test_without_evaluation_there_is_no_such_phase():
    assert Phase.EVAL not in peak().phases


def test_a_fused_loss_never_holds_the_logits():
    plain, fused = peak(), peak(enable_liger_kernel=True)

    assert fused.phases[Phase.LOSS].logits < 0.2 * plain.phases[Phase.LOSS].logits
    assert fused.allocated_gib < plain.allocated_gib


def test_gradients_wait_in_the_forward_only_where_steps_are_accumulated():
    once = phase(Phase.LOSS, finetuning_type="full")
    twice = phase(Phase.LOSS, finetuning_type="full", gradient_accumulation_steps=2)

    assert once.gradients == 0
    assert twice.gradients == 4 * P
    assert twice.total - once.total == pytest.approx(4 * P)


def test_checkpointed_layers_keep_their_input_and_nothing_else():
    counts = Counts(model(LLAMA_8B), workload(flash_attn="fa2"))
    deeper = {**LLAMA_8B, "num_hidden_layers": 33}

    more = (
        phase(Phase.LOSS, deeper, flash_attn="fa2").activations
        - phase(Phase.LOSS, flash_attn="fa2").activations
    )

    assert counts.model.hidden_size == 4096
    assert more == 2 * 4096 * TOKENS


def test_offloaded_checkpoints_do_not_grow_with_the_layers():
    deeper = {**LLAMA_8B, "num_hidden_layers": 64}

    one, two = (
        phase(Phase.LOSS, shape, use_unsloth_gc=True).activations for shape in (LLAMA_8B, deeper)
    )

    assert one == two


def test_frozen_layers_below_the_trained_ones_keep_nothing_and_above_them_all():
    last = phase(Phase.LOSS, finetuning_type="freeze", freeze_trainable_layers=2)
    first = phase(Phase.LOSS, finetuning_type="freeze", freeze_trainable_layers=-2)

    assert first.activations > 10 * last.activations


def test_small_vocabularies_and_short_batches_peak_in_the_optimizer_long_ones_in_the_loss():
    keys = {"finetuning_type": "full", "per_device_train_batch_size": 1, "optim": "adamw_torch"}

    assert peak(cutoff_len=256, **keys).phase is Phase.OPTIMIZER
    assert peak(cutoff_len=32768, pure_bf16=True, **keys).phase is Phase.LOSS


def test_a_quantized_base_takes_half_a_byte_a_weight():
    plain, quantized = phase(Phase.LOSS), phase(Phase.LOSS, quantization_bit=4)
    linears = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)

    saved = plain.weights - quantized.weights
    assert saved == pytest.approx(linears * (2 - (0.5 + 1 / 64 + 4 / (64 * 256))))


def test_the_peak_is_the_largest_phase_and_its_terms_add_up():
    one = peak(eval_strategy="steps")

    largest = max(one.phases.values(), key=lambda terms: terms.total)
    assert one.terms is one.phases[one.phase]
    assert one.terms.total == largest.total == one.allocated_gib * GIB


def _unquantized(keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if key != "quantization_bit"}


SETTINGS = st.fixed_dictionaries(
    {
        "finetuning_type": st.sampled_from(["lora", "full", "freeze"]),
        "per_device_train_batch_size": st.integers(1, 64),
        "cutoff_len": st.integers(16, 8192),
        "gradient_accumulation_steps": st.integers(1, 8),
        "flash_attn": st.sampled_from(["sdpa", "fa2", "disabled"]),
        "optim": st.sampled_from(["adamw_torch", "adamw_torch_fused", "adamw_8bit", "sgd"]),
    },
    optional={
        "lora_rank": st.integers(1, 256),
        "freeze_trainable_layers": st.integers(-4, 4),
        "pure_bf16": st.just(value=True),
        "disable_gradient_checkpointing": st.just(value=True),
        "enable_liger_kernel": st.just(value=True),
        "quantization_bit": st.just(4),
    },
).map(lambda keys: keys if keys["finetuning_type"] == "lora" else _unquantized(keys))
SHAPES = st.sampled_from([SMALL, LLAMA_8B, QWEN_7B])


def allocated(shape: Any, keys: dict[str, Any], **changes: Any) -> float:
    return peak(shape, **{**keys, **changes}).allocated_gib


def at_most(one: float, other: float) -> bool:
    return one <= other * (1 + 1e-9)


@given(SHAPES, SETTINGS, st.integers(1, 64))
def test_a_larger_batch_never_needs_less(shape: Any, keys: dict[str, Any], more: int):
    batch = keys["per_device_train_batch_size"]
    larger = allocated(shape, keys, per_device_train_batch_size=batch + more)

    assert at_most(allocated(shape, keys), larger)


@given(SHAPES, SETTINGS, st.integers(1, 8192))
def test_longer_samples_never_need_less(shape: Any, keys: dict[str, Any], more: int):
    longer = allocated(shape, keys, cutoff_len=keys["cutoff_len"] + more)

    assert at_most(allocated(shape, keys), longer)


@given(SHAPES, SETTINGS)
def test_accumulating_never_needs_less(shape: Any, keys: dict[str, Any]):
    once = allocated(shape, keys, gradient_accumulation_steps=1)

    assert at_most(once, allocated(shape, keys, gradient_accumulation_steps=4))


@given(SHAPES, SETTINGS, st.integers(1, 64))
def test_a_higher_rank_never_needs_less(shape: Any, keys: dict[str, Any], more: int):
    keys = {**keys, "finetuning_type": "lora"}
    rank = keys.get("lora_rank", 8)

    higher = allocated(shape, {**keys, "lora_rank": rank + more})
    assert at_most(allocated(shape, {**keys, "lora_rank": rank}), higher)


@given(st.sampled_from([LLAMA_8B, QWEN_7B]), SETTINGS)
def test_checkpointing_never_needs_more(shape: Any, keys: dict[str, Any]):
    keys.pop("disable_gradient_checkpointing", None)

    # A single trained layer is worked on with its stored input beside it: hardly more.
    tokens = keys["per_device_train_batch_size"] * keys["cutoff_len"]
    stored = 2 * 4 * tokens * shape["hidden_size"] / GIB
    without = allocated(shape, keys, disable_gradient_checkpointing=True)
    assert at_most(allocated(shape, keys), without + stored)


@given(st.sampled_from([LLAMA_8B, QWEN_7B]), SETTINGS)
def test_a_fused_loss_never_needs_more_where_the_head_is_frozen(shape: Any, keys: dict[str, Any]):
    keys.pop("enable_liger_kernel", None)
    keys = {**keys, "finetuning_type": "lora"}

    fused = allocated(shape, keys, enable_liger_kernel=True)
    assert at_most(fused, allocated(shape, keys))


@given(SHAPES, SETTINGS)
def test_the_fused_step_never_needs_more_than_the_listed_one(shape: Any, keys: dict[str, Any]):
    fused = allocated(shape, keys, optim="adamw_torch_fused")

    assert at_most(fused, allocated(shape, keys, optim="adamw_torch"))


@given(SHAPES, SETTINGS)
def test_all_figures_are_finite_and_no_term_is_below_nothing(shape: Any, keys: dict[str, Any]):
    for terms in peak(shape, **keys).phases.values():
        for size in (
            terms.weights,
            terms.gradients,
            terms.optimizer,
            terms.activations,
            terms.logits,
            terms.other,
        ):
            assert 0 <= size < float("inf")


def test_float16_over_bfloat16_weights_casts_the_head_and_lets_layers_flow_in_float32():
    same = phase(Phase.LOSS, bf16=True)
    mixed = phase(Phase.LOSS, bf16=False, fp16=True)

    head = 2 * VOCAB * 4096
    stored = 2 * 32 * 4096 * TOKENS
    assert mixed.activations - same.activations == pytest.approx(head + stored, rel=0.02)
    remarks = peak(bf16=False, fp16=True).remarks
    assert any("16-bit" in text.en for text in remarks)
    assert not peak(bf16=True).remarks


def test_packed_samples_need_no_mask_and_no_repeated_keys_unless_they_are_kept_apart():
    kept = {"disable_gradient_checkpointing": True, "flash_attn": "sdpa"}
    padded, packed, apart = (
        phase(Phase.LOSS, **kept, **more).activations
        for more in ({}, {"packing": True}, {"neat_packing": True})
    )
    flash = phase(Phase.LOSS, disable_gradient_checkpointing=True, flash_attn="fa2").activations

    assert packed == flash
    assert packed < apart < padded


def test_the_gradient_of_the_head_is_the_peak_of_the_loss_where_samples_are_short():
    short = {"per_device_train_batch_size": 1, "cutoff_len": 16}
    one = phase(Phase.LOSS, finetuning_type="full", bf16=True, **short)

    assert one.gradients == (2 + 4) * VOCAB * 4096


def test_preferences_without_a_reference_take_no_more_of_a_logit_than_a_plain_loss():
    orpo = phase(Phase.LOSS, stage="dpo", pref_loss="orpo")
    kto = phase(Phase.LOSS, stage="kto")

    assert orpo.logits == 12 * 2 * TOKENS * VOCAB
    assert kto.logits == 20 * TOKENS * VOCAB


def test_a_reward_model_makes_logits_in_its_forward_and_throws_them_away():
    one = peak(stage="rm")

    assert one.phases[Phase.FORWARD].logits == 6 * 2 * TOKENS * VOCAB
    assert one.phases[Phase.LOSS].logits == 0


def test_a_fused_loss_makes_the_logits_all_the_same_when_it_evaluates():
    keys = {"eval_strategy": "steps", "per_device_eval_batch_size": 2}

    fused = phase(Phase.EVAL, enable_liger_kernel=True, **keys)

    assert fused.logits == phase(Phase.EVAL, **keys).logits
