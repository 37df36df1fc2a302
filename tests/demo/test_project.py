"""The demo's project folder."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from diagnostics.demo.project import launch_argv, make_project
from diagnostics.errors import RunError


def test_it_writes_a_config_and_a_dataset_that_belong_together(tmp_path: Path) -> None:
    config = make_project(tmp_path / "demo")
    assert config == tmp_path / "demo" / "demo.yaml"
    values = yaml.safe_load(config.read_bytes())
    assert values["per_device_train_batch_size"] * values["gradient_accumulation_steps"] == 16
    assert values["output_dir"] == "saves/demo"
    data = config.parent / values["dataset_dir"]
    info = json.loads((data / "dataset_info.json").read_bytes())
    rows = json.loads((data / info[values["dataset"]]["file_name"]).read_bytes())
    assert len(rows) == 32
    assert all(set(row) == {"instruction", "input", "output"} for row in rows)


def test_the_config_says_that_it_is_simulated(tmp_path: Path) -> None:
    assert "SIMULATED" in make_project(tmp_path).read_text(encoding="utf-8").splitlines()[0]


def test_a_demo_that_is_there_is_kept_with_its_edits(tmp_path: Path) -> None:
    config = make_project(tmp_path)
    edited = config.read_text(encoding="utf-8") + "seed: 7\n"
    config.write_text(edited, encoding="utf-8")
    assert make_project(tmp_path) == config
    assert config.read_text(encoding="utf-8") == edited


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("model_name_or_path: mine\n", encoding="utf-8")
    with pytest.raises(RunError, match="holds no demo of llamavet; name an empty or a new folder"):
        make_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["demo.yaml"]


def test_a_file_in_the_folders_place_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(RunError, match="cannot be used"):
        make_project(tmp_path / "file")


def test_the_command_starts_the_trainer_with_this_python(tmp_path: Path) -> None:
    argv = launch_argv(tmp_path / "demo.yaml")
    assert argv == (sys.executable, "-P", "-m", "diagnostics.demo.trainer", "train", "demo.yaml")
