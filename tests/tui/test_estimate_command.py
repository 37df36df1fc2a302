"""`llamavet estimate` as a person calls it: real files in, a report and an exit code out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.memory.shapes import LLAMA_8B
from tests.tui.command_line import llamavet

TRAIN = """\
model_name_or_path: {model}
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
template: qwen
dataset: alpaca_en_demo
cutoff_len: 2048
per_device_train_batch_size: 4
gradient_accumulation_steps: 4
bf16: true
output_dir: saves/x
"""
LLAMA = {**LLAMA_8B, "architectures": ["LlamaForCausalLM"], "head_dim": 128}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "train.yaml").write_text(TRAIN.format(model=model))
    return tmp_path


def estimate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui.cli", "estimate", "train.yaml", *words],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "LLAMAVET_STATE_DIR": str(folder / "state"), "LANG": "C"},
        text=True,
        capture_output=True,
        check=False,
    )


def value(folder: Path, *words: str) -> dict[str, object]:
    done = estimate(folder, "--format", "json", *words)
    assert done.returncode in {0, 1}, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_a_training_that_fits_exits_with_0_and_one_that_does_not_with_1(folder: Path):
    fits = estimate(folder, "--gpu", "80")
    not_fits = estimate(folder, "--gpu", "24")

    assert (fits.returncode, not_fits.returncode) == (0, 1)
    assert "fits: " in fits.stdout
    assert "DOES NOT FIT: " in not_fits.stdout


def test_the_json_has_every_figure_that_other_programs_depend_on(folder: Path):
    told = value(folder, "--gpu", "80")

    assert told["schema"] == 1
    assert told["phase"] == "loss"
    assert told["confidence"] == "high"
    assert told["method"] == "closed_form"
    assert told["verdict"] == "fits"
    assert told["trainable_params"] == 20_971_520
    assert told["total_params"] == 8_030_261_248
    terms = told["terms"]
    assert isinstance(terms, dict)
    assert sum(terms.values()) == pytest.approx(told["allocated_gib"], abs=0.01)
    assert set(terms) == {
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "logits",
        "other",
    }
    low, high = told["low_gib"], told["high_gib"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert low < told["device_gib"] < high  # type: ignore[operator]
    assert told["rule_of_thumb_gib"] == {
        "article": pytest.approx(74.8, abs=0.1),
        "llamafactory_readme": pytest.approx(14.96, abs=0.1),
    }


def test_values_on_the_command_line_win_wherever_they_stand(folder: Path):
    before = value(folder, "per_device_train_batch_size=1", "--gpu", "24")
    after = value(folder, "--gpu", "24", "per_device_train_batch_size=1")

    assert before == after
    assert before["verdict"] == "fits"


def test_without_a_gpu_it_says_why_and_judges_nothing(folder: Path):
    done = estimate(folder)

    assert done.returncode == 0
    assert "no GPU: " in done.stdout
    assert value(folder)["verdict"] == "unknown"
    assert value(folder)["capacity_gib"] is None


def test_a_model_that_nobody_knows_is_one_clear_line_and_no_guess(folder: Path):
    done = estimate(folder, "model_name_or_path=/nowhere/model")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("llamavet: unknown model /nowhere/model")
    assert done.stderr.count("\n") == 1


def test_a_70b_on_24_gib_does_not_fit_and_says_how_much_it_takes(folder: Path):
    told = value(folder, "model_name_or_path=meta-llama/Meta-Llama-3-70B", "--gpu", "24")

    assert told["verdict"] == "does_not_fit"
    assert told["allocated_gib"] > 130  # type: ignore[operator]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["per_device_train_batch_size=-3"], "per_device_train_batch_size: -3"),
        (["cutoff_len=many"], 'cutoff_len: "many"'),
        (["per_device_train_batch_size=1000000000000"], "no GPU could hold it"),
        (["finetuning_type=loar"], "needs one of freeze, full, lora, oft"),
        (["lora_target=nothing"], "no layer called nothing"),
        (["--gpu", "fast"], "is no GPU"),
        (["--gpus", "0"], "no number of GPUs"),
    ],
)
def test_absurd_values_are_one_clear_line(folder: Path, words: list[str], told: str):
    done = estimate(folder, *words)

    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"hidden_size": "x"}'])
def test_a_broken_config_json_is_told_with_its_path(folder: Path, text: str):
    (folder / "model" / "config.json").write_text(text)

    done = estimate(folder)

    assert done.returncode == 2
    assert "model" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_config_json_that_leaves_sizes_out_is_not_predicted_with_confidence(folder: Path):
    (folder / "model" / "config.json").write_text('{"model_type": "llama"}')

    told = value(folder)

    assert told["confidence"] == "low"
    assert any("default" in text for text in told["assumptions"])  # type: ignore[attr-defined]


def test_a_deepspeed_file_that_is_missing_is_taken_by_its_name_and_said(folder: Path):
    told = value(folder, "deepspeed=ds_z3_config.json", "--gpu", "24", "--gpus", "4")

    assert "ds_z3_config.json could not be read: taken as ZeRO-3" in told["assumptions"]  # type: ignore[operator]
    assert told["confidence"] == "medium"


def test_it_speaks_chinese(folder: Path):
    done = estimate(folder, "--gpu", "24", "--lang", "zh")

    assert "放不下" in done.stdout
    assert "峰值" in done.stdout


def test_a_terminal_that_lacks_a_character_gets_another_one_in_its_place(folder: Path):
    words = ("estimate", "train.yaml", "--gpu", "80", "--lang", "zh")
    done = llamavet(*words, cwd=folder, PYTHONIOENCODING="ascii")

    assert done.returncode == 0, done.stderr.decode()
    assert b"GiB" in done.stdout


def test_every_line_fits_80_columns(folder: Path):
    for words in ([], ["--gpus", "8", "finetuning_type=full", "eval_strategy=steps"]):
        done = estimate(folder, "--gpu", "RTX 4090", *words)
        assert max(map(len, done.stdout.splitlines())) <= 80


def test_exact_mode_says_what_a_python_lacks(folder: Path):
    done = estimate(folder, "--exact", "--python", sys.executable)

    assert done.returncode == 2
    assert done.stderr == (
        "llamavet: this Python has no torch;"
        " give the Python of the environment that LLaMA-Factory runs in\n"
    )


def test_exact_mode_refuses_what_is_no_python(folder: Path):
    done = estimate(folder, "--exact", "--python", "/bin/false")

    assert done.returncode == 2
    assert "/bin/false is no Python that can be run" in done.stderr


def test_a_models_own_fault_is_told_with_one_remedy(folder: Path):
    broken = {**LLAMA, "hidden_size": -5}
    (folder / "model" / "config.json").write_text(json.dumps(broken))

    done = estimate(folder)

    assert "hidden_size is -5: outside 1 to" in done.stderr
    assert done.stderr.count(";") == 1
