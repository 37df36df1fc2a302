import json
from pathlib import Path

import pytest

from diagnostics.memory import model_names
from diagnostics.memory.architecture import Architecture, Confidence
from diagnostics.memory.config_json import architecture_of
from diagnostics.memory.counting import Counts
from diagnostics.memory.model_names import model_named, quantization_named, typical_architecture
from diagnostics.memory.workload import Quantization, Workload

TABLE = json.loads((Path(model_names.__file__).parent / "models.json").read_text("utf-8"))
ROWS = [dict(zip(TABLE["columns"], row, strict=True)) for row in TABLE["models"]]


def params(model: Architecture) -> int:
    return Counts(model, Workload()).total


@pytest.mark.parametrize("row", ROWS, ids=[row["names"][0] for row in ROWS])
def test_the_sizes_in_the_table_make_the_published_number_of_parameters(row):
    model = architecture_of({**row, **row["more"], "torch_dtype": "bfloat16"})
    assert params(model) == pytest.approx(row["params"], rel=0.002)


def test_the_table_names_each_model_once_and_as_names_are_looked_up():
    names = [name for row in ROWS for name in row["names"]]
    assert len(names) == len(set(names)) > 300
    for name in names:
        found = model_named(f"Some-Org/{name.upper()}")
        assert found is not None
        assert found.is_known


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("meta-llama/Llama-2-7b-hf", 6_738_415_616),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", 8_030_261_248),
        ("/models/llama2-7b-hf-chat/", 6_738_415_616),
        (r"D:\models\Qwen2.5-7B-Instruct", 7_615_616_512),
        ("Qwen/Qwen3-4B-Instruct-2507", 4_022_468_096),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", 8_030_261_248),
        ("Qwen/Qwen2.5-VL-7B-Instruct", 8_292_166_656),
        ("google/gemma-2-9b-it", 9_241_705_984),
        ("THUDM/glm-4-9b-chat", 9_399_951_360),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 46_702_792_704),
        ("Qwen/Qwen3-30B-A3B", 30_532_122_624),
        ("openai-community/gpt2", 124_439_808),
    ],
)
def test_a_common_model_is_known_by_its_name(name, count):
    found = model_named(name)
    assert found is not None
    assert found.is_known
    assert params(found.architecture) == count


def test_a_model_named_after_a_known_one_has_its_sizes_with_less_confidence():
    found = model_named("me/Qwen2.5-7B-Instruct-medical-v2")
    assert found is not None
    assert params(found.architecture) == 7_615_616_512
    assert found.architecture.confidence is Confidence.MEDIUM
    assert any("qwen2.5-7b" in remark.en for remark in found.architecture.remarks)


def test_a_name_that_only_begins_alike_is_not_taken_for_the_known_one():
    found = model_named("mistralai/Mistral-Small-3.1-24B-Instruct-2503")
    assert found is not None
    assert not found.is_known
    assert found.architecture.known_params == 24_000_000_000


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("acme/Acme-7B-chat", 7_000_000_000),
        ("acme_0.5b", 500_000_000),
        ("ACME-70b-instruct", 70_000_000_000),
        ("acme-350M", 350_000_000),
        ("acme-30B-A3B", 30_000_000_000),
        ("acme-3b-a800m-base", 3_000_000_000),
    ],
)
def test_the_size_in_an_unknown_name_is_a_guess_and_said_to_be(name, count):
    found = model_named(name)
    assert found is not None
    model = found.architecture
    assert not found.is_known
    assert params(model) == count
    assert model.confidence is Confidence.LOW
    assert any("guessed from" in remark.en for remark in model.remarks)


def test_experts_in_an_unknown_name_share_what_is_no_mlp():
    found = model_named("acme-8x7B")
    assert found is not None
    assert found.architecture.experts is not None
    assert found.architecture.experts.count == 8
    assert 40e9 < params(found.architecture) < 56e9


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "my-model", "checkpoint-500", "run7b2", "acme-0b", "acme-99999b", "acme-15m",
        "x" * 100_000, "v1.5", "\x00", "b", "7", "acme-1e9b", "acme-17B-16E-Instruct", "１４b",
    ],
)  # fmt: skip
def test_a_name_without_size_tells_nothing(name):
    assert model_named(name) is None


@pytest.mark.parametrize("count", [3e8, 7e8, 1.5e9, 3e9, 7e9, 13e9, 30e9, 70e9, 180e9, 400e9])
def test_a_typical_model_has_about_the_size_asked_for(count):
    assert params(typical_architecture(int(count))) == pytest.approx(count, rel=0.1)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Qwen3-0.6B-GPTQ-Int8", Quantization(8, "gptq", double=False)),
        ("Qwen3-32B-AWQ", Quantization(4, "awq", double=False)),
        ("unsloth/llama-3-8b-bnb-4bit", Quantization(4, "bnb", double=False)),
        ("Qwen3-32B", None),
        ("awqward-7b", None),
    ],
)
def test_a_name_tells_of_quantization(name, wanted):
    assert quantization_named(name) == wanted
