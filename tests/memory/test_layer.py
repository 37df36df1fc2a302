"""What one decoder layer keeps and needs, counted by hand in bytes of a token."""

from typing import Any

import pytest

from diagnostics.memory.counting import Counts
from diagnostics.memory.layer import decoder_layer
from diagnostics.memory.layer_tape import LayerKind, residual_bytes
from diagnostics.memory.tape import Walk, walk
from tests.memory.shapes import SMALL, model, workload

HIDDEN, INNER, QUERIES, KEYS, HEADS = 256, 1024, 256, 64, 8
TOKENS, SEQUENCE = 64, 64
QUIET = {"per_device_train_batch_size": 1, "cutoff_len": SEQUENCE}


def layer(*, trains: bool = False, adapted: bool = False, **keys: Any) -> Walk:
    counts = Counts(model(SMALL), workload(**{**QUIET, **keys}))
    kind = LayerKind(trains, counts.adapted if adapted else ())
    return walk(decoder_layer(counts, kind, TOKENS))


def a_token(size_bytes: float) -> float:
    return size_bytes / TOKENS


def test_a_frozen_layer_keeps_what_gradients_of_activations_need():
    # Two norms: the float32 input and a mean. Attention with flash: queries, keys, values, output,
    # and the log-sum-exp. SwiGLU: gate, its activation, up.
    norms = 2 * (4 * HIDDEN + 4)
    attention = 2 * (QUERIES + 2 * KEYS + QUERIES) + 4 * HEADS
    mlp = 3 * 2 * INNER

    kept = layer(flash_attn="fa2").kept_bytes

    assert a_token(kept) == pytest.approx(norms + attention + mlp)


def test_torch_attention_repeats_keys_and_values_and_keeps_its_mask():
    flash = layer(flash_attn="fa2").kept_bytes
    torch_ = layer(flash_attn="sdpa").kept_bytes

    repeated = 2 * 2 * (QUERIES - KEYS)
    assert a_token(torch_ - flash) == pytest.approx(repeated + 2 * SEQUENCE)


def test_eager_attention_keeps_scores_of_every_head():
    flash = layer(flash_attn="fa2").kept_bytes
    eager = layer(flash_attn="disabled").kept_bytes

    assert a_token(eager - flash) >= (4 + 2) * HEADS * SEQUENCE


def test_the_layer_that_trains_keeps_the_inputs_of_its_linears_too():
    frozen = layer(finetuning_type="full", pure_bf16=True, flash_attn="fa2")
    trained = layer(finetuning_type="full", pure_bf16=True, flash_attn="fa2", trains=True)

    # The inputs of q, k and v (one tensor), of gate and up (one), of down; o's is kept anyhow.
    inputs = 2 * (HIDDEN + HIDDEN + INNER)
    scaled = 2 * 2 * HIDDEN
    assert a_token(trained.kept_bytes - frozen.kept_bytes) == pytest.approx(inputs + scaled)
    assert frozen.gradient_bytes == 0


def test_gradients_of_a_trained_layer_have_the_weights_own_size():
    counts = Counts(model(SMALL), workload(finetuning_type="full"))

    trained = layer(finetuning_type="full", trains=True)

    assert trained.gradient_bytes == 4 * counts.layer_weights


def test_an_adapter_keeps_a_cast_of_its_input_and_its_low_rank_product():
    plain = layer(flash_attn="fa2")
    adapted = layer(flash_attn="fa2", lora_rank=8, adapted=True)

    inputs = 4 * HIDDEN + 2 * HIDDEN + INNER  # q, k, v, o; gate, up; down
    low_rank = 7 * 8
    casts_of_weights = 2 * Counts(model(SMALL), workload(lora_rank=8)).adapter_in_layer / TOKENS
    assert a_token(adapted.kept_bytes - plain.kept_bytes) == pytest.approx(
        2 * inputs + 2 * low_rank + casts_of_weights
    )


def test_an_adapter_on_quantized_weights_takes_its_input_as_it_is():
    plain = layer(flash_attn="fa2", lora_rank=8, adapted=True)
    quantized = layer(flash_attn="fa2", lora_rank=8, adapted=True, quantization_bit=4)

    # q, k and v share one input, gate and up another, and none is copied.
    assert quantized.kept_bytes < plain.kept_bytes


def test_dora_needs_more_than_lora():
    lora = layer(lora_rank=8, adapted=True)
    dora = layer(lora_rank=8, adapted=True, use_dora=True)

    assert dora.kept_bytes > lora.kept_bytes
    assert dora.backward_peak_bytes > lora.backward_peak_bytes


def test_a_quantized_layer_unpacks_one_weight_at_a_time():
    plain = layer(flash_attn="fa2").forward_peak_bytes
    quantized = layer(flash_attn="fa2", quantization_bit=4).forward_peak_bytes

    assert plain < quantized <= plain + 2 * HIDDEN * INNER


def test_liger_keeps_no_float32_copies_for_its_norms():
    assert layer(enable_liger_kernel=True).kept_bytes < layer().kept_bytes


def test_kept_and_peaks_grow_in_proportion_to_the_tokens():
    counts = Counts(model(SMALL), workload(flash_attn="fa2"))
    one, two = (
        walk(decoder_layer(counts, LayerKind(trains=False), tokens)) for tokens in (64, 128)
    )

    assert two.kept_bytes == pytest.approx(2 * one.kept_bytes)
    assert two.backward_peak_bytes == pytest.approx(2 * one.backward_peak_bytes)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"finetuning_type": "full"}, 4),
        ({"finetuning_type": "full", "pure_bf16": True}, 2),
        ({"finetuning_type": "lora"}, 2),
        ({"finetuning_type": "lora", "quantization_bit": 4}, 2),
        ({"finetuning_type": "freeze"}, 2),
    ],
)
def test_the_stream_between_layers_has_the_embeddings_precision(
    keys: dict[str, Any], expected: int
):
    assert residual_bytes(Counts(model(SMALL), workload(**keys))) == expected


@pytest.mark.parametrize(
    ("shape", "keys", "wanted"),
    [
        ({"model_type": "stablelm"}, {"quantization_bit": 4}, 4),
        ({"model_type": "stablelm"}, {}, 2),
        ({"model_type": "llama"}, {"quantization_bit": 4}, 2),
        ({"model_type": "llama"}, {"quantization_bit": 4, "upcast_layernorm": True}, 4),
        ({"model_type": "gemma"}, {"quantization_bit": 4, "upcast_layernorm": True}, 2),
    ],
)
def test_norms_that_give_float32_make_quantized_layers_flow_in_it(
    shape: dict[str, Any], keys: dict[str, Any], wanted: int
):
    assert residual_bytes(Counts(model(SMALL, **shape), workload(**keys))) == wanted
