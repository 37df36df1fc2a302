"""How a config becomes a workload: LLaMA-Factory's defaults and dtypes, and hostile values."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.errors import ConfigError
from diagnostics.memory.reading import workload_of
from diagnostics.memory.workload import Attention, Checkpointing, Method, Optimizer, Workload
from tests.memory.shapes import config, workload


def test_a_config_that_says_little_has_llamafactorys_defaults():
    work = workload_of(config(bf16=True))

    assert (work.stage, work.method) == ("sft", Method.LORA)
    assert (work.batch, work.accumulation, work.sequence) == (8, 1, 2048)
    assert work.adapter is not None
    assert (work.adapter.rank, work.adapter.targets) == (8, ("all",))
    assert work.checkpointing is Checkpointing.ON
    assert work.attention is Attention.SDPA
    assert work.optimizer == Optimizer("adamw_torch_fused")
    assert work.quantization is None
    assert work.eval_batch is None


@pytest.mark.parametrize(
    ("keys", "compute", "trained", "autocast"),
    [
        ({"bf16": True}, 2, 4, True),
        ({"fp16": True}, 2, 4, True),
        ({"pure_bf16": True}, 2, 2, False),
        ({"bf16": True, "use_badam": True}, 2, 2, True),
        ({}, 4, 4, False),
    ],
)
def test_trainable_parameters_are_float32_unless_a_switch_keeps_them(
    keys: dict[str, Any], compute: int, trained: int, *, autocast: bool
):
    work = workload_of(config(finetuning_type="full", **keys))

    assert (work.compute_bytes, work.trainable_bytes, work.autocast) == (
        compute,
        trained,
        autocast,
    )


def test_zero_3_keeps_half_precision_weights_but_not_beside_quantized_ones():
    zero = {"zero_optimization": {"stage": 3}}
    plain = workload_of(config(bf16=True), gpus=2, deepspeed=zero)
    quantized = workload_of(config(bf16=True, quantization_bit=4), gpus=2, deepspeed=zero)

    assert plain.trainable_bytes == 2
    assert quantized.trainable_bytes == 4


@pytest.mark.parametrize("stage", ["dpo", "rm"])
def test_a_pair_of_answers_is_two_sequences(stage: str):
    work = workload(stage=stage, per_device_train_batch_size=3)

    assert work.batch == 6
    assert any("two sequences" in text.en for text in work.assumptions)


@pytest.mark.parametrize(
    ("keys", "has"),
    [
        ({"stage": "dpo", "finetuning_type": "full"}, True),
        ({"stage": "kto", "finetuning_type": "full"}, True),
        ({"stage": "dpo", "finetuning_type": "lora"}, False),
        ({"stage": "dpo", "finetuning_type": "full", "pref_loss": "simpo"}, False),
        ({"stage": "dpo", "finetuning_type": "lora", "ref_model": "other"}, True),
        ({"stage": "sft", "finetuning_type": "full"}, False),
    ],
)
def test_a_reference_model_is_there_where_the_stage_needs_one(keys: dict[str, Any], *, has: bool):
    assert workload(**keys).reference_model is has


@pytest.mark.parametrize(
    ("said", "attention"),
    [
        ("auto", Attention.SDPA),
        ("sdpa", Attention.SDPA),
        ("fa2", Attention.FLASH),
        ("fa3", Attention.FLASH),
        ("disabled", Attention.EAGER),
        (None, Attention.SDPA),
    ],
)
def test_attention_is_what_flash_attn_says(said: str | None, attention: Attention):
    assert workload(flash_attn=said).attention is attention


@pytest.mark.parametrize(
    ("keys", "checkpointing"),
    [
        ({}, Checkpointing.ON),
        ({"disable_gradient_checkpointing": True}, Checkpointing.OFF),
        ({"use_unsloth_gc": True}, Checkpointing.OFFLOADED),
    ],
)
def test_layers_are_checkpointed_unless_that_is_disabled(
    keys: dict[str, Any], checkpointing: Checkpointing
):
    assert workload(**keys).checkpointing is checkpointing


def test_the_fused_loss_is_left_out_of_stages_that_need_logits():
    assert workload(enable_liger_kernel=True).liger
    assert workload(enable_liger_kernel=True, stage="pt").liger
    assert not workload(enable_liger_kernel=True, stage="dpo").liger


def test_numbers_written_as_text_are_numbers():
    work = workload(per_device_train_batch_size="4", cutoff_len="1e3", lora_rank=16.0)

    assert work.adapter is not None
    assert (work.batch, work.sequence, work.adapter.rank) == (4, 1000, 16)


def test_a_known_longest_sample_is_taken_for_the_cap_and_said():
    settings = config(bf16=True, cutoff_len=4096)

    capped = workload_of(settings)
    known = workload_of(settings, longest_tokens=900)
    longer = workload_of(settings, longest_tokens=9000)
    packed = workload_of(config(bf16=True, cutoff_len=4096, packing=True), longest_tokens=900)

    assert [work.sequence for work in (capped, known, longer, packed)] == [4096, 900, 4096, 4096]
    assert any("900" in text.en and "900" in text.zh for text in known.assumptions)
    assert any("4,096" in text.en for text in capped.assumptions)


@pytest.mark.parametrize(
    ("keys", "batch"),
    [
        ({}, None),
        ({"eval_strategy": "steps"}, 8),
        ({"eval_strategy": "epoch", "per_device_eval_batch_size": 2}, 2),
        ({"do_eval": True}, 8),
        ({"eval_strategy": "steps", "stage": "dpo", "per_device_eval_batch_size": 2}, 4),
    ],
)
def test_evaluation_counts_where_there_is_one(keys: dict[str, Any], batch: int | None):
    assert workload(**keys).eval_batch == batch


def test_a_quantization_method_that_quantizes_nothing_is_said():
    work = workload(quantization_bit=4, quantization_method="gptq")

    assert work.quantization is None
    assert any("gptq" in text.en for text in work.assumptions)


@pytest.mark.parametrize("variant", ["galore", "apollo", "badam", "adam_mini", "muon"])
def test_llamafactorys_own_optimizers_are_told_apart(variant: str):
    assert workload(finetuning_type="full", **{f"use_{variant}": True}).optimizer.variant == variant


@pytest.mark.parametrize("method", ["full", "freeze"])
def test_a_quantized_base_that_would_have_to_train_is_refused_as_llamafactory_does(method: str):
    with pytest.raises(ConfigError, match="lora and oft only"):
        workload(finetuning_type=method, quantization_bit=4)


NUMBERS = [
    "per_device_train_batch_size",
    "cutoff_len",
    "gradient_accumulation_steps",
    "lora_rank",
    "quantization_bit",
]
SENSELESS = [
    "many",
    "",
    "4 8",
    -1,
    0,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    float("-inf"),
    True,
    False,
    [4],
    [],
    {"a": 1},
    "NaN",
    "1e400",
    "\x1b[31m9",
]


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", SENSELESS)
def test_a_number_without_meaning_is_refused_with_its_line(key: str, value: object):
    text = f"stage: sft\nbf16: true\n{key}: {json.dumps(value)}\n"
    text = text.replace("NaN\n", ".nan\n").replace("-Infinity", "-.inf").replace("Infinity", ".inf")

    with pytest.raises(ConfigError) as caught:
        workload_of(config(text))

    assert key in str(caught.value)
    assert caught.value.line == 3
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stage", "sfft"),
        ("stage", ["sft"]),
        ("finetuning_type", "qlora"),
        ("finetuning_type", 3),
        ("freeze_trainable_layers", "last"),
        ("oft_block_size", -2),
        ("per_device_eval_batch_size", "all"),
    ],
)
def test_a_word_or_a_method_that_is_unknown_is_refused_with_its_line(key: str, value: object):
    method = {"freeze_trainable_layers": "freeze", "oft_block_size": "oft"}.get(key, "lora")
    keys: dict[str, Any] = {"finetuning_type": method, "eval_strategy": "steps", key: value}
    settings = config(**keys)

    with pytest.raises(ConfigError) as caught:
        workload_of(settings)

    assert caught.value.line == list(keys).index(key) + 1


ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(max_size=20)
    | st.lists(st.integers() | st.text(max_size=5), max_size=3)
)
READ = st.sampled_from(
    [
        *NUMBERS,
        "bf16",
        "pure_bf16",
        "finetuning_type",
        "stage",
        "lora_target",
        "optim",
        "flash_attn",
        "quantization_method",
        "additional_target",
        "freeze_trainable_layers",
        "freeze_trainable_modules",
        "eval_strategy",
        "packing",
        "use_galore",
        "galore_rank",
        "ref_model",
        "pref_loss",
    ]
)


@given(st.dictionaries(READ, ANYTHING, max_size=6))
def test_any_values_give_a_workload_or_one_refusal(keys: dict[str, Any]):
    settings = config(yaml.safe_dump(keys) if keys else "")

    try:
        work = workload_of(settings)
    except ConfigError as error:
        told = str(error)
    else:
        told = ""
        assert isinstance(work, Workload)
        assert work.batch >= 1
        assert work.sequence >= 1
    assert "\n" not in told
