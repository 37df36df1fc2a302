"""Owns telling a process by its command line: a training, an entrance, a launcher, or neither.

It starts where `diagnostics.config.argv` ends: that takes words apart, this asks what a live
process with these words is.
"""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from diagnostics.config.argv import DEMO_MODULE, LaunchKind, parse_launch
from diagnostics.runs.proc import ProcessInfo, read_cwd

LAUNCHERS = frozenset(
    {
        "torchrun",
        "torch.distributed.run",
        "torch.distributed.launch",
        "accelerate",
        "accelerate-launch",
        "accelerate.commands.launch",
        "deepspeed",
        "deepspeed.launcher.runner",
        "deepspeed.launcher.launch",
    }
)
_CLI_NAMES = frozenset({"llamafactory-cli", "lmf"})
_SCRIPT_BYTES = 64 * 1024
_OWN_SCRIPT = re.compile(rb"^\s*(?:from|import)\s+(?:llamafactory|llmtuner)\b", re.MULTILINE)
_OWN_FOLDER = re.compile(r"llama[-_.]?factory", re.IGNORECASE)
_VALUE_OPTIONS = frozenset({"-W", "-X"})
_MODULE_OPTION = re.compile(r"-[bBdEiIOPqsSuv]*m")


def program(argv: Sequence[str]) -> str:
    """Return what a command line runs: a program's or script's name, or a Python module's.

    Empty for `python -c` and for a Python without a script.
    """
    if not argv:
        return ""
    if not _is_python(argv[0]):
        return Path(argv[0]).name
    words = iter(argv[1:])
    for word in words:
        if not word.startswith("-"):
            return Path(word).name
        if _MODULE_OPTION.fullmatch(word):
            return next(words, "")
        if word == "-c":
            return ""
        if word in _VALUE_OPTIONS:
            next(words, None)
    return ""


def may_train(argv: Sequence[str]) -> bool:
    """Tell whether a command line has the form of a training's, its launchers' included.

    A shell, editor, timeout or ssh that carries the same words is told by its program's name.
    """
    if not argv or (not _is_python(argv[0]) and Path(argv[0]).name not in LAUNCHERS | _CLI_NAMES):
        return False
    launch = parse_launch(argv)
    return launch is not None and launch.is_training


def trains(info: ProcessInfo) -> bool:
    """Tell whether a process whose command line may be a training's is one of LLaMA-Factory.

    Many projects have a train.py: the script itself must import LLaMA-Factory, or where it
    cannot be read, lie in a folder of that name.
    """
    word = next((word for word in info.argv if _is_train_script(word)), None)
    if word is None:
        return True
    path = read_cwd(info.process.pid) / word
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():  # a pipe would never end
            with path.open("rb") as file:
                return _OWN_SCRIPT.search(file.read(_SCRIPT_BYTES)) is not None
    return _OWN_FOLDER.search(str(path.parent)) is not None


def is_entrance(argv: Sequence[str]) -> bool:
    """Tell whether a command line is what a person types, and not a rank's.

    The environment of a whole container may set RANK; that makes no rank of it.
    """
    launch = parse_launch(argv)
    return launch is not None and launch.kind in {LaunchKind.CLI, LaunchKind.DEMO}


def trainer_words(argv: Sequence[str]) -> tuple[str, ...] | None:
    """Return what LLaMA-Factory itself was given: its config and overrides, or its flags.

    An entrance and the ranks below it have these in common.
    """
    launch = parse_launch(argv)
    if launch is None:
        return None
    start = launch.config_index
    if start is None:
        start = min((flag.index for flag in launch.flags), default=len(launch.argv))
    return launch.argv[start:]


def is_launcher(info: ProcessInfo) -> bool:
    """Tell whether a process starts ranks; the child it forks bears its name for a moment."""
    return not info.forked and program(info.argv) in LAUNCHERS


def is_demo(argv: Sequence[str]) -> bool:
    """Tell whether a command line is the demo trainer's."""
    return program(argv) == DEMO_MODULE


def _is_python(word: str) -> bool:
    return Path(word).name.startswith("python")


def _is_train_script(word: str) -> bool:
    return os.path.basename(word) in {"train.py", "train_bash.py"}  # noqa: PTH119 - on any word
