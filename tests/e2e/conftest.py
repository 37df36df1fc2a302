"""A real LLaMA-Factory on the CPU, a tiny model, and a folder for each test."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.laboratory import Lab


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    script = Path(__file__).with_name("make_assets.py")
    python = Path(os.environ["LLAMAVET_E2E_VENV"]) / "bin" / "python"
    environ = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([python, script, folder], check=True, env=environ, capture_output=True)
    return folder


@pytest.fixture
def lab(tmp_path: Path, assets: Path) -> Iterator[Lab]:
    venv = Path(os.environ["LLAMAVET_E2E_VENV"])
    environ = {
        **os.environ,
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "LLAMAVET_STATE_DIR": str(tmp_path / "state"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    folder = tmp_path / "work"
    folder.mkdir()
    lab = Lab(folder, environ, Path(sys.executable).with_name("llamavet"), assets)
    yield lab
    for process in lab.trainings():
        process.send_signal(signal.SIGKILL)
