"""Owns the checks that transformers makes of its own training arguments."""

from collections.abc import Callable

from diagnostics.config.exclusions.exclusion import Exclusion
from diagnostics.config.settings import Settings

_FSDP = frozenset(
    {
        *("full_shard", "shard_grad_op", "no_shard", "hybrid_shard", "hybrid_shard_zero2"),
        *("offload", "auto_wrap"),
    }
)


def _step_kind(strategy: str, steps: str) -> Callable[[Settings], bool]:
    def breaks(settings: Settings) -> bool:
        value = settings.value(steps)
        return (
            settings.text(strategy) == "steps"
            and isinstance(value, float)
            and value > 1
            and not value.is_integer()
        )

    return breaks


def _eval_steps(settings: Settings) -> float:
    return settings.number("eval_steps") or settings.number("logging_steps")


def _strategies_differ(settings: Settings) -> bool:
    strategies = settings.text("save_strategy"), settings.text("eval_strategy")
    return (
        strategies[0] in {"no", "steps", "epoch"}
        and strategies[1] in {"no", "steps", "epoch"}
        and strategies[0] != strategies[1]
    )


def _steps_differ(settings: Settings) -> bool:
    strategies = settings.text("save_strategy"), settings.text("eval_strategy")
    if strategies != ("steps", "steps"):
        return False
    save, evaluate = settings.number("save_steps"), _eval_steps(settings)
    if save <= 0 or evaluate <= 0:
        return False
    if (save < 1) != (evaluate < 1):
        return True
    scale = 1_000_000 if save < 1 else 1
    return (save * scale) % (evaluate * scale) != 0


def _can_load_best(settings: Settings) -> bool:
    """Tell whether nothing speaks against load_best_model_at_end."""
    fits = not _strategies_differ(settings) and not _steps_differ(settings)
    return fits and settings.text("eval_strategy") in {"steps", "epoch"}


def _lacks_metric(settings: Settings) -> bool:
    """Tell whether nothing names the metric, and nothing makes it the loss."""
    return (
        not settings.has("metric_for_best_model")
        and not settings.on("load_best_model_at_end")
        and settings.text("lr_scheduler_type") not in {"reduce_lr_on_plateau", "greedy"}
    )


def _stops_early(settings: Settings) -> bool:
    return settings.on("do_train") and settings.has("early_stopping_steps")


def _early_metric(name: str, change: tuple[str, object] | None) -> Exclusion:
    """Return the check of early stopping's metric; with `change` that of where this mends it."""
    return Exclusion(
        name,
        ("early_stopping_steps", "metric_for_best_model", "load_best_model_at_end"),
        lambda s: (
            _stops_early(s) and _lacks_metric(s) and _can_load_best(s) is (change is not None)
        ),
        "early_stopping_steps needs metric_for_best_model, which load_best_model_at_end sets",
        "AssertionError: EarlyStoppingCallback requires metric_for_best_model to be defined",
        change,
    )


def _no_eval(scheduler: str) -> Callable[[Settings], bool]:
    return lambda s: s.text("lr_scheduler_type") == scheduler and s.text("eval_strategy") == "no"


def _is_zero(value: object) -> bool:
    return value == 0 and not isinstance(value, bool)


TRAINER = (
    Exclusion(
        "fp16_with_bf16",
        ("fp16", "bf16"),
        lambda s: s.on("fp16") and s.on("bf16"),
        "fp16 and bf16 cannot both be on",
        "ValueError: At most one of fp16 and bf16 can be True, but not both",
        ("fp16", False),
    ),
    Exclusion(
        "fp16_with_bf16_eval",
        ("fp16_full_eval", "bf16_full_eval"),
        lambda s: s.on("fp16_full_eval") and s.on("bf16_full_eval"),
        "fp16_full_eval and bf16_full_eval cannot both be on",
        "ValueError: At most one of fp16 and bf16 can be True for full eval, but not both",
        ("fp16_full_eval", False),
    ),
    Exclusion(
        "logging_steps_zero",
        ("logging_steps", "logging_strategy"),
        lambda s: s.text("logging_strategy") == "steps" and _is_zero(s.value("logging_steps")),
        "logging_steps cannot be 0",
        "ValueError: logging strategy IntervalStrategy.STEPS requires non-zero --logging_steps",
        ("logging_steps", 10),
    ),
    Exclusion(
        "logging_steps_fraction",
        ("logging_steps",),
        _step_kind("logging_strategy", "logging_steps"),
        "logging_steps must be a whole number, or a share below 1",
        "ValueError: --logging_steps must be an integer if bigger than 1",
    ),
    Exclusion(
        "eval_steps_fraction",
        ("eval_steps",),
        _step_kind("eval_strategy", "eval_steps"),
        "eval_steps must be a whole number, or a share below 1",
        "ValueError: --eval_steps must be an integer if bigger than 1",
    ),
    Exclusion(
        "save_steps_fraction",
        ("save_steps",),
        _step_kind("save_strategy", "save_steps"),
        "save_steps must be a whole number, or a share below 1",
        "ValueError: --save_steps must be an integer if bigger than 1",
    ),
    Exclusion(
        "best_model_strategies",
        ("load_best_model_at_end", "save_strategy", "eval_strategy"),
        lambda s: s.on("load_best_model_at_end") and _strategies_differ(s),
        "load_best_model_at_end needs save_strategy and eval_strategy to be the same",
        "ValueError: --load_best_model_at_end requires the save and eval strategy to match",
    ),
    Exclusion(
        "best_model_multiple",
        ("save_steps", "eval_steps", "load_best_model_at_end"),
        lambda s: s.on("load_best_model_at_end") and _steps_differ(s),
        "load_best_model_at_end needs save_steps to be a multiple of eval_steps",
        "ValueError: --load_best_model_at_end requires the saving steps to be a round multiple of"
        " the evaluation steps",
    ),
    Exclusion(
        "plateau_needs_eval",
        ("lr_scheduler_type", "eval_strategy"),
        _no_eval("reduce_lr_on_plateau"),
        "lr_scheduler_type reduce_lr_on_plateau follows the evaluations, and eval_strategy is no",
        "ValueError: lr_scheduler_type reduce_lr_on_plateau requires an eval strategy",
    ),
    Exclusion(
        "greedy_needs_eval",
        ("lr_scheduler_type", "eval_strategy"),
        _no_eval("greedy"),
        "lr_scheduler_type greedy follows the evaluations, and eval_strategy is no",
        "ValueError: lr_scheduler_type greedy requires an eval strategy",
    ),
    Exclusion(
        "prefetch_without_workers",
        ("dataloader_prefetch_factor", "dataloader_num_workers"),
        lambda s: s.has("dataloader_prefetch_factor") and s.value("dataloader_num_workers") == 0,
        "dataloader_prefetch_factor needs dataloader_num_workers above 0",
        "ValueError: --dataloader_prefetch_factor can only be set when data is loaded in a"
        " different process",
        ("dataloader_num_workers", 4),
    ),
    Exclusion(
        "early_stopping_eval",
        ("early_stopping_steps", "eval_strategy"),
        lambda s: (
            _stops_early(s) and s.text("eval_strategy") == "no" and s.has("metric_for_best_model")
        ),
        "early_stopping_steps counts evaluations, and eval_strategy is no",
        "AssertionError: EarlyStoppingCallback requires IntervalStrategy of steps or epoch",
    ),
    _early_metric("early_stopping_metric", ("load_best_model_at_end", True)),
    _early_metric("early_stopping_metric_alone", None),
    Exclusion(
        "best_saved_metric",
        ("save_strategy", "metric_for_best_model"),
        lambda s: s.text("save_strategy") == "best" and _lacks_metric(s),
        "save_strategy best needs metric_for_best_model",
        "ValueError: `args.metric_for_best_model` must be provided when using 'best' save_strategy",
        ("metric_for_best_model", "loss"),
        in_training=True,
    ),
    Exclusion(
        "fsdp_option",
        ("fsdp",),
        lambda s: not set(s.text("fsdp").split()) <= _FSDP and s.value("fsdp") is not False,
        "fsdp takes words such as full_shard, shard_grad_op, offload and auto_wrap",
    ),
    Exclusion(
        "fsdp_offload_alone",
        ("fsdp",),
        lambda s: s.text("fsdp").split() == ["offload"],
        "fsdp offload works only beside full_shard or shard_grad_op",
        "ValueError: `--fsdp offload` can't work on its own.",
        ("fsdp", "full_shard offload"),
    ),
    Exclusion(
        "fsdp_two_shardings",
        ("fsdp",),
        lambda s: {"full_shard", "shard_grad_op"} <= set(s.text("fsdp").split()),
        "fsdp full_shard and shard_grad_op cannot both be set",
        "ValueError: `--fsdp full_shard` is not compatible with `--fsdp shard_grad_op`.",
    ),
)
