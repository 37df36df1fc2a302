"""Owns trying a config's values on paper: the steps a value takes, and what memory they make.

Pure, and quick enough for a key press: the config's text is not edited, only its values are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from diagnostics.config.document import ConfigDocument
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import Environment
from diagnostics.config.faults import SchemaFault, schema_faults
from diagnostics.config.needs import environment_needs
from diagnostics.config.unset import UNSET
from diagnostics.errors import LlamavetError
from diagnostics.findings import Fix, KeyChange, Prediction, Safety, Text
from diagnostics.memory.calibration import Measure, kind_of
from diagnostics.memory.facts import MemoryFacts, forecast_config
from diagnostics.memory.forecast import Forecast, prediction_of
from diagnostics.memory.keys import MEMORY_KEYS

BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
_LARGEST = {
    BATCH: 4096,
    "per_device_eval_batch_size": 4096,
    ACCUMULATION: 65_536,
    "cutoff_len": 1_048_576,
    "lora_rank": 1024,
    "oft_block_size": 1024,
    "freeze_trainable_layers": 1024,
    "galore_rank": 4096,
    "apollo_rank": 4096,
}
"""Whole numbers that are halved and doubled, and how far."""
_SMALLEST = {"cutoff_len": 16}
_CHOICES: Mapping[str, tuple[object, ...]] = {
    "finetuning_type": ("lora", "freeze", "full"),
    "flash_attn": ("auto", "disabled", "sdpa", "fa2"),
    "quantization_bit": (None, 8, 4),
    "optim": (
        *("adamw_torch_fused", "adamw_torch", "adamw_8bit", "paged_adamw_8bit"),
        "adafactor",
    ),
    "eval_strategy": ("no", "steps", "epoch"),
}
_SWITCHES = frozenset(
    {
        *("packing", "neat_packing", "use_dora", "double_quantization", "bf16", "fp16"),
        *("pure_bf16", "upcast_layernorm", "upcast_lmhead_output", "enable_liger_kernel"),
        *("disable_gradient_checkpointing", "use_unsloth_gc", "use_reentrant_gc"),
        *("use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon"),
        *("freeze_vision_tower", "use_cpu", "do_eval"),
    }
)
SUGGESTED = (
    *(BATCH, ACCUMULATION, "cutoff_len", "enable_liger_kernel"),
    *("disable_gradient_checkpointing", "use_unsloth_gc", "quantization_bit", "pure_bf16"),
    *("flash_attn", "optim"),
)
"""What is worth trying even where the config does not set it."""
_HARMLESS = frozenset(
    {
        *("enable_liger_kernel", "disable_gradient_checkpointing", "use_unsloth_gc"),
        *("use_reentrant_gc", "flash_attn", "per_device_eval_batch_size"),
    }
)
"""Changes of these keep the recipe: how it is computed changes, not what."""
_NOTHING: Mapping[str, object] = MappingProxyType({})


def decides_memory(key: str) -> bool:
    """Tell whether a change of a key can change the memory that is needed."""
    return key in MEMORY_KEYS


def stepped(key: str, value: object, forward: bool, own: object = UNSET) -> object:  # noqa: FBT001
    """Return a value's next or previous one; UNSET where it takes no step.

    `own` is the value that the config has: it stays among a key's choices.
    """
    if key in _SWITCHES:
        return _switched(value)
    if key in _CHOICES:
        return _chosen(_CHOICES[key], value, own, forward=forward)
    if key in _LARGEST and isinstance(value, int) and not isinstance(value, bool):
        return _counted(key, value, forward=forward)
    return UNSET


def _switched(value: object) -> object:
    return not value if value is None or isinstance(value, bool) else UNSET


def _chosen(choices: tuple[object, ...], value: object, own: object, *, forward: bool) -> object:
    round_trip = list(choices)
    for one in (own, value):
        is_plain = one is None or isinstance(one, str | int)
        if one is not UNSET and is_plain and one not in round_trip:
            round_trip.insert(0, one)
    if value not in round_trip:
        return UNSET
    at = round_trip.index(value) + (1 if forward else -1)
    return round_trip[at % len(round_trip)]


def _counted(key: str, value: int, *, forward: bool) -> object:
    # A negative number of layers counts from the first one.
    from_first = value < 0 and key == "freeze_trainable_layers"
    sign, size = (-1, -value) if from_first else (1, value)
    wanted = size * 2 if forward else size // 2
    inside = _SMALLEST.get(key, 1) <= wanted <= _LARGEST[key]
    return sign * wanted if inside else UNSET


@dataclass(frozen=True)
class WhatIf:
    """A config with changes tried on it."""

    config: EffectiveConfig
    facts: MemoryFacts
    environment: Environment | None = None
    changes: Mapping[str, object] = field(default_factory=lambda: _NOTHING)

    def value(self, key: str) -> object:
        """Return a key's value with the changes."""
        value = self.changes[key] if key in self.changes else self.config.value(key)
        # YAML reads a bare `no` as false: the strategy that is meant is "no".
        return "no" if key == "eval_strategy" and value is False else value

    def can_step(self, key: str) -> bool:
        """Tell whether a key's value takes a step in either direction."""
        return decides_memory(key) and any(
            self._next(key, forward=forward) is not UNSET for forward in (True, False)
        )

    def step(self, key: str, *, forward: bool) -> "WhatIf":
        """Return this with a key's value one step on, or as it is where it takes none."""
        wanted = self._next(key, forward=forward) if decides_memory(key) else UNSET
        if wanted is UNSET:
            return self
        changes = {**self.changes, key: wanted}
        if wanted == replace(self, changes=_NOTHING).value(key):
            del changes[key]
        return replace(self, changes=changes)

    def _next(self, key: str, *, forward: bool) -> object:
        own = replace(self, changes=_NOTHING).value(key)
        return stepped(key, self.value(key), forward, own)

    @cached_property
    def before(self) -> Forecast | LlamavetError:
        """What the config as it is needs, or why that is not known."""
        return _tell(self.config, self.facts)

    @cached_property
    def after(self) -> Forecast | LlamavetError:
        """What it needs with the changes, or why that is not known."""
        if not self.changes:
            return self.before
        before, told = self.before, _tell(self._changed, self.facts)
        learned = self.facts.calibration
        if learned is None or learned.measure is Measure.FLOOR:
            return told
        if not isinstance(before, Forecast) or not isinstance(told, Forecast):
            return told
        if kind_of(told.work) == kind_of(before.work):
            return told
        # What was measured of one method says nothing of another.
        return _tell(self._changed, replace(self.facts, calibration=None))

    @cached_property
    def refusals(self) -> tuple[SchemaFault, ...]:
        """What LLaMA-Factory would refuse of the changes, and took before."""
        if not self.changes:
            return ()
        before = {(one.name, one.key) for one in _refused(self.config, self.environment)}
        after = _refused(self._changed, self.environment)
        return tuple(one for one in after if (one.name, one.key) not in before)

    @property
    def _changed(self) -> EffectiveConfig:
        values = {**self.config.as_dict(), **self.changes}
        return EffectiveConfig(ConfigDocument(None, "", values, {}))

    @property
    def keeps_recipe(self) -> bool:
        """Whether what is learned stays the same."""
        if not self.changes.keys() <= _HARMLESS | {BATCH, ACCUMULATION}:
            return False
        sizes = [self.value(BATCH), self.value(ACCUMULATION)]
        olds = [self.config.value(BATCH), self.config.value(ACCUMULATION)]
        return _product(sizes) == _product(olds)

    def as_fix(self, title: Text, why: Text, price: Text) -> Fix:
        """Return the changes as a fix, to be proposed like any other."""
        changes = (
            KeyChange(key, self.config.get(key), value) for key, value in self.changes.items()
        )
        keeps = self.keeps_recipe
        return Fix(
            id="what_if",
            title=title,
            why=why,
            price=Text("", "") if keeps else price,
            safety=Safety.SAFE if keeps else Safety.UNSAFE,
            changes=tuple(changes),
            predicted=self._predicted(),
        )

    def _predicted(self) -> Prediction | None:
        before, after = self.before, self.after
        if not isinstance(before, Forecast) or not isinstance(after, Forecast):
            return None
        return prediction_of(before, after)


def _tell(config: EffectiveConfig, facts: MemoryFacts) -> Forecast | LlamavetError:
    try:
        return forecast_config(config, facts)
    except LlamavetError as error:
        return error


def _refused(config: EffectiveConfig, environment: Environment | None) -> list[SchemaFault]:
    needs = environment_needs(config, environment) if environment is not None else ()
    return [one for one in (*schema_faults(config, environment), *needs) if one.rejected]


def _product(sizes: list[object]) -> object:
    first, second = sizes
    if isinstance(first, int) and isinstance(second, int):
        return first * second
    return (first, second)
