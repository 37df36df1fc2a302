"""Owns a memory prediction as lines for a person: the peak, the verdict, where the memory goes."""

from collections.abc import Iterator

from diagnostics.findings import Language, Text
from diagnostics.memory.architecture import Confidence
from diagnostics.memory.forecast import Forecast
from diagnostics.memory.peak import GIB, Phase, Terms
from diagnostics.memory.verdict import Verdict
from diagnostics.memory.workload import Attention, Checkpointing, Method, Workload
from diagnostics.report.clean import shown
from diagnostics.report.layout import WIDTH, between, columns, cut, wrapped

VERDICTS = {
    Verdict.FITS: Text("fits", "放得下"),
    Verdict.TIGHT: Text("tight", "勉强"),
    Verdict.DOES_NOT_FIT: Text("DOES NOT FIT", "放不下"),
    Verdict.UNKNOWN: Text("unknown", "未知"),
}
CONFIDENCE = {
    Confidence.HIGH: Text("high confidence", "可信度高"),
    Confidence.MEDIUM: Text("medium confidence", "可信度中等"),
    Confidence.LOW: Text("LOW confidence", "可信度低"),
}
PHASES = {
    Phase.LOAD: Text("load", "加载"),
    Phase.FORWARD: Text("forward", "前向"),
    Phase.LOSS: Text("loss", "损失"),
    Phase.BACKWARD: Text("backward", "反向"),
    Phase.OPTIMIZER: Text("optimizer", "优化器"),
    Phase.EVAL: Text("eval", "评估"),
}
TERMS = {
    "weights": Text("weights", "权重"),
    "gradients": Text("gradients", "梯度"),
    "optimizer": Text("optimizer states", "优化器状态"),
    "activations": Text("activations", "激活"),
    "logits": Text("logits and loss", "logits 与损失"),
    "other": Text("buffers and copies", "缓冲与副本"),
}
METHODS = {
    Method.FULL: Text("full", "全参数"),
    Method.FREEZE: Text("freeze", "冻结"),
    Method.LORA: Text("LoRA", "LoRA"),
    Method.OFT: Text("OFT", "OFT"),
}
_WHOLE = Text("on the device", "设备上")
_WHOLE_ON_CPU = Text("of the process", "进程")
_BAR = 40
_INDENT = "  "


def as_text(told: Forecast, name: str, language: Language, *, no_gpu: str = "") -> str:
    """Return the report of one prediction; `no_gpu` says why no GPU's size is known."""
    return "\n".join(_lines(told, name, language, no_gpu)) + "\n"


def _lines(told: Forecast, name: str, language: Language, no_gpu: str) -> Iterator[str]:
    verdict = VERDICTS[told.verdict].to(language)
    yield between(cut(shown(name), WIDTH - columns(verdict) - 2), verdict)
    yield from wrapped(describe(told, language))
    yield ""
    yield from _figures(told, language, no_gpu)
    yield ""
    yield from _bars(told.terms, language)
    yield ""
    yield from _phases(told, language)
    yield from _rules(told, language)
    if told.assumptions:
        yield ""
        yield Text("taken as given", "假定").to(language)
        for text in told.assumptions:
            yield from wrapped(shown(text.to(language)), _INDENT)


def describe(told: Forecast, language: Language) -> str:
    """Say in a line what is trained, and how."""
    work, zh = told.work, language is Language.ZH
    params, trained = count(told.peak.total_params), count(told.peak.trainable_params)
    parts = [
        f"{shown(model_name(told))} ({params})"
        if not zh
        else f"{shown(model_name(told))}（{params}）",
        method_words(work, language) + (f"（训练 {trained}）" if zh else f" ({trained} train)"),
        f"{work.batch} x {work.sequence:,} token" + ("" if zh else "s"),
        _precision(work, language),
        _attention(work),
        _checkpointing(work, language),
        work.optimizer.variant or work.optimizer.name,
    ]
    if work.sharding.gpus > 1:
        parts.append(f"{work.sharding.gpus} GPU")
    if work.sharding.zero_stage:
        parts.append(f"ZeRO-{work.sharding.zero_stage}")
    return ("，" if zh else ", ").join(part for part in parts if part)


def model_name(told: Forecast) -> str:
    """Return what to call a model: the last part of its path or hub name."""
    return told.name.rstrip("/").rpartition("/")[2] or told.model.model_type


def count(parameters: int) -> str:
    """Return a number of parameters: "7.62 B", "20.2 M", "3,072"."""
    if parameters >= 10**9:
        return f"{parameters / 1e9:.2f} B"
    if parameters >= 10**5:
        return f"{parameters / 1e6:.1f} M"
    return f"{parameters:,}"


def method_words(work: Workload, language: Language) -> str:
    """Name a method with what distinguishes it: "LoRA rank 8", "QLoRA 4 bit rank 8"."""
    name, zh = METHODS[work.method].to(language), language is Language.ZH
    if work.quantization is not None:
        name = f"Q{name} {work.quantization.bits} {'位' if zh else 'bit'}"
    if work.method is Method.LORA and work.adapter is not None:
        rank = "秩" if zh else "rank"
        name += f" {rank} {work.adapter.rank}" + (" DoRA" if work.adapter.dora else "")
    if work.method is Method.FREEZE and work.frozen is not None:
        layers = abs(work.frozen.layers)
        name += f" {layers} 层" if zh else f" {layers} layers"
    return name


def _precision(work: Workload, language: Language) -> str:
    if work.autocast:
        return "bf16/fp16"
    without = Text("no mixed precision", "无混合精度").to(language)
    return "pure bf16" if work.compute_bytes == 2 else without  # noqa: PLR2004


def _attention(work: Workload) -> str:
    names = {Attention.FLASH: "flash attention", Attention.EAGER: "eager attention"}
    return " + ".join(
        part for part in (names.get(work.attention, "sdpa"), "liger" * work.liger) if part
    )


def _checkpointing(work: Workload, language: Language) -> str:
    texts = {
        Checkpointing.ON: Text("checkpointing", "梯度检查点"),
        Checkpointing.OFF: Text("no checkpointing", "无梯度检查点"),
        Checkpointing.OFFLOADED: Text("checkpointing to the host", "检查点存主机"),
    }
    return texts[work.checkpointing].to(language)


def _figures(told: Forecast, language: Language, no_gpu: str) -> Iterator[str]:
    rows = [
        (
            Text("peak", "峰值"),
            f"{told.allocated_gib:.2f} GiB",
            Text(
                f"tensors, {PHASES[told.phase].en} phase; {CONFIDENCE[told.confidence].en}",
                f"张量，{PHASES[told.phase].zh}阶段；{CONFIDENCE[told.confidence].zh}",
            ),
        ),
        (
            _WHOLE_ON_CPU if told.work.on_cpu else _WHOLE,
            f"{told.device_gib:.2f} GiB",
            Text(
                ("with Python; " if told.work.on_cpu else "with cache and context; ")
                + f"{told.low_gib:.1f} to {told.high_gib:.1f}",
                ("含 Python；" if told.work.on_cpu else "含缓存与上下文；")
                + f"{told.low_gib:.1f} 至 {told.high_gib:.1f}",
            ),
        ),
    ]
    if told.capacity_gib is not None:
        where = Text("host memory", "主机内存") if told.work.on_cpu else Text("GPU", "GPU")
        rows.append((where, f"{told.capacity_gib:.2f} GiB", _judged(told, told.capacity_gib)))
    room = max(columns(name.to(language)) for name, _, _ in rows)
    for name, figure, text in rows:
        label = name.to(language)
        yield cut(
            f"{label}{' ' * (room - columns(label))}  {figure:>11}  {text.to(language)}", WIDTH
        )
    if told.capacity_gib is None:
        yield from wrapped(no_gpu_words(no_gpu, language))


def no_gpu_words(reason: str, language: Language) -> str:
    """Say why the size of no GPU is known, and how one is named."""
    why = shown(reason).removeprefix("no GPU: ")
    if not why:
        said = Text("no GPU is known", "GPU 未知")
    elif why == reason:
        said = Text(why, why)
    else:
        said = Text(f"no GPU: {why}", f"没有 GPU：{why}")
    return said.to(language) + Text(" (--gpu 24 names one)", "（可用 --gpu 24 指定）").to(language)


def _judged(told: Forecast, capacity_gib: float) -> Text:
    left = capacity_gib - told.needed_gib
    verdict = VERDICTS[told.verdict]
    if told.verdict is Verdict.FITS:
        return Text(f"{verdict.en}: {left:.1f} GiB to spare", f"{verdict.zh}：余 {left:.1f} GiB")
    needed = f"{told.needed_gib:.1f}"
    return Text(f"{verdict.en}: {needed} are needed", f"{verdict.zh}：需要 {needed}")


def _bars(terms: Terms, language: Language) -> Iterator[str]:
    sizes = {name: getattr(terms, name) / GIB for name in TERMS}
    most = max(1e-9, *sizes.values())
    room = max(columns(text.to(language)) for text in TERMS.values())
    for name, text in TERMS.items():
        label = text.to(language)
        bar = "█" * round(_BAR * sizes[name] / most)
        line = f"{label}{' ' * (room - columns(label))}  {sizes[name]:8.2f}  {bar}"
        yield line.rstrip()


def _phases(told: Forecast, language: Language) -> Iterator[str]:
    line, gap = Text("by phase, GiB:  ", "各阶段，GiB：").to(language), ""
    for phase, terms in told.peak.phases.items():
        part = f"{PHASES[phase].to(language)} {terms.total / GIB:.1f}"
        if columns(line + gap + part) > WIDTH:
            yield line
            line, gap = "", _INDENT
        line += gap + part
        gap = _INDENT
    yield line


def _rules(told: Forecast, language: Language) -> Iterator[str]:
    article, readme = told.rules.article_gib, told.rules.llamafactory_readme_gib
    parts = []
    if article is not None:
        parts.append(
            Text(
                f"{article:.0f} GiB (parameters x 20/10/6)", f"{article:.0f} GiB（参数量 x20/10/6）"
            )
        )
    if readme is not None:
        parts.append(
            Text(
                f"{readme:.0f} GiB (LLaMA-Factory's README)",
                f"{readme:.0f} GiB（LLaMA-Factory README）",
            )
        )
    if parts:
        heading = Text("rules of thumb, over all GPUs: ", "经验法则，全部 GPU 合计：")
        yield from wrapped(
            heading.to(language)
            + ("，" if language is Language.ZH else ", ").join(part.to(language) for part in parts)
        )
