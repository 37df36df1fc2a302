import json
import os
from pathlib import Path

import pytest

from diagnostics.memory.architecture import Confidence
from diagnostics.memory.counting import Counts
from diagnostics.memory.workload import Quantization, Workload
from diagnostics.sources.model_files import FoundModel, find_architecture

TINY = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "torch_dtype": "bfloat16",
}
TINY_PARAMS = 2 * (64 * (64 + 32 + 32 + 64 + 3 * 128) + 2 * 64) + 2 * 100 * 64 + 64
REVISION = "0123456789abcdef0123456789abcdef01234567"


def model_folder(folder: Path, config: object = TINY) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def safetensors(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> None:
    """Write a file with a true header and no data after it."""
    header = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}
        for name, (dtype, shape) in tensors.items()
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def tensors_of_tiny(dtype: str = "BF16") -> dict[str, tuple[str, list[int]]]:
    found = {
        "model.embed_tokens.weight": (dtype, [100, 64]),
        "lm_head.weight": (dtype, [100, 64]),
        "model.norm.weight": (dtype, [64]),
    }
    for layer in range(2):
        start = f"model.layers.{layer}."
        found |= {
            f"{start}input_layernorm.weight": (dtype, [64]),
            f"{start}post_attention_layernorm.weight": (dtype, [64]),
            f"{start}self_attn.q_proj.weight": (dtype, [64, 64]),
            f"{start}self_attn.k_proj.weight": (dtype, [32, 64]),
            f"{start}self_attn.v_proj.weight": (dtype, [32, 64]),
            f"{start}self_attn.o_proj.weight": (dtype, [64, 64]),
            f"{start}mlp.gate_proj.weight": (dtype, [128, 64]),
            f"{start}mlp.up_proj.weight": (dtype, [128, 64]),
            f"{start}mlp.down_proj.weight": (dtype, [64, 128]),
        }
    return found


def find(name: str, base: Path, **environ: str) -> FoundModel:
    return find_architecture(name, base=base, environ={"HOME": str(base / "home"), **environ})


def params(found: FoundModel) -> int:
    assert found.architecture is not None
    return Counts(found.architecture, Workload()).total


def test_a_folder_is_read_where_the_training_starts(tmp_path):
    folder = model_folder(tmp_path / "models" / "tiny")
    found = find("models/tiny", tmp_path)
    assert (found.folder, found.reason) == (folder, "")
    assert params(found) == TINY_PARAMS
    assert found.architecture is not None
    assert found.architecture.confidence is Confidence.HIGH


def test_a_folder_is_preferred_to_a_model_of_that_name(tmp_path):
    model_folder(tmp_path / "Llama-2-7b-hf")
    assert params(find("Llama-2-7b-hf", tmp_path)) == TINY_PARAMS


def test_the_weights_headers_tell_the_dtype_that_the_config_does_not(tmp_path):
    folder = model_folder(tmp_path / "tiny", {**TINY, "torch_dtype": None})
    safetensors(folder / "model.safetensors", tensors_of_tiny("F32"))
    found = find("tiny", tmp_path)
    assert found.architecture is not None
    assert found.architecture.weight_bytes == 4
    assert found.architecture.known_params == TINY_PARAMS


def test_weights_in_several_files_are_counted_together(tmp_path):
    folder = model_folder(tmp_path / "tiny")
    whole = list(tensors_of_tiny().items())
    safetensors(folder / "model-00001-of-00002.safetensors", dict(whole[:9]))
    safetensors(folder / "model-00002-of-00002.safetensors", dict(whole[9:]))
    index = {
        "weight_map": {
            name: f"model-0000{1 if number < 9 else 2}-of-00002.safetensors"
            for number, (name, _) in enumerate(whole)
        }
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found = find("tiny", tmp_path)
    assert found.architecture is not None
    assert found.architecture.known_params == TINY_PARAMS
    assert found.architecture.confidence is Confidence.HIGH


def test_an_index_that_names_a_missing_file_is_said(tmp_path):
    folder = model_folder(tmp_path / "tiny")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found = find("tiny", tmp_path)
    assert found.architecture is not None
    assert any("00001-of-00002" in remark.en for remark in found.architecture.remarks)
    assert params(found) == TINY_PARAMS


def test_weights_that_contradict_the_config_lower_the_confidence(tmp_path):
    folder = model_folder(tmp_path / "tiny", {**TINY, "num_hidden_layers": 3})
    safetensors(folder / "model.safetensors", tensors_of_tiny())
    found = find("tiny", tmp_path)
    assert found.architecture is not None
    assert found.architecture.confidence is Confidence.MEDIUM
    assert any("the weights hold" in remark.en for remark in found.architecture.remarks)


def test_a_tied_head_that_is_written_out_is_counted_once(tmp_path):
    folder = model_folder(tmp_path / "tiny", {**TINY, "tie_word_embeddings": True})
    safetensors(folder / "model.safetensors", tensors_of_tiny())
    found = find("tiny", tmp_path)
    assert params(found) == TINY_PARAMS - 6400
    assert found.architecture is not None
    assert found.architecture.confidence is Confidence.HIGH


def test_weights_of_an_unknown_type_are_counted_by_their_headers(tmp_path):
    folder = model_folder(tmp_path / "new", {**TINY, "model_type": "acme"})
    safetensors(folder / "model.safetensors", {**tensors_of_tiny(), "more": ("BF16", [5, 1000])})
    found = find("new", tmp_path)
    assert params(found) == TINY_PARAMS + 5000
    assert found.architecture is not None
    assert found.architecture.confidence is Confidence.LOW


def test_the_headers_tell_the_size_of_a_vision_tower(tmp_path):
    config = {**TINY, "model_type": "acme_vl", "vision_config": {"what": "ever"}}
    folder = model_folder(tmp_path / "seeing", config)
    tower = {"visual.blocks.0.fc.weight": ("BF16", [70, 100])}
    safetensors(folder / "model.safetensors", tensors_of_tiny() | tower)
    found = find("seeing", tmp_path)
    assert found.architecture is not None
    assert found.architecture.tower_params == 7000
    assert params(found) == TINY_PARAMS + 7000


def test_a_quantized_checkpoint_is_told_and_its_integers_are_no_parameters(tmp_path):
    said = {"quant_method": "gptq", "bits": 4}
    folder = model_folder(tmp_path / "tiny", {**TINY, "quantization_config": said})
    safetensors(folder / "model.safetensors", {"q.qweight": ("I32", [64, 16])})
    found = find("tiny", tmp_path)
    assert found.quantization == Quantization(4, "gptq", double=False)
    assert params(found) == TINY_PARAMS


def test_pickled_weights_are_only_weighed(tmp_path):
    folder = model_folder(tmp_path / "tiny", {**TINY, "torch_dtype": None})
    (folder / "pytorch_model.bin").write_bytes(bytes(4 * TINY_PARAMS))
    found = find("tiny", tmp_path)
    assert found.architecture is not None
    assert found.architecture.weight_bytes == 4


def test_an_adapter_leads_to_its_base_model(tmp_path):
    model_folder(tmp_path / "base")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    text = json.dumps({"base_model_name_or_path": str(tmp_path / "base")})
    (adapter / "adapter_config.json").write_text(text)
    assert params(find("adapter", tmp_path)) == TINY_PARAMS


def test_an_adapter_of_itself_ends(tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "adapter"}')
    found = find("adapter", tmp_path)
    assert found.architecture is None
    assert "no config.json" in found.reason


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("HF_HUB_CACHE", "hub"),
        ("HUGGINGFACE_HUB_CACHE", "hub"),
        ("HF_HOME", "home/hub"),
        ("XDG_CACHE_HOME", "home/huggingface/hub"),
    ],
)
def test_the_cache_of_the_hub_is_where_its_variables_say(tmp_path, variable, place):
    root = tmp_path / "elsewhere"
    repo = root / place / "models--acme--tiny"
    model_folder(repo / "snapshots" / REVISION)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(REVISION)
    value = root / "hub" if place == "hub" else root / "home"
    found = find("acme/tiny", tmp_path, **{variable: str(value)})
    assert found.folder == repo / "snapshots" / REVISION
    assert params(found) == TINY_PARAMS


def test_the_cache_of_the_hub_is_in_the_home_by_default_and_made_of_links(tmp_path):
    repo = tmp_path / "home" / ".cache" / "huggingface" / "hub" / "models--acme--tiny"
    blob = repo / "blobs" / "abc"
    blob.parent.mkdir(parents=True)
    blob.write_text(json.dumps(TINY))
    snapshot = repo / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to(os.path.relpath(blob, snapshot))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(REVISION + "\n")
    assert params(find("acme/tiny", tmp_path)) == TINY_PARAMS


def test_a_reference_that_leads_out_of_the_cache_is_not_followed(tmp_path):
    model_folder(tmp_path / "outside")
    repo = tmp_path / "hub" / "models--acme--tiny"
    (repo / "snapshots").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("../../../outside")
    assert find("acme/tiny", tmp_path, HF_HUB_CACHE=str(tmp_path / "hub")).architecture is None


@pytest.mark.parametrize(
    "place", ["models/acme/tiny-1___5", "acme/tiny-1___5", "models/acme/tiny-1.5"]
)
def test_the_cache_of_modelscope_is_known_in_its_old_and_new_form(tmp_path, place):
    folder = model_folder(tmp_path / "home" / ".cache" / "modelscope" / "hub" / place)
    assert find("acme/tiny-1.5", tmp_path).folder == folder
    moved = model_folder(tmp_path / "ms" / place)
    assert find("acme/tiny-1.5", tmp_path, MODELSCOPE_CACHE=str(tmp_path / "ms")).folder == moved


def test_the_hub_that_is_asked_first_is_the_one_that_the_training_uses(tmp_path):
    cache = tmp_path / "home" / ".cache"
    ours = model_folder(cache / "modelscope" / "hub" / "models" / "acme" / "tiny")
    theirs = model_folder(
        cache / "huggingface" / "hub" / "models--acme--tiny" / "snapshots" / REVISION
    )
    assert find("acme/tiny", tmp_path).folder == theirs
    assert find("acme/tiny", tmp_path, USE_MODELSCOPE_HUB="1").folder == ours


def test_a_model_that_is_not_here_is_known_by_its_name_and_that_is_said(tmp_path):
    found = find("meta-llama/Llama-2-7b-hf", tmp_path)
    assert params(found) == 6_738_415_616
    assert found.folder is None
    assert found.architecture is not None
    assert any("not on this machine" in remark.en for remark in found.architecture.remarks)


def test_an_unknown_model_has_a_reason_and_no_sizes(tmp_path):
    found = find("acme/secret", tmp_path)
    assert found.architecture is None
    assert found.reason.startswith("unknown model acme/secret: not on this machine")


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "\x00",
        "a\x1b[31m",
        "x" * 5000,
        "x" * 400,
        "../..",
        "a/../b",
        "/",
        "//",
        "~",
        "a/b/c/d",
    ],
)
def test_a_name_of_no_sense_is_unknown(tmp_path, name):
    base = tmp_path / "empty" / "inner"
    base.mkdir(parents=True)
    found = find(name, base)
    assert found.architecture is None
    assert found.reason.isprintable()
    assert len(found.reason) < 400


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "no JSON object"),
        (b" " * 5_000_000, "too large"),
        (b'{"hidden_size": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"{}", "missing"),
        (b'{"model_type": "llama", "hidden_size": NaN}', "whole number"),
        (b'{"model_type": "bert", "hidden_size": 768}', "no decoder"),
    ],
)
def test_a_broken_config_is_told_and_nothing_is_guessed_in_its_place(tmp_path, text, reason):
    folder = tmp_path / "Llama-2-7b-hf"
    folder.mkdir()
    (folder / "config.json").write_bytes(text)
    found = find("Llama-2-7b-hf", tmp_path)
    assert found.architecture is None
    assert reason in found.reason


def test_a_config_that_is_no_file_is_told(tmp_path):
    (tmp_path / "tiny").mkdir()
    os.mkfifo(tmp_path / "tiny" / "config.json")
    assert "is no file" in find("tiny", tmp_path).reason


def bytes_with_length(length: int, text: bytes) -> bytes:
    return length.to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        bytes_with_length(0, b""),
        bytes_with_length(2**63, b"{}"),
        bytes_with_length(500, b"{}"),
        bytes_with_length(2, b"[]"),
        bytes_with_length(2, b"{}"),
        bytes_with_length(10, b'{"a": {}}x'),
        bytes_with_length(9, b'{"a": [] '),
        bytes_with_length(40, b'{"a": {"dtype": "F32", "shape": [-1, 2]}}'[:40]),
        bytes_with_length(41, b'{"a": {"dtype": "F32", "shape": [-1, 2]}}'),
        bytes_with_length(42, b'{"a": {"dtype": "F32", "shape": [1e99, 2]}'[:42]),
        bytes_with_length(43, b'{"a": {"dtype": "F32", "shape": [true, 2]}}'),
        bytes_with_length(60_000, b"[" * 60_000),
    ],
)
def test_broken_weights_leave_the_config_in_force(tmp_path, content):
    folder = model_folder(tmp_path / "tiny")
    (folder / "model.safetensors").write_bytes(content)
    assert params(find("tiny", tmp_path)) == TINY_PARAMS


def test_an_index_that_leads_out_of_the_folder_is_not_followed(tmp_path):
    folder = model_folder(tmp_path / "tiny")
    safetensors(tmp_path / "other.safetensors", {"a": ("BF16", [10, 10])})
    index = {"weight_map": {"a": "../other.safetensors", "b": 5, "c": None}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found = find("tiny", tmp_path)
    assert params(found) == TINY_PARAMS
    assert found.architecture is not None
    assert found.architecture.known_params is None
