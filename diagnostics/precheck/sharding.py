"""Owns what the DeepSpeed JSON that a config names foretells."""

from collections.abc import Iterator, Mapping
from typing import Any

from diagnostics.config.effective import EffectiveConfig
from diagnostics.findings import Evidence
from diagnostics.precheck.folders import surely_absent
from diagnostics.precheck.foreseen import PARSER, Foreseen
from diagnostics.precheck.surroundings import Surroundings

_KEY = "deepspeed"
_READING = (PARSER[0], "transformers/integrations/deepspeed.py:__init__")
_PAIRS = (
    ("train_micro_batch_size_per_gpu", "per_device_train_batch_size"),
    ("gradient_accumulation_steps", "gradient_accumulation_steps"),
    ("gradient_clipping", "max_grad_norm"),
    ("optimizer.params.lr", "learning_rate"),
    ("optimizer.params.weight_decay", "weight_decay"),
    ("fp16.enabled", "fp16"),
    ("bf16.enabled", "bf16"),
)
"""What transformers compares: the name in the JSON, and the key of the config."""


def foresee_sharding(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    """Yield what would be printed because of the DeepSpeed file."""
    named, file = around.path(_KEY), around.deepspeed
    if named is not None and surely_absent(named, around):
        said = (
            "ValueError: Expected a string path to an existing deepspeed config, or a dictionary,"
            f" or a base64 encoded string. Received: {named.value}"
        )
        yield Foreseen(said, (_KEY,), _READING)
    if file is None:
        return
    if file.fault:
        place = Evidence(file.shown, file.line, file.fault, file.column)
        said = f"json.decoder.JSONDecodeError: {file.fault}"
        yield Foreseen(said, (_KEY,), _READING, (place,))
    if file.value is None:
        return
    yield from _mismatches(config, file.value)


def zero_stage(around: Surroundings) -> int | None:
    """Return the ZeRO stage that DeepSpeed's file sets; None where it is not known."""
    file = around.deepspeed
    stage = _at(file.value, "zero_optimization.stage") if file is not None and file.value else None
    return stage if isinstance(stage, int) and not isinstance(stage, bool) else None


def _mismatches(config: EffectiveConfig, value: Mapping[str, Any]) -> Iterator[Foreseen]:
    found = []
    keys = []
    for name, key in _PAIRS:
        theirs, ours = _at(value, name), config.value(key)
        unknown = theirs is None or theirs == "auto" or ours is None
        if unknown or theirs == ours or (name.startswith("train_") and _finds_batch(config)):
            continue
        found.append(f"- ds {name}={theirs} vs hf {key}={ours}")
        keys.append(key)
    if found:
        listed = "\n".join(found)
        said = (
            "Please correct the following DeepSpeed config values that mismatch TrainingArguments"
        )
        yield Foreseen(f"ValueError: {said} values:\n{listed}", (_KEY, *keys), _READING)


def _finds_batch(config: EffectiveConfig) -> bool:
    return config.value("auto_find_batch_size") is True


def _at(value: Mapping[str, Any], path: str) -> Any:
    found: Any = value
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
