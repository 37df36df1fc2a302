"""Owns the choice of a method: what each needs of each GPU, what fits, which one to begin with.

The tree is: what the task needs (quality, data, speed), then what the GPUs hold. The thresholds of
data size are our own; that low-rank adapters forget less and adapt less than full tuning is shown
in https://arxiv.org/abs/2405.09673, that 4-bit LoRA reaches 16-bit LoRA in
https://arxiv.org/abs/2305.14314.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from diagnostics.findings import Language, Text
from diagnostics.memory.advised_config import as_yaml
from diagnostics.memory.facts import MemoryFacts
from diagnostics.memory.options import Bench, Case, Option, Preference
from diagnostics.memory.reasons import LARGE_DATA, SMALL_DATA, reasons_for, ways_out
from diagnostics.memory.recipes import FREEZE, FULL, LORA, RECIPES, Recipe
from diagnostics.memory.task import Hardware, Precision
from diagnostics.memory.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Advice:
    """The options, the one to begin with, and why."""

    case: Case
    options: tuple[Option, ...]
    recommended: Option | None
    """None where nothing fits, or no GPU's size is known."""
    reasons: tuple[Text, ...]
    """Why it is recommended; where nothing fits, what would."""
    remarks: tuple[Text, ...]
    """What was taken as given."""
    article_gib: dict[str, float]
    """The article's rule, over all GPUs, for "full", "lora" and "freeze"."""

    @property
    def nothing_fits(self) -> bool:
        """Whether it is known that no method fits."""
        return self.case.facts.capacity_gib is not None and self.recommended is None

    @property
    def article_choice(self) -> str | None:
        """What the article's rule would choose: "less" where not even freeze; None without GPU."""
        size = self.case.facts.capacity_gib
        if size is None or not self.article_gib:
            return None
        total = size * self.case.facts.gpus
        return next((name for name, need in self.article_gib.items() if need <= total), "less")


def advise(case: Case) -> Advice:
    """Weigh the methods against each other.

    Raises:
        LlamavetError: the model is not known, or a value has no meaning; never a guess.
    """
    bench = Bench(case)
    options = tuple(bench.option(recipe) for recipe in _possible(case.facts, case.precision))
    by_id = {one.recipe.id: one for one in options}
    order = [by_id[name] for name in dict.fromkeys(_order(case, options)) if name in by_id]
    chosen: Option | None = None
    told: Iterator[Text] = iter(())
    if case.facts.capacity_gib is not None:
        chosen = _first(order)
        if chosen is None:
            told = ways_out(bench, options)
        else:
            passed_over = order[: order.index(chosen)]
            told = reasons_for(bench, chosen, passed_over, by_id.get(FREEZE.id))
    return Advice(
        case=case,
        options=options,
        recommended=chosen,
        reasons=tuple(told),
        remarks=tuple(_remarks(case, options)),
        article_gib=_article_gib(by_id),
    )


def yaml_of(advice: Advice, option: Option, language: Language) -> str:
    """Return the config of an option, ready but for what is marked to be filled in."""
    size, need = advice.case.facts.capacity_gib, option.told.needed_gib
    heading = [
        Text(
            f"{option.recipe.title.en}, by llamavet advise; predicted peak {need:.1f} GiB a GPU"
            + (f" of {size:.1f}" if size is not None else ""),
            f"{option.recipe.title.zh}，由 llamavet advise 生成；预测每 GPU 峰值 {need:.1f} GiB"
            + (f"，共 {size:.1f}" if size is not None else ""),
        ),
        Text("llamafactory-cli train THIS_FILE", "llamafactory-cli train 本文件"),
    ]
    hardware = Hardware(advice.case.facts.gpus, advice.case.precision, option.batch)
    lines = tuple(text.to(language) for text in heading)
    return as_yaml(option.recipe, advice.case.task, hardware, language, lines)


def _possible(facts: MemoryFacts, precision: Precision) -> Iterator[Recipe]:
    """Yield the methods that LLaMA-Factory takes for this model on these GPUs."""
    for recipe in RECIPES:
        if recipe.sharded and facts.gpus == 1:
            continue
        if recipe.pure and precision is Precision.FP16:
            continue
        if facts.quantized is not None and not recipe.id.startswith("lora_r"):
            continue
        yield recipe


def _order(case: Case, options: Sequence[Option]) -> tuple[str, ...]:
    """Return the methods by how well they meet the wish, whatever they need."""
    lora = ("lora_r8", "lora_r16", "lora_r4", "qlora_r8", "freeze")
    best_lora = ("lora_r16", "lora_r8", "qlora_r8", "lora_r4", "freeze")
    full = ("full", "full_zero3", "full_zero3_offload", "full_bf16")
    samples, preference = case.task.samples, case.preference
    small = samples is not None and samples < SMALL_DATA
    large = samples is not None and samples >= LARGE_DATA
    if preference is Preference.MEMORY:
        by_need = sorted(options, key=lambda one: (one.recipe.sharded, one.single.needed_gib))
        return tuple(one.recipe.id for one in by_need)
    if preference is Preference.SPEED:
        return ("lora_r8", "lora_r4", "lora_r16", "freeze", "qlora_r8", *full)
    if preference is Preference.QUALITY:
        return (*best_lora, *full) if small else (*full, *best_lora)
    # Unasked, only much data and ample memory make full tuning the first choice.
    return ("full", "full_zero3", *best_lora, *full) if large else (*lora, *full)


def _first(order: Sequence[Option]) -> Option | None:
    """Return the first that fits; where none does, the first that is tight."""
    for verdict in (Verdict.FITS, Verdict.TIGHT):
        for option in order:
            if option.verdict is verdict:
                return option
    return None


def _article_gib(by_id: Mapping[str, Option]) -> dict[str, float]:
    found = {}
    for name, recipe in (("full", FULL), ("lora", LORA), ("freeze", FREEZE)):
        option = by_id.get(recipe.id)
        if option is not None and option.single.rules.article_gib is not None:
            found[name] = option.single.rules.article_gib
    return found


def _remarks(case: Case, options: Sequence[Option]) -> Iterator[Text]:
    yield from case.notes
    if case.facts.quantized is not None:
        yield Text(
            "the model is quantized already: LLaMA-Factory trains only LoRA on it",
            "该模型已量化：LLaMA-Factory 只能在其上训练 LoRA",
        )
    if case.precision is Precision.FP16:
        yield Text(
            "this GPU has no bfloat16: fp16 is used, and pure_bf16 is left out",
            "该 GPU 不支持 bfloat16：使用 fp16，不列 pure_bf16",
        )
    seen: dict[str, Text] = {}
    for option in options:
        for text in option.single.assumptions:
            seen.setdefault(text.en, text)
    yield from seen.values()
