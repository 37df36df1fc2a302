import json
import os
from pathlib import Path

from diagnostics.precheck.surroundings import Presence
from diagnostics.runs.files import read_json
from diagnostics.runs.output_look import look_at_checkpoint, look_at_output
from diagnostics.sources.weights import tensor_names


def checkpoint(folder: Path, step: int, **state: object) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step} | state))
    (path / "adapter_config.json").write_text('{"r": 16}')
    (path / "adapter_model.safetensors").write_bytes(b"weights")
    return path


def test_the_highest_checkpoint_is_told_with_the_path_that_the_config_means(tmp_path):
    checkpoint(tmp_path / "out", 100)
    checkpoint(tmp_path / "out", 1000, max_steps=1000, num_train_epochs=3, train_batch_size=2)
    found = look_at_output("out", tmp_path)
    assert found is not None
    assert found.last is not None
    assert found.last.path == "out/checkpoint-1000"
    assert (found.last.max_steps, found.last.epochs, found.last.batch_size) == (1000, 3.0, 2)
    assert found.last.lora_rank == 16


def test_a_checkpoint_with_a_number_of_very_many_digits_is_read_all_the_same(tmp_path):
    path = checkpoint(tmp_path, 5, num_train_epochs=10**400)
    assert look_at_checkpoint(path, "checkpoint-5").step == 5


def test_an_output_dir_that_is_not_there_is_as_writable_as_what_it_lies_in(tmp_path):
    found = look_at_output("not/here", tmp_path)
    assert found is not None
    assert (found.presence, found.writable) == (Presence.ABSENT, True)
    assert look_at_output(None, tmp_path) is None


def test_a_pipe_in_place_of_a_json_or_of_weights_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    assert read_json(tmp_path / "pipe.json") is None
    assert tensor_names(tmp_path / "pipe.json") == []
