"""Owns weighing one method on given GPUs: what it needs, what fits beside it, how fast it is."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import LlamavetError
from diagnostics.findings import Language, Text
from diagnostics.memory.advised_config import as_yaml
from diagnostics.memory.facts import MemoryFacts, workload_from
from diagnostics.memory.forecast import Forecast, forecast
from diagnostics.memory.recipes import LORA, Recipe
from diagnostics.memory.task import EFFECTIVE_BATCH, Hardware, Precision, Task
from diagnostics.memory.throughput import cost_per_token
from diagnostics.memory.verdict import Verdict
from diagnostics.memory.workload import Workload

HEADROOM = 1.2
"""The article's 20 % above what is predicted."""
_MOST_BATCH = 1024
_CUTOFF_STEP, _MOST_CUTOFF = 256, 131_072


class Preference(StrEnum):
    """What a person wishes for above all."""

    QUALITY = "quality"
    SPEED = "speed"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Case:
    """What advice is asked for: the task, what the machine has, and a wish."""

    task: Task
    facts: MemoryFacts
    precision: Precision = Precision.UNKNOWN
    preference: Preference | None = None
    notes: tuple[Text, ...] = ()
    """What was seen of the data, in words."""


@dataclass(frozen=True, slots=True)
class Option:
    """One method on these GPUs. `told` is of the config as it would be written."""

    recipe: Recipe
    single: Forecast
    """With one sample a GPU: the figures that are compared."""
    told: Forecast
    batch: int
    """Samples a GPU takes at once, in the config that would be written."""
    relative_speed: float
    """Beside LoRA with rank 8, by arithmetic alone: sharded methods reach less."""
    largest_batch: int | None = None
    """A power of two; None where not one sample fits, or no GPU's size is known."""
    largest_cutoff: int | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether it fits."""
        return self.single.verdict

    @property
    def has_headroom(self) -> bool | None:
        """Whether it fits with 20 % to spare; None where no GPU's size is known."""
        return has_headroom(self.single)


def has_headroom(told: Forecast) -> bool | None:
    """Tell whether a prediction fits with 20 % to spare."""
    if told.capacity_gib is None:
        return None
    spare = told.needed_gib * HEADROOM <= told.capacity_gib
    return spare and told.verdict is Verdict.FITS


class Bench:
    """Predicts methods on one set of GPUs."""

    def __init__(self, case: Case) -> None:
        if case.facts.model is None:
            raise LlamavetError(
                case.facts.reason or "the model is not known",
                remedy="name its folder, or download it first",
            )
        self.case, self.task, self.facts = case, case.task, case.facts
        self.precision, self.model = case.precision, case.facts.model

    @cached_property
    def unit(self) -> float:
        """What LoRA with rank 8 computes for a token."""
        return cost_per_token(self.model, self.work(LORA))

    def work(self, recipe: Recipe, gpus: int | None = None) -> Workload:
        """Read the config that would be written, with one sample a GPU, as any other config."""
        facts = self.facts if gpus is None else replace(self.facts, gpus=gpus)
        hardware = Hardware(facts.gpus, self.precision, 1)
        text = as_yaml(recipe, self.task, hardware, Language.EN, ())
        return workload_from(EffectiveConfig(parse_document(text.encode())), facts)

    def tell(self, work: Workload) -> Forecast:
        """Predict on these GPUs."""
        return forecast(self.model, work, capacity_gib=self.facts.capacity_gib)

    def option(self, recipe: Recipe) -> Option:
        """Weigh one method."""
        work = self.work(recipe)
        single = self.tell(work)
        plain = Option(recipe, single, single, 1, self.unit / cost_per_token(self.model, work))
        if single.verdict is not Verdict.FITS:
            cutoff = self.largest_cutoff(work) if single.capacity_gib is not None else None
            return replace(plain, largest_cutoff=cutoff)
        told, batch, largest = single, 1, 1
        share = EFFECTIVE_BATCH // self.facts.gpus
        for size in _doublings(_MOST_BATCH):
            tried = self.tell(self.of_batch(work, size))
            if tried.verdict is not Verdict.FITS:
                break
            largest = size
            if size <= share and has_headroom(tried):
                told, batch = tried, size
        return replace(
            plain,
            told=told,
            batch=batch,
            largest_batch=largest,
            largest_cutoff=self.largest_cutoff(work),
        )

    def of_batch(self, work: Workload, size: int) -> Workload:
        """Return the work of more samples at once, with as many in an optimizer step."""
        times = Hardware(self.facts.gpus, self.precision, size).accumulation
        return replace(work, batch=work.batch * size, accumulation=times)

    def largest_cutoff(self, work: Workload) -> int | None:
        """Return the longest cutoff_len of one sample that fits, in steps of 256."""
        low, high = 0, _MOST_CUTOFF // _CUTOFF_STEP
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.tell(replace(work, sequence=middle * _CUTOFF_STEP)).verdict is Verdict.FITS
            low, high = (middle, high) if fits else (low, middle - 1)
        return low * _CUTOFF_STEP or None


def _doublings(most: int) -> Iterator[int]:
    size = 2
    while size <= most:
        yield size
        size *= 2
