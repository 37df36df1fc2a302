"""Owns advice on a method as lines for a person, and as values for other programs."""

from collections.abc import Iterator, Mapping

from diagnostics.findings import Language, Text
from diagnostics.memory.advice import Advice
from diagnostics.memory.architecture import Confidence
from diagnostics.memory.options import HEADROOM, Option
from diagnostics.memory.recipes import Quality
from diagnostics.memory.task import EFFECTIVE_BATCH
from diagnostics.memory.verdict import Verdict
from diagnostics.report.clean import shown
from diagnostics.report.layout import WIDTH, between, columns, cut, wrapped
from diagnostics.report.memory import CONFIDENCE, no_gpu_words

_VERDICTS = {
    Verdict.FITS: Text("fits", "放得下"),
    Verdict.TIGHT: Text("tight", "勉强"),
    Verdict.DOES_NOT_FIT: Text("no", "放不下"),
    Verdict.UNKNOWN: Text("?", "?"),
}
_QUALITIES = {
    Quality.BEST: Text("best", "最好"),
    Quality.NEAR: Text("near best", "接近最好"),
    Quality.GOOD: Text("good", "好"),
    Quality.FAIR: Text("fair", "尚可"),
    Quality.LIMITED: Text("limited", "有限"),
}
_ARTICLE = {
    "full": Text("full", "全参数"),
    "lora": Text("LoRA", "LoRA"),
    "freeze": Text("freeze", "冻结"),
    "less": Text("a smaller batch or sequence", "更小的批次或序列"),
}
_TABLE = (
    (Text("method", "方法"), 20, "<"),
    (Text("GiB", "GiB"), 7, ">"),
    (Text("fits", "结论"), 6, "<"),
    (Text("+20%", "余量"), 4, "<"),
    (Text("batch", "批大小"), 6, ">"),
    (Text("cutoff", "截断"), 7, ">"),
    (Text("speed", "速度"), 5, ">"),
    (Text("quality", "效果"), 9, "<"),
)
"""Headings, widths in columns, and sides."""
_DROPPED_FIRST = (6, 7, 3, 5)
"""Columns that a narrow table does without: speed, quality, headroom, cutoff."""
_GAP = "  "
_LEAST_WIDTH = 40
_YES, _NO = Text("yes", "有"), Text("no", "无")


def as_text(advice: Advice, language: Language, width: int = WIDTH) -> str:
    """Return the report of one advice, at most 80 columns wide."""
    return "\n".join(_lines(advice, language, max(_LEAST_WIDTH, min(width, WIDTH)))) + "\n"


def _lines(advice: Advice, language: Language, width: int) -> Iterator[str]:
    yield from _heading(advice, language, width)
    yield ""
    yield from _table(advice, language, width)
    yield ""
    yield from wrapped(_legend(advice, language), width=width)
    yield ""
    yield from _recommendation(advice, language, width)
    yield from _article(advice, language, width)
    if advice.remarks:
        yield ""
        yield Text("taken as given", "假定").to(language)
        for text in advice.remarks:
            yield from wrapped(shown(text.to(language)), "  ", width=width)


def _heading(advice: Advice, language: Language, width: int) -> Iterator[str]:
    case, first = advice.case, advice.options[0].single
    params = f"{first.peak.total_params / 1e9:.2f} B"
    trusted = CONFIDENCE[min(_confidences(advice), key=list(CONFIDENCE).index)]
    yield between(f"{shown(case.task.model)}  {params}", trusted.to(language), width)
    tokens = f"{first.work.sequence:,}"
    parts = [_gpu(advice, language), f"cutoff_len {tokens}"]
    if case.task.samples is not None:
        parts.append(
            Text(f"{case.task.samples:,} samples", f"{case.task.samples:,} 个样本").to(language)
        )
    if case.preference is not None:
        wish = {"quality": "效果", "speed": "速度", "memory": "显存"}[case.preference.value]
        parts.append(Text(f"{case.preference.value} above all", f"优先{wish}").to(language))
    yield from wrapped(Text("; ", "；").to(language).join(parts), width=width)


def _confidences(advice: Advice) -> set[Confidence]:
    return {one.single.confidence for one in advice.options}


def _gpu(advice: Advice, language: Language) -> str:
    facts = advice.case.facts
    if facts.capacity_gib is None:
        return no_gpu_words(facts.no_gpu, language)
    name = f"{shown(facts.device_name)}, " if facts.device_name else ""
    return f"{facts.gpus} x {name}{facts.capacity_gib:.1f} GiB"


def _table(advice: Advice, language: Language, width: int) -> Iterator[str]:
    kept = _columns_in(width)
    yield "  " + _row([text.to(language) for text, _, _ in _TABLE], kept)
    for option in advice.options:
        mark = "> " if option is advice.recommended else "  "
        yield mark + _row(_cells(option, language), kept)


def _columns_in(width: int) -> list[int]:
    """Return which columns a table of this width has: the least telling ones go first."""
    kept = list(range(len(_TABLE)))
    for dropped in _DROPPED_FIRST:
        if sum(_TABLE[index][1] + len(_GAP) for index in kept) <= width:
            break
        kept.remove(dropped)
    return kept


def _row(cells: list[str], kept: list[int]) -> str:
    parts = [_aligned(cut(cells[index], room), room, side) for index, room, side in _rooms(kept)]
    return _GAP.join(parts).rstrip()


def _rooms(kept: list[int]) -> list[tuple[int, int, str]]:
    return [(index, _TABLE[index][1], _TABLE[index][2]) for index in kept]


def _aligned(text: str, width: int, side: str) -> str:
    space = " " * (width - columns(text))
    return text + space if side == "<" else space + text


def _cells(option: Option, language: Language) -> list[str]:
    headroom = option.has_headroom
    spare = "?" if headroom is None else (_YES if headroom else _NO).to(language)
    unsure = "~" * (option.single.confidence is not Confidence.HIGH)
    at_most = "<" * option.recipe.sharded
    return [
        option.recipe.title.to(language),
        f"{unsure}{option.single.needed_gib:.1f}",
        _VERDICTS[option.verdict].to(language),
        spare,
        f"{option.largest_batch:,}" if option.largest_batch is not None else "-",
        f"{option.largest_cutoff:,}" if option.largest_cutoff is not None else "-",
        f"{at_most}{option.relative_speed:.2f}",
        _QUALITIES[option.recipe.quality].to(language),
    ]


def _legend(advice: Advice, language: Language) -> str:
    sharded = any(option.recipe.sharded for option in advice.options)
    text = Text(
        "GiB: what each GPU must hold at the peak, with one sample; ~ is less sure. +20%: fits"
        " with that much to spare. batch, cutoff: the largest that fit. speed: rough, by"
        " arithmetic per token, LoRA rank 8 = 1"
        + (", before what GPUs send each other and the host." if sharded else "."),
        "GiB：每次一个样本时，每块 GPU 峰值所需的显存；~ 表示不够确定。余量：留出 20 % 仍放得下。"
        "批大小、截断：放得下的最大值。速度：按每 token 的计算量粗估，LoRA 秩 8 = 1"
        + ("，未计 GPU 间与主机间通信。" if sharded else "。"),
    )
    return text.to(language)


def _recommendation(advice: Advice, language: Language, width: int) -> Iterator[str]:
    chosen = advice.recommended
    if chosen is None and not advice.nothing_fits:
        yield from wrapped(
            Text(
                "No recommendation: the size of the GPU is not known.",
                "无法推荐：GPU 显存大小未知。",
            ).to(language)
        )
        return
    if chosen is None:
        heading = Text("Nothing fits here. What would fit:", "此处没有可行的方法。可行的办法：")
        yield heading.to(language)
        if not advice.reasons:
            yield Text("  nothing that is known here", "  未找到可行的办法").to(language)
    else:
        name = chosen.recipe.title
        batch = f"per_device_train_batch_size {chosen.batch}"
        yield from wrapped(
            Text(f"Begin with {name.en}, {batch}:", f"建议先用 {name.zh}，{batch}：").to(language),
            width=width,
        )
    for text in advice.reasons:
        first, *more = wrapped(shown(text.to(language)), "    ", width=width)
        yield f"  - {first.strip()}"
        yield from more


def _article(advice: Advice, language: Language, width: int) -> Iterator[str]:
    if not advice.article_gib:
        return
    sizes = [
        f"{_ARTICLE[name].to(language)} {need:,.0f}" for name, need in advice.article_gib.items()
    ]
    choice = advice.article_choice
    says = Text("", "")
    if choice is not None:
        says = Text(
            f"; it would choose {_ARTICLE[choice].en}", f"；按此法则应选{_ARTICLE[choice].zh}"
        )
    rule = Text(
        f"Rule of thumb (parameters x 20, x 10, x 6), GiB over all GPUs: {', '.join(sizes)}",
        f"经验法则（参数量 x20、x10、x6），全部 GPU 合计 GiB：{'、'.join(sizes)}",
    )
    yield ""
    yield from wrapped(rule.to(language) + says.to(language), width=width)


def as_value(advice: Advice, language: Language) -> Mapping[str, object]:
    """Return the advice as other programs read it: sizes in GiB of one GPU."""
    case = advice.case
    chosen = advice.recommended
    return {
        "schema": 1,
        "model": {
            "name": case.task.model,
            "params": advice.options[0].single.peak.total_params,
            "source": advice.options[0].single.model.source,
        },
        "gpus": {
            "count": case.facts.gpus,
            "name": case.facts.device_name,
            "capacity_gib": _rounded(case.facts.capacity_gib),
            "reason": case.facts.no_gpu,
            "precision": case.precision.value,
        },
        "cutoff_len": case.task.cutoff_tokens,
        "samples": case.task.samples,
        "prefer": case.preference.value if case.preference is not None else None,
        "headroom": HEADROOM,
        "effective_batch": EFFECTIVE_BATCH,
        "options": [_option(option, language) for option in advice.options],
        "recommended": chosen.recipe.id if chosen is not None else None,
        "nothing_fits": advice.nothing_fits,
        "reasons": [text.to(language) for text in advice.reasons],
        "rule_of_thumb": {
            "article_gib": {name: round(need, 4) for name, need in advice.article_gib.items()},
            "choice": advice.article_choice,
        },
        "assumptions": [text.to(language) for text in advice.remarks],
    }


def _option(option: Option, language: Language) -> Mapping[str, object]:
    single = option.single
    return {
        "id": option.recipe.id,
        "title": option.recipe.title.to(language),
        "peak_gib": round(single.needed_gib, 4),
        "allocated_gib": round(single.allocated_gib, 4),
        "device_gib": round(single.device_gib, 4),
        "low_gib": round(single.low_gib, 4),
        "high_gib": round(single.high_gib, 4),
        "verdict": option.verdict.value,
        "has_headroom": option.has_headroom,
        "confidence": single.confidence.value,
        "batch": option.batch,
        "largest_batch": option.largest_batch,
        "largest_cutoff_len": option.largest_cutoff,
        "relative_speed": round(option.relative_speed, 3),
        "speed_is_upper_bound": option.recipe.sharded,
        "quality": option.recipe.quality.value,
        "trainable_params": single.peak.trainable_params,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
