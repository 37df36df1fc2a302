"""Owns the cure: a proposal worked out in full before consent, and carried out after it.

The order keeps everything safe: check what will be written, stop the old run and see it gone,
back the config up, write it, launch. A failure before the stop changes nothing; one after it
puts the config back.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig, apply
from diagnostics.errors import ConfigError, LlamavetError, RunError, StoreError
from diagnostics.findings import Finding, Fix, KeyChange, Safety, Text
from diagnostics.fixes import change_diff, plan
from diagnostics.monitor_update import Proposal
from diagnostics.runs.discover import RunGroup
from diagnostics.runs.files import write_atomic
from diagnostics.runs.launcher import Launcher
from diagnostics.runs.model import Attempt, Launch, Run, RunStatus, Treatment
from diagnostics.runs.output_dir import read_output_dir
from diagnostics.runs.resume import ResumePlan, plan_resume
from diagnostics.runs.stop import stop_run
from diagnostics.runs.store import (
    STOP_REQUESTED,
    attempts,
    create_attempt,
    create_record,
    save_outcome,
    write_attempt,
)

NO_TEXT = Text("", "")
BACKUP, TRAINER_LOG_COPY = "config.before.yaml", "trainer_log.before.jsonl"
AFTER, PLACE, UNDONE = "config.after.yaml", "config.path", "undone"


@dataclass(frozen=True, slots=True)
class TreatmentPlan(Proposal):
    """A proposal with all that carrying it out needs."""

    config: EffectiveConfig | None = None
    """The config as it will be; None where nothing is relaunched."""
    launch: Launch | None = None
    changes: tuple[KeyChange, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    resume: ResumePlan | None = None
    shown_text: str | None = None
    """The config file's text that the diff starts from."""


def propose(run: Run, finding: Finding | None, fix: Fix | None) -> TreatmentPlan:
    """Work out what a fix and the relaunch would do; with no fix, a plain relaunch.

    Raises:
        LlamavetError: where the run cannot be relaunched or the config cannot be edited.
    """
    if run.launch is None or run.config is None:
        raise RunError(
            f"{run.name}: how it was launched is not known, so it cannot be relaunched",
            remedy="start it with `llamavet run CONFIG.yaml`",
        )
    if run.group is not None and run.group.orphaned:
        raise RunError(
            f"{run.name}: its launcher is gone, so only single ranks could be relaunched",
            remedy="stop it with `llamavet stop`, then start it anew with `llamavet run`",
        )
    config = refreshed(run.config)
    change = plan(fix, config) if fix is not None else None
    after = change.after if change is not None else config
    env = dict(change.env) if change is not None else {}
    keys = [item.key for item in fix.changes] if fix is not None else []
    _refuse_absent_files(after, keys, run.cwd)
    resume = _resume(run, after, keys)
    final = apply(after, resume.changes) if resume.changes else after
    launch = replace(
        run.launch,
        argv=_argv(final, run.launch.argv),
        environ={**run.launch.environ, **env, "PYTHONUNBUFFERED": "1"},
    )
    resume_changes = tuple(
        KeyChange(key, config.get(key), value) for key, value in resume.changes.items()
    )
    alive = run.group is not None
    return TreatmentPlan(
        run=run,
        finding=finding,
        fix=fix,
        title=fix.title if fix is not None else Text("relaunch as it is", "按原样重新启动"),
        diff=change_diff(config, final, env),
        command=launch.argv,
        consequences=(*_stop_texts(run), *resume.consequences, *_file_texts(config, final)),
        stops=alive,
        relaunches=True,
        warning=fix.price if fix is not None and fix.safety is Safety.UNSAFE else NO_TEXT,
        config=final,
        launch=launch,
        changes=(*(fix.changes if fix is not None else ()), *resume_changes),
        env=tuple(env.items()),
        resume=resume,
        shown_text=config.document.text if config.document is not None else None,
    )


def propose_stop(run: Run) -> TreatmentPlan:
    """Work out what a stop would do.

    Raises:
        RunError: where nothing of it runs.
    """
    if run.group is None:
        raise RunError(f"{run.name}: nothing of it runs")
    output = read_output_dir(run.output_dir) if run.output_dir is not None else None
    best = output.best() if output is not None else None
    kept = (
        Text(f"{best.path.name} stays and can be resumed", f"{best.path.name} 保留,可续训")
        if best is not None
        else Text(
            "there is no checkpoint yet: what it has learned so far is lost",
            "还没有检查点:目前学到的内容会丢失",
        )
    )
    return TreatmentPlan(
        run=run,
        finding=None,
        fix=None,
        title=Text("stop the run", "停止训练"),
        diff="",
        command=(),
        consequences=(*_stop_texts(run), kept),
        stops=True,
        relaunches=False,
        warning=NO_TEXT,
    )


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


def refreshed(config: EffectiveConfig) -> EffectiveConfig:
    """Return the config with its file read again: it may have been edited meanwhile.

    Raises:
        ConfigError: where the file is gone or does not parse.
    """
    if config.document is None or config.document.path is None:
        return config
    path = config.document.path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path) from error
    return replace(config, document=parse_document(data, path))


def output_dir(config: EffectiveConfig | None, cwd: Path) -> Path | None:
    """Return where a run writes; LLaMA-Factory's own default where the config does not say."""
    if config is None:
        return None
    value = config.value("output_dir")
    return cwd / str(value) if isinstance(value, str) and value else None


def _refuse_absent_files(config: EffectiveConfig, keys: list[str], cwd: Path) -> None:
    value = config.value("deepspeed")
    if "deepspeed" in keys and isinstance(value, str) and not (cwd / value).exists():
        raise ConfigError(
            f"{value} is not there, seen from {cwd}",
            remedy="copy it from LLaMA-Factory's examples/deepspeed folder to that place",
        )


def _resume(run: Run, config: EffectiveConfig, keys: list[str]) -> ResumePlan:
    folder = output_dir(config, run.cwd)
    if folder is None:
        text = Text(
            "starts from step 0: the config has no output_dir",
            "从第 0 步开始:配置中没有 output_dir",
        )
        return ResumePlan(None, {}, (text,))
    started = attempts(run.record) if run.record is not None else []
    since = started[0].started_at if started else 0.0
    if not started and run.group is not None:
        since = run.group.started_at
    return plan_resume(config, keys, read_output_dir(folder), since=since)


def _argv(config: EffectiveConfig, argv: tuple[str, ...]) -> tuple[str, ...]:
    return config.args.argv if config.args is not None else argv


def _stop_texts(run: Run) -> tuple[Text, ...]:
    group = run.group
    if group is None:
        return (Text("nothing is stopped: the run has ended", "不停止任何进程:训练已结束"),)
    count = len(group.ranks)
    texts = [
        Text(
            f"stops pid {group.root.pid} and its {count} rank{'s' if count != 1 else ''}",
            f"停止进程 {group.root.pid} 及其 {count} 个 rank",
        )
    ]
    if group.board:
        texts.append(
            Text(
                "LLaMA Board started this run and will report that it failed",
                "该训练由 LLaMA Board 启动,它会报告训练失败",
            )
        )
    return tuple(texts)


def _file_texts(before: EffectiveConfig, after: EffectiveConfig) -> tuple[Text, ...]:
    if before.document is None or after.document is None:
        return ()
    if before.document.text == after.document.text:
        return ()
    return (
        Text(
            "the config is backed up first; `llamavet undo` puts it back",
            "先备份配置;`llamavet undo` 可恢复",
        ),
    )


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
