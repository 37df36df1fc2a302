"""Owns the cure: carrying out a proposal that was consented to, and taking it back.

The order keeps everything safe: check what will be written, stop the old run and see it gone,
back the config up, write it, launch. A failure before the stop changes nothing; one after it
puts the config back.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import ConfigError, LlamavetError, RunError, StoreError
from diagnostics.runs.discover import RunGroup
from diagnostics.runs.files import write_atomic
from diagnostics.runs.launcher import Launcher
from diagnostics.runs.model import Attempt, Run, Treatment
from diagnostics.runs.proposal import TreatmentPlan, output_dir, refreshed
from diagnostics.runs.stop import stop_run
from diagnostics.runs.store import (
    STOP_REQUESTED,
    attempts,
    create_attempt,
    create_record,
    save_outcome,
    write_attempt,
)
from diagnostics.status import RunStatus

BACKUP, TRAINER_LOG_COPY = "config.before.yaml", "trainer_log.before.jsonl"
AFTER, PLACE, UNDONE = "config.after.yaml", "config.path", "undone"


def carry_out(
    treatment: TreatmentPlan,
    launcher: Launcher,
    *,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Run:
    """Do what was consented to; return the run to watch from now on.

    Raises:
        LlamavetError: nothing was changed, or the config was put back; the message says which.
    """
    run = treatment.run
    if not treatment.relaunches or treatment.launch is None or treatment.config is None:
        _stop(run, on_progress)
        return replace(run, group=None)
    before = refreshed(run.config) if run.config is not None else None
    _check_unchanged(treatment, before)
    record = run.record or create_record(run.name, {"cwd": str(run.cwd)})
    _check_room(record)
    if _edits_file(treatment, before):
        _check_room(_config_path(treatment.config).resolve().parent)
    _stop(run, on_progress)
    attempt = create_attempt(record, log_path=None, treatment=None)
    backup: Path | None = None
    try:
        backup = _back_up(treatment, before, attempt)
        attempt = _note(attempt, treatment, backup)
        if backup is not None and treatment.config.document is not None:
            path = _config_path(treatment.config)
            _check_untouched(path, backup)
            write_atomic(path, treatment.config.document.text.encode("utf-8"))
            on_progress(f"wrote {path}")
        handle = launcher.start(treatment.launch, attempt.folder)
    except LlamavetError as error:
        said = _revert(treatment, attempt, backup)
        raise RunError(f"{error}; {said}") from error
    on_progress(f"started pid {handle.process.pid}")
    return replace(
        run,
        config=treatment.config,
        launch=treatment.launch,
        record=record,
        group=None,
        log_path=attempt.log_path,
        output_dir=output_dir(treatment.config, run.cwd),
        no_log_reason="",
    )


def undo(run: Run) -> str:
    """Put the config back as it was before the last change; return what was done, in a line.

    Raises:
        LlamavetError: where there is nothing to put back, or it was edited since.
    """
    if run.record is None:
        raise RunError(f"{run.name}: no change of llamavet's is recorded for it")
    for attempt in reversed(attempts(run.record)):
        treatment = attempt.treatment
        done = attempt.folder / UNDONE
        if treatment is None or treatment.backup is None or done.exists():
            continue
        written = _read(attempt.folder / AFTER)
        path = Path(os.fsdecode(_read(attempt.folder / PLACE)))
        if _read(path) != written:
            raise ConfigError(
                "it was edited since llamavet wrote it, so it is left alone",
                path=path,
                remedy=f"the text before the change is {treatment.backup}",
            )
        write_atomic(path, _read(treatment.backup))
        write_atomic(done, b"")
        return f"{path}: put back as it was before attempt {attempt.number} ({treatment.title_en})"
    raise RunError(f"{run.name}: there is no change left to put back")


def _config_path(config: EffectiveConfig) -> Path:
    if config.document is None or config.document.path is None:
        raise ConfigError("the config has no file")
    return config.document.path


def _check_unchanged(treatment: TreatmentPlan, before: EffectiveConfig | None) -> None:
    """Refuse where the file is not what the proposal was made from, or cannot be written."""
    if before is None or before.document is None or before.document.path is None:
        return
    path = before.document.path
    real = path.resolve()
    if _edits_file(treatment, before) and not _writable(real):
        raise StoreError(
            f"{path}: is read-only for you", remedy="nothing was changed; correct its permissions"
        )
    if treatment.shown_text is not None and treatment.shown_text != before.document.text:
        raise ConfigError(
            "it was edited after the change was shown",
            path=path,
            remedy="nothing was changed; look at the change again",
        )


def _edits_file(treatment: TreatmentPlan, before: EffectiveConfig | None) -> bool:
    if before is None or before.document is None or treatment.config is None:
        return False
    after = treatment.config.document
    return after is not None and after.text != before.document.text


def _check_untouched(path: Path, backup: Path) -> None:
    """Refuse where the file was edited in the time that the stop took."""
    if _read(path) != _read(backup):
        raise ConfigError("it was edited while the run was being stopped", path=path)


def _revert(treatment: TreatmentPlan, attempt: Attempt, backup: Path | None) -> str:
    """Take back what was written for an attempt that did not start; return how it is now."""
    said = "the config was left as it is"
    try:
        if backup is not None and treatment.config is not None:
            path = _config_path(treatment.config)
            if _read(path) == _read(attempt.folder / AFTER):
                write_atomic(path, _read(backup))
                said = "the config was put back"
    except LlamavetError:
        said = f"the config could not be put back: its text before the change is {backup}"
    else:
        with contextlib.suppress(StoreError):
            write_atomic(attempt.folder / UNDONE, b"")
    with contextlib.suppress(StoreError):
        save_outcome(replace(attempt, status=RunStatus.FAILED))
    return f"{said}, and the old run is stopped" if treatment.run.group is not None else said


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from error


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _check_room(folder: Path) -> None:
    """Write something where more will be written, so that a full disk is met before the stop."""
    probe = folder / ".llamavet-room"
    write_atomic(probe, b"\0" * 4096)
    probe.unlink(missing_ok=True)


def _stop(run: Run, on_progress: Callable[[str], None]) -> None:
    group: RunGroup | None = run.group
    if group is None:
        return
    on_progress(f"stopping pid {group.root.pid}")
    if run.record is not None:
        present = attempts(run.record)[-1:]
        for attempt in present:
            write_atomic(attempt.folder / STOP_REQUESTED, b"")
    try:
        outcome = stop_run(group)
    except RunError:
        _forget_stop(run)
        raise
    if outcome.survivors:
        _forget_stop(run)
        pids = ", ".join(str(process.pid) for process in outcome.survivors)
        raise RunError(
            f"{run.name}: still alive after the stop: {pids}; nothing was changed",
            remedy=f"look at them, then end them with: kill -9 {pids.replace(',', '')}",
        )
    on_progress("stopped; every process of it is gone")


def _forget_stop(run: Run) -> None:
    """Take the mark away again: how the run ends later is not our doing."""
    if run.record is not None:
        for attempt in attempts(run.record)[-1:]:
            with contextlib.suppress(OSError):
                (attempt.folder / STOP_REQUESTED).unlink(missing_ok=True)


def _back_up(
    treatment: TreatmentPlan, before: EffectiveConfig | None, attempt: Attempt
) -> Path | None:
    if treatment.resume is not None and treatment.resume.keeps_trainer_log_copy:
        folder = treatment.run.output_dir
        if folder is not None and (folder / "trainer_log.jsonl").is_file():
            _copy(folder / "trainer_log.jsonl", attempt.folder / TRAINER_LOG_COPY)
    if before is None or before.document is None or treatment.config is None:
        return None
    if treatment.config.document is None or treatment.config.document.text == before.document.text:
        return None
    backup = attempt.folder / BACKUP
    write_atomic(backup, before.document.text.encode("utf-8"))
    after = treatment.config.document.text.encode("utf-8")
    write_atomic(attempt.folder / AFTER, after)
    path = _config_path(treatment.config).absolute()
    write_atomic(attempt.folder / PLACE, os.fsencode(path))
    return backup


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error


def _note(attempt: Attempt, treatment: TreatmentPlan, backup: Path | None) -> Attempt:
    noted = replace(
        attempt,
        treatment=Treatment(
            finding_id=treatment.finding.id if treatment.finding is not None else "",
            fix_id=treatment.fix.id if treatment.fix is not None else "relaunch",
            title_en=treatment.title.en,
            changes=treatment.changes,
            env=dict(treatment.env),
            backup=backup,
        ),
    )
    write_attempt(noted)
    return noted
