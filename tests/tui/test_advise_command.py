"""`llamavet advise` as a person and a program use it: real processes and files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.memory.shapes import LLAMA_8B


def llamavet(*words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HOME": str(cwd),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "LANG": "C.UTF-8",
        **environ,
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "tui.cli", *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a model and a small data set."""
    model = tmp_path / "Llama-3.1-8B-Instruct"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(LLAMA_8B))
    data = tmp_path / "data"
    data.mkdir()
    rows = [{"instruction": f"say {n}", "input": "", "output": f"{n} " * 20} for n in range(300)]
    (data / "mine.json").write_text(json.dumps(rows))
    (data / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "mine.json"}}))
    return tmp_path


def test_a_model_and_a_gpu_give_a_table_and_a_recommendation(place: Path):
    done = llamavet("advise", "Llama-3.1-8B-Instruct", "--gpu", "RTX 4090", cwd=place)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "1 x RTX 4090, 24.0 GiB; cutoff_len 2,048" in done.stdout
    assert "> LoRA rank 8" in done.stdout
    assert "Begin with LoRA rank 8, per_device_train_batch_size 1:" in done.stdout


def test_the_config_that_is_written_is_read_by_estimate_with_the_same_verdict(place: Path):
    gpu = ("--gpu", "a100-80g", "--gpus", "2")
    done = llamavet(
        "advise",
        "Llama-3.1-8B-Instruct",
        *gpu,
        "--write",
        "new.yaml",
        "--format",
        "json",
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "llamavet: new.yaml: written, LoRA rank 8\n"
    advice = json.loads(done.stdout)
    option = next(one for one in advice["options"] if one["id"] == advice["recommended"])

    told = llamavet("estimate", "new.yaml", *gpu, "--format", "json", cwd=place)

    estimate = json.loads(told.stdout)
    assert estimate["verdict"] == option["verdict"] == "fits"
    assert estimate["trainable_params"] == option["trainable_params"]
    text = (place / "new.yaml").read_text()
    assert "dataset: FILL_IN_YOUR_DATASET  #" in text
    assert "template: llama3  #" in text
    assert (place / "new.yaml").stat().st_mode & 0o777 == 0o644
    assert not list(place.glob(".*.part"))


def test_a_file_that_exists_is_overwritten_only_by_force(place: Path):
    (place / "mine.yaml").write_text("mine\n")
    words = ("advise", "Llama-3.1-8B-Instruct", "--gpu", "24", "--write", "mine.yaml")

    refused = llamavet(*words, cwd=place)
    assert refused.returncode == 2
    assert refused.stderr == "llamavet: mine.yaml: exists already; --force overwrites it\n"
    assert (place / "mine.yaml").read_text() == "mine\n"

    assert llamavet(*words, "--force", cwd=place).returncode == 0
    assert "finetuning_type: lora" in (place / "mine.yaml").read_text()


def test_a_folder_that_is_not_there_cannot_be_written_to_and_leaves_nothing(place: Path):
    done = llamavet(
        "advise", "Llama-3.1-8B-Instruct", "--gpu", "24", "--write", "no/x.yaml", cwd=place
    )

    assert done.returncode == 2
    assert "no/x.yaml: cannot be written" in done.stderr
    assert not (place / "no").exists()


def test_a_dataset_is_counted_and_a_shorter_cutoff_is_proposed(place: Path):
    done = llamavet(
        "advise", "Llama-3.1-8B-Instruct", "--gpu", "24", "--dataset", "mine", cwd=place
    )

    assert done.returncode == 0, done.stderr
    assert "300 samples" in done.stdout
    assert "300 samples are few" in done.stdout
    assert "--cutoff 256 would do" in done.stdout


def test_a_dataset_that_is_not_there_is_an_error_with_the_near_name(place: Path):
    done = llamavet(
        "advise", "Llama-3.1-8B-Instruct", "--gpu", "24", "--dataset", "mime", cwd=place
    )

    assert done.returncode == 2
    assert "has no dataset 'mime' (is it mine?); say its size with --samples" in done.stderr
    assert done.stdout == ""


def test_a_given_config_is_the_start_and_the_command_line_wins_over_it(place: Path):
    (place / "train.yaml").write_text(
        "model_name_or_path: Llama-3.1-8B-Instruct\nstage: sft\nfinetuning_type: full\n"
        "dataset: mine\ntemplate: qwen\ncutoff_len: 4096\nlearning_rate: 0.5\n"
    )
    words = ("advise", "train.yaml", "--gpu", "80", "--write", "new.yaml")

    done = llamavet(*words, cwd=place)

    assert done.returncode == 0, done.stderr
    assert "cutoff_len 4,096; 300 samples" in done.stdout
    text = (place / "new.yaml").read_text()
    assert "dataset: mine\n" in text
    assert "template: qwen\n" in text
    assert "learning_rate: 0.0001\n" in text
    assert "save_strategy: epoch  # the run has about 57 steps\n" in text
    again = llamavet(*words, "--force", "--cutoff", "1024", cwd=place)
    assert "cutoff_len 1,024" in again.stdout


def test_nothing_fits_exits_1_and_writes_nothing(place: Path):
    words = ("advise", "some-70b-instruct", "--gpu", "12")

    done = llamavet(*words, cwd=place)
    assert done.returncode == 1
    assert "Nothing fits here. What would fit:" in done.stdout

    written = llamavet(*words, "--write", "x.yaml", cwd=place)
    assert written.returncode == 2
    assert "nothing is written: nothing fits" in written.stderr
    assert not (place / "x.yaml").exists()


def test_a_guessed_model_is_shown_with_low_confidence(place: Path):
    done = llamavet("advise", "someone/own-7b", "--gpu", "24", cwd=place)

    assert "LOW confidence" in done.stdout
    assert "guessed from 7B in its name" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch", "--gpu", "24"), "unknown model nosuch"),
        (("", "--gpu", "24"), "no model"),
        (("gone.yaml", "--gpu", "24"), "gone.yaml: cannot be read"),
        (("broken.yaml", "--gpu", "24"), "broken.yaml:2:1: did not find"),
        (("odd.yaml", "--gpu", "24"), "cutoff_len: [1] is no number of tokens"),
        (("own-7b", "--gpu", "banana"), '"banana" is no GPU'),
        (("own-7b", "--gpu", "24", "--gpus", "0"), "--gpus 0 is not from 1"),
        (("own-7b", "--gpu", "24", "--samples", "-1"), "--samples -1 is not from 1"),
        (("own-7b", "--gpu", "24", "--cutoff", "999999999"), "--cutoff 999999999 is not"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_2(words: tuple[str, ...], said: str, tmp_path: Path):
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "odd.yaml").write_text("model_name_or_path: own-7b\ncutoff_len: [1]\n")

    done = llamavet("advise", *words, cwd=tmp_path)

    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_report_is_in_chinese_where_that_is_asked_for(place: Path):
    done = llamavet("advise", "Llama-3.1-8B-Instruct", "--gpu", "24", "--lang", "zh", cwd=place)

    assert "建议先用 LoRA 秩 8" in done.stdout
    assert "Begin with" not in done.stdout
