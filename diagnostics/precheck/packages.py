"""Owns what packages that are not installed foretell, for each option that needs one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from diagnostics.config.effective import EffectiveConfig
from diagnostics.precheck.foreseen import PARSER, TRAINER, Foreseen
from diagnostics.precheck.surroundings import Surroundings

_QUANTIZING = (PARSER[0], "llamafactory/model/model_utils/quantization.py:configure_quantization")


@dataclass(frozen=True, slots=True)
class _Need:
    """An option that needs a package: `wanted` as LLaMA-Factory asks for it."""

    key: str
    wanted: str
    asks: Callable[[object], bool] = lambda value: value is True


_NEEDS = (
    _Need("use_unsloth", "unsloth"),
    _Need("enable_liger_kernel", "liger-kernel"),
    _Need("mixture_of_depths", "mixture-of-depth>=1.1.6", lambda value: value is not None),
    _Need("use_galore", "galore_torch"),
    _Need("use_apollo", "apollo_torch"),
    _Need("use_badam", "badam>=1.2.1"),
    _Need("use_adam_mini", "adam-mini"),
    _Need("use_swanlab", "swanlab"),
    _Need("plot_loss", "matplotlib"),
    _Need("deepspeed", "deepspeed", lambda value: value is not None),
    _Need("predict_with_generate", "jieba"),
    _Need("predict_with_generate", "nltk"),
    _Need("predict_with_generate", "rouge_chinese"),
)
_QUANTIZERS = {
    ("bnb", 4): "bitsandbytes>=0.39.0",
    ("bnb", 8): "bitsandbytes>=0.37.0",
    ("eetq", 8): "eetq",
    **{("hqq", bits): "hqq" for bits in (1, 2, 3, 4, 5, 6, 8)},
}
_BNB_OPTIMIZERS = frozenset(
    {
        *("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "lion_8bit"),
        *("lion_32bit", "paged_lion_8bit", "paged_lion_32bit", "ademamix", "ademamix_8bit"),
        *("paged_ademamix_8bit", "paged_ademamix_32bit", "rmsprop_bnb", "rmsprop_bnb_8bit"),
        *("rmsprop_bnb_32bit", "galore_adamw_8bit"),
    }
)
_TRACKERS = {
    "wandb": "WandbCallback requires wandb to be installed. Run `pip install wandb`.",
    "mlflow": "MLflowCallback requires mlflow to be installed. Run `pip install mlflow`.",
    "swanlab": "SwanLabCallback requires swanlab to be installed. Run `pip install swanlab`.",
    "neptune": "NeptuneCallback requires the Neptune client library to be installed."
    " To install the library, run 'pip install neptune'.",
    "clearml": "ClearMLCallback requires 'clearml' to be installed. Run `pip install clearml`.",
    "trackio": "TrackioCallback requires trackio to be installed. Run `pip install trackio`.",
}
NAMES = frozenset(
    {
        *(need.wanted.partition(">")[0].replace("-", "_") for need in _NEEDS),
        *("bitsandbytes", "eetq", "hqq", "flash_attn", *_TRACKERS, "tensorboard", "tensorboardx"),
    }
)
"""The packages that are asked for here."""


def foresee_packages(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    """Yield what would be printed because of packages that are not there."""
    for need in _NEEDS:
        if need.asks(config.value(need.key)) and _lacks(around, need.wanted):
            yield _refusal(need.wanted, need.key)
    yield from _quantization(config, around)
    if str(config.value("optim")) in _BNB_OPTIMIZERS and _lacks(around, "bitsandbytes"):
        said = "You need to install `bitsandbytes` in order to use bitsandbytes optimizers"
        yield Foreseen(f"ImportError: {said}", ("optim",), TRAINER)
    yield from _trackers(config, around)
    if config.value("flash_attn") == "fa2" and _lacks(around, "flash_attn"):
        yield Foreseen("FlashAttention-2 is not installed.", ("flash_attn",), ())


def _lacks(around: Surroundings, wanted: str) -> bool:
    return around.packages.get(wanted.partition(">")[0].replace("-", "_")) is False


def _refusal(wanted: str, key: str, frames: tuple[str, ...] = PARSER) -> Foreseen:
    said = (
        f"The '{wanted}' distribution was not found and is required by this application."
        f" \nTo fix: run `pip install {wanted}`."
    )
    name = "importlib.metadata.PackageNotFoundError"
    return Foreseen(f"{name}: No package metadata was found for {said}", (key,), frames)


def _quantization(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    bits, method = config.value("quantization_bit"), config.value("quantization_method")
    if not isinstance(bits, int) or not isinstance(method, str):
        return
    wanted = _QUANTIZERS.get((method, bits))
    ready = around.model is not None and around.model.is_quantized
    if wanted is not None and not ready and _lacks(around, wanted):
        yield _refusal(wanted, "quantization_bit", _QUANTIZING)


def _trackers(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    said = config.get("report_to", None)
    names = said if isinstance(said, list) else [said]
    for name in names:
        if isinstance(name, str) and name in _TRACKERS and _lacks(around, name):
            yield Foreseen(f"RuntimeError: {_TRACKERS[name]}", ("report_to",), TRAINER)
        if name == "tensorboard" and _lacks(around, name) and _lacks(around, "tensorboardx"):
            text = "TensorBoardCallback requires tensorboard to be installed."
            yield Foreseen(f"RuntimeError: {text}", ("report_to",), TRAINER)
