"""What a machine tells of a training's memory: model files, GPUs and limits as they lie there."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from diagnostics.errors import LlamavetError
from diagnostics.memory.facts import MemoryFacts, forecast_config
from diagnostics.memory.verdict import Verdict
from diagnostics.runs.forecasting import Devices, gather_facts, visible_devices
from tests.memory.shapes import LLAMA_8B, LLAMA_8B_PARAMS, config
from tests.nvml.driver import ROOT, STATE, TIMEOUT_S, build, compiler

GIB = 2**30
CARD = Devices(1, 24.0, "a card")
ZERO_3 = {"zero_optimization": {"stage": 3, "stage3_max_live_parameters": 1e8}}
TWO_CARDS = {
    "count": 2,
    "gpu0.name": "NVIDIA A100-SXM4-80GB",
    "gpu0.uuid": "GPU-0a",
    "gpu0.memory.total": 80 * GIB,
    "gpu0.memory.used": GIB,
    "gpu1.name": "NVIDIA A100-SXM4-40GB",
    "gpu1.uuid": "GPU-1b",
    "gpu1.memory.total": 40 * GIB,
    "gpu1.memory.used": GIB,
}
ASK = """
import dataclasses, json, sys
from diagnostics.runs.forecasting import visible_devices
print(json.dumps([dataclasses.asdict(visible_devices(one)) for one in json.load(sys.stdin)]))
"""
needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler on this machine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model in it, as a training would name it."""
    there = tmp_path / "models" / "eight"
    there.mkdir(parents=True)
    (there / "config.json").write_text(json.dumps(dict(LLAMA_8B)))
    return tmp_path


def gathered(folder: Path, *, devices: Devices | None = CARD, **keys: Any) -> MemoryFacts:
    keys = {"model_name_or_path": "models/eight", "bf16": True, **keys}
    return gather_facts(config(**keys), folder, {}, devices=devices)


def test_a_models_folder_is_found_from_where_the_training_starts(folder: Path):
    facts = gathered(folder)

    assert facts.model is not None
    assert facts.reason == ""
    told = forecast_config(config(bf16=True, per_device_train_batch_size=1), facts)
    assert told.peak.total_params == LLAMA_8B_PARAMS
    assert told.verdict is Verdict.FITS


def test_a_config_that_names_no_model_is_told_so(tmp_path: Path):
    facts = gather_facts(config(bf16=True), tmp_path, {}, devices=CARD)

    assert facts.model is None
    assert "model_name_or_path" in facts.reason
    with pytest.raises(LlamavetError, match="model_name_or_path"):
        forecast_config(config(bf16=True), facts)


@pytest.mark.parametrize("name", ["models/none", "\x00", "x" * 10_000, "../" * 50, 7, [1], "  "])
def test_a_model_that_is_not_there_is_a_reason_and_no_error(tmp_path: Path, name: object):
    facts = gathered(tmp_path, model_name_or_path=name)

    assert facts.model is None
    assert facts.reason
    assert "\x00" not in facts.reason


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"hidden_size": -1}', "\xff\x00", "9" * 99]
)
def test_a_broken_model_is_a_reason_and_no_error(folder: Path, text: str):
    (folder / "models" / "eight" / "config.json").write_bytes(text.encode("latin-1"))

    facts = gathered(folder)

    assert facts.model is None
    assert facts.reason


def test_the_deepspeed_file_of_the_config_is_read_from_there(folder: Path):
    (folder / "ds.json").write_text(json.dumps(ZERO_3))

    facts = gathered(folder, deepspeed="ds.json")

    assert facts.deepspeed == {"ds.json": ZERO_3}


def test_llamafactorys_examples_are_read_for_what_a_fix_would_name(folder: Path):
    examples = folder / "examples" / "deepspeed"
    examples.mkdir(parents=True)
    (examples / "ds_z3_config.json").write_text(json.dumps(ZERO_3))
    (examples / "ds_z2_config.json").write_text('{"not": "of deepspeed"}')

    assert list(gathered(folder).deepspeed) == ["examples/deepspeed/ds_z3_config.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "[" * 100_000, '"zero"', "\x00", " " * (2**20 + 1)]
)
def test_a_deepspeed_file_that_cannot_be_read_is_left_out(folder: Path, text: str):
    (folder / "ds.json").write_text(text)

    assert gathered(folder, deepspeed="ds.json").deepspeed == {}


def test_a_deepspeed_path_that_is_no_file_is_left_out(folder: Path):
    (folder / "ds.json").mkdir()

    assert gathered(folder, deepspeed="ds.json").deepspeed == {}
    assert gathered(folder, deepspeed="n" * 5000).deepspeed == {}
    assert gathered(folder, deepspeed={"zero_optimization": {}}).deepspeed == {}


def test_the_gpus_that_are_given_are_taken(folder: Path):
    facts = gathered(folder, devices=Devices(4, 80.0, "four cards"))

    assert (facts.gpus, facts.capacity_gib, facts.device_name) == (4, 80.0, "four cards")
    assert facts.no_gpu == ""


def test_host_memory_is_what_a_process_may_use(folder: Path):
    whole = gathered(folder).host_gib
    limited = gather_facts(
        config(bf16=True), folder, {}, devices=CARD, data_limit_bytes=3 * GIB
    ).host_gib
    unlimited = gather_facts(
        config(bf16=True), folder, {}, devices=CARD, data_limit_bytes=resource.RLIM_INFINITY
    ).host_gib

    assert whole is not None
    assert limited == min(3.0, whole)
    assert unlimited is not None
    assert unlimited >= whole


def ask(
    library: Path, state: Mapping[str, object], environs: list[dict[str, str]], folder: Path
) -> list[Devices]:
    file = folder / "state"
    file.write_text("".join(f"{key}={value}\n" for key, value in state.items()))
    environ = {
        **os.environ,
        "LD_LIBRARY_PATH": str(library),
        "PYTHONPATH": str(ROOT),
        STATE: str(file),
    }
    ran = subprocess.run(
        [sys.executable, "-c", ASK],
        env=environ,
        input=json.dumps(environs),
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    return [Devices(**one) for one in json.loads(ran.stdout)]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("driver"))


@needs_compiler
def test_the_gpus_a_training_sees_are_those_that_cuda_would_show_it(library: Path, tmp_path: Path):
    both, second, by_uuid, until_unknown, swapped = ask(
        library,
        TWO_CARDS,
        [
            {},
            {"CUDA_VISIBLE_DEVICES": "1"},
            {"CUDA_VISIBLE_DEVICES": "GPU-0a"},
            {"CUDA_VISIBLE_DEVICES": "0,7,1"},
            {"CUDA_VISIBLE_DEVICES": " 1 , 0 "},
        ],
        tmp_path,
    )

    assert (both.count, both.capacity_gib) == (2, 40.0)
    assert (second.count, second.capacity_gib) == (1, 40.0)
    assert "40GB" in second.name
    assert (by_uuid.count, by_uuid.capacity_gib) == (1, 80.0)
    assert (until_unknown.count, until_unknown.capacity_gib) == (1, 80.0)
    assert (swapped.count, swapped.capacity_gib) == (2, 40.0)


@needs_compiler
def test_hidden_gpus_are_no_gpus_and_the_reason_says_why(library: Path, tmp_path: Path):
    for words in ("", "-1", "no", "GPU-ffff", ",,"):
        (hidden,) = ask(library, TWO_CARDS, [{"CUDA_VISIBLE_DEVICES": words}], tmp_path)

        assert hidden.capacity_gib is None
        assert "CUDA_VISIBLE_DEVICES" in hidden.reason


@needs_compiler
def test_a_gpu_that_does_not_tell_its_memory_is_counted(library: Path, tmp_path: Path):
    silent = {"count": 1, "gpu0.name": "NVIDIA GB10", "gpu0.uuid": "GPU-0a"}
    (one,) = ask(library, silent, [{}], tmp_path)

    assert one.count == 1
    assert one.capacity_gib is None
    assert one.reason


def test_without_a_driver_the_reason_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)

    devices = visible_devices({})

    assert devices.capacity_gib is None
    assert devices.reason.startswith("no GPU: ")
