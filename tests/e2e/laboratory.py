"""A folder to train in with a real LLaMA-Factory, and what a test asks of it."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

CONFIG = """\
### model
model_name_or_path: {assets}/model

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8

### dataset
dataset_dir: {assets}/data
dataset: {dataset}
template: qwen
cutoff_len: 256
max_samples: {samples}
preprocessing_num_workers: 1

### output
output_dir: out
logging_steps: 1
save_steps: {save_steps}
report_to: none

### train
per_device_train_batch_size: {batch}  # halved when memory runs out
gradient_accumulation_steps: 1
learning_rate: 1.0e-3
num_train_epochs: {epochs}
use_cpu: true
"""
DATA_LIMIT_KIB = 4200 * 1024


@dataclass(frozen=True)
class Lab:
    """A folder to train in, with the environment of a person who has LLaMA-Factory active."""

    folder: Path
    environ: dict[str, str]
    llamavet: Path
    assets: Path

    def config(self, name: str = "train.yaml", extra: str = "", **values: object) -> Path:
        filled = {"dataset": "long", "samples": 64, "save_steps": 500, "batch": 8, "epochs": 1.0}
        filled.update({key: str(value) for key, value in values.items()})
        path = self.folder / name
        path.write_text(CONFIG.format(assets=self.assets, **filled) + extra)
        return path

    def run(
        self, *words: str, limited: bool = False, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        command = [str(self.llamavet), *words]
        if limited:
            line = f'ulimit -d {DATA_LIMIT_KIB}; exec "$@"'
            command = ["bash", "-c", line, "bash", *command]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )

    def trainings(self) -> list[psutil.Process]:
        """Return every process that works in this lab's folder, llamavet's own set apart."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                if process.cwd() == str(self.folder) and any("llamafactory" in w for w in words):
                    found.append(process)
            except psutil.Error:
                continue
        return found


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"{what} did not come within {seconds:.0f} s")
