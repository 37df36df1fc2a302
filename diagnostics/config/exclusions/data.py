"""Owns the checks of data and of what is to be done with it."""

import math
from collections.abc import Callable

from diagnostics.config.exclusions.exclusion import Exclusion
from diagnostics.config.settings import Settings

_TINY = 1e-6
"""What LLaMA-Factory takes for 0 of a share."""
_INTERLEAVING = frozenset({"interleave_under", "interleave_over", "interleave_once"})


def _no_eval_data(settings: Settings) -> bool:
    asks = settings.evaluates or settings.on("do_predict") or settings.on("predict_with_generate")
    return asks and not settings.has("eval_dataset") and settings.number("val_size") < _TINY


def _few_probs(key: str) -> Callable[[Settings], bool]:
    def breaks(settings: Settings) -> bool:
        return (
            settings.has("interleave_probs")
            and settings.text("mix_strategy") != "concat"
            and settings.has(key)
            and len(settings.words(key)) != len(settings.words("interleave_probs"))
        )

    return breaks


def _unlike_one(settings: Settings) -> bool:
    """Tell whether the shares of the datasets are numbers that do not sum up to 1."""
    try:
        shares = [float(word) for word in settings.words("interleave_probs")]
    except ValueError:
        return False
    mixes = settings.text("mix_strategy") in _INTERLEAVING and len(settings.words("dataset")) > 1
    return mixes and len(shares) > 1 and not math.isclose(math.fsum(shares), 1, rel_tol=_TINY)


def _unused_length(settings: Settings) -> bool:
    return (
        settings.on("do_train")
        and "max_length" in settings.given
        and "cutoff_len" not in settings.given
        and not settings.on("predict_with_generate")
    )


def _idle(settings: Settings) -> bool:
    return (
        not settings.works
        and not settings.on("predict_with_generate")
        and settings.has("dataset")
        and "output_dir" in settings.given
        and not settings.has("export_dir")
    )


DATA = (
    Exclusion(
        "model_missing",
        ("model_name_or_path",),
        lambda s: not s.has("model_name_or_path"),
        "no model is named",
        "ValueError: Please provide `model_name_or_path`.",
    ),
    Exclusion(
        "val_size_without_dataset",
        ("val_size", "dataset"),
        lambda s: not s.has("dataset") and s.number("val_size") > _TINY,
        "val_size takes a share of dataset, and no dataset is named",
        "ValueError: Cannot specify `val_size` if `dataset` is None.",
        ("val_size", 0.0),
    ),
    Exclusion(
        "val_size_with_eval_dataset",
        ("val_size", "eval_dataset"),
        lambda s: s.has("eval_dataset") and s.number("val_size") > _TINY,
        "val_size and eval_dataset cannot both be set",
        "ValueError: Cannot specify `val_size` if `eval_dataset` is not None.",
        ("val_size", 0.0),
    ),
    Exclusion(
        "interleave_probs_concat",
        ("interleave_probs", "mix_strategy"),
        lambda s: s.has("interleave_probs") and s.text("mix_strategy") == "concat",
        "interleave_probs needs an interleaving mix_strategy",
        "ValueError: `interleave_probs` is only valid for interleaved mixing.",
        ("mix_strategy", "interleave_under"),
    ),
    Exclusion(
        "interleave_probs_length",
        ("interleave_probs", "dataset"),
        _few_probs("dataset"),
        "interleave_probs and dataset are not equally many",
        "ValueError: The length of dataset and interleave probs should be identical.",
    ),
    Exclusion(
        "interleave_probs_eval_length",
        ("interleave_probs", "eval_dataset"),
        lambda s: not _few_probs("dataset")(s) and _few_probs("eval_dataset")(s),
        "interleave_probs and eval_dataset are not equally many",
        "ValueError: The length of eval dataset and interleave probs should be identical.",
    ),
    Exclusion(
        "interleave_probs_sum",
        ("interleave_probs",),
        _unlike_one,
        "interleave_probs are shares that must sum up to 1",
        in_training=True,
    ),
    Exclusion(
        "streaming_val_size",
        ("val_size", "streaming"),
        lambda s: s.on("streaming") and _TINY < s.number("val_size") < 1,
        "streamed data has no length, so val_size must be a whole number of samples",
        "ValueError: Streaming mode should have an integer val size.",
    ),
    Exclusion(
        "streaming_max_samples",
        ("max_samples", "streaming"),
        lambda s: s.on("streaming") and s.has("max_samples"),
        "max_samples cannot be used with streaming",
        "ValueError: `max_samples` is incompatible with `streaming`.",
        ("max_samples", None),
    ),
    Exclusion(
        "mask_history_train_on_prompt",
        ("mask_history", "train_on_prompt"),
        lambda s: s.on("mask_history") and s.on("train_on_prompt"),
        "mask_history and train_on_prompt cannot both be on",
        "ValueError: `mask_history` is incompatible with `train_on_prompt`.",
        ("train_on_prompt", False),
    ),
    Exclusion(
        "streaming_max_steps",
        ("streaming", "max_steps"),
        lambda s: s.on("streaming") and s.value("max_steps") == -1,
        "streamed data has no length, so max_steps must say where to end",
        "ValueError: Please specify `max_steps` in streaming mode.",
        in_training=True,
    ),
    Exclusion(
        "dataset_missing",
        ("do_train", "dataset"),
        lambda s: s.on("do_train") and not s.has("dataset"),
        "do_train is on and no dataset is named",
        "ValueError: Please specify dataset for training.",
    ),
    Exclusion(
        "eval_data_missing",
        ("eval_strategy", "do_eval", "do_predict", "predict_with_generate", "val_size"),
        lambda s: _no_eval_data(s) and not (s.on("do_train") and not s.has("dataset")),
        "an evaluation is asked for, and there is neither eval_dataset nor val_size",
        "ValueError: Please make sure eval_dataset be provided or val_size >1e-6",
        ("val_size", 0.1),
        in_training=True,
    ),
    Exclusion(
        "max_length_in_training",
        ("max_length", "cutoff_len"),
        _unused_length,
        "max_length is for generating; samples of a training are cut at cutoff_len",
        rejected=False,
    ),
    Exclusion(
        "nothing_to_do",
        ("do_train",),
        _idle,
        "neither do_train, do_eval nor do_predict is on, so nothing would be trained",
        change=("do_train", True),
        rejected=False,
    ),
)
