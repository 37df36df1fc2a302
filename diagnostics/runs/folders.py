"""Owns finding the runs in a folder, and what lies beside a log: its config, its output."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import RunError
from diagnostics.runs.log_files import USUAL, families
from diagnostics.runs.mentions import mentions
from diagnostics.runs.remains import (
    USUAL_CONFIGS,
    Folder,
    Remains,
    look_into,
    merge_config,
    output_of,
    same_place,
    training_config,
    with_parents,
)

MAX_DEPTH = 4
MAX_FOLDERS = 5_000
MAX_RUNS = 1_000


def runs_in(path: Path, known: Sequence[Remains]) -> list[Remains]:
    """Return the run in a folder; of a folder of runs, all of them.

    Raises:
        RunError: there is none.
    """
    top = look_into(path)
    here = runs_of(top, known)
    found: list[Remains] = []
    descends = not here or (not top.has_output and not any(map(_is_of_a_training, here)))
    todo = [(folder, 1) for folder in top.below] if descends else []
    seen = 0
    while todo and len(found) < MAX_RUNS and seen < MAX_FOLDERS:
        folder, depth = todo.pop(0)
        seen += 1
        look = look_into(folder)
        inside = runs_of(look, known)
        found.extend(inside)
        if not inside and depth < MAX_DEPTH:
            todo[:0] = [(below, depth + 1) for below in look.below]
    if not found and not here:
        raise RunError(
            f"{path}: no run in this folder: no log, no trainer_log.jsonl, no checkpoint",
            remedy="name the output_dir of a run, its log, or a folder of runs",
        )
    return found or here


def runs_of(look: Folder, known: Sequence[Remains]) -> list[Remains]:
    """Return the runs that lie in this very folder: one, unless logs of several lie in it."""
    mine = (run for run in known if _lies_in(run, look))
    first = next(mine, None)
    if first is not None:
        return [first]
    groups = _logs_that_count(look)
    if not groups and look.has_output:
        return [completed(Remains(str(look.path), look.path))]
    if not groups:
        return _by_config(look, known)
    names = [str(look.path)] if len(groups) == 1 else [str(group[-1]) for group in groups]
    return [
        completed(Remains(name, look.path, logs=group))
        for name, group in zip(names, groups, strict=True)
    ]


def _is_of_a_training(run: Remains) -> bool:
    return not run.logs or mentions(run.logs[-1]).of_a_training


def _lies_in(run: Remains, look: Folder) -> bool:
    return same_place(run.output_dir, look.path) or same_place(run.record, look.path)


def _logs_that_count(look: Folder) -> list[tuple[Path, ...]]:
    """Return the logs of a folder, those of one run together; of an output folder only one."""
    groups = families(look.logs)
    if len(groups) < 2:  # noqa: PLR2004 - there is nothing to choose
        return groups
    usual = [group for group in groups if _usual_place(group) < len(USUAL)]
    if usual:
        return [min(usual, key=_usual_place)]
    if look.has_output:
        return [max(groups, key=lambda group: _modified_at(group[-1]))]
    return groups


def _by_config(look: Folder, known: Sequence[Remains]) -> list[Remains]:
    """Return the run whose config lies here, where its output lies elsewhere."""
    for path in look.configs:
        config = training_config(path)
        folder = output_of(config, bases(look.path))
        if folder is not None:
            recorded = [run for run in known if same_place(run.output_dir, folder)]
            left = Remains(str(look.path), look.path, log_in(folder), config, folder)
            return [*recorded, left][:1]
    return []


def completed(run: Remains) -> Remains:
    """Find the config and the output folder of a run whose log, or output, is known."""
    look = look_into(run.cwd)
    config = run.config or _config_for(run, look)
    output = run.output_dir or (run.cwd if look.has_output else None)
    if output is None:
        output = output_of(config, bases(run.cwd))
    return replace(run, config=config, output_dir=output)


def _config_for(run: Remains, look: Folder) -> EffectiveConfig | None:
    """Return the config that a run was started with; None where several may be it."""
    beside = {path: config for path in look.configs if (config := training_config(path))}
    beside = beside or _of_export(run, look)
    said = mentions(run.logs[-1]).configs if run.logs else ()
    named = [beside[path] for path in beside if path.name in {Path(word).name for word in said}]
    if len(named) == 1:
        return named[0]
    if len(beside) == 1:
        return next(iter(beside.values()))
    mine = [config for path, config in beside.items() if run.logs and is_of(run.logs, path, config)]
    if len(mine) == 1:
        return mine[0]
    usual = (beside[path] for path in beside if path.name in USUAL_CONFIGS)
    elsewhere = (training_config(base / word) for word in said for base in bases(run.cwd))
    return next(usual, None) or (next(filter(None, elsewhere), None) if not beside else None)


def _of_export(run: Remains, look: Folder) -> dict[Path, EffectiveConfig]:
    """Return the configs of exports, where the log may be of one: a merge is no training."""
    found = ((path, merge_config(path)) for path in look.configs)
    return {
        path: config
        for path, config in found
        if config is not None
        and run.logs
        and (path.name in USUAL_CONFIGS or is_of(run.logs, path, config))
    }


def is_of(logs: tuple[Path, ...], path: Path, config: EffectiveConfig) -> bool:
    """Tell whether a log is of a config: by its name, or by what it says."""
    if logs[-1].name.split(".")[0] == path.stem:
        return True
    said = mentions(logs[-1])
    output = config.get("output_dir", None)
    return path.name in {Path(name).name for name in said.configs} or (
        isinstance(output, str) and said.has_path(output)
    )


def log_in(folder: Path) -> tuple[Path, ...]:
    """Return the log in an output folder, all of its parts; () where there is none."""
    look = look_into(folder)
    groups = _logs_that_count(look)
    return groups[0] if groups else ()


def bases(*folders: Path) -> list[Path]:
    """Return where relative paths of a config may start."""
    found: Iterable[Path] = (base for folder in folders for base in with_parents(folder))
    return list(dict.fromkeys([*found, Path.cwd()]))


def _usual_place(group: tuple[Path, ...]) -> int:
    name = group[-1].name.removesuffix(".gz")
    first = group[0].name.removesuffix(".gz")
    return min(USUAL.index(one) if one in USUAL else len(USUAL) for one in (name, first))


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
