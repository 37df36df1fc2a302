"""Owns which option needs which package, and what a training says that lacks it. Pure.

https://github.com/hiyouga/LLaMA-Factory/blob/v0.9.5/src/llamafactory/hparams/parser.py and
https://github.com/huggingface/transformers/blob/v5.2.0/src/transformers/trainer_optimizer.py
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from diagnostics.config.environment_facts import Environment
from diagnostics.config.settings import Settings
from diagnostics.config.unset import UNSET, Unset

_Asks = Callable[[Settings], bool]


@dataclass(frozen=True, slots=True)
class PackageNeed:
    """A package that an option needs."""

    key: str
    wanted: str
    """As the training asks for it: "badam>=1.2.1"."""
    asks: _Asks
    said: str = ""
    """How its refusal begins; empty where LLaMA-Factory's own check of versions refuses."""
    rejected: bool = True
    """False where it is done without, quietly."""
    change: object | Unset = UNSET
    """The value of the key that does without the package."""
    instead: tuple[str, ...] = ()
    """Packages that do as well."""

    @property
    def package(self) -> str:
        """The package's name, as an Environment spells it."""
        return self.wanted.partition(">")[0].replace("-", "_")

    @property
    def message(self) -> str:
        """What is wrong where it is not there, without a stop."""
        name = self.package.replace("_", "-")
        quietly = "" if self.rejected else "; it would be done without"
        return f"{self.key} needs the package {name}, which is not installed{quietly}"

    def is_unmet(self, environment: Environment) -> bool:
        """Tell whether it is known that neither the package nor another in its stead is there."""
        others = [environment.has(name) for name in self.instead]
        return (
            environment.has(self.package) is False
            and True not in others
            and (False in others or not others)
        )


def missing_packages(settings: Settings, environment: Environment) -> Iterator[PackageNeed]:
    """Yield the needs of a config that its environment does not meet."""
    for need in NEEDS:
        if need.asks(settings) and need.is_unmet(environment):
            yield need


def _on(key: str) -> _Asks:
    return lambda s: s.on(key)


def _optimizers(*names: str) -> _Asks:
    return lambda s: s.text("optim") in names


def _reports(name: str) -> _Asks:
    return lambda s: name in s.words("report_to")


def _quantizes(method: str, *bits: int) -> _Asks:
    return lambda s: s.value("quantization_bit") in bits and s.text("quantization_method") == method


def _switch(key: str, wanted: str) -> PackageNeed:
    return PackageNeed(key, wanted, _on(key), change=False)


def _optim(wanted: str, said: str, *names: str, change: object | Unset = UNSET) -> PackageNeed:
    return PackageNeed("optim", wanted, _optimizers(*names), said, change=change)


def _tracker(name: str, said: str, *instead: str) -> PackageNeed:
    said = f"RuntimeError: {said}"
    return PackageNeed("report_to", name, _reports(name), said, change="none", instead=instead)


NEEDS = (
    _switch("use_unsloth", "unsloth"),
    _switch("enable_liger_kernel", "liger-kernel"),
    PackageNeed(
        "use_liger_kernel",
        "liger-kernel",
        _on("use_liger_kernel"),
        "ImportError: You have set `use_liger_kernel` to `True` but liger-kernel >= 0.3.0 is not"
        " available. Please install it with `pip install liger-kernel`",
        change=False,
    ),
    PackageNeed(
        "mixture_of_depths", "mixture-of-depth>=1.1.6", lambda s: s.has("mixture_of_depths")
    ),
    _switch("use_galore", "galore_torch"),
    _switch("use_apollo", "apollo_torch"),
    _switch("use_badam", "badam>=1.2.1"),
    _switch("use_adam_mini", "adam-mini"),
    _switch("use_swanlab", "swanlab"),
    _switch("use_kt", "kt-kernel"),
    _switch("plot_loss", "matplotlib"),
    PackageNeed("deepspeed", "deepspeed", _on("deepspeed")),
    PackageNeed("predict_with_generate", "jieba", _on("predict_with_generate")),
    PackageNeed("predict_with_generate", "nltk", _on("predict_with_generate")),
    PackageNeed("predict_with_generate", "rouge_chinese", _on("predict_with_generate")),
    PackageNeed("quantization_bit", "bitsandbytes>=0.39.0", _quantizes("bnb", 4)),
    PackageNeed("quantization_bit", "bitsandbytes>=0.37.0", _quantizes("bnb", 8)),
    PackageNeed("quantization_bit", "hqq", _quantizes("hqq", 1, 2, 3, 4, 5, 6, 8)),
    PackageNeed("quantization_bit", "eetq", _quantizes("eetq", 8)),
    _optim(
        "bitsandbytes",
        "ImportError: You need to install `bitsandbytes` in order to use bitsandbytes optimizers",
        *("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "ademamix"),
        *("ademamix_8bit", "paged_ademamix_8bit", "paged_ademamix_32bit", "lion_8bit"),
        *("lion_32bit", "paged_lion_8bit", "paged_lion_32bit", "rmsprop_bnb", "rmsprop_bnb_8bit"),
        *("rmsprop_bnb_32bit", "galore_adamw_8bit", "galore_adamw_8bit_layerwise"),
        change="adamw_torch",
    ),
    _optim(
        "galore_torch",
        "ImportError: You need to install `galore_torch` in order to use GaLore optimizers",
        *("galore_adamw", "galore_adamw_8bit", "galore_adafactor", "galore_adamw_layerwise"),
        *("galore_adamw_8bit_layerwise", "galore_adafactor_layerwise"),
    ),
    _optim(
        "apollo_torch",
        "ImportError: You need to install `apollo_torch` in order to use APOLLO optimizers",
        *("apollo_adamw", "apollo_adamw_layerwise"),
    ),
    _optim(
        "torchao>=0.4.0",
        "ImportError: You need to have `torchao>=0.4.0` in order to use torch 4-bit optimizers."
        " Install it with `pip install torchao`",
        *("adamw_torch_8bit", "adamw_torch_4bit"),
    ),
    _optim(
        "lomo_optim",
        "ImportError: You need to install `lomo_optim` in order to use LOMO optimizers."
        " Install it with `pip install lomo-optim`",
        *("lomo", "adalomo"),
    ),
    _optim(
        "grokadamw",
        "ValueError: Please install grokadamw with `pip install grokadamw`",
        "grokadamw",
    ),
    _optim(
        "torch_optimi",
        "ImportError: You need to install `torch-optimi` in order to use stable_adamw optimizers."
        " Install it with `pip install torch-optimi`.",
        "stable_adamw",
    ),
    _optim(
        "schedulefree",
        "ImportError: You need to install `schedulefree` in order to use schedulefree optimizers."
        " Install it with `pip install schedulefree.`",
        *("schedule_free_adamw", "schedule_free_sgd", "schedule_free_radam"),
    ),
    PackageNeed(
        "flash_attn",
        "flash_attn",
        lambda s: s.text("flash_attn") == "fa2",
        "FlashAttention-2 is not installed.",
        rejected=False,
        change="auto",
    ),
    _tracker("wandb", "WandbCallback requires wandb to be installed. Run `pip install wandb`."),
    _tracker("mlflow", "MLflowCallback requires mlflow to be installed. Run `pip install mlflow`."),
    _tracker(
        "swanlab", "SwanLabCallback requires swanlab to be installed. Run `pip install swanlab`."
    ),
    _tracker(
        "neptune",
        "NeptuneCallback requires the Neptune client library to be installed. To install the"
        " library, run 'pip install neptune'.",
    ),
    _tracker(
        "clearml", "ClearMLCallback requires 'clearml' to be installed. Run `pip install clearml`."
    ),
    _tracker(
        "comet_ml",
        "CometCallback requires comet-ml>=3.43.2 to be installed. Run `pip install comet-ml`.",
    ),
    _tracker(
        "dvclive", "DVCLiveCallback requires dvclive to be installed. Run `pip install dvclive`."
    ),
    _tracker(
        "trackio", "TrackioCallback requires trackio to be installed. Run `pip install trackio`."
    ),
    _tracker(
        "tensorboard",
        "TensorBoardCallback requires tensorboard to be installed.",
        *("tensorboardX", "tensorboardx"),
    ),
)
NAMES = frozenset(name for need in NEEDS for name in (need.package, *need.instead))
"""The packages that are asked for here."""
