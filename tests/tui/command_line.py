"""Runs `llamavet` as a user does: a process of its own, in a folder, with a state of its own."""

import os
import subprocess
import sys
from pathlib import Path


def llamavet(
    *words: str, cwd: Path, stdin: bytes = b"", **environ: str
) -> subprocess.CompletedProcess[bytes]:
    environment = {
        **os.environ,
        "LLAMAVET_STATE_DIR": str(cwd / "state"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        **environ,
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "tui.cli", *words],
        cwd=cwd,
        env=environment,
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )
