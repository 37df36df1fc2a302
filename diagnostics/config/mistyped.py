"""Owns values of a type that their key does not take.

LLaMA-Factory checks no types where it reads YAML: what is wrong comes out later, as an error that
does not name the key, or never.
"""

import math
import re
from dataclasses import dataclass

from diagnostics.config.scalars import kind_of, read_plain
from diagnostics.config.schema import KeyInfo
from diagnostics.config.unset import UNSET, Unset

_NUMBERS = frozenset({"int", "float"})
_TRUE = frozenset({"true", "yes", "on", "1", "t", "y"})
_FALSE = frozenset({"false", "no", "off", "0", "f", "n"})
_NOTHING = frozenset({"none", "null", "nil", "~"})
_INTERPOLATION = re.compile(r"\$\{[^}]{1,200}\}")
_PATHS_AND_NAMES = frozenset(
    {
        *("model_name_or_path", "adapter_name_or_path", "dataset", "eval_dataset", "template"),
        *("dataset_dir", "media_dir", "tokenized_path", "output_dir", "lora_target", "deepspeed"),
        *("cache_dir", "stage", "finetuning_type", "ref_model", "reward_model", "export_dir"),
    }
)
_ALWAYS_READ = frozenset(
    {
        *("per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate"),
        *("num_train_epochs", "max_steps", "warmup_steps", "weight_decay", "max_grad_norm"),
        *("logging_steps", "save_steps", "cutoff_len", "seed", "val_size", "image_max_pixels"),
        *("image_min_pixels", "video_max_pixels", "video_min_pixels", "dataloader_num_workers"),
        *("lora_rank", "quantization_bit", "adam_beta1", "adam_beta2", "adam_epsilon"),
        *("lora_alpha", "lora_dropout", "max_samples", "preprocessing_num_workers", "data_seed"),
        *("warmup_ratio", "label_smoothing_factor", "neftune_noise_alpha", "max_new_tokens"),
    }
)
"""Numbers that every training reckons with, so that anything else ends it."""
_ALWAYS_WHOLE = frozenset(
    {
        *("cutoff_len", "max_steps", "max_samples", "per_device_train_batch_size", "lora_rank"),
        *("gradient_accumulation_steps", "seed", "data_seed", "dataloader_num_workers"),
        *("preprocessing_num_workers", "preprocessing_batch_size", "torch_empty_cache_steps"),
    }
)
"""Whole numbers that every training counts with, so that even 2.0 ends it."""
_ALWAYS_TEXT = frozenset({"model_name_or_path", "dataset", "output_dir", "template"})
_ALWAYS_SPLIT = frozenset({"adapter_name_or_path", "add_tokens", "add_special_tokens"})
_LENIENT_LISTS = frozenset({"report_to", "label_names", "debug", "fsdp", "include_for_metrics"})
_MAX_DIGITS = 30


@dataclass(frozen=True, slots=True)
class Mistyped:
    """What is wrong with a value's type, and the value that is meant where that is plain."""

    name: str
    message: str
    expected: str
    meant: object | Unset
    rejected: bool | None = None
    """Whether it ends the training, though maybe with an error that does not name the key."""


def mistyped(key: str, value: object, info: KeyInfo) -> Mistyped | None:
    """Return what is wrong with a value's type, None where nothing is."""
    expected = " or ".join(name for name in info.types if name != "other")
    if not expected or "other" in info.types:
        return None
    if value is None:
        return _null(key, info, expected)
    if isinstance(value, str):
        return _text(key, value, info, expected)
    if isinstance(value, bool):
        return _bool(key, info, expected, value=value)
    if isinstance(value, int | float):
        return _number(key, value, info, expected)
    name = "dict" if isinstance(value, dict) else "list"
    if name in info.types or (name == "list" and key in _LENIENT_LISTS):
        return None
    what = "a mapping" if name == "dict" else "a list"
    meant = ",".join(map(str, value)) if isinstance(value, list) and _are_words(value) else UNSET
    if "str" not in info.types:
        meant = UNSET
    rejected = True if name == "list" and key in _ALWAYS_SPLIT else None
    return Mistyped(f"{name}_for_scalar", f"{key} cannot be {what}", expected, meant, rejected)


def _null(key: str, info: KeyInfo, expected: str) -> Mistyped | None:
    if info.nullable or "bool" in info.types or info.default is None:
        return None
    message = f"{key} is empty, which is null, not its default {info.default}"
    rejected = True if key in _ALWAYS_READ else None
    return Mistyped("null", message, expected, info.default, rejected)


def _text(key: str, text: str, info: KeyInfo, expected: str) -> Mistyped | None:
    lowered = text.strip().lower()
    if lowered in _NOTHING and text not in info.choices and _takes_null(info):
        if "str" not in info.types or key in _PATHS_AND_NAMES:
            return Mistyped("none_as_text", f"{key} is the text {text!r}, not null", "null", None)
        return None
    if key in _PATHS_AND_NAMES and _INTERPOLATION.search(text):
        message = f"{key} has a ${{...}} that nothing resolves: the text stays as it is"
        return Mistyped("interpolation", message, "text without ${...}", UNSET, rejected=False)
    if "str" in info.types:
        return None
    meant: object | Unset = UNSET
    if "bool" in info.types:
        return _switch(key, lowered, info, expected)
    if _NUMBERS & set(info.types):
        meant = _number_in(text, info)
    elif "list" in info.types or "dict" in info.types:
        return None  # words that a list is made of, or JSON
    what = "in quotes" if meant is not UNSET else "no number"
    name = "number_as_text" if meant is not UNSET else "text_for_number"
    if meant is UNSET and info.default is not None:
        meant = info.default
    rejected = True if key in _ALWAYS_READ | _ALWAYS_WHOLE else None
    return Mistyped(name, f"{key} is {what}: {text[:40]!r} is text", expected, meant, rejected)


def _switch(key: str, lowered: str, info: KeyInfo, expected: str) -> Mistyped | None:
    if lowered in _TRUE:
        return None  # every text counts as true, and true is meant
    if lowered in _FALSE:
        message = f"{key} is the text {lowered!r}, and every text counts as true"
        return Mistyped("switch_as_text", message, expected, meant=False, rejected=False)
    message = f"{key} is a text, and every text counts as true"
    return Mistyped("text_for_switch", message, expected, info.default, rejected=False)


def _bool(key: str, info: KeyInfo, expected: str, *, value: bool) -> Mistyped | None:
    if "bool" in info.types:
        return None
    if info.choices:
        return None  # that is a matter of the choices, a bare no as well
    if _NUMBERS & set(info.types):
        meant = None if value is False and _takes_null(info) else info.default
        message = f"{key} takes a number, and is {str(value).lower()}"
        return Mistyped("switch_for_number", message, expected, meant)
    if key in _PATHS_AND_NAMES:
        meant = None if value is False and _takes_null(info) else UNSET
        message = f"{key} takes a text, and is {str(value).lower()}"
        return Mistyped("switch_for_text", message, expected, meant)
    return None


def _number(key: str, value: float, info: KeyInfo, expected: str) -> Mistyped | None:
    if "float" in info.types:
        return None
    if "int" in info.types:
        if isinstance(value, int):
            return None
        whole = math.isfinite(value) and value.is_integer() and abs(value) < 10**_MAX_DIGITS
        meant = int(value) if whole else UNSET
        return Mistyped(
            "fraction_for_whole",
            f"{key} takes a whole number, and {value:g} is read as a float",
            expected,
            meant,
            True if key in _ALWAYS_WHOLE else None,
        )
    if "bool" in info.types and value not in (0, 1) and "str" not in info.types:
        message = f"{key} takes true or false, and is {_digits(value)}"
        return Mistyped("number_for_switch", message, expected, bool(value), rejected=False)
    if key in _PATHS_AND_NAMES and not info.choices:
        message = f"{key} takes a text, and {_digits(value)} is a number"
        text = str(value) if isinstance(value, int) and abs(value) < 10**_MAX_DIGITS else UNSET
        rejected = True if key in _ALWAYS_TEXT else None
        return Mistyped("number_for_text", message, expected, text, rejected)
    return None


def _digits(value: float) -> str:
    if isinstance(value, int) and abs(value) >= 10**_MAX_DIGITS:
        return "a number of very many digits"
    return str(value)


def _number_in(text: str, info: KeyInfo) -> object | Unset:
    plain = text.strip()
    if kind_of(plain) not in _NUMBERS:
        return UNSET
    try:
        value = read_plain(plain)
    except ValueError:
        return UNSET
    if not isinstance(value, int | float) or not math.isfinite(value):
        return UNSET
    if "float" not in info.types and isinstance(value, float):
        return int(value) if value.is_integer() else UNSET
    return value


def _takes_null(info: KeyInfo) -> bool:
    return info.nullable or info.default is None


def _are_words(items: list[object]) -> bool:
    return 0 < len(items) <= 100 and all(isinstance(one, str) for one in items)  # noqa: PLR2004
