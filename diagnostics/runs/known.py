"""Owns asking whether a run is known beyond its files: recorded by llamavet, or still alive.

Looking at records and processes is slow to start, so it is done only where there is something to
look at: a record in the state store, or a process whose command line may be a training's.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from diagnostics.runs.remains import Remains

if TYPE_CHECKING:  # importing it takes longer than reading a small run
    from diagnostics.runs.model import Run

_WORDS = (
    b"llamafactory",
    b"lmf\0",
    b"train.py",
    b"train_bash.py",
    b"launcher.py",
    b"diagnostics.demo.trainer",
)
_MAX_WORDS_BYTES = 4096


def known_runs() -> tuple[Remains, ...]:
    """Return the runs of this user that live or are recorded: live ones first, then the newest."""
    recorded = _has_records()
    if not recorded and not _may_train():
        return ()
    from diagnostics.runs import resolve  # noqa: PLC0415 - slow to import

    found = [*resolve.live_runs(), *(resolve.recent_runs() if recorded else ())]
    return tuple(remains_of(run) for run in found)


def run_named(word: str) -> Remains:
    """Return the run behind a pid or the name of a record.

    Raises:
        LlamavetError: there is none.
    """
    from diagnostics.runs import resolve  # noqa: PLC0415 - slow to import

    return remains_of(resolve.resolve(word))


def remains_of(run: "Run") -> Remains:
    """Return what a run that was found leaves to read."""
    return Remains(
        name=run.name,
        cwd=run.cwd,
        logs=(run.log_path,) if run.log_path is not None else (),
        config=run.config,
        output_dir=run.output_dir,
        argv=run.launch.argv if run.launch is not None else (),
        environ=run.launch.environ if run.launch is not None else {},
        record=run.record,
        alive=run.group is not None,
    )


def _has_records() -> bool:
    own = os.environ.get("LLAMAVET_STATE_DIR")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(own) if own else Path(base) / "llamavet"
    try:
        return any(folder.joinpath("runs").iterdir())
    except OSError:
        return False


def _may_train() -> bool:
    own = str(os.getpid())
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - names are all that is needed
    except OSError:
        return False
    return any(_trains(name) for name in names if name.isdecimal() and name != own)


def _trains(pid: str) -> bool:
    try:
        with Path("/proc", pid, "cmdline").open("rb") as file:
            words = file.read(_MAX_WORDS_BYTES)
    except OSError:
        return False
    return any(word in words for word in _WORDS)
