"""Owns reading the demo's config as LLaMA-Factory reads one: a YAML file, then key=value words.

It checks what LLaMA-Factory checks at that point, and raises what it would raise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diagnostics.config.document import parse_document
from diagnostics.config.schema import KEYS
from diagnostics.demo.failures import SimulatedError
from diagnostics.demo.memory import ARCHITECTURES, LINEARS, Architecture, Recipe
from diagnostics.errors import ConfigError

_ENOUGH_BYTES = 8 * 1024 * 1024  # more than a config may have: the parser refuses it
_LARGEST = 1e100  # products of a few such numbers are still floats

_USED = """
model_name_or_path stage do_train finetuning_type lora_rank lora_target
freeze_trainable_layers quantization_bit dataset dataset_dir max_samples template cutoff_len
output_dir logging_steps save_steps save_total_limit save_only_model overwrite_output_dir
resume_from_checkpoint per_device_train_batch_size gradient_accumulation_steps learning_rate
num_train_epochs max_steps lr_scheduler_type warmup_steps warmup_ratio bf16 fp16 pure_bf16
optim disable_gradient_checkpointing use_unsloth_gc enable_liger_kernel seed report_to
"""
_NOT_IN_SCHEMA = """
adam_beta1 adam_beta2 adam_epsilon data_seed dataloader_drop_last dataloader_persistent_workers
dataloader_pin_memory dataloader_prefetch_factor early_stopping_steps enable_thinking
label_smoothing_factor logging_first_step logging_nan_inf_filter mask_history
metric_for_best_model mix_strategy preprocessing_batch_size quantization_type run_name
train_on_prompt
"""
_USED_KEYS = frozenset(_USED.split())
_INERT_KEYS = (frozenset(KEYS) | frozenset(_NOT_IN_SCHEMA.split())) - _USED_KEYS


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked config: what the trainer needs of it, defaults filled in."""

    recipe: Recipe
    datasets: tuple[str, ...]
    dataset_dir: Path
    max_samples: int | None
    cutoff_len: int
    output_dir: Path
    logging_steps: int
    save_steps: int
    save_total_limit: int | None
    save_only_model: bool
    overwrite_output_dir: bool
    resume_from_checkpoint: str | bool | None
    batch_size: int
    learning_rate: float
    epochs: float
    max_steps: int
    scheduler: str
    warmup_steps: float
    """Steps, or a share of all steps where it is below 1."""
    compute_dtype: str
    seed: int
    model_path: str
    inert_keys: tuple[str, ...] = ()
    """Keys that LLaMA-Factory knows and this trainer does nothing with."""

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches in one optimizer step."""
        return self.recipe.accumulation_steps


def read_settings(config: Path, overrides: Sequence[str]) -> Settings:
    """Return the settings of a config file and the words after it.

    Raises:
        SimulatedError: what LLaMA-Factory would raise for it.
        OSError: the file cannot be read.
    """
    return check_settings(read_values(config, overrides))


def read_values(config: Path, overrides: Sequence[str]) -> dict[str, object]:
    """Return the keys and values of a config file with the key=value words laid over it."""
    with config.open("rb") as file:
        data = file.read(_ENOUGH_BYTES)
    try:
        values = dict(parse_document(data, config).values)
    except ConfigError as error:
        raise _yaml_error(error) from error
    for word in overrides:
        key, _, text = word.partition("=")
        values[key] = _override_value(text)
    return values


def _override_value(text: str) -> object:
    """Return what the text after key= means: what it would mean in the file, or else text."""
    try:
        return parse_document(f"value: {text}".encode()).values.get("value", text)
    except (ConfigError, UnicodeEncodeError):
        return text


def _yaml_error(error: ConfigError) -> SimulatedError:
    """Return PyYAML's error for a file that does not parse: what is wrong, then where."""
    place = ":".join(str(p) for p in (error.path, error.line, error.column) if p is not None)
    message = error.message.removeprefix(f"{place}: ")
    where = f'\n  in "{error.path}", line {error.line or 1}, column {error.column or 1}'
    return SimulatedError("yaml.scanner.ScannerError", message + where, stack="parse")


def check_settings(values: Mapping[str, object]) -> Settings:
    """Return the settings that a config's values mean.

    Raises:
        SimulatedError: what LLaMA-Factory would raise for them.
    """
    unused = sorted(set(values) - _USED_KEYS - _INERT_KEYS)
    if unused:
        raise SimulatedError(
            "ValueError",
            f"Some keys are not used by the HfArgumentParser: {unused}",
            stack="parse",
        )
    read = _Reader(values)
    _check_combinations(read)
    warmup = read.number("warmup_steps", 0.0)
    ratio = read.number("warmup_ratio", 0.0)
    dtype = "torch.bfloat16" if read.flag("bf16") or read.flag("pure_bf16") else "None"
    return Settings(
        recipe=_recipe(read),
        datasets=tuple(name.strip() for name in read.text("dataset", "").split(",")),
        dataset_dir=Path(read.text("dataset_dir", "data")),
        max_samples=read.maybe_count("max_samples"),
        cutoff_len=read.count("cutoff_len", 2048),
        output_dir=Path(read.text("output_dir", "trainer_output")),
        logging_steps=read.count("logging_steps", 500),
        save_steps=read.count("save_steps", 500),
        save_total_limit=read.maybe_count("save_total_limit"),
        save_only_model=read.flag("save_only_model"),
        overwrite_output_dir=read.flag("overwrite_output_dir"),
        resume_from_checkpoint=_resume(values.get("resume_from_checkpoint")),
        batch_size=read.count("per_device_train_batch_size", 8),
        learning_rate=read.number("learning_rate", 5.0e-5),
        epochs=read.number("num_train_epochs", 3.0),
        max_steps=int(read.number("max_steps", -1)),
        scheduler=read.text("lr_scheduler_type", "linear"),
        warmup_steps=ratio or warmup,
        compute_dtype="torch.float16" if read.flag("fp16") else dtype,
        seed=int(read.number("seed", 42)),
        model_path=read.text("model_name_or_path", ""),
        inert_keys=tuple(sorted(set(values) & _INERT_KEYS)),
    )


def _check_combinations(read: "_Reader") -> None:
    if not read.text("model_name_or_path", ""):
        raise SimulatedError("ValueError", "Please provide `model_name_or_path`.", stack="parse")
    if not read.text("dataset", ""):
        raise SimulatedError("ValueError", "Please specify dataset for training.", stack="parse")
    method = read.text("finetuning_type", "lora")
    if method not in {"lora", "freeze", "full"}:
        raise SimulatedError("AssertionError", "Invalid fine-tuning method.", stack="parse")
    if read.text("stage", "sft") != "sft" or not read.flag("do_train"):
        raise SimulatedError(
            "ValueError", "llamavet's demo trainer only simulates `stage: sft` with `do_train`."
        )
    if read.flag("bf16") and read.flag("fp16"):
        raise SimulatedError(
            "ValueError", "At most one of fp16 and bf16 can be True, but not both", stack="parse"
        )
    bits = read.maybe_count("quantization_bit")
    if bits is not None and method != "lora":
        raise SimulatedError(
            "ValueError",
            "Quantization is only compatible with the LoRA or OFT method.",
            stack="parse",
        )
    if bits not in {None, 4, 8}:
        raise SimulatedError("ValueError", "Bitsandbytes only accepts 4-bit or 8-bit quantization.")


def _recipe(read: "_Reader") -> Recipe:
    return Recipe(
        model=_architecture(read.text("model_name_or_path", "")),
        finetuning_type=read.text("finetuning_type", "lora"),
        lora_rank=read.count("lora_rank", 8),
        lora_targets=_targets(read.text("lora_target", "all")),
        freeze_layers=int(read.number("freeze_trainable_layers", 2)),
        quantization_bit=read.maybe_count("quantization_bit"),
        half_precision=read.flag("bf16") or read.flag("fp16"),
        pure_bf16=read.flag("pure_bf16"),
        optim=read.text("optim", "adamw_torch_fused"),
        accumulation_steps=read.count("gradient_accumulation_steps", 1),
        gradient_checkpointing=not read.flag("disable_gradient_checkpointing"),
        offload_activations=read.flag("use_unsloth_gc"),
        fused_loss=read.flag("enable_liger_kernel"),
    )


def _architecture(path: str) -> Architecture:
    name = path.rstrip("/").rpartition("/")[2].lower()
    for known, architecture in ARCHITECTURES.items():
        if name.startswith(known.lower()):
            return architecture
    names = ", ".join(ARCHITECTURES)
    raise SimulatedError(
        "OSError", f"llamavet's demo trainer has no sizes of {path!r}; it knows {names}."
    )


def _targets(text: str) -> tuple[str, ...]:
    if text == "all":
        return LINEARS
    names = tuple(name.strip() for name in text.split(","))
    unknown = set(names) - set(LINEARS)
    if unknown:
        raise SimulatedError(
            "ValueError", f"Target modules {unknown} not found in the base model.", stack="load"
        )
    return names


def _resume(value: object) -> str | bool | None:
    if value is None or isinstance(value, bool):
        return value or None
    return value if isinstance(value, str) else type(value).__name__


class _Reader:
    """Typed access to a config's values, with LLaMA-Factory's leniency: numbers may be text."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def text(self, key: str, default: str) -> str:
        value = self._values.get(key)
        if isinstance(value, list | dict | set):
            raise self._bad(key, "text")
        return default if value is None else str(value)

    def flag(self, key: str) -> bool:
        value = self._values.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        text = self.text(key, "").lower()
        if text in {"true", "1", "false", "0"}:
            return text in {"true", "1"}
        raise self._bad(key, "true or false")

    def number(self, key: str, default: float) -> float:
        value = self._values.get(key)
        if value is None:
            return default
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or not abs(number) < _LARGEST:
            raise self._bad(key, "a number")
        return number

    def count(self, key: str, default: int) -> int:
        number = float(self.number(key, default))
        if number < 1 or not number.is_integer():
            raise self._bad(key, "a whole number of at least 1")
        return int(number)

    def maybe_count(self, key: str) -> int | None:
        return None if self._values.get(key) is None else self.count(key, 1)

    def _bad(self, key: str, wanted: str) -> SimulatedError:
        value = self._values.get(key)
        # A list may be made of aliases, and far larger when it is written out.
        plain = value is None or isinstance(value, str | int | float)
        given = repr(str(value)[:80]) if plain else type(value).__name__
        return SimulatedError("ValueError", f"{key} must be {wanted}, not {given}.", stack="parse")
