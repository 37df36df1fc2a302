"""Checkpoints as a killed or finished training leaves them: whole, torn, empty, cut off."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from diagnostics.runs.output_dir import read_output_dir


def checkpoint(folder: Path, step: int, *, state: object = None, max_steps: int = 100) -> Path:
    """Make a whole LoRA checkpoint, as the trainer writes it."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(b"weights")
    with zipfile.ZipFile(path / "optimizer.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"states")
    whole = {"global_step": step, "max_steps": max_steps}
    (path / "trainer_state.json").write_text(json.dumps(whole if state is None else state))
    return path


def fault(folder: Path) -> str:
    (only,) = read_output_dir(folder).checkpoints
    return only.fault


def test_whole_checkpoints_are_read_by_step_and_not_by_name(tmp_path):
    for step in (100, 20, 9):
        checkpoint(tmp_path, step)
    found = read_output_dir(tmp_path)
    assert [(item.step, item.fault, item.max_steps) for item in found.checkpoints] == [
        (9, "", 100),
        (20, "", 100),
        (100, "", 100),
    ]
    assert found.highest == found.best() == found.checkpoints[-1]


def test_a_folder_without_checkpoints_or_without_itself_has_none(tmp_path):
    assert not read_output_dir(tmp_path / "gone").exists
    (tmp_path / "checkpoint-5").touch()
    (tmp_path / "checkpoint-x").mkdir()
    (tmp_path / "checkpoint-5-old").mkdir()
    found = read_output_dir(tmp_path)
    assert found.exists
    assert found.checkpoints == ()
    assert found.highest is None
    assert found.best() is None


def test_an_empty_checkpoint_is_torn(tmp_path):
    (tmp_path / "checkpoint-4").mkdir()
    assert fault(tmp_path) == "trainer_state.json is missing: it is torn"


def test_a_checkpoint_killed_before_its_state_was_written_is_torn(tmp_path):
    (checkpoint(tmp_path, 4) / "trainer_state.json").unlink()
    assert fault(tmp_path) == "trainer_state.json is missing: it is torn"


@pytest.mark.parametrize("text", ["", '{"global_step": 4, "log_hist', "[]", '{"epoch": 1}'])
def test_a_state_that_is_cut_off_or_without_step_is_torn(tmp_path, text):
    (checkpoint(tmp_path, 4) / "trainer_state.json").write_text(text)
    assert fault(tmp_path) == "trainer_state.json is torn"


def test_a_checkpoint_without_weights_cannot_be_resumed(tmp_path):
    (checkpoint(tmp_path, 4) / "adapter_model.safetensors").unlink()
    assert fault(tmp_path) == "it has no weights"


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.pt"])
def test_an_empty_file_of_a_checkpoint_is_named(tmp_path, name):
    (checkpoint(tmp_path, 4) / name).write_bytes(b"")
    assert fault(tmp_path) == f"{name} is empty"


def test_optimizer_states_that_are_cut_off_are_named(tmp_path):
    path = checkpoint(tmp_path, 4) / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:-30])
    assert fault(tmp_path) == "optimizer.pt is cut off"


def test_a_checkpoint_without_optimizer_states_or_of_deepspeed_is_whole(tmp_path):
    path = checkpoint(tmp_path, 4)
    (path / "optimizer.pt").unlink()
    (path / "adapter_model.safetensors").unlink()
    (path / "global_step4").mkdir()
    assert fault(tmp_path) == ""


def test_the_state_of_a_long_training_is_whole_however_long_its_history_is(tmp_path):
    row = {"epoch": 0.01, "grad_norm": 1.23456789, "learning_rate": 1e-5, "loss": 2.345, "step": 1}
    state = {"global_step": 60_000, "max_steps": 90_000, "log_history": [row] * 60_000}
    path = checkpoint(tmp_path, 60_000, state=state)
    assert (path / "trainer_state.json").stat().st_size > 4 * 1024 * 1024
    assert fault(tmp_path) == ""


def test_only_checkpoints_written_since_a_time_are_the_best(tmp_path):
    for step, at in ((10, 5_000.0), (20, 1_000.0)):
        path = checkpoint(tmp_path, step)
        os.utime(path / "trainer_state.json", (at, at))
    found = read_output_dir(tmp_path)
    fresh, any_age = found.best(since=2_000.0), found.best()
    assert fresh is not None
    assert any_age is not None
    assert (fresh.step, any_age.step) == (10, 20)
    assert found.best(since=9_000.0) is None


@pytest.mark.parametrize(
    ("name", "has_model"),
    [
        ("adapter_model.safetensors", True),
        ("model-00001-of-00002.safetensors", True),
        ("pytorch_model.bin", True),
        ("config.json", True),
        ("trainer_log.jsonl", False),
        ("training_args.yaml", False),
        ("model_card.md", False),
    ],
)
def test_a_finished_model_is_told_from_other_files(tmp_path, name, has_model):
    (tmp_path / name).touch()
    assert read_output_dir(tmp_path).has_model is has_model
    assert read_output_dir(tmp_path).has_trainer_log is (name == "trainer_log.jsonl")
