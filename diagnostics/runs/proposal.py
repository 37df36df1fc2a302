"""Owns the proposal of a cure: all that would be done to a run, worked out before consent.

It reads the config and the output folder, and changes nothing.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig, apply
from diagnostics.errors import ConfigError, RunError
from diagnostics.findings import Finding, Fix, KeyChange, Safety, Text
from diagnostics.fixes import change_diff, plan
from diagnostics.monitor_update import Proposal
from diagnostics.runs.config_file import read_config_bytes
from diagnostics.runs.model import Launch, Run
from diagnostics.runs.output_dir import read_output_dir
from diagnostics.runs.resume import ResumePlan, plan_resume
from diagnostics.runs.store import attempts

NO_TEXT = Text("", "")


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
        Text(f"{best.path.name} stays and can be resumed", f"{best.path.name} 保留，可续训")
        if best is not None
        else Text(
            "there is no checkpoint yet: what it has learned so far is lost",
            "还没有检查点：目前学到的内容会丢失",
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


def refreshed(config: EffectiveConfig) -> EffectiveConfig:
    """Return the config with its file read again: it may have been edited meanwhile.

    Raises:
        ConfigError: where the file is gone or does not parse.
    """
    if config.document is None or config.document.path is None:
        return config
    path = config.document.path
    return replace(config, document=parse_document(read_config_bytes(path), path))


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
            "从第 0 步开始：配置中没有 output_dir",
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
        return (Text("nothing is stopped: the run has ended", "不停止任何进程：训练已结束"),)
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
                "该训练由 LLaMA Board 启动，它会报告训练失败",
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
            "先备份配置；`llamavet undo` 可恢复",
        ),
    )
