"""Owns the demo's project folder: a LLaMA-Factory config, a tiny dataset, and how to start it."""

import json
import sys
from pathlib import Path

from diagnostics.demo.samples import make_samples
from diagnostics.errors import RunError

CONFIG = "demo.yaml"
_MARK = "# llamavet demo: "

_CONFIG_TEXT = f"""\
{_MARK}a SIMULATED training; the keys and their meaning are LLaMA-Factory's.
# It runs out of memory in a batch that holds the longest sample.

### model
model_name_or_path: meta-llama/Llama-3.2-3B-Instruct

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all

### dataset
dataset_dir: data
dataset: demo_alpaca
template: llama3
cutoff_len: 2048

### output
output_dir: saves/demo
logging_steps: 1
save_steps: 20
report_to: none

### train
per_device_train_batch_size: 8  # samples on the GPU at once
gradient_accumulation_steps: 2  # batches summed before each update
learning_rate: 1.0e-4
max_steps: 60
lr_scheduler_type: cosine
warmup_steps: 3
bf16: true
"""

_DATASET_INFO = {"demo_alpaca": {"file_name": "demo_alpaca.json"}}


def make_project(folder: Path) -> Path:
    """Write the demo's project and return its config's path.

    A folder that holds a demo already is kept as it is, edits and checkpoints included.

    Raises:
        RunError: the folder holds something else, or cannot be written.
    """
    config = folder / CONFIG
    try:
        if folder.exists() and any(folder.iterdir()):
            _check_is_demo(config)
            return config
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        _write_json(data / "demo_alpaca.json", make_samples())
        _write_json(data / "dataset_info.json", _DATASET_INFO)
        config.write_text(_CONFIG_TEXT, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"the demo's folder {folder} cannot be used: {error.strerror or error}",
            remedy="name a folder that you may write to",
        ) from error
    return config


def launch_argv(config: Path) -> tuple[str, ...]:
    """Return the command that starts the demo's trainer in the config's folder."""
    return (sys.executable, "-P", "-m", "diagnostics.demo.trainer", "train", config.name)


def _check_is_demo(config: Path) -> None:
    try:
        with config.open("rb") as file:
            marked = file.read(len(_MARK)) == _MARK.encode()
    except FileNotFoundError:
        marked = False
    if not marked:
        raise RunError(
            f"{config.parent} is not empty and holds no demo of llamavet",
            remedy="name an empty or a new folder",
        )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
