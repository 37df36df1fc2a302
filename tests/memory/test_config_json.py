import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.errors import ConfigError
from diagnostics.memory.architecture import Architecture, Confidence
from diagnostics.memory.config_json import architecture_of, quantization_of
from diagnostics.memory.counting import Counts
from diagnostics.memory.workload import Quantization, Workload

BUILT = [
    json.loads(line)
    for line in (Path(__file__).parent / "built_models.jsonl").read_text("utf-8").splitlines()
]
"""Configs, and what transformers 5.6 builds of them: parameters and linear layers."""
LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}


def params(model: Architecture) -> int:
    return Counts(model, Workload()).total


@pytest.mark.parametrize(
    "built", BUILT, ids=[f"{n}-{one['config']['model_type']}" for n, one in enumerate(BUILT)]
)
def test_parameters_are_those_that_transformers_builds(built):
    assert params(architecture_of(built["config"])) == built["params"]


@pytest.mark.parametrize(
    "built",
    [one for one in BUILT if one["linears"] is not None],
    ids=lambda one: one["config"]["model_type"],
)
def test_the_linear_layers_have_the_names_and_sizes_of_the_code(built):
    model = architecture_of(built["config"])
    found = sorted([one.name, one.inputs, one.outputs, one.bias] for one in model.linears)
    assert found == built["linears"]


def test_a_complete_config_of_a_known_family_is_trusted():
    model = architecture_of(LLAMA, source="here")
    assert params(model) == 8_030_261_248
    assert (model.confidence, model.remarks, model.source) == (Confidence.HIGH, (), "here")


def test_a_family_ties_its_embeddings_where_the_file_is_silent():
    gemma = {**LLAMA, "model_type": "gemma2", "head_dim": 256}
    assert architecture_of(gemma).tied_embeddings
    assert not architecture_of(LLAMA).tied_embeddings
    assert architecture_of({**LLAMA, "tie_word_embeddings": True}).tied_embeddings


def test_a_missing_size_is_the_familys_default_and_said():
    config = {key: value for key, value in LLAMA.items() if key != "intermediate_size"}
    model = architecture_of(config)
    assert model.intermediate_size == 11008
    assert any("intermediate_size" in remark.en for remark in model.remarks)


def test_a_missing_size_without_default_is_refused():
    config = {"model_type": "qwen2", "hidden_size": 896}
    with pytest.raises(ConfigError, match="num_attention_heads is missing"):
        architecture_of(config)


def test_a_vision_model_of_which_only_the_differences_are_written_is_understood():
    text = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    tower = {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "image_size": 896,
        "patch_size": 14,
        "vision_use_head": False,
    }
    model = architecture_of(
        {
            "model_type": "gemma3",
            "text_config": {"model_type": "gemma3_text", **text},
            "vision_config": tower,
            "torch_dtype": "bfloat16",
        }
    )
    assert params(model) == 4_300_079_472
    assert model.confidence is Confidence.MEDIUM


def test_a_tower_that_cannot_be_counted_lowers_the_confidence():
    model = architecture_of({**LLAMA, "model_type": "acme_vl", "vision_config": {"layers": "many"}})
    assert model.tower_params == 0
    assert model.confidence is Confidence.LOW
    assert any("vision" in remark.en for remark in model.remarks)


def test_an_unknown_type_is_taken_for_llamas_with_little_confidence():
    model = architecture_of({**LLAMA, "model_type": "acme"})
    assert model.confidence is Confidence.LOW
    assert any("acme is not known" in remark.en for remark in model.remarks)


def test_experts_are_never_trusted_fully():
    config = {**LLAMA, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
    model = architecture_of(config)
    assert model.experts is not None
    assert (model.experts.count, model.experts.per_token) == (8, 2)
    assert model.confidence is Confidence.MEDIUM


@pytest.mark.parametrize("name", ["bert", "t5", "mamba", "whisper"])
def test_what_is_no_decoder_is_refused(name):
    with pytest.raises(ConfigError, match="no decoder"):
        architecture_of({**LLAMA, "model_type": name})


@pytest.mark.parametrize(
    "value",
    [
        "4096",
        -1,
        0,
        10**30,
        -(10**400),
        1.5,
        math.nan,
        math.inf,
        True,
        [1, 2],
        {"a": 1},
        "\x1b[31m",
    ],
)
@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "vocab_size", "head_dim"])
def test_a_size_without_meaning_is_refused_in_one_clean_line(key, value):
    with pytest.raises(ConfigError) as caught:
        architecture_of({**LLAMA, key: value})
    assert key in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "change",
    [
        {"num_key_value_heads": 5},
        {"num_key_value_heads": 64},
        {"num_attention_heads": 33, "num_key_value_heads": None},
        {"num_experts": 4, "num_experts_per_tok": 9},
        {"hidden_size": 1_000_000, "intermediate_size": 16_000_000, "num_hidden_layers": 10_000},
    ],
)
def test_sizes_that_contradict_each_other_are_refused(change):
    with pytest.raises(ConfigError):
        architecture_of({**LLAMA, **change})


def test_a_whole_number_written_as_a_fraction_is_understood():
    assert architecture_of({**LLAMA, "hidden_size": 4096.0}).hidden_size == 4096


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("float32", 4), ("torch.float32", 4), ("bfloat16", 2), ("float16", 2), (7, 2), (None, 2)],
)
def test_the_bytes_of_a_weight_are_those_of_its_dtype(value, wanted):
    assert architecture_of({**LLAMA, "torch_dtype": value}).weight_bytes == wanted


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"quant_method": "gptq", "bits": 8}, Quantization(8, "gptq", double=False)),
        ({"quant_method": "awq", "bits": 4}, Quantization(4, "awq", double=False)),
        ({"quant_method": "aqlm"}, Quantization(2, "aqlm", double=False)),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True},
            Quantization(4, "bnb", double=False),
        ),
        (
            {"load_in_4bit": True, "bnb_4bit_use_double_quant": True},
            Quantization(4, "bnb", double=True),
        ),
        ({"load_in_8bit": True}, Quantization(8, "bnb", double=False)),
        ({"quant_method": "bitsandbytes", "load_in_4bit": False}, None),
        ({"quant_method": "fp8"}, None),
        ({"quant_method": "mxfp4"}, None),
        ({"quant_method": "gptq", "bits": "many"}, Quantization(4, "gptq", double=False)),
        ([], None),
        (None, None),
    ],
)
def test_a_quantized_checkpoint_is_told(said, wanted):
    assert quantization_of({"quantization_config": said}) == wanted


KEYS = sorted({key for one in BUILT for key in one["config"]} | {"quantization_config", "bits"})
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS | st.integers(1, 64),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(BUILT), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_whatever_a_config_holds_it_is_understood_or_refused(built, damage):
    config = {**built["config"], **damage}
    quantization_of(config)
    try:
        model = architecture_of(config)
    except ConfigError:
        return
    assert params(model) > 0
    assert model.layers > 0
