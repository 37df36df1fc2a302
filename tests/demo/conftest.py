"""The demo's trainer as a real process in a folder of its own."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from diagnostics.demo.project import launch_argv, make_project

ROOT = Path(__file__).parents[2]
NOTHING: Mapping[str, str] = {}
CURED = ("per_device_train_batch_size=4", "gradient_accumulation_steps=4")
WAIT_SECONDS = 60.0


@dataclass
class Demo:
    """A demo project and the trainers started in it."""

    folder: Path
    config: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def output_dir(self) -> Path:
        return self.folder / "saves" / "demo"

    @property
    def log_path(self) -> Path:
        return self.folder / "stdout.log"

    @property
    def log(self) -> str:
        return self.log_path.read_bytes().decode()  # carriage returns kept

    def start(
        self, *overrides: str, speed: float = 200, environ: Mapping[str, str] = NOTHING
    ) -> subprocess.Popen[bytes]:
        with self.log_path.open("wb") as log:
            process = subprocess.Popen(
                (*launch_argv(self.config), *overrides),
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "PYTHONUNBUFFERED": "1",
                    "LLAMAVET_DEMO_SPEED": str(speed),
                    **environ,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def run(self, *overrides: str, **environ: str) -> int:
        return self.start(*overrides, environ=environ).wait(timeout=WAIT_SECONDS)

    def start_training(self, *overrides: str) -> subprocess.Popen[bytes]:
        """Start a trainer and wait until it has logged a step; it needs minutes to its end."""
        process = self.start(*CURED, "max_steps=2000", *overrides, speed=2)
        wait_until((self.output_dir / "trainer_log.jsonl").exists)
        return process


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    folder = tmp_path / "project"
    made = Demo(folder, make_project(folder))
    yield made
    for process in made.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
