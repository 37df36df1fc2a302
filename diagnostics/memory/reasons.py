"""Owns why a method is advised, in words; and what would fit where nothing does."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from diagnostics.findings import Text
from diagnostics.memory.forecast import Forecast, forecast
from diagnostics.memory.model_names import typical_architecture
from diagnostics.memory.options import Bench, Option, Preference
from diagnostics.memory.recipes import LORA, LORA_ZERO_3, QLORA, ZERO_3, ZERO_3_OFFLOAD
from diagnostics.memory.verdict import GIB, Verdict

SMALL_DATA, LARGE_DATA = 5_000, 50_000
"""Samples: below, full tuning is likely to overfit; above, LoRA may learn less than full."""
HOST_BYTES = 18
"""Of a parameter, in host memory, where ZeRO-3 offloads all
(https://deepspeed.readthedocs.io/en/latest/memory.html)."""
_TINY_DATA = 200
_MORE_GPUS = (2, 4, 8, 16, 32, 64)
_GPU_SIZES_GB = (12, 16, 24, 32, 40, 48, 80, 96, 141, 180)
_USABLE = 0.93
"""GiB of a GB in a card's trade name, at the least: an L40S of 48 GB has 44.99 GiB."""
_MODEL_SIZES = (70e9, 32e9, 14e9, 8e9, 7e9, 4e9, 3e9, 1.5e9, 0.5e9)
_MUCH_LOGITS = 0.3


def reasons_for(
    bench: Bench, chosen: Option, passed_over: Sequence[Option], freeze: Option | None
) -> Iterator[Text]:
    """Say why a method is the one to begin with; `passed_over` would have met the wish better."""
    yield from _of_fit(chosen)
    yield from _of_data(bench.task.samples, chosen)
    yield from _of_better(passed_over)
    yield from _of_method(chosen)
    if bench.case.preference is Preference.SPEED and freeze is not None and chosen is not freeze:
        yield from _of_speed(chosen, freeze)
    yield from _of_logits(chosen, bench)


def ways_out(bench: Bench, options: Sequence[Option]) -> Iterator[Text]:
    """Say what would fit where nothing does, the cheapest first."""
    least = min(options, key=lambda one: one.single.needed_gib)
    yield from _shorter(least)
    yield from _of_logits(least, bench)
    yield from _smaller_model(bench, options[0].single.peak.total_params)
    yield from _bigger_gpu(bench, options)
    if bench.facts.quantized is None:
        yield from _more_gpus(bench)


def _of_fit(chosen: Option) -> Iterator[Text]:
    told = chosen.told
    size = told.capacity_gib or 0.0
    need = f"{told.needed_gib:.1f}"
    if chosen.verdict is Verdict.TIGHT:
        yield Text(
            f"it is tight: {need} of {size:.1f} GiB, which a long batch may pass",
            f"勉强放得下：{size:.1f} GiB 中需要 {need}，较长的批次可能溢出",
        )
    elif chosen.has_headroom:
        yield Text(
            f"it fits with 20 % to spare: {need} of {size:.1f} GiB",
            f"放得下并留有 20 % 余量：{size:.1f} GiB 中需要 {need}",
        )
    else:
        yield Text(
            f"it fits, with less than 20 % to spare: {need} of {size:.1f} GiB",
            f"放得下，但余量不足 20 %：{size:.1f} GiB 中需要 {need}",
        )


def _of_data(samples: int | None, chosen: Option) -> Iterator[Text]:
    full = chosen.recipe.values["finetuning_type"] == "full"
    if samples is None:
        if full:
            yield Text(
                f"the size of the data is not known: below about {SMALL_DATA:,} samples"
                " LoRA is the better start",
                f"数据量未知：少于约 {SMALL_DATA:,} 个样本时先用 LoRA 更好",
            )
        return
    if samples < SMALL_DATA and not full:
        yield Text(
            f"{samples:,} samples are few: full tuning would overfit sooner",
            f"{samples:,} 个样本较少：全参数微调更容易过拟合",
        )
    if samples < _TINY_DATA:
        yield Text(
            f"with {samples:,} samples any method learns them by heart: watch the eval loss",
            f"只有 {samples:,} 个样本，任何方法都会死记硬背：请关注评估损失",
        )
    if samples >= LARGE_DATA:
        yield Text(
            f"{samples:,} samples are enough for all parameters to gain"
            if full
            else f"{samples:,} samples are many: LoRA may learn less of them than full tuning",
            f"{samples:,} 个样本足以让全部参数受益"
            if full
            else f"{samples:,} 个样本较多：LoRA 学到的可能少于全参数微调",
        )


def _of_better(passed_over: Sequence[Option]) -> Iterator[Text]:
    """Say why what the wish would prefer was not taken."""
    no = [one for one in passed_over if one.verdict is Verdict.DOES_NOT_FIT]
    tight = [one for one in passed_over if one.verdict is Verdict.TIGHT]
    if no:
        yield Text(
            "does not fit: " + ", ".join(_sized(one) for one in no),
            "放不下：" + "、".join(_sized_zh(one) for one in no),
        )
    if tight:
        yield Text(
            "only just fits: " + ", ".join(_sized(one) for one in tight),
            "勉强放下：" + "、".join(_sized_zh(one) for one in tight),
        )


def _of_method(chosen: Option) -> Iterator[Text]:
    """Say what goes with the method itself."""
    if chosen.recipe is LORA and chosen.verdict is Verdict.FITS:
        yield Text(
            "ranks 4, 8 and 16 need nearly the same: try them",
            "秩 4、8、16 所需显存相近：可逐一尝试",
        )
    if chosen.recipe is ZERO_3_OFFLOAD:
        host = HOST_BYTES * chosen.single.peak.total_params / GIB
        yield Text(
            f"it needs about {host:.0f} GiB of host memory, and waits for what is moved",
            f"约需 {host:.0f} GiB 主机内存，并会等待数据搬运",
        )


def _sized(option: Option) -> str:
    return f"{option.recipe.title.en} ({option.single.needed_gib:.1f} GiB)"


def _sized_zh(option: Option) -> str:
    return f"{option.recipe.title.zh}（{option.single.needed_gib:.1f} GiB）"


def _of_speed(chosen: Option, freeze: Option) -> Iterator[Text]:
    if freeze.verdict is Verdict.FITS:
        times = freeze.relative_speed / chosen.relative_speed
        yield Text(
            f"freeze is about {times:.1f} times as fast, but adapts two layers only",
            f"冻结微调约快 {times:.1f} 倍，但只调整两层",
        )


def _of_logits(chosen: Option, bench: Bench) -> Iterator[Text]:
    """Say what a fused loss would save, where the logits are much of the peak."""
    work = chosen.single.work
    if work.liger or work.stage not in {"pt", "sft"}:
        return
    if chosen.single.terms.logits < _MUCH_LOGITS * chosen.single.terms.total:
        return
    less = bench.tell(replace(work, liger=True)).needed_gib
    yield Text(
        f"enable_liger_kernel: true would lower it to about {less:.1f} GiB"
        " (needs liger-kernel): the logits are much of the peak",
        f"enable_liger_kernel: true 可降至约 {less:.1f} GiB（需要 liger-kernel）：logits 占比很大",
    )


def _shorter(least: Option) -> Iterator[Text]:
    if least.largest_cutoff is not None:
        yield Text(
            f"a shorter cutoff_len: {least.recipe.title.en} fits up to {least.largest_cutoff:,}",
            f"缩短 cutoff_len：{least.recipe.title.zh} 可到 {least.largest_cutoff:,}",
        )


def _smaller_model(bench: Bench, total: int) -> Iterator[Text]:
    for params in _MODEL_SIZES:
        if params >= total * 0.9:
            continue
        facts = replace(bench.facts, model=typical_architecture(int(params)), quantized=None)
        smaller = Bench(replace(bench.case, facts=facts))
        if smaller.tell(smaller.work(QLORA)).verdict is Verdict.FITS:
            yield Text(
                f"a smaller model: about {params / 1e9:g}B fits with QLoRA",
                f"更小的模型：约 {params / 1e9:g}B 可用 QLoRA 放下",
            )
            return


def _bigger_gpu(bench: Bench, options: Sequence[Option]) -> Iterator[Text]:
    by_id = {one.recipe.id: one for one in options}
    for option in filter(None, (by_id.get(QLORA.id), by_id.get(LORA.id))):
        size = next((gb for gb in _GPU_SIZES_GB if _fits_in(option.single, gb * _USABLE)), None)
        if size is not None:
            count = bench.facts.gpus
            yield Text(
                f"{option.recipe.title.en} on "
                + (f"a GPU of {size} GB" if count == 1 else f"GPUs of {size} GB"),
                f"{option.recipe.title.zh} 用 {size} GB 的 GPU",
            )


def _fits_in(told: Forecast, gib: float) -> bool:
    return forecast(told.model, told.work, capacity_gib=gib).verdict is Verdict.FITS


def _more_gpus(bench: Bench) -> Iterator[Text]:
    for recipe in (LORA_ZERO_3, ZERO_3):
        for count in _MORE_GPUS:
            if count <= bench.facts.gpus:
                continue
            if bench.tell(bench.work(recipe, count)).verdict is Verdict.FITS:
                size = bench.facts.capacity_gib or 0.0
                yield Text(
                    f"{recipe.title.en} on {count} such GPUs of {size:.0f} GiB",
                    f"{recipe.title.zh} 用 {count} 块 {size:.0f} GiB 的同类 GPU",
                )
                break
