"""Owns llamavet's own state: private files, one folder a run, one an attempt inside it.

STATE/runs/RUN/run.json says what the run is. Each RUN/attempt-N holds attempt.json (what was
started and why), the supervisor's launch.json, child.json, exit.json and output.log, outcome.json
(what came of it, by whoever watched it end), and what was replaced: config.before.yaml and
trainer_log.before.jsonl.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from diagnostics.config.unset import UNSET
from diagnostics.errors import StoreError
from diagnostics.findings import KeyChange
from diagnostics.runs.files import make_private_folder, read_json, write_json
from diagnostics.runs.launcher import read_handle
from diagnostics.runs.model import Attempt, Launch, Outcome, Treatment
from diagnostics.runs.processes import ProcessId, is_alive
from diagnostics.runs.supervisor import EXIT, LAUNCH, LOG, boot_id
from diagnostics.status import RunStatus

ATTEMPT, OUTCOME, RUN = "attempt.json", "outcome.json", "run.json"
STOP_REQUESTED = "stop-requested"
_ATTEMPT_FOLDER = re.compile(r"^attempt-[0-9]{1,9}$")
_UNSET_MARK = {"unset": True}


def state_folder() -> Path:
    """Return where llamavet keeps its state: LLAMAVET_STATE_DIR, or the XDG state folder."""
    own = os.environ.get("LLAMAVET_STATE_DIR")
    if own:
        return Path(own).absolute()
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "llamavet"


def create_record(name: str, facts: dict[str, Any]) -> Path:
    """Make the folder of a new run.

    Raises:
        StoreError: where it cannot be made.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:40] or "run"
    parent = state_folder() / "runs"
    make_private_folder(parent)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        folder = parent / (f"{stamp}-{slug}" if number == 1 else f"{stamp}-{slug}-{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise StoreError(f"{folder}: cannot be made: {error.strerror}") from error
        write_json(folder / RUN, {"schema": 1, "name": name, **facts})
        return folder
    raise StoreError(f"{parent}: too many runs started in one second")


def records() -> list[Path]:
    """Return the folders of all recorded runs, newest first."""
    try:
        folders = [path for path in (state_folder() / "runs").iterdir() if (path / RUN).is_file()]
    except OSError:
        return []
    return sorted(folders, key=lambda path: path.name, reverse=True)


def create_attempt(record: Path, *, log_path: Path | None, treatment: Treatment | None) -> Attempt:
    """Make the folder of a run's next attempt.

    `log_path` is None for an attempt of our own, whose log lies in its folder.

    Raises:
        StoreError: where it cannot be made.
    """
    number = 1 + max((_number(folder) for folder in _folders(record)), default=0)
    folder = record / f"attempt-{number}"
    make_private_folder(folder)
    attempt = Attempt(
        number=number,
        folder=folder,
        log_path=log_path or folder / LOG,
        started_at=time.time(),
        status=RunStatus.UNKNOWN,
        treatment=treatment,
    )
    write_attempt(attempt)
    return attempt


def write_attempt(attempt: Attempt) -> None:
    """Record what an attempt is and why it was made.

    Raises:
        StoreError: where it cannot be written.
    """
    write_json(attempt.folder / ATTEMPT, _attempt_json(attempt))


def attempts(record: Path) -> list[Attempt]:
    """Return a run's attempts, oldest first, each with what is known of its end."""
    return sorted(_attempts(record), key=lambda attempt: attempt.number)


def _attempts(record: Path) -> Iterator[Attempt]:
    for folder in _folders(record):
        value = read_json(folder / ATTEMPT)
        if value is not None:
            with contextlib.suppress(TypeError, ValueError, AttributeError, OverflowError):
                yield _attempt(folder, value)  # one that is not of our making is left out


def _folders(record: Path) -> list[Path]:
    try:
        return [path for path in record.iterdir() if _ATTEMPT_FOLDER.match(path.name)]
    except OSError:
        return []


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("attempt-"))


def _attempt(folder: Path, value: dict[str, Any]) -> Attempt:
    attempt = Attempt(
        number=int(value.get("number", 0)),
        folder=folder,
        log_path=Path(str(value.get("log_path", folder / LOG))),
        started_at=float(value.get("started_at", 0.0)),
        status=RunStatus.UNKNOWN,
        treatment=_treatment(value.get("treatment")),
    )
    handle = read_handle(folder)
    if handle is not None and is_alive(handle.process):
        attempt = replace(attempt, status=RunStatus.RUNNING)
    ended = read_json(folder / EXIT)
    requested = (folder / STOP_REQUESTED).exists()
    if ended is not None:
        attempt = replace(
            attempt,
            ended_at=ended.get("ended_at"),
            exit_code=_whole(ended.get("exit_code")),
            peak_host_bytes=_whole(ended.get("peak_host_bytes")),
            status=RunStatus.FINISHED if ended.get("exit_code") == 0 else RunStatus.FAILED,
        )
        if requested:
            attempt = replace(attempt, status=RunStatus.STOPPED)
    outcome = read_json(folder / OUTCOME)
    if outcome is not None:
        attempt = _with_outcome(attempt, outcome)
    if requested and attempt.status is RunStatus.UNKNOWN:
        attempt = replace(attempt, status=RunStatus.STOPPED)
    return attempt


def save_outcome(attempt: Attempt) -> None:
    """Record what was seen of an attempt: where it got to and what ended it.

    Raises:
        StoreError: where it cannot be written.
    """
    write_json(
        attempt.folder / OUTCOME,
        {
            "status": attempt.status.value,
            "step": attempt.step,
            "total_steps": attempt.total_steps,
            "finding_id": attempt.finding_id,
            "peak_gpu_bytes": attempt.peak_gpu_bytes,
            "outcome": attempt.outcome.value,
            "ended_at": attempt.ended_at,
        },
    )


def _with_outcome(attempt: Attempt, value: dict[str, Any]) -> Attempt:
    try:
        status = RunStatus(str(value.get("status")))
        outcome = Outcome(str(value.get("outcome")))
    except ValueError:
        return attempt
    settled = attempt.status is not RunStatus.UNKNOWN or status is RunStatus.RUNNING
    return replace(
        attempt,
        status=attempt.status if settled else status,
        step=_whole(value.get("step")),
        total_steps=_whole(value.get("total_steps")),
        finding_id=value.get("finding_id"),
        peak_gpu_bytes=_whole(value.get("peak_gpu_bytes")),
        outcome=outcome,
        ended_at=attempt.ended_at or value.get("ended_at"),
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def read_launch(folder: Path) -> Launch | None:
    """Return how an attempt was started, or None where that is not recorded."""
    value = read_json(folder / LAUNCH)
    if value is None or not isinstance(value.get("argv"), list):
        return None
    try:
        limits = {
            str(name): (int(pair[0]), int(pair[1]))
            for name, pair in value.get("limits", {}).items()
        }
        environ = {str(name): str(text) for name, text in value.get("environ", {}).items()}
        argv, cwd = tuple(str(word) for word in value["argv"]), Path(value["cwd"])
    except (TypeError, ValueError, LookupError, AttributeError):
        return None
    return Launch(argv, cwd, environ, limits)


def save_launch(folder: Path, launch: Launch) -> None:
    """Record how an attempt was started by somebody else, for a relaunch after its end."""
    write_json(
        folder / LAUNCH,
        {
            "argv": list(launch.argv),
            "cwd": str(launch.cwd),
            "environ": dict(launch.environ),
            "limits": {name: list(pair) for name, pair in launch.limits.items()},
        },
    )


def find_record(pid: int, started_ticks: int) -> Path | None:
    """Return the record of the run that a process of this boot belongs to."""
    here = boot_id()
    for record in records():
        facts = read_json(record / RUN) or {}
        found = facts.get("found_pid"), facts.get("found_ticks"), facts.get("boot_id")
        if found == (pid, started_ticks, here):
            return record
        for attempt in attempts(record)[-1:]:
            handle = read_handle(attempt.folder)
            if handle is not None and handle.process == ProcessId(pid, started_ticks):
                return record
    return None


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    treatment = attempt.treatment
    return {
        "schema": 1,
        "number": attempt.number,
        "log_path": str(attempt.log_path),
        "started_at": attempt.started_at,
        "treatment": None
        if treatment is None
        else {
            "finding": treatment.finding_id,
            "fix": treatment.fix_id,
            "title": treatment.title_en,
            "changes": [
                {"key": change.key, "from": _mark(change.old), "to": _mark(change.new)}
                for change in treatment.changes
            ],
            "env": dict(treatment.env),
            "backup": None if treatment.backup is None else str(treatment.backup),
        },
    }


def _mark(value: object) -> object:
    return _UNSET_MARK if value is UNSET else value


def _unmark(value: object) -> object:
    return UNSET if value == _UNSET_MARK else value


def _treatment(value: object) -> Treatment | None:
    if not isinstance(value, dict):
        return None
    changes = tuple(
        KeyChange(str(item.get("key")), _unmark(item.get("from")), _unmark(item.get("to")))
        for item in value.get("changes", [])
        if isinstance(item, dict)
    )
    backup = value.get("backup")
    return Treatment(
        finding_id=str(value.get("finding", "")),
        fix_id=str(value.get("fix", "")),
        title_en=str(value.get("title", "")),
        changes=changes,
        env={str(k): str(v) for k, v in (value.get("env") or {}).items()},
        backup=Path(str(backup)) if backup else None,
    )
