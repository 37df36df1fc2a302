"""Owns what a run leaves: the value that a post-mortem reads, and a look at what lies in a folder.

Only names and small files are read here; logs are read by others.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import ConfigError
from diagnostics.runs.config_file import read_config_bytes
from diagnostics.runs.log_files import read_name

USUAL_CONFIGS = ("config.yaml", "train.yaml", "training_args.yaml", "demo.yaml")
_TRAINING_KEYS = frozenset({"model_name_or_path", "stage", "output_dir", "finetuning_type"})
OUTPUT_FILES = frozenset({"trainer_log.jsonl", "trainer_state.json"})
_CHECKPOINT = re.compile(r"checkpoint-\d{1,12}")
_PASSED_OVER = re.compile(r"\..*|checkpoint-\d+|__pycache__|node_modules|site-packages|wandb|runs")
_MAX_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of one run, wherever it lies; what is not known is empty."""

    name: str
    """As a person named it."""
    cwd: Path
    logs: tuple[Path, ...] = ()
    """Parts of its console log, oldest first."""
    config: EffectiveConfig | None = None
    output_dir: Path | None = None
    argv: tuple[str, ...] = ()
    """How it was started, where that is recorded."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    record: Path | None = None
    """Its folder in the state store, where llamavet launched it."""
    alive: bool = False
    stream: bool = False
    """True where its log is not a file but comes through `name`: a pipe, or "-"."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What of trainings lies in one folder, without what lies below it."""

    path: Path
    logs: tuple[Path, ...] = ()
    configs: tuple[Path, ...] = ()
    """Every YAML file, usual names first."""
    has_output: bool = False
    """Whether a training writes, or wrote, its output here."""
    below: tuple[Path, ...] = ()
    """Folders that may hold runs of their own."""


def look_into(path: Path) -> Folder:
    """Return what lies in a folder; one that cannot be read is empty."""
    logs: list[Path] = []
    configs: list[Path] = []
    below: list[Path] = []
    has_output = False
    for entry in _entries(path):
        if entry.is_dir():
            has_output = has_output or _CHECKPOINT.fullmatch(entry.name) is not None
            if not entry.is_symlink() and not _PASSED_OVER.fullmatch(entry.name):
                below.append(entry)
        elif not entry.is_file():
            continue
        elif entry.name in OUTPUT_FILES:
            has_output = True
        elif entry.suffix in {".yaml", ".yml"}:
            configs.append(entry)
        elif read_name(entry.name) is not None:
            logs.append(entry)
    configs.sort(key=lambda item: (_place(item.name), item.name))
    return Folder(path, tuple(logs), tuple(configs), has_output, tuple(below))


def _place(name: str) -> int:
    return USUAL_CONFIGS.index(name) if name in USUAL_CONFIGS else len(USUAL_CONFIGS)


def _entries(path: Path) -> list[Path]:
    found: list[Path] = []
    try:
        for entry in path.iterdir():
            found.append(entry)
            if len(found) >= _MAX_ENTRIES:
                break
    except OSError:
        return []
    return sorted(found, key=lambda entry: natural(entry.name))


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts run-2 before run-10."""
    parts = re.findall(r"(\d{1,18})|(\D+|\d+)", name)
    return [(int(digits) if digits else -1, text) for digits, text in parts]


def read_config(path: Path) -> EffectiveConfig:
    """Return the config in a file.

    Raises:
        ConfigError: it cannot be read or does not parse.
    """
    return EffectiveConfig(parse_document(read_config_bytes(path), path), None)


def training_config(path: Path) -> EffectiveConfig | None:
    """Return the config in a file; None where it does not parse or is not of a training."""
    try:
        config = read_config(path)
    except ConfigError:
        return None
    keys = config.document.values.keys() if config.document is not None else set()
    return config if keys & _TRAINING_KEYS and "export_dir" not in keys else None


def merge_config(path: Path) -> EffectiveConfig | None:
    """Return the config in a file; None where it does not parse or is not of an export."""
    try:
        config = read_config(path)
    except ConfigError:
        return None
    keys = config.document.values.keys() if config.document is not None else set()
    return config if {"model_name_or_path", "export_dir"} <= set(keys) else None


def output_of(config: EffectiveConfig | None, bases: Sequence[Path]) -> Path | None:
    """Return the folder that a config writes to, where it lies below one of the bases."""
    value = config.get("output_dir", None) if config is not None else None
    if not isinstance(value, str) or not value.strip():
        return None
    for base in bases:
        folder = base / value
        try:
            if folder.is_dir() and look_into(folder).has_output:
                return folder
        except (OSError, ValueError):  # too long, or a NUL in it
            return None
    return None


def with_parents(folder: Path, count: int = 4) -> list[Path]:
    """Return a folder and those above it: a config's paths start where the training did."""
    absolute = folder.absolute()
    return [absolute, *list(absolute.parents)[:count]]


def same_place(first: Path | None, second: Path | None) -> bool:
    """Tell whether two paths lead to the same file or folder."""
    if first is None or second is None:
        return False
    return os.path.realpath(first) == os.path.realpath(second)
