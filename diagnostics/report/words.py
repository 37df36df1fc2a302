"""Owns every fixed text of reports, in English and Chinese."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from diagnostics.findings import Language, Safety, Severity, Text

STATUS: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "running": Text("running", "运行中"),
        "finished": Text("finished", "已完成"),
        "failed": Text("failed", "失败"),
        "stopped": Text("stopped", "已停止"),
        "unknown": Text("unknown end", "结束方式未知"),
    }
)
AT_STEP: Final = Text("at step {step}", "第 {step} 步")
AT_STEP_OF: Final = Text("at step {step} of {total}", "第 {step}/{total} 步")
EXIT_CODE: Final = Text("exit code {code}", "退出码 {code}")
CONFIG: Final = Text("config", "配置")
LOG: Final = Text("log", "日志")
OUTPUT: Final = Text("output", "输出")
VERSION: Final = Text("LLaMA-Factory", "LLaMA-Factory")
TO_BE_SURE: Final = Text("to be sure", "如需确认")
LOSS: Final = Text("loss", "损失")
TRAIN_LOSS: Final = Text("train", "训练")
EVALUATION: Final = Text("eval", "评估")
FROM_TO: Final = Text(
    "{first} at step {begin}, {last} at step {end}", "第 {begin} 步 {first}，第 {end} 步 {last}"
)
ONE_POINT: Final = Text("{last} at step {end}", "第 {end} 步 {last}")
EVAL_LAST: Final = Text("eval {loss}", "评估 {loss}")
SEVERITIES: Final[Mapping[Severity, Text]] = MappingProxyType(
    {
        Severity.CRITICAL: Text("CRITICAL", "严重"),
        Severity.WARNING: Text("WARNING", "警告"),
        Severity.NOTE: Text("NOTE", "提示"),
    }
)
SAFETIES: Final[Mapping[Safety, Text]] = MappingProxyType(
    {
        Safety.SAFE: Text("safe", "安全"),
        Safety.UNSAFE: Text("unsafe", "有风险"),
        Safety.MANUAL: Text("by hand", "需手动"),
    }
)
SAFETY_MEANS: Final[Mapping[Safety, Text]] = MappingProxyType(
    {
        Safety.SAFE: Text("safe: keeps the training recipe", "安全：不改变训练配方"),
        Safety.UNSAFE: Text("unsafe: may change what is learned", "有风险：可能改变训练结果"),
        Safety.MANUAL: Text("by hand", "需手动"),
    }
)
FIX: Final = Text("fix", "修复")
ADVICE: Final = Text("advice", "建议")
FIXES: Final = Text("fixes", "修复")
PRICE: Final = Text("price: {text}", "代价：{text}")
OTHER_FIXES: Final = Text("other fixes", "其他修复")
NOT_SET: Final = Text("not set", "不设置")
RELAUNCH: Final = Text("relaunch", "重新启动")
FOLLOWED: Final = Text("what followed from it", "由此引发")
NOTHING: Final = Text("nothing wrong was found", "没有发现问题")
NOT_EDITED: Final = Text("the config could not be edited: {reason}", "无法编辑配置：{reason}")
MORE_LINES: Final = Text("{count} more lines", "另有 {count} 行")
CHARTS: Final = Text("the training in numbers", "训练曲线")
LEARNING_RATE: Final = Text("learning rate", "学习率")
STEP_TIME: Final = Text("step time", "每步用时")
MEMORY: Final = Text("GPU memory", "显存")
MEMORY_WHEN: Final = Text("GPU memory when it ran out", "显存耗尽时的占用")
SECONDS_A_STEP: Final = Text("seconds a step", "秒/步")
STEP: Final = Text("step", "步")
LOG_SCALE: Final = Text("log scale", "对数刻度")
ENDED_HERE: Final = Text("ended", "结束")
NOT_FINITE: Final = Text(
    "not a finite number at {count} steps, first at {step}",
    "{count} 步不是有限数，最早在第 {step} 步",
)
NO_LOSS: Final = Text("no loss was logged", "没有损失记录")
NO_RATE: Final = Text("no learning rate was logged", "没有学习率记录")
NO_PACE: Final = Text("no step was timed", "没有步时记录")
NO_MEMORY: Final = Text("the files of this run tell no GPU memory", "该训练的文件没有显存记录")
ALLOCATED: Final = Text("allocated", "已分配")
CACHED: Final = Text("reserved, unused", "已保留未用")
OTHERS: Final = Text("other", "其他")
FREE: Final = Text("free", "空闲")
REQUESTED: Final = Text("asked for", "申请")
CAPACITY: Final = Text("of {size}", "共 {size}")
MADE_BY: Final = Text("Made by llamavet", "由 llamavet 生成")
REPORT: Final = Text("post-mortem", "事后诊断")


def labelled(label: str, text: str, language: Language) -> str:
    """Put a label before a text, with the colon of the language."""
    return f"{label}{'：' if language is Language.ZH else ': '}{text}".rstrip(" ")


def aside(text: str, language: Language) -> str:
    """Put a text into the language's brackets, to stand behind another."""
    return f"（{text}）" if language is Language.ZH else f" ({text})"
