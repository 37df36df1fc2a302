"""Owns starting a training under supervision; the Launcher protocol leaves room for others."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from diagnostics.errors import RunError
from diagnostics.runs.files import read_json, write_json
from diagnostics.runs.model import Launch
from diagnostics.runs.processes import ProcessId
from diagnostics.runs.supervisor import CHILD, EXIT, LAUNCH, boot_id

START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A training that was started: its own process and its supervisor's."""

    process: ProcessId
    supervisor: ProcessId
    started_at: float


class Launcher(Protocol):
    """Starts a training and tells which process it is."""

    def start(self, launch: Launch, folder: Path) -> RunHandle:
        """Start it, recording into `folder`; RunError where it did not start."""
        ...


class LocalLauncher:
    """Starts trainings on this host under diagnostics.runs.supervisor."""

    def start(self, launch: Launch, folder: Path) -> RunHandle:
        """Start a training.

        Raises:
            RunError: the program is not there, may not be run, or the supervisor failed.
            StoreError: the folder cannot be written.
        """
        write_json(
            folder / LAUNCH,
            {
                "argv": list(launch.argv),
                "cwd": str(launch.cwd),
                "environ": dict(launch.environ),
                "limits": {name: list(pair) for name, pair in launch.limits.items()},
            },
        )
        command = [sys.executable, "-P", "-m", "diagnostics.runs.supervisor", str(folder)]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=_supervisor_environ(),
            check=False,
        )
        if done.returncode != 0:
            raise RunError(f"the supervisor of {folder} ended with {done.returncode}")
        return _await_start(launch, folder)


def _await_start(launch: Launch, folder: Path) -> RunHandle:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        handle = read_handle(folder)
        if handle is not None:
            return handle
        ended = read_json(folder / EXIT)
        if ended is not None and "error" in ended:
            raise RunError(
                f"{launch.argv[0]} could not be started: {ended['error']}",
                remedy="activate the environment that has LLaMA-Factory, then try again",
            )
        time.sleep(0.01)
    raise RunError(f"{launch.argv[0]} did not start within {START_SECONDS:.0f} s")


def read_handle(folder: Path) -> RunHandle | None:
    """Return the processes of an attempt as its supervisor recorded them in this boot."""
    child: Mapping[str, object] | None = read_json(folder / CHILD)
    if child is None or child.get("boot_id", boot_id()) != boot_id():
        return None
    numbers = [
        child.get(name) for name in ("pid", "started_ticks", "supervisor_pid", "supervisor_ticks")
    ]
    started_at = child.get("started_at")
    if not all(isinstance(number, int) for number in numbers):
        return None
    pid, ticks, supervisor_pid, supervisor_ticks = (int(str(number)) for number in numbers)
    return RunHandle(
        ProcessId(pid, ticks),
        ProcessId(supervisor_pid, supervisor_ticks),
        float(started_at) if isinstance(started_at, int | float) else 0.0,
    )


def _supervisor_environ() -> dict[str, str]:
    """Return this process' environment, with our own package found wherever it was found."""
    environ = dict(os.environ)
    root = str(Path(__file__).parents[2])
    environ["PYTHONPATH"] = os.pathsep.join(
        part for part in (root, environ.get("PYTHONPATH", "")) if part
    )
    return environ
