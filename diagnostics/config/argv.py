"""Owns command lines of LLaMA-Factory: recognising them, and changing what they set.

Pure words in, words out: which processes run and what their scripts hold is for others.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from diagnostics.config.dotlist import Override, merged, override_word, read_override
from diagnostics.config.flags import Flag, flag_words, is_flag, read_flags
from diagnostics.errors import ConfigError

DEMO_MODULE = "diagnostics.demo.trainer"

_CLI_NAMES = frozenset({"llamafactory-cli", "lmf"})
_CLI_MODULES = frozenset({"llamafactory.cli", "llamafactory"})
_BOARD_COMMANDS = frozenset({"webui", "webchat"})
_TRAIN_COMMANDS = frozenset({"train", "sft", "dpo", "rm"})
_LAUNCHER_MODULES = frozenset({"llamafactory.launcher", "llamafactory.v1.launcher"})
_TRAIN_SCRIPTS = frozenset({"train.py", "train_bash.py"})
_BOARD_SCRIPTS = frozenset({"webui.py", "train_web.py"})
_CONFIG_ENDINGS = (".yaml", ".yml", ".json")
_UNNAMED = "config.yaml"  # a pipe's name has no ending
_SHOWN_CHARS = 80
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*t?")
# Python options that take the next word, such as `-X dev`.
_PYTHON_VALUE_OPTIONS = frozenset({"-X", "-W", "--check-hash-based-pycs"})
_MODULE_OPTION = re.compile(r"-[bBdEiIOPqsSuvx]*m")
# What tells LLaMA-Factory's train.py, started with flags alone, from other projects' train.py.
_OWN_FLAGS = frozenset({"stage", "finetuning_type", "dataset_dir", "template", "lora_target"})


class LaunchKind(StrEnum):
    """What a command line starts."""

    CLI = "cli"  # llamafactory-cli, lmf, python -m llamafactory.cli
    TORCHRUN = "torchrun"
    ACCELERATE = "accelerate"
    DEEPSPEED = "deepspeed"
    LAUNCHER = "launcher"  # python .../llamafactory/launcher.py: a rank
    SCRIPT = "script"  # python src/train.py, src/train_bash.py: one process, or a rank
    BOARD = "board"  # the web page that starts trainings
    DEMO = "demo"


_LAUNCHERS = {
    "torchrun": LaunchKind.TORCHRUN,
    "torch.distributed.run": LaunchKind.TORCHRUN,
    "torch.distributed.launch": LaunchKind.TORCHRUN,
    "accelerate": LaunchKind.ACCELERATE,
    "accelerate-launch": LaunchKind.ACCELERATE,
    "accelerate.commands.launch": LaunchKind.ACCELERATE,
    "deepspeed": LaunchKind.DEEPSPEED,
    "deepspeed.launcher.launch": LaunchKind.DEEPSPEED,
    "deepspeed.launcher.runner": LaunchKind.DEEPSPEED,
}


@dataclass(frozen=True, slots=True)
class LaunchArgs:
    """A command line of LLaMA-Factory, taken apart; indexes count words of `argv`."""

    argv: tuple[str, ...]
    kind: LaunchKind
    is_training: bool
    """True for what trains: not for export, chat, api or the board."""
    config_index: int | None = None
    overrides: tuple[Override, ...] = ()
    flags: tuple[Flag, ...] = ()

    @property
    def config_token(self) -> str | None:
        """The config's path as it was typed; None where flags say all."""
        return None if self.config_index is None else self.argv[self.config_index]

    @property
    def values(self) -> dict[str, object]:
        """What the command line alone sets; the last of a key wins."""
        return self.over({})

    def over(self, values: dict[str, object]) -> dict[str, object]:
        """Lay what the command line sets over the values of a file."""
        flags = {flag.key: flag.value for flag in self.flags}
        return merged({**values, **flags}, self.overrides)

    def sets(self, key: str) -> bool:
        """Tell whether the command line sets a key, in whole or in part."""
        return any(flag.key == key for flag in self.flags) or any(
            override.root == key for override in self.overrides
        )


@dataclass(frozen=True, slots=True)
class _Entrance:
    """Where LLaMA-Factory's own words begin."""

    kind: LaunchKind
    start: int
    is_training: bool


def launch_of(config: str, overrides: Sequence[str]) -> LaunchArgs | None:
    """Return the launch of a config file, whatever it is called, with words that win over it.

    Raises:
        ConfigError: a word is not of the form key=value.
    """
    for word in overrides:
        if "=" not in word:
            short = word[:_SHOWN_CHARS]
            raise ConfigError(
                f"{short!r} is not of the form key=value", remedy=f"write {short}=VALUE"
            )
    named = config.lower().endswith(_CONFIG_ENDINGS)
    return parse_launch(("llamafactory-cli", "train", config if named else _UNNAMED, *overrides))


def parse_launch(argv: Sequence[str]) -> LaunchArgs | None:
    """Take a command line apart; None where it is not LLaMA-Factory's."""
    words = tuple(argv)
    found = _entrance(words)
    if found is None:
        return None
    start = found.start
    if start < len(words) and words[start].lower().endswith(_CONFIG_ENDINGS):
        overrides = tuple(read_override(i, words[i]) for i in range(start + 1, len(words)))
        return LaunchArgs(words, found.kind, found.is_training, start, overrides)
    flags = read_flags(words, start)
    return LaunchArgs(words, found.kind, found.is_training, None, (), flags)


def with_value(args: LaunchArgs, key: str, value: object) -> tuple[str, ...]:
    """Return the words with a key's value changed, or added at the end.

    Raises:
        ConfigError: the value cannot be given on a command line.
    """
    if args.config_index is not None:
        return _with_override(args, key, value)
    flag = next((flag for flag in reversed(args.flags) if flag.key == key), None)
    words = args.argv
    if value is None:
        if flag is not None:
            return without_key(args, key)
        raise ConfigError(
            f"{key} cannot be set to null by a flag",
            remedy="start the training with a YAML config",
        )
    if flag is None:
        return (*words, *flag_words(key, value))
    joined = flag.value_index == flag.index
    return (
        *words[: flag.index],
        *flag_words(key, value, joined=joined),
        *words[flag.last + 1 :],
    )


def without_key(args: LaunchArgs, key: str) -> tuple[str, ...]:
    """Return the words without a key."""
    gone = {override.index for override in args.overrides if override.root == key}
    for flag in args.flags:
        if flag.key == key:
            gone.update(range(flag.index, flag.last + 1))
    return tuple(word for index, word in enumerate(args.argv) if index not in gone)


def _with_override(args: LaunchArgs, key: str, value: object) -> tuple[str, ...]:
    """Change the last override of a key; parts of it (`key.part=...`) go, as the whole is given."""
    mine = [override for override in args.overrides if override.root == key]
    whole = [override.index for override in mine if override.path == (key,)]
    word = override_word(key, value)
    if not whole:
        return (*without_key(args, key), word)
    gone = {override.index for override in mine} - set(whole)
    return tuple(
        word if index == whole[-1] else old
        for index, old in enumerate(args.argv)
        if index not in gone
    )


def _entrance(words: tuple[str, ...]) -> _Entrance | None:
    """Find the program past its interpreter, then LLaMA-Factory past its launcher."""
    index, is_module = 0, False
    if words and _PYTHON.fullmatch(_name(words[0])):
        index = 1
        while index < len(words) and words[index].startswith("-"):
            if _MODULE_OPTION.fullmatch(words[index]):
                index, is_module = index + 1, True
                break
            if words[index] == "-c":
                return None
            index += 2 if words[index] in _PYTHON_VALUE_OPTIONS else 1
    if index >= len(words):
        return None
    name = words[index] if is_module else _name(words[index])
    launcher = _LAUNCHERS.get(name)
    if launcher is None:
        return _own(words, index, None, is_module=is_module)
    # A launcher's own options take values that cannot be told from words; look for ours.
    for at in range(index + 1, len(words)):
        after_module = words[at - 1] in {"-m", "--module"}
        found = _own(words, at, launcher, is_module=after_module)
        if found is not None:
            return found
    return None


def _own(
    words: tuple[str, ...], index: int, launcher: LaunchKind | None, *, is_module: bool
) -> _Entrance | None:
    """Recognise one of LLaMA-Factory's own programs at an index."""
    word, after = words[index], index + 1
    name, parts = _name(word), PurePosixPath(word).parts
    command = words[after] if after < len(words) else ""
    if is_module and word == DEMO_MODULE:
        return _Entrance(LaunchKind.DEMO, after + 1, command == "train")
    is_cli_file = name == "cli.py" and "llamafactory" in parts
    if (word in _CLI_MODULES) if is_module else (name in _CLI_NAMES or is_cli_file):
        is_board = command in _BOARD_COMMANDS
        kind = LaunchKind.BOARD if is_board else (launcher or LaunchKind.CLI)
        return _Entrance(kind, after + 1, command in _TRAIN_COMMANDS)
    is_launcher_file = name == "launcher.py" and "llamafactory" in parts
    if word in _LAUNCHER_MODULES if is_module else is_launcher_file:
        is_v1 = "v1" in (word.split(".") if is_module else parts)
        start = after + (is_v1 and command in _TRAIN_COMMANDS)
        return _Entrance(launcher or LaunchKind.LAUNCHER, _past_rank(words, start), True)
    if not is_module and name in _BOARD_SCRIPTS and parts[-2:-1] == ("src",):
        return _Entrance(LaunchKind.BOARD, after, False)
    if not is_module and name in _TRAIN_SCRIPTS:
        start = _past_rank(words, after)
        if name == "train_bash.py" or _speaks_llama_factory(words, start):
            return _Entrance(launcher or LaunchKind.SCRIPT, start, True)
    return None


def _past_rank(words: tuple[str, ...], start: int) -> int:
    """Skip `--local_rank=K`, which deepspeed puts before the user's words."""
    while start < len(words) and re.match(r"--local[_-]rank(?:=|$)", words[start]):
        start += 1 if "=" in words[start] else 2
    return start


def _speaks_llama_factory(words: tuple[str, ...], start: int) -> bool:
    if start < len(words) and words[start].lower().endswith(_CONFIG_ENDINGS):
        return True
    names = {word[2:].partition("=")[0] for word in words[start:] if is_flag(word)}
    return bool({name.replace("-", "_") for name in names} & _OWN_FLAGS)


def _name(word: str) -> str:
    return PurePosixPath(word).name
