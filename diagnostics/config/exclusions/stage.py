"""Owns the checks of the stages: what only one of them can, what one of them needs."""

from diagnostics.config.exclusions.exclusion import Exclusion
from diagnostics.config.settings import Settings

_PPO_TRACKERS = frozenset({"wandb", "tensorboard", "trackio", "none"})


def _only_sft(key: str) -> Exclusion:
    both = "`train_on_prompt` or `mask_history`"
    named = both if key in {"train_on_prompt", "mask_history"} else f"`{key}`"
    return Exclusion(
        f"{key}_only_sft",
        (key, "stage"),
        lambda s: s.knows_stage and s.text("stage") != "sft" and s.on(key),
        f"{key} is for stage sft only",
        f"ValueError: {named} cannot be set as True except SFT.",
        (key, False),
        in_training=True,
    )


def _trackers(settings: Settings) -> bool:
    value = settings.value("report_to")
    names = (value,) if isinstance(value, str) else settings.words("report_to")
    return settings.text("stage") == "ppo" and any(
        name not in _PPO_TRACKERS and name != "all" for name in names if name
    )


STAGE = (
    _only_sft("predict_with_generate"),
    _only_sft("neat_packing"),
    _only_sft("train_on_prompt"),
    _only_sft("mask_history"),
    Exclusion(
        "predict_needs_generate",
        ("do_predict", "predict_with_generate"),
        lambda s: (
            s.text("stage") == "sft" and s.on("do_predict") and not s.on("predict_with_generate")
        ),
        "do_predict saves predictions only with predict_with_generate",
        "ValueError: Please enable `predict_with_generate` to save model predictions.",
        ("predict_with_generate", True),
    ),
    Exclusion(
        "predict_with_accuracy",
        ("compute_accuracy", "predict_with_generate"),
        lambda s: s.on("predict_with_generate") and s.on("compute_accuracy"),
        "compute_accuracy and predict_with_generate cannot both be on",
        "ValueError: Cannot use `predict_with_generate` and `compute_accuracy` together.",
        ("compute_accuracy", False),
        in_training=True,
    ),
    Exclusion(
        "rm_load_best",
        ("load_best_model_at_end", "stage"),
        lambda s: s.text("stage") in {"rm", "ppo"} and s.on("load_best_model_at_end"),
        "stages rm and ppo cannot load the best model at the end",
        "ValueError: RM and PPO stages do not support `load_best_model_at_end`.",
        ("load_best_model_at_end", False),
    ),
    Exclusion(
        "ppo_only_training",
        ("stage", "do_train"),
        lambda s: s.text("stage") == "ppo" and not s.on("do_train"),
        "stage ppo can only train; a model is evaluated in stage sft",
        "ValueError: PPO training does not support evaluation,"
        " use the SFT stage to evaluate models.",
        in_training=True,
    ),
    Exclusion(
        "ppo_shift_attn",
        ("shift_attn", "stage"),
        lambda s: s.text("stage") == "ppo" and s.on("shift_attn"),
        "shift_attn cannot be used in stage ppo",
        "ValueError: PPO training is incompatible with S^2-Attn.",
        ("shift_attn", False),
    ),
    Exclusion(
        "ppo_unsloth_reward",
        ("use_unsloth", "reward_model_type"),
        lambda s: (
            s.text("stage") == "ppo"
            and s.text("reward_model_type") == "lora"
            and s.on("use_unsloth")
        ),
        "unsloth cannot be used with a LoRA reward model",
        "ValueError: Unsloth does not support lora reward model.",
        ("use_unsloth", False),
    ),
    Exclusion(
        "ppo_trackers",
        ("report_to", "stage"),
        _trackers,
        "stage ppo reports to wandb, tensorboard or trackio only",
        "ValueError: PPO only accepts wandb, tensorboard, or trackio logger.",
        ("report_to", "none"),
        in_training=True,
    ),
)
