"""Owns command lines of LLaMA-Factory: recognising a training's, and editing its values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from diagnostics.config.document import parse_scalar
from diagnostics.config.edit import format_scalar
from diagnostics.config.schema import KEYS

_OVERRIDE = re.compile(r"^([A-Za-z_][\w.]*)=(.*)$", re.DOTALL)
_CLI_NAMES = {"llamafactory-cli", "lmf"}
_TRAIN_SCRIPTS = {"train.py", "train_bash.py"}
_WRAPPERS = {"torchrun", "torch.distributed.run", "torch.distributed.launch"}
_DEEPSPEED = {"deepspeed", "deepspeed.launcher.launch", "deepspeed.launcher.runner"}
_V1_TRAININGS = {"train", "sft", "dpo", "rm"}
DEMO_MODULE = "diagnostics.demo.trainer"


class LaunchKind(StrEnum):
    """What starts the training on this command line."""

    CLI = "cli"  # llamafactory-cli train, lmf train, python -m llamafactory.cli train
    TORCHRUN = "torchrun"
    ACCELERATE = "accelerate"
    DEEPSPEED = "deepspeed"
    LAUNCHER = "launcher"  # python .../llamafactory/launcher.py: a rank
    SCRIPT = "script"  # python src/train.py, src/train_bash.py
    DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Override:
    """A key=value word after the config's path, which wins over the file."""

    index: int
    key: str
    value: object


@dataclass(frozen=True, slots=True)
class Flag:
    """A --key on the command line; `last` is the index of its last word."""

    index: int
    last: int
    key: str
    value: object


@dataclass(frozen=True, slots=True)
class LaunchArgs:
    """A command line of LLaMA-Factory, taken apart."""

    argv: tuple[str, ...]
    kind: LaunchKind
    is_training: bool
    config_index: int | None = None
    overrides: tuple[Override, ...] = ()
    flags: tuple[Flag, ...] = ()

    @property
    def config_token(self) -> str | None:
        """The config's path as it was typed."""
        return None if self.config_index is None else self.argv[self.config_index]

    @property
    def values(self) -> dict[str, object]:
        """The values that the command line sets; the last of a key wins."""
        found = {flag.key: flag.value for flag in self.flags}
        return {**found, **{item.key: item.value for item in self.overrides}}


def parse_launch(argv: Sequence[str]) -> LaunchArgs | None:
    """Take a command line apart; None where it is not LLaMA-Factory's."""
    words = tuple(argv)
    found = _locate(words)
    if found is None:
        return None
    kind, start, training = found
    first = words[start] if start < len(words) else ""
    if first.lower().endswith((".yaml", ".yml", ".json")):
        overrides = tuple(
            Override(index, match.group(1), parse_scalar(match.group(2)))
            for index in range(start + 1, len(words))
            if (match := _OVERRIDE.match(words[index]))
        )
        return LaunchArgs(words, kind, training, start, overrides)
    return LaunchArgs(words, kind, training, None, (), _flags(words, start))


def with_value(args: LaunchArgs, key: str, value: object) -> tuple[str, ...]:
    """Return the command line with a key's value changed or added."""
    words = list(args.argv)
    if args.config_index is not None:
        text = f"{key}={_plain(value)}"
        index = next((item.index for item in reversed(args.overrides) if item.key == key), None)
        if index is None:
            return (*words, text)
        words[index] = text
        return tuple(words)
    flag = next((item for item in reversed(args.flags) if item.key == key), None)
    if flag is None:
        return (*words, f"--{key}", _plain(value))
    if "=" in words[flag.index]:
        return (*words[: flag.index], f"--{key}={_plain(value)}", *words[flag.last + 1 :])
    return (*words[: flag.index + 1], _plain(value), *words[flag.last + 1 :])


def without_key(args: LaunchArgs, key: str) -> tuple[str, ...]:
    """Return the command line without a key."""
    gone = {item.index for item in args.overrides if item.key == key}
    for flag in args.flags:
        if flag.key == key:
            gone.update(range(flag.index, flag.last + 1))
    return tuple(word for index, word in enumerate(args.argv) if index not in gone)


def _locate(words: tuple[str, ...]) -> tuple[LaunchKind, int, bool] | None:
    """Return what launches, the index of its first own word, and whether it trains."""
    if not words:
        return None
    program = 1 if _is_python(words[0]) else 0
    index = program
    while program and index < len(words) and words[index].startswith("-"):
        if words[index] in {"-m", "-c"}:
            break
        index += 2 if words[index] in {"-X", "-W"} else 1
    if index >= len(words) or words[index] == "-c":
        return None
    module = words[index] == "-m"
    if module:
        index += 1
    if index >= len(words):
        return None
    return _located(words, index, module=module)


def _located(
    words: tuple[str, ...], index: int, *, module: bool
) -> tuple[LaunchKind, int, bool] | None:
    name = words[index] if module else PurePath(words[index]).name
    if module and name == DEMO_MODULE:
        return _after_command(words, index, LaunchKind.DEMO)
    if name in _CLI_NAMES or (module and name in {"llamafactory.cli", "llamafactory"}):
        return _after_command(words, index, LaunchKind.CLI)
    if not module and name == "cli.py" and "llamafactory" in PurePath(words[index]).parts:
        return _after_command(words, index, LaunchKind.CLI)
    if _is_script(words[index]) or (module and name == "llamafactory.launcher"):
        is_launcher = name in {"launcher.py", "llamafactory.launcher"}
        kind = LaunchKind.LAUNCHER if is_launcher else LaunchKind.SCRIPT
        return _after_script(words, index, kind)
    kinds = (
        (LaunchKind.TORCHRUN, _WRAPPERS),
        (LaunchKind.ACCELERATE, {"accelerate", "accelerate.commands.launch"}),
        (LaunchKind.DEEPSPEED, _DEEPSPEED),
    )
    for kind, names in kinds:
        if name in names:
            script = next((i for i in range(index + 1, len(words)) if _is_script(words[i])), None)
            return None if script is None else _after_script(words, script, kind)
    return None


def _after_command(
    words: tuple[str, ...], index: int, kind: LaunchKind
) -> tuple[LaunchKind, int, bool]:
    command = words[index + 1] if index + 1 < len(words) else ""
    return kind, index + 2, command in _V1_TRAININGS


def _after_script(
    words: tuple[str, ...], index: int, kind: LaunchKind
) -> tuple[LaunchKind, int, bool]:
    start = index + 1
    if "v1" in PurePath(words[index]).parts and start < len(words):
        start += words[start] in _V1_TRAININGS
    while start < len(words) and words[start].startswith(("--local_rank", "--local-rank")):
        start += 1 if "=" in words[start] else 2
    return kind, start, True


def _is_script(word: str) -> bool:
    path = PurePath(word)
    if path.name in _TRAIN_SCRIPTS:
        return True
    return path.name == "launcher.py" and "llamafactory" in path.parts


def _is_python(word: str) -> bool:
    return re.match(r"^(?:python|pypy)[\d.]*$", PurePath(word).name) is not None


def _flags(words: tuple[str, ...], start: int) -> tuple[Flag, ...]:
    flags = []
    index = start
    while index < len(words):
        word = words[index]
        if not word.startswith("--") or len(word) < 3:  # noqa: PLR2004 - "--" alone is no flag
            index += 1
            continue
        key, has_value, text = word[2:].partition("=")
        last = index
        if not has_value:
            while last + 1 < len(words) and not words[last + 1].startswith("--"):
                last += 1
            parts = words[index + 1 : last + 1]
            text = " ".join(parts)
        value: object = True if not text and not has_value else _flag_value(key, text)
        flags.append(Flag(index, last, key, value))
        index = last + 1
    return tuple(flags)


def _flag_value(key: str, text: str) -> object:
    """Return a flag's value; argparse keeps text as it is where the key's type is text."""
    info = KEYS.get(key)
    if info is not None and info.type_name == "str":
        return text
    value = parse_scalar(text)
    return value if isinstance(value, bool | int | float) else text


def _plain(value: object) -> str:
    """Write a value as a word of a command line; text needs no quotes there."""
    return value if isinstance(value, str) else format_scalar(value)
