"""How many parameters a model has and trains: against the counts of published checkpoints."""

import pytest

from diagnostics.memory.counting import NF4_BYTES, PLAIN_4BIT_BYTES, Counts
from tests.memory.shapes import (
    LLAMA_8B,
    LLAMA_8B_PARAMS,
    QWEN_7B,
    QWEN_7B_PARAMS,
    SMALL,
    model,
    workload,
)

HIDDEN, INNER, LAYERS, KEYS, VOCAB = 256, 1024, 4, 64, 1000
LINEARS = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEYS + 3 * HIDDEN * INNER
"""Weights of one layer of the small model: q and o, k and v, gate, up and down."""
LAYER = LINEARS + 2 * HIDDEN


def counts(shape: dict[str, object] | None = None, **keys: object) -> Counts:
    return Counts(model({**SMALL, **(shape or {})}), workload(**keys))


def test_published_models_have_as_many_parameters_as_their_checkpoints_say():
    assert Counts(model(LLAMA_8B), workload()).total == LLAMA_8B_PARAMS
    assert Counts(model(QWEN_7B), workload()).total == QWEN_7B_PARAMS


def test_a_small_model_is_counted_by_hand():
    assert counts().total == LAYERS * LAYER + 2 * VOCAB * HIDDEN + HIDDEN


def test_a_tied_head_is_counted_once():
    untied, tied = counts().total, counts({"tie_word_embeddings": True}).total

    assert untied - tied == VOCAB * HIDDEN


def test_full_tuning_trains_all():
    one = counts(finetuning_type="full")

    assert one.trainable == one.total


def test_lora_on_all_linears_trains_rank_times_inputs_and_outputs():
    rank = 16
    into_out = [(HIDDEN, HIDDEN)] * 2 + [(HIDDEN, KEYS)] * 2 + [(HIDDEN, INNER)] * 3

    one = counts(lora_rank=rank)

    assert one.trainable == LAYERS * rank * sum(sum(pair) for pair in into_out)


def test_lora_on_named_linears_counts_only_those():
    one = counts(lora_rank=8, lora_target="q_proj,v_proj")

    assert one.trainable == LAYERS * 8 * (2 * HIDDEN + HIDDEN + KEYS)


def test_llama_8b_with_rank_8_trains_what_peft_prints_for_it():
    assert Counts(model(LLAMA_8B), workload(lora_rank=8)).trainable == 20_971_520


def test_dora_adds_a_magnitude_for_each_output():
    outputs = 2 * HIDDEN + 2 * KEYS + 2 * INNER + HIDDEN

    more = counts(lora_rank=8, use_dora=True).trainable - counts(lora_rank=8).trainable

    assert more == LAYERS * outputs


def test_modules_that_train_whole_beside_an_adapter_are_counted():
    one = counts(lora_rank=8, additional_target="embed_tokens,lm_head")

    assert one.trainable - counts(lora_rank=8).trainable == 2 * VOCAB * HIDDEN


@pytest.mark.parametrize(("asked", "layers"), [(2, 2), (-2, 2), (1, 1), (99, LAYERS)])
def test_freeze_trains_so_many_layers_from_either_end(asked: int, layers: int):
    one = counts(finetuning_type="freeze", freeze_trainable_layers=asked)

    assert one.trainable == layers * LAYER


def test_freeze_can_train_only_the_attention_of_its_layers():
    one = counts(
        finetuning_type="freeze", freeze_trainable_layers=1, freeze_trainable_modules="self_attn"
    )

    assert one.trainable == 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEYS


def test_four_bits_take_their_scales_with_them():
    assert pytest.approx(0.5159, abs=1e-4) == NF4_BYTES
    assert PLAIN_4BIT_BYTES == 0.5625


def test_quantization_shrinks_the_linears_and_nothing_else():
    plain = counts(lora_rank=8)
    quantized = counts(lora_rank=8, quantization_bit=4)
    rest = 2 * VOCAB * HIDDEN + HIDDEN + LAYERS * 2 * HIDDEN

    assert plain.base_bytes == 2 * plain.total
    assert quantized.base_bytes == pytest.approx(2 * rest + LAYERS * LINEARS * NF4_BYTES)


def test_without_double_quantization_scales_are_whole():
    one = counts(lora_rank=8, quantization_bit=4, double_quantization=False)

    assert one.quantized_bytes == PLAIN_4BIT_BYTES


def test_norms_in_float32_take_two_bytes_more_each():
    more = counts(lora_rank=8, upcast_layernorm=True).base_bytes - counts(lora_rank=8).base_bytes

    assert more == 2 * HIDDEN * (2 * LAYERS + 1)
