"""Owns running a script of ours in a training's own Python: apart, quiet, never left behind."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

_UNWANTED = ("PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONVERBOSE", "PYTHONSAFEPATH")
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUTF8": "1",
}


def quiet(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a training's environment in which Python neither talks, writes nor goes online."""
    own = {name: text for name, text in environ.items() if name not in _UNWANTED}
    return own | _QUIET


@contextlib.contextmanager
def running(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    stdin: int | IO[bytes],
    stdout: int | IO[bytes],
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a session of its own; whatever is left of it afterwards is killed.

    Raises:
        OSError: it cannot be run.
        ValueError: a word or a variable has a NUL in it.
    """
    child = subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=dict(environ),
        start_new_session=True,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
