"""Owns every fixed text of the screens, in English and Chinese; no other file spells one out."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from diagnostics.findings import Language, Safety, Severity, Text
from diagnostics.observations import BarKind, Phase

# Sections of the dashboard.
LOSS: Final = Text("loss", "损失")
FINDINGS: Final = Text("findings", "诊断")
LOG: Final = Text("log", "日志")
ATTEMPTS: Final = Text("attempts", "尝试")

# Title line.
ATTEMPT: Final = Text("attempt {number}", "第 {number} 次")
SIMULATED: Final = Text("SIMULATED", "模拟")
SIMULATED_LONG: Final = Text("everything here is simulated", "此处一切均为模拟")
NO_NEWS: Final = Text("no news for {time}", "{time} 没有新消息")
STATUS: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "running": Text("running", "运行中"),
        "finished": Text("finished", "已完成"),
        "failed": Text("FAILED", "失败"),
        "stopped": Text("stopped", "已停止"),
        "unknown": Text("unknown", "未知"),
        "starting": Text("looking…", "读取中…"),
    }
)

# GPUs and host.
NO_GPU: Final = Text("no GPU: {reason}", "无 GPU：{reason}")
GPU_WAIT: Final = Text("GPU: not read yet", "GPU：尚未读取")
MORE_GPUS: Final = Text(
    "{count} more GPUs, memory {low}-{high} %", "另有 {count} 块 GPU，显存 {low}-{high} %"
)
MORE_GPUS_UNREAD: Final = Text("{count} more GPUs", "另有 {count} 块 GPU")
MEMORY: Final = Text("memory", "内存")
GPU_MEMORY: Final = Text("memory", "显存")
DISK_FREE: Final = Text("disk {size} free", "磁盘剩余 {size}")
DISK_MISSING: Final = Text("disk: {reason}", "磁盘：{reason}")
HOST_WAIT: Final = Text("host: not read yet", "主机：尚未读取")

# Progress.
STEP: Final = Text("step", "步")
PER_STEP: Final = Text("{seconds}/step", "{seconds}/步")
ETA: Final = Text("ETA {time}", "剩余 {time}")
ETA_UNKNOWN: Final = Text("ETA: measuring", "剩余时间：测量中")
NO_STEPS: Final = Text("no step seen", "未见训练步")
EXIT_CODE: Final = Text("exit code {code}", "退出码 {code}")
PHASES: Final[Mapping[Phase, Text]] = MappingProxyType(
    {
        Phase.STARTING: Text("starting", "启动中"),
        Phase.PREPROCESSING: Text("preprocessing data", "预处理数据"),
        Phase.LOADING: Text("loading the model", "加载模型"),
        Phase.TRAINING: Text("training", "训练中"),
        Phase.EVALUATING: Text("evaluating", "评估中"),
        Phase.SAVING: Text("saving", "保存中"),
        Phase.EXPORTING: Text("exporting", "导出中"),
        Phase.FINISHED: Text("finished", "已完成"),
    }
)
BARS: Final[Mapping[BarKind, Text]] = MappingProxyType(
    {
        BarKind.DATASET: Text("tokenizing dataset", "数据集分词"),
        BarKind.WEIGHTS: Text("loading weights", "加载权重"),
        BarKind.EVAL: Text("evaluating", "评估中"),
    }
)

# Loss chart.
LAST_LOSS: Final = Text("{loss} at step {step}", "第 {step} 步 {loss}")
LAST_EVAL: Final = Text("eval {loss}", "评估 {loss}")
NO_LOSS: Final = Text("no loss logged yet", "尚无损失记录")
NO_LOSS_ENDED: Final = Text("it ended before a loss was logged", "在记录损失之前已结束")

# Findings.
SEVERITY_MARKS: Final[Mapping[Severity, str]] = MappingProxyType(
    {Severity.CRITICAL: "✖", Severity.WARNING: "▲", Severity.NOTE: "·"}
)
SAFETIES: Final[Mapping[Safety, Text]] = MappingProxyType(
    {
        Safety.SAFE: Text("safe", "安全"),
        Safety.UNSAFE: Text("UNSAFE", "有风险"),
        Safety.MANUAL: Text("by hand", "需手动"),
    }
)
SAFETY_MEANS: Final[Mapping[Safety, Text]] = MappingProxyType(
    {
        Safety.SAFE: Text("keeps the training recipe", "不改变训练配方"),
        Safety.UNSAFE: Text("may change what is learned", "可能改变训练结果"),
        Safety.MANUAL: Text("advice: llamavet cannot do it", "建议：llamavet 无法代劳"),
    }
)
HEALTHY: Final = Text("nothing wrong so far", "目前一切正常")
HEALTHY_ENDED: Final = Text("nothing wrong was found", "没有发现问题")
LOOKING: Final = Text("reading the run…", "正在读取…")
BLIND: Final = Text("not judged, not seen: {missing}", "无法判断，缺少：{missing}")
FIX_LINE: Final = Text("fix: {title}", "修复：{title}")
ADVICE_LINE: Final = Text("advice: {title}", "建议：{title}")
MORE_FIXES: Final = Text("{count} more", "另有 {count} 个")
FOLLOWED: Final = Text("what followed: {titles}", "随后出现：{titles}")
MORE_FINDINGS: Final = Text("{count} more findings", "另有 {count} 条诊断")
ONE_MORE_FINDING: Final = Text("1 more finding", "另有 1 条诊断")

# Ledger.
OUTCOMES: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "pending": Text("not proven yet", "尚未验证"),
        "cured": Text("cured", "已治愈"),
        "relapsed": Text("relapsed", "复发"),
        "worse": Text("worse", "更糟"),
        "unknown": Text("", ""),
    }
)
PASSED_STEP: Final = Text("passed step {step}", "已过第 {step} 步")
DIED_AT: Final = Text("died at step {step}", "止于第 {step} 步")
PEAK: Final = Text("peak {before} -> {after} GiB", "峰值 {before} -> {after} GiB")
AS_IT_WAS: Final = Text("as it was", "原样")

# Log.
NO_LOG: Final = Text("no log: {reason}", "无日志：{reason}")
NO_LINES: Final = Text("no line yet", "尚无内容")

# Fix list, confirmation.
FIXES_TITLE: Final = Text("choose a fix", "选择修复方案")
WHY: Final = Text("why: {text}", "原因：{text}")
TO_BE_SURE: Final = Text("to be sure: {text}", "如需确认：{text}")
PRICE: Final = Text("price: {text}", "代价：{text}")
CAVEAT: Final = Text("note: {text}", "注意：{text}")
NOT_APPLICABLE: Final = Text(
    "that one is advice to follow by hand; nothing was changed", "此项需手动处理；未做任何更改"
)
WORKING_OUT: Final = Text("working out what would change…", "正在计算更改…")
DIFF: Final = Text("change of the config", "配置更改")
NO_DIFF: Final = Text("the config file stays as it is", "配置文件不变")
HAPPENS: Final = Text("what happens", "将会发生")
STARTS: Final = Text("starts: {command}", "启动：{command}")
TREATING: Final = Text("at work; this cannot be broken off", "执行中，无法中断")
DOING_STOP: Final = Text("stopping the training, its log is kept", "停止训练，保留日志")
DOING_WRITE: Final = Text("writing the config, a backup beside it", "写入配置并备份")
DOING_START: Final = Text("starting the new run", "启动新的训练")
APPLY_RELAUNCH: Final = Text("apply & relaunch", "应用并重启")
APPLY: Final = Text("apply", "应用")
RELAUNCH_IT: Final = Text("relaunch", "重启")
STOP_IT: Final = Text("stop the training", "停止训练")
YES: Final = Text("yes", "确定")
DONE_RELAUNCHED: Final = Text("done: the new run has started", "完成：新的训练已启动")
DONE_STOPPED: Final = Text("done: the training was stopped", "完成：训练已停止")
DONE_APPLIED: Final = Text("done: the config was changed", "完成：配置已更改")
BUSY: Final = Text("wait: a change is being carried out", "请稍候：正在执行更改")
UNEXPECTED: Final = Text("something unexpected went wrong: {error}", "发生意外错误：{error}")

# Undo.
UNDO_AGAIN: Final = Text(
    "press u again to put the config back as it was before attempt {number}",
    "再按一次 u，将配置恢复到第 {number} 次尝试之前",
)

# Picker and the empty screen.
RUNS: Final = Text("trainings", "训练列表")
LISTING: Final = Text("looking for trainings…", "正在查找训练…")
LIVE: Final = Text("running", "运行中")
RECORDED: Final = Text("recorded", "有记录")
FILES_ONLY: Final = Text("files", "仅文件")
STARTED: Final = Text("started {time}", "启动于 {time}")
EMPTY: Final[tuple[Text, ...]] = (
    Text("No training was found.", "没有找到训练。"),
    Text("", ""),
    Text(
        "llamavet looked for LLaMA-Factory processes of this user, and for runs that it launched"
        " before.",
        "llamavet 查找了当前用户的 LLaMA-Factory 进程，以及它以前启动过的训练。",
    ),
    Text("", ""),
    Text("Start one under its eyes:", "启动并监视训练："),
    Text("    llamavet run train.yaml", "    llamavet run train.yaml"),
    Text("Look at what a finished or dead one left:", "查看已结束训练留下的文件："),
    Text("    llamavet watch DIR", "    llamavet watch DIR"),
    Text("See it all without a GPU:", "无需 GPU 体验全部功能："),
    Text("    llamavet demo", "    llamavet demo"),
    Text("", ""),
    Text("r looks again.", "按 r 重新查找。"),
)

# Config, what-if, advisor.
NEEDED: Final = Text("{needed} GiB needed", "需要 {needed} GiB")
NEEDED_OF: Final = Text("{needed} GiB of {capacity}", "{needed} GiB，共 {capacity}")
AT_PEAK: Final = Text("{phase} phase, {confidence}", "{phase}阶段，{confidence}")
BY_PHASE: Final = Text("by phase: {phases} GiB", "各阶段：{phases} GiB")
GIVEN: Final = Text("taken as given: {text}", "假定：{text}")
MODEL_UNKNOWN: Final = Text("model unknown: {reason}", "模型未知：{reason}")
NOT_PREDICTED: Final = Text("not predicted: {reason}", "无法预测：{reason}")
CONTRADICTED: Final = Text("the run showed another peak", "该训练的实际峰值与之不符")
READING: Final = Text("reading the config…", "正在读取配置…")
CHECKING: Final = Text("checking…", "检查中…")
CLEAN: Final = Text("✔ nothing found", "✔ 未发现问题")
NO_CONFIG: Final = Text("the config of this run is not known", "该训练的配置未知")
UNREADABLE: Final = Text("the config cannot be read: {error}", "无法读取配置：{error}")
SAID_BY_COMMAND: Final = Text("command line", "命令行")
NOT_SET_KEYS: Final = Text("not set, worth a try", "未设置，可以一试")
NOT_SET: Final = Text("not set (default {value})", "未设置（默认 {value}）")
WAS: Final = Text("was {value}", "原为 {value}")
MORE_LINES: Final = Text("{count} more lines", "另有 {count} 行")
REFUSED: Final = Text(
    "LLaMA-Factory would refuse this: {message}", "LLaMA-Factory 会拒绝：{keys} 不能这样设置"
)
TRIED: Final = Text("your change: {changes}", "你的更改：{changes}")
TRIED_WHY: Final = Text("tried on the config screen", "在配置界面试算")
TRIED_PRICE: Final = Text("what is learned may change", "可能改变训练结果")
ADVISOR: Final = Text("which method", "选择方法")
WEIGHING: Final = Text("weighing the methods…", "正在比较各方法…")
WRITES_IT: Final = Text("{command} writes this", "{command} 可写出此文件")
WRITES_OTHER: Final = Text("{command} writes the one marked >", "{command} 写出标有 > 的一项")

# Keys.
READ_ONLY: Final = Text("read-only", "只读")
KEYS: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "fix": Text("fix", "修复"),
        "stop": Text("stop", "停止"),
        "relaunch": Text("relaunch", "重启"),
        "undo": Text("undo", "撤销"),
        "details": Text("details", "详情"),
        "log": Text("log", "日志"),
        "runs": Text("runs", "列表"),
        "toggle_language": Text("中文", "English"),
        "help": Text("help", "帮助"),
        "leave": Text("quit", "退出"),
        "back": Text("back", "返回"),
        "confirm": Text("yes", "确定"),
        "others": Text("other fixes", "其他方案"),
        "choose": Text("choose", "选择"),
        "open": Text("open", "打开"),
        "move": Text("move", "移动"),
        "refresh": Text("look again", "刷新"),
        "scroll": Text("scroll", "滚动"),
        "config": Text("config", "配置"),
        "more": Text("change", "更改"),
        "next": Text("next value", "下一项"),
        "reset": Text("reset", "复原"),
        "propose": Text("propose", "提出更改"),
        "advise": Text("advisor", "方法建议"),
        "yaml": Text("its YAML", "查看 YAML"),
    }
)
KEYS_LONG: Final[Mapping[str, Text]] = MappingProxyType(
    {
        "fix": Text(
            "show the fix of the first finding; nothing is done before y",
            "显示修复方案，按 y 才会执行",
        ),
        "stop": Text("stop the training, after a question", "停止训练（先确认）"),
        "relaunch": Text("start it again without a change, after a question", "原样重启（先确认）"),
        "undo": Text("put the config back as it was before the last fix", "撤销上次对配置的修复"),
        "details": Text("every finding with its evidence and fixes", "全部诊断、证据与方案"),
        "log": Text("the log, as far back as it is kept", "完整日志"),
        "config": Text("the config: faults, memory, what-if", "配置：问题、显存、试算"),
        "runs": Text("the list of trainings", "训练列表"),
        "toggle_language": Text("Chinese or English", "中文或英文"),
        "leave": Text("leave llamavet; the training goes on", "退出 llamavet，训练继续"),
    }
)
HELP_TITLE: Final = Text("help", "帮助")
HELP_NOTES: Final[tuple[Text, ...]] = (
    Text(
        "A fix is safe where it keeps the training recipe, UNSAFE where it may change what is"
        " learned; by hand is advice that llamavet cannot carry out.",
        "“安全”表示不改变训练配方，“有风险”表示可能改变训练结果，“需手动”表示 llamavet 无法代劳。",
    ),
    Text(
        "Speed and ETA are measured from when steps arrive here, not taken from the log.",
        "速度与剩余时间由实际到达的训练步测得，而非取自日志。",
    ),
    Text(
        "Closing llamavet or the terminal never touches the training.",
        "关闭 llamavet 或终端不会影响训练。",
    ),
)
DETAILS_TITLE: Final = Text("findings in full", "诊断详情")
NOT_JUDGED: Final = Text("not judged: {id} lacks {missing}", "未判断：{id} 缺少 {missing}")
GOODBYE_RUNNING: Final = Text(
    "llamavet closed; the training goes on.", "llamavet 已关闭；训练继续进行。"
)
GOODBYE: Final = Text("llamavet closed.", "llamavet 已关闭。")


def say(text: Text, language: Language, /, **values: object) -> str:
    """Return a text in a language with its gaps filled."""
    return text.to(language).format(**values) if values else text.to(language)
