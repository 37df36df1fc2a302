"""Owns telling which run is meant: a pid, a folder, a log, a record, or all that can be found."""

from collections.abc import Sequence
from pathlib import Path

from diagnostics.config.argv import parse_launch
from diagnostics.config.document import ConfigDocument, parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.demo.gpu import SIMULATED_GPU
from diagnostics.errors import ConfigError, RunError
from diagnostics.runs.config_file import read_config_bytes
from diagnostics.runs.discover import RunGroup, find_run, find_runs
from diagnostics.runs.files import read_json
from diagnostics.runs.launcher import read_handle
from diagnostics.runs.log_files import USUAL as USUAL_LOGS
from diagnostics.runs.log_parts import check_readable
from diagnostics.runs.model import Launch, Run
from diagnostics.runs.output_dir import read_output_dir
from diagnostics.runs.processes import is_alive
from diagnostics.runs.proposal import output_dir
from diagnostics.runs.remains import USUAL_CONFIGS
from diagnostics.runs.store import RUN, attempts, find_record, read_launch, records

MAX_RECENT = 20


def live_runs() -> list[Run]:
    """Return every training of this user that runs on this host, newest first."""
    groups = sorted(find_runs(), key=lambda group: group.started_at, reverse=True)
    return [run_of_group(group) for group in groups]


def recent_runs() -> list[Run]:
    """Return the recorded runs that have ended, newest first."""
    runs = (run_of_record(record) for record in records()[:MAX_RECENT])
    return [run for run in runs if run is not None and run.group is None]


def resolve(target: str) -> Run:
    """Return the run that a word on the command line means.

    Raises:
        RunError: it means none; the message says what was looked at.
        ConfigError: its config cannot be read.
    """
    if target.isdecimal() and not Path(target).exists():
        return run_of_group(find_run(int(target)))
    path = Path(target)
    if not path.exists():
        record = next((r for r in records() if r.name == target), None)
        run = run_of_record(record) if record is not None else None
        if run is None:
            raise RunError(
                f"{target}: no such file, folder or run",
                remedy="`llamavet runs` lists the runs that are known",
            )
        return run
    if path.is_dir():
        return _run_of_folder(path)
    if path.suffix in {".yaml", ".yml"}:
        return _run_of_config(path)
    return run_of_log(path)


def run_of_group(group: RunGroup) -> Run:
    """Describe a live training; a config that cannot be read leaves it without one."""
    record = find_record(group.root.pid, group.root.started_ticks)
    launch = Launch(group.argv, group.cwd, group.environ, group.limits)
    config = effective_config(launch)
    log_path = group.log_paths[0] if group.log_paths else None
    if record is not None:
        made = attempts(record)
        log_path = made[-1].log_path if made else log_path
    folder = output_dir(config, group.cwd)
    if group.board and folder is not None and (folder / "running_log.txt").is_file():
        log_path = folder / "running_log.txt"
    return Run(
        name=_name(config, folder, group.cwd),
        config=config,
        cwd=group.cwd,
        output_dir=folder,
        log_path=log_path,
        launch=launch,
        group=group,
        record=record,
        simulated_gpu=group.cwd / SIMULATED_GPU if group.simulated else None,
        no_log_reason="" if log_path is not None else f"its output goes to a {group.log_sink}",
    )


def run_of_record(record: Path | None) -> Run | None:
    """Describe a recorded run by its last attempt; None where nothing of it can be read."""
    if record is None:
        return None
    made = attempts(record)
    if not made:
        return None
    last = made[-1]
    handle = read_handle(last.folder)
    if handle is not None and is_alive(handle.process):
        try:
            return run_of_group(find_run(handle.process.pid))
        except RunError:
            pass  # it ended between the two looks
    launch = read_launch(last.folder)
    config = effective_config(launch) if launch is not None else None
    facts = read_json(record / RUN) or {}
    cwd = launch.cwd if launch is not None else Path(str(facts.get("cwd", ".")))
    folder = output_dir(config, cwd)
    simulated = launch is not None and "diagnostics.demo.trainer" in launch.argv
    return Run(
        name=str(facts.get("name") or _name(config, folder, cwd)),
        config=config,
        cwd=cwd,
        output_dir=folder,
        log_path=last.log_path,
        launch=launch,
        record=record,
        simulated_gpu=cwd / SIMULATED_GPU if simulated else None,
    )


def run_of_log(path: Path) -> Run:
    """Describe the run behind a log file: the live one that writes it, or only the file.

    Raises:
        RunError: the file is empty, binary, or cannot be read.
    """
    real = path.resolve()
    for run in _known_runs():
        if run.log_path is not None and run.log_path.resolve() == real:
            return run
    check_readable((path,))
    folder = path.parent
    config = _config_beside(folder)
    return Run(
        name=path.name,
        config=config,
        cwd=folder.absolute(),
        output_dir=folder if (folder / "trainer_log.jsonl").is_file() else None,
        log_path=path,
    )


def effective_config(launch: Launch) -> EffectiveConfig | None:
    """Return the config of a launch, or None where its file is gone or does not parse."""
    args = parse_launch(launch.argv)
    if args is None:
        return None
    document: ConfigDocument | None = None
    if args.config_token is not None:
        path = launch.cwd / args.config_token
        try:
            document = parse_document(read_config_bytes(path), path)
        except ConfigError:
            return None
    return EffectiveConfig(document, args)


def find_log(folder: Path) -> Path | None:
    """Return the console log in a folder: a usual name, else the newest *.log."""
    for name in USUAL_LOGS:
        if (folder / name).is_file():
            return folder / name
    others = [path for path in _files(folder) if path.suffix in {".log", ".out"}]
    return max(others, key=lambda path: path.stat().st_mtime, default=None)


def _run_of_folder(path: Path) -> Run:
    real = path.resolve()
    for run in _known_runs():
        if run.output_dir is not None and run.output_dir.resolve() == real:
            return run
        if run.record is not None and run.record.resolve() == real:
            return run
    log = find_log(path)
    output = read_output_dir(path)
    if log is None and not output.has_trainer_log and not output.checkpoints:
        raise RunError(
            f"{path}: no run in this folder: no log, no trainer_log.jsonl, no checkpoint",
            remedy="name the output_dir of a run, its log, or a pid",
        )
    has_output = output.has_trainer_log or output.checkpoints or output.has_model
    return Run(
        name=real.name,
        config=_config_beside(path),
        cwd=real,
        output_dir=path if has_output else None,
        log_path=log,
        no_log_reason="" if log is not None else "no log in this folder",
    )


def _run_of_config(path: Path) -> Run:
    """Return the run that was started with a config file: a live one first."""
    real = path.resolve()
    for run in _known_runs():
        document = run.config.document if run.config is not None else None
        if document is not None and document.path is not None and document.path.resolve() == real:
            return run
    raise RunError(
        f"{path}: no run was started with this config",
        remedy=f"start one with `llamavet run {path}`",
    )


def _known_runs() -> Sequence[Run]:
    return [*live_runs(), *recent_runs()]


def _config_beside(folder: Path) -> EffectiveConfig | None:
    candidates = [folder / name for name in USUAL_CONFIGS if (folder / name).is_file()]
    candidates += [path for path in _files(folder) if path.suffix in {".yaml", ".yml"}]
    for path in dict.fromkeys(candidates):
        try:
            document = parse_document(read_config_bytes(path), path)
        except ConfigError:
            continue
        if {"model_name_or_path", "stage", "output_dir", "finetuning_type"} & set(document.values):
            return EffectiveConfig(document, None)
    return None


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


def _name(config: EffectiveConfig | None, folder: Path | None, cwd: Path) -> str:
    if folder is not None:
        return folder.name
    if config is not None and config.document is not None and config.document.path is not None:
        return config.document.path.stem
    return cwd.name
