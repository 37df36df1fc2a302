"""Owns the decision how a relaunch continues: from which checkpoint, or anew, and in which folder.

It reads the state of the output folder as a value. Nothing is ever deleted; where
LLaMA-Factory would refuse or overwrite, the relaunch goes to a folder of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.unset import UNSET, Unset
from diagnostics.findings import Text
from diagnostics.runs.output_dir import Checkpoint, OutputDir

BREAKS_RESUME: Mapping[str, Text] = {
    "finetuning_type": Text("the method changes", "方法改变"),
    "lora_rank": Text("the rank changes", "秩改变"),
    "lora_target": Text("the target modules change", "目标模块改变"),
    "freeze_trainable_layers": Text("other layers are trained", "训练的层改变"),
    "optim": Text("the optimizer's states change their form", "优化器状态的形式改变"),
    "deepspeed": Text("DeepSpeed keeps its own kind of checkpoint", "DeepSpeed 使用自己的检查点"),
}
"""Keys whose change makes a checkpoint unusable, and why."""


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """How the relaunch goes on: changes of the config that it needs, and what to tell."""

    checkpoint: Checkpoint | None
    changes: Mapping[str, object | Unset] = field(default_factory=dict)
    consequences: tuple[Text, ...] = ()
    keeps_trainer_log_copy: bool = False
    """True where LLaMA-Factory will delete trainer_log.jsonl, so that a copy must be kept."""


def plan_resume(
    config: EffectiveConfig,
    changed_keys: Sequence[str],
    output: OutputDir,
    *,
    since: float = 0.0,
) -> ResumePlan:
    """Decide how a relaunch with this config continues.

    `config` is the config with the fix already in; `since` is when the attempt before started:
    an older checkpoint belongs to another run where overwrite_output_dir is true.
    """
    overwrite = config.value("overwrite_output_dir") is True
    if not output.checkpoints:
        return _without_checkpoints(config, output, overwrite=overwrite)
    for key in changed_keys:
        if key in BREAKS_RESUME:
            return _elsewhere(config, output, BREAKS_RESUME[key])
    reason = _cannot_resume(config)
    if reason is not None:
        return _elsewhere(config, output, reason)
    best = output.best(since=since if overwrite else 0.0)
    if best is None:
        return _without_usable(config, output, overwrite=overwrite)
    if best.max_steps is not None and best.step >= best.max_steps > 0:
        text = Text(
            f"{best.path.name} is the end of its training: a resume would end at once",
            f"{best.path.name} 已是训练终点：续训会立即结束",
        )
        return _elsewhere(config, output, text)
    return _resumed(config, output, best, overwrite=overwrite)


def _resumed(
    config: EffectiveConfig, output: OutputDir, best: Checkpoint, *, overwrite: bool
) -> ResumePlan:
    changes: dict[str, object | Unset] = {}
    texts = [
        Text(
            f"resumes from {best.path.name}: nothing before step {best.step} is lost",
            f"从 {best.path.name} 续训：第 {best.step} 步之前的结果不丢失",
        )
    ]
    if overwrite:
        changes["overwrite_output_dir"] = False
        texts.append(
            Text(
                "overwrite_output_dir becomes false: true would start from zero",
                "overwrite_output_dir 改为 false:true 会从头开始",
            )
        )
    texts.extend(
        Text(
            f"{torn.path.name} is left alone: {torn.fault}",
            f"{torn.path.name} 保持原样：{torn.fault}",
        )
        for torn in output.checkpoints
        if torn.fault
    )
    asked = config.value("resume_from_checkpoint")
    automatic = output.highest == best and asked in (None, False, True)
    if not automatic:
        changes["resume_from_checkpoint"] = str(best.path)
    if output.has_trainer_log:
        texts.append(
            Text("trainer_log.jsonl is continued", "trainer_log.jsonl 继续追加"),
        )
    return ResumePlan(best, changes, tuple(texts))


def _cannot_resume(config: EffectiveConfig) -> Text | None:
    stage = config.value("stage")
    if stage == "ppo":
        return Text("LLaMA-Factory cannot resume PPO", "LLaMA-Factory 不支持 PPO 续训")
    if stage == "rm" and config.value("finetuning_type") in {"full", "freeze"}:
        return Text(
            "LLaMA-Factory does not resume reward models by itself",
            "LLaMA-Factory 不会自动续训奖励模型",
        )
    return None


def _without_checkpoints(
    config: EffectiveConfig, output: OutputDir, *, overwrite: bool
) -> ResumePlan:
    texts = [
        Text(
            "starts from step 0: there is no checkpoint to resume from",
            "从第 0 步开始：没有可续训的检查点",
        )
    ]
    changes: dict[str, object | Unset] = {}
    if config.value("resume_from_checkpoint"):
        changes["resume_from_checkpoint"] = UNSET
        texts.append(
            Text(
                "resume_from_checkpoint is taken out: it names a checkpoint that is not there",
                "移除 resume_from_checkpoint：所指检查点不存在",
            )
        )
        if _names_outside(config, output):
            changes.clear()
            texts = [
                Text(
                    f"resumes from {config.value('resume_from_checkpoint')}, as before",
                    f"照旧从 {config.value('resume_from_checkpoint')} 续训",
                )
            ]
    if output.has_model and not overwrite:
        return _elsewhere(
            config,
            output,
            Text("its folder holds a model already", "输出目录中已有模型"),
        )
    if overwrite and output.has_trainer_log:
        texts.append(
            Text(
                "trainer_log.jsonl is started anew; a copy of the old one is kept",
                "trainer_log.jsonl 重新开始；旧文件会保留一份",
            )
        )
        return ResumePlan(None, changes, tuple(texts), keeps_trainer_log_copy=True)
    return ResumePlan(None, changes, tuple(texts))


def _names_outside(config: EffectiveConfig, output: OutputDir) -> bool:
    """Whether resume_from_checkpoint is a path that exists outside of the output folder."""
    asked = config.value("resume_from_checkpoint")
    if not isinstance(asked, str):
        return False
    return Path(asked).is_absolute() and output.path not in Path(asked).parents


def _without_usable(config: EffectiveConfig, output: OutputDir, *, overwrite: bool) -> ResumePlan:
    torn = [checkpoint for checkpoint in output.checkpoints if checkpoint.fault]
    asked = config.value("resume_from_checkpoint")
    if overwrite and not torn and isinstance(asked, str):
        return ResumePlan(
            None,
            {},
            (Text(f"resumes from {asked}, as before", f"照旧从 {asked} 续训"),),
            keeps_trainer_log_copy=output.has_trainer_log,
        )
    if torn:
        last = torn[-1]
        reason = Text(
            f"{last.path.name} cannot be resumed: {last.fault}",
            f"{last.path.name} 无法续训：{last.fault}",
        )
    else:
        reason = Text("the checkpoints there are of an earlier run", "其中的检查点属于更早的训练")
    if overwrite and not torn:
        texts = (
            Text(f"starts from step 0: {reason.en}", f"从第 0 步开始：{reason.zh}"),
            Text(
                "trainer_log.jsonl is started anew; a copy of the old one is kept",
                "trainer_log.jsonl 重新开始；旧文件会保留一份",
            ),
        )
        return ResumePlan(None, {}, texts, keeps_trainer_log_copy=output.has_trainer_log)
    return _elsewhere(config, output, reason)


def _elsewhere(config: EffectiveConfig, output: OutputDir, reason: Text) -> ResumePlan:
    """Start anew in a folder beside the old one, which stays as it is."""
    asked = str(config.value("output_dir") or output.path.name).rstrip("/")
    number = 2
    while output.path.with_name(f"{output.path.name}-{number}").exists():
        number += 1
    changes: dict[str, object | Unset] = {"output_dir": f"{asked}-{number}"}
    if config.is_set("resume_from_checkpoint"):
        changes["resume_from_checkpoint"] = UNSET
    texts = (
        Text(f"starts from step 0: {reason.en}", f"从第 0 步开始：{reason.zh}"),
        Text(
            f"writes to {asked}-{number}; {asked} stays as it is",
            f"写入 {asked}-{number};{asked} 保持原样",
        ),
    )
    return ResumePlan(None, changes, texts)
