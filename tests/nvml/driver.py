"""Owns building the stand-in for NVIDIA's driver library, and polling it in a process of its own.

Each reader is a new process: nvidia-ml-py loads the library once for good, and finds it by
LD_LIBRARY_PATH, which the loader reads at the start of a process only.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("nvml.c")
ROOT = SOURCE.parents[2]
LIBRARY = "libnvidia-ml.so.1"
STATE = "LLAMAVET_TEST_NVML"
TIMEOUT_S = 60

_READER = """
import dataclasses, json, os, pathlib, sys
from diagnostics.sources.nvml import NvmlGpus

source = NvmlGpus("node1")
assert "pynvml" not in sys.modules, "the binding is loaded before it is needed"
polls = []
for step in json.load(sys.stdin):
    pathlib.Path(os.environ["LLAMAVET_TEST_NVML"]).write_text(step["state"])
    seen = source.poll(step["now"])
    polls.append([{"kind": type(one).__name__, **dataclasses.asdict(one)} for one in seen])
source.close()
source.close()
print(json.dumps(polls))
"""

Poll = list[dict[str, Any]]
"""One poll's observations as JSON; a Missing value is {"reason": ...}."""


@dataclass(frozen=True, slots=True)
class Step:
    """The state that the driver is in when it is polled, as nvml.c explains it."""

    state: Mapping[str, object]
    now: float = 0.0


def compiler() -> str | None:
    """Return a C compiler, or None where this machine has none."""
    return shutil.which("gcc") or shutil.which("cc")


def build(folder: Path, *flags: str, source: Path = SOURCE) -> Path:
    """Build a library in a folder; return the folder, to be searched by the loader."""
    found = compiler()
    assert found is not None
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra"]
    argv = [found, *options, *flags, "-shared", "-fPIC", "-o", str(folder / LIBRARY), str(source)]
    made = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert made.returncode == 0, made.stderr
    return folder


def poll_all(library: Path, state_file: Path, steps: Sequence[Step]) -> list[Poll]:
    """Poll one source once for each step, in a process that finds the library in a folder."""
    environ = {
        **os.environ,
        "LD_LIBRARY_PATH": str(library),
        "PYTHONPATH": str(ROOT),
        STATE: str(state_file),
    }
    lines = [
        {"now": step.now, "state": "".join(f"{key}={value}\n" for key, value in step.state.items())}
        for step in steps
    ]
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", _READER],
        env=environ,
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    polls: list[Poll] = json.loads(ran.stdout)
    return polls
