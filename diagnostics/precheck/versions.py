"""Owns what the versions of installed packages foretell: an option may work with others only.

https://github.com/hiyouga/LLaMA-Factory/blob/v0.9.5/src/llamafactory/train/ppo/trainer.py,
https://github.com/hiyouga/LLaMA-Factory/blob/v0.9.5/src/llamafactory/model/model_utils/longlora.py
and https://github.com/huggingface/trl/blob/v0.24.0/trl/trainer/dpo_trainer.py
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import Environment
from diagnostics.config.schema import KEYS
from diagnostics.config.settings import Settings
from diagnostics.findings import KeyChange, Severity, Text
from diagnostics.precheck.foreseen import PARSER, TRAINER, Foreseen, Named
from diagnostics.precheck.surroundings import Surroundings

_RULE = "version.transformers_range"
_JSON_BREAKS = (0, 9, 5)
"""The LLaMA-Factory that reads no JSON: it hands json.load a path."""
_NULL_BREAKS = (5, 0)
"""The transformers that takes null for the name of a tracker: before, it meant all."""


@dataclass(frozen=True, slots=True)
class _Limit:
    """An option that an installed package is too new for."""

    key: str
    package: str
    breaks: tuple[int, ...]
    """The first version with which it does not work."""
    asks: Callable[[Settings], bool]
    cause: Text
    wanted: str = ""
    """The versions that do, as LLaMA-Factory asks for them."""
    rejected: bool = True
    """False where the training goes on without what was asked for."""
    change: object = None
    """The value of the key that does without; None where there is none."""


_LIMITS = (
    _Limit(
        "stage",
        "trl",
        (0, 9, 7),
        lambda s: s.text("stage") == "ppo",
        Text(
            "Stage ppo is written for trl up to 0.9.6.", "ppo 阶段是为 0.9.6 及更早的 trl 编写的。"
        ),
        "trl>=0.8.6,<=0.9.6",
    ),
    _Limit(
        "shift_attn",
        "transformers",
        (4, 48),
        lambda s: s.on("shift_attn"),
        Text(
            "shift_attn is written for transformers below 4.48: Llama models are refused, and"
            " others train without it.",
            "shift_attn 是为 4.48 之前的 transformers 编写的：Llama 会被拒绝，其他模型则不生效。",
        ),
        "transformers>=4.45.0,<4.48.0",
        rejected=False,
        change=False,
    ),
    _Limit(
        "pref_loss",
        "trl",
        (0, 23),
        lambda s: s.text("stage") == "dpo" and s.text("pref_loss") in {"hinge", "ipo", "kto_pair"},
        Text(
            "LLaMA-Factory does not hand pref_loss to this trl, which takes sigmoid then.",
            "LLaMA-Factory 没有把 pref_loss 传给此版本的 trl，实际使用的是 sigmoid。",
        ),
        rejected=False,
    ),
)


def foresee_versions(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    """Yield what would be printed, or come about, because of what is installed."""
    environment = around.environment
    if environment is None:
        return
    settings = Settings(config.as_dict(), environment.keys or KEYS)
    for limit in _LIMITS:
        installed = environment.version(limit.package)
        if installed is not None and installed >= limit.breaks and limit.asks(settings):
            yield _foreseen(limit, environment, settings)
    null = "report_to" in settings.given and settings.given["report_to"] is None
    if null and settings.works and (environment.version("transformers") or ()) >= _NULL_BREAKS:
        said = "ValueError: None is not supported, only tensorboard, trackio, wandb are supported."
        change = KeyChange("report_to", None, "none")
        yield Foreseen(said, ("report_to",), TRAINER, change=change)
    if _is_json(config) and (environment.version("llamafactory") or ()) >= _JSON_BREAKS:
        said = "AttributeError: 'PosixPath' object has no attribute 'read'"
        yield Foreseen(said, (), (PARSER[0], "llamafactory/hparams/parser.py:read_args"))


def _foreseen(limit: _Limit, environment: Environment, settings: Settings) -> Foreseen:
    found = f"{limit.package}=={environment.versions[limit.package]}"
    said = (
        f"ImportError: {limit.wanted} is required for a normal functioning of this module, but"
        f" found {found}."
    )
    captures = {"package": limit.package, "found": found, "wanted": limit.wanted}
    severity = Severity.CRITICAL if limit.rejected else Severity.WARNING
    change = None
    if limit.change is not None:
        change = KeyChange(limit.key, settings.given.get(limit.key), limit.change)
    return Foreseen(
        said if limit.rejected else limit.cause.en,
        (limit.key,),
        TRAINER if limit.rejected else (),
        named=Named(
            _RULE, {name: text for name, text in captures.items() if text}, limit.cause, severity
        ),
        change=change,
    )


def _is_json(config: EffectiveConfig) -> bool:
    path = config.document.path if config.document is not None else None
    return path is not None and PurePath(path).suffix == ".json"
