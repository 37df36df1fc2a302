"""Owns Settings: a config's values as the software sees them, defaults filled in.

LLaMA-Factory checks no types, so a value may be of any: each reading here says what comes of it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from diagnostics.config.schema import KeyInfo

_LARGEST = 1.7e308
_METHODS = frozenset({"lora", "oft", "freeze", "full"})
_STAGES = frozenset({"pt", "sft", "rm", "ppo", "dpo", "kto"})
_WORKING = ("do_train", "do_eval", "do_predict")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is set, the schema for what is not, and how the training is started."""

    given: Mapping[str, object]
    schema: Mapping[str, KeyInfo]
    zero_stage: int | None = None
    """DeepSpeed's ZeRO stage, where its file could be read."""
    distributed: bool | None = None
    """Whether torchrun starts it; None where that is not known."""
    fused_by_default: bool = False
    """Whether the installed PyTorch is known to make optim adamw_torch_fused the default."""

    def value(self, key: str) -> object:
        """Return the value in force, None where there is none."""
        if key in self.given:
            return self.given[key]
        info = self.schema.get(key)
        return info.default if info is not None else None

    def on(self, key: str) -> bool:
        """Tell whether a value counts as true, as Python does: every text but "" is."""
        return bool(self.value(key))

    def has(self, key: str) -> bool:
        """Tell whether a value is there and not null."""
        return self.value(key) is not None

    def text(self, key: str) -> str:
        """Return a text, "" for everything else; a bare no in YAML is the text "no"."""
        value = self.value(key)
        if value is False:
            return "no"
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> float:
        """Return a finite number, 0 for everything else."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return 0.0
        return as_float(value)

    def words(self, key: str) -> tuple[str, ...]:
        """Return the items of a list or of a text with commas."""
        value = self.value(key)
        if isinstance(value, str):
            return tuple(word.strip() for word in value.split(","))
        return tuple(str(item) for item in value) if isinstance(value, list) else ()

    @property
    def works(self) -> bool:
        """Whether it is asked to train, evaluate or predict at all."""
        return any(self.on(key) for key in _WORKING) or self.evaluates

    @property
    def evaluates(self) -> bool:
        """Whether an evaluation is due; a strategy turns `do_eval` on."""
        return self.on("do_eval") or self.text("eval_strategy") in {"steps", "epoch"}

    @property
    def method(self) -> str:
        """The method: "lora", "oft", "freeze", "full", or whatever stands there."""
        return self.text("finetuning_type")

    @property
    def knows_method(self) -> bool:
        """Whether the method is one of LLaMA-Factory's; another one is a fault of its own."""
        return self.method in _METHODS

    @property
    def knows_stage(self) -> bool:
        """Whether the stage is one of LLaMA-Factory's."""
        return self.text("stage") in _STAGES

    @property
    def quantized(self) -> bool:
        """Whether the model is to be quantized when it is loaded."""
        return self.has("quantization_bit")

    @property
    def zero3(self) -> bool:
        """Whether DeepSpeed's ZeRO-3 is known to be on."""
        return self.on("deepspeed") and (self.zero_stage or self._inline_stage()) == 3  # noqa: PLR2004

    def _inline_stage(self) -> object:
        inline = self.value("deepspeed")
        zero = inline.get("zero_optimization") if isinstance(inline, dict) else None
        return zero.get("stage") if isinstance(zero, dict) else None


def as_float(value: float) -> float:
    """Return a number as a finite float, 0 where it is none: YAML has whole numbers of any size."""
    try:
        number = float(value)
    except OverflowError:
        return _LARGEST if value > 0 else -_LARGEST
    return number if math.isfinite(number) else 0.0
