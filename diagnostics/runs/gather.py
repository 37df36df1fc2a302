"""Owns finding what belongs together: from the words that a person gives to one Remains a run."""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import LlamavetError, RunError
from diagnostics.runs.folders import MAX_RUNS, bases, completed, is_of, log_in, runs_in, runs_of
from diagnostics.runs.known import known_runs, run_named
from diagnostics.runs.log_files import base_of, families, read_name
from diagnostics.runs.remains import (
    OUTPUT_FILES,
    Remains,
    look_into,
    natural,
    output_of,
    read_config,
    same_place,
)

STDIN = "-"
_CONFIG_ENDINGS = {".yaml", ".yml"}
_CHECKPOINT = re.compile(r"checkpoint-\d{1,12}")


@dataclass(frozen=True, slots=True)
class Gathered:
    """The runs that were found, and one fault for each word that led to none."""

    runs: tuple[Remains, ...]
    faults: tuple[LlamavetError, ...] = ()
    expanded: bool = False
    """True where a pattern or a folder of runs was named: not all in it need be of a training."""


@dataclass(slots=True)
class _Found:
    """What the words led to so far: whole runs, and single files by kind."""

    runs: list[Remains] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    configs: list[Path] = field(default_factory=list)
    outputs: list[Path] = field(default_factory=list)


def gather(words: Sequence[str]) -> Gathered:
    """Return one Remains for each run that the words name; a word that names none is a fault."""
    known = known_runs() if set(words) != {STDIN} else ()
    found = _Found()
    faults: list[LlamavetError] = []
    expanded = False
    for word in dict.fromkeys(words):
        try:
            paths = _expand(word)
            before = len(found.runs)
            if paths is None:
                found.runs.append(_not_a_path(word))
            for path in paths or ():
                _read_path(path, known, found)
        except LlamavetError as fault:
            faults.append(fault)
        else:
            by_pattern = paths is not None and paths != [Path(word)]
            expanded = expanded or by_pattern or len(found.runs) > before + 1
    runs = [*found.runs, *_of_logs_and_outputs(found, known)]
    for path in dict.fromkeys(found.configs):
        try:
            runs = _with_config(runs, path, known, sole=len(found.configs) == 1)
        except LlamavetError as fault:
            faults.append(fault)
    return Gathered(tuple(_distinct(runs))[:MAX_RUNS], tuple(faults), expanded)


def _expand(word: str) -> list[Path] | None:
    """Return the paths that a word names; None for a run's name, a pid or standard input."""
    if word == STDIN:
        return None
    try:
        if os.path.lexists(word):
            return [Path(word)]
        if not glob.has_magic(word):
            return None
        matches = sorted(glob.glob(word, recursive=True), key=natural)  # noqa: PTH207 - absolute patterns
    except (ValueError, OSError) as error:
        raise RunError(f"{word!r}: is no path: {error}") from error
    if not matches:
        raise RunError(
            f"{word}: nothing matches it",
            remedy="name a log, the output_dir of a run, or a folder of runs",
        )
    return [Path(match) for match in matches]


def _not_a_path(word: str) -> Remains:
    return Remains(STDIN, Path.cwd(), stream=True) if word == STDIN else run_named(word)


def _read_path(path: Path, known: Sequence[Remains], found: _Found) -> None:
    """Put one path where it belongs.

    Raises:
        LlamavetError: it is a folder without a run.
    """
    if path.is_dir():
        above = path.absolute().parent
        of_a_run = _CHECKPOINT.fullmatch(path.name) and look_into(above).has_output
        found.runs.extend(runs_in(above if of_a_run else path, known))
    elif path.suffix in _CONFIG_ENDINGS:
        found.configs.append(path)
    elif path.name in OUTPUT_FILES:
        folder = path.parent
        if _CHECKPOINT.fullmatch(folder.absolute().name):
            folder = folder.absolute().parent
        found.outputs.append(folder)
    elif path.exists() and not path.is_file():
        found.runs.append(Remains(str(path), Path.cwd(), stream=True))
    else:
        found.logs.append(path)


def _of_logs_and_outputs(found: _Found, known: Sequence[Remains]) -> list[Remains]:
    made = [_of_logs(group, known) for group in families(dict.fromkeys(found.logs))]
    for folder in dict.fromkeys(found.outputs):
        if any(same_place(run.output_dir, folder) for run in (*found.runs, *made)):
            continue
        if len(made) == 1 and made[0].output_dir is None:
            made = [replace(made[0], output_dir=folder)]
        else:
            made.extend(runs_of(look_into(folder), known))
    return made


def _of_logs(group: tuple[Path, ...], known: Sequence[Remains]) -> Remains:
    last = group[-1]
    for run in known:
        if any(same_place(log, last) for log in run.logs):
            return run
    return completed(Remains(str(last), last.parent, logs=_parts(group)))


def _parts(group: tuple[Path, ...]) -> tuple[Path, ...]:
    """Add what rotation made of a log that was named alone."""
    last = group[-1]
    name = read_name(last.name)
    if len(group) > 1 or name is None or name.part:
        return group
    mine = [path for path in look_into(last.parent).logs if base_of(path) == name.base]
    return next((parts for parts in families([*mine, last]) if last in parts), group)


def _with_config(
    runs: list[Remains], path: Path, known: Sequence[Remains], *, sole: bool
) -> list[Remains]:
    """Give a config that was named to its run, or find its run.

    Raises:
        LlamavetError: it cannot be read, or no run of it is found.
    """
    config = read_config(path)
    mine = [index for index, run in enumerate(runs) if _wrote(run, path, config)]
    if not mine and sole and len(runs) == 1:
        mine = [0]
    if len(mine) != 1:
        return [*runs, _of_config(path, config, known)]
    run = runs[mine[0]]
    if not run.argv or not same_place(_path_of(run.config), path):
        output = run.output_dir or output_of(config, bases(path.parent, run.cwd))
        run = replace(run, config=config, output_dir=output)
    return [*runs[: mine[0]], run, *runs[mine[0] + 1 :]]


def _of_config(path: Path, config: EffectiveConfig, known: Sequence[Remains]) -> Remains:
    """Return the run that was started with a config, by what its output folder and logs tell."""
    for run in known:
        if same_place(_path_of(run.config), path):
            return run
    folder = output_of(config, bases(path.parent))
    logs = log_in(folder) if folder is not None else ()
    if not logs:
        look = look_into(path.parent)
        groups = families(look.logs)
        mine = [group for group in groups if is_of(group, path, config)]
        if len(look.configs) == 1 and len(groups) == 1:
            mine = groups
        logs = mine[0] if len(mine) == 1 else ()
    if folder is None and not logs:
        raise RunError(
            f"{path}: nothing that a run with this config left was found",
            remedy=f"name its log too: `llamavet analyze LOG {path}`",
        )
    return Remains(str(path), path.parent, logs, config, folder)


def _wrote(run: Remains, path: Path, config: EffectiveConfig) -> bool:
    """Tell whether a run was started with a config, as its files say."""
    used = _path_of(run.config)
    if used is not None and (run.argv or same_place(used, path)):
        return same_place(used, path)
    if run.output_dir is not None:
        folder = output_of(config, bases(path.parent, run.cwd))
        if folder is not None:
            return same_place(folder, run.output_dir)
    return bool(run.logs) and is_of(run.logs, path, config)


def _path_of(config: EffectiveConfig | None) -> Path | None:
    return config.document.path if config is not None and config.document is not None else None


def _distinct(runs: Iterable[Remains]) -> list[Remains]:
    """Keep one of those that are of the same log, or of the same output where there is no log."""
    kept: dict[str, Remains] = {}
    for run in runs:
        place = run.logs[-1] if run.logs else run.output_dir
        key = run.name if run.stream or place is None else os.path.realpath(place)
        before = kept.get(key)
        if before is None or (before.config is None and run.config is not None):
            kept[key] = run
    return list(kept.values())
