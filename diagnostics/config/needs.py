"""Owns what a config needs of its environment: packages, GPUs that can, a launcher.

Only what the environment told counts: of a package that nobody looked for nothing is said.
https://github.com/hiyouga/LLaMA-Factory/blob/v0.9.5/src/llamafactory/hparams/parser.py
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import Environment
from diagnostics.config.faults import FaultKind, SchemaFault, placed
from diagnostics.config.schema import KEYS, KeyInfo
from diagnostics.config.settings import Settings
from diagnostics.config.unset import UNSET, Unset

_AMPERE, _ADA, _HOPPER = (8, 0), (8, 9), (9, 0)
_BITSANDBYTES = frozenset(
    {
        *("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "ademamix"),
        *("ademamix_8bit", "paged_ademamix_8bit", "paged_ademamix_32bit", "lion_8bit"),
        *("lion_32bit", "paged_lion_8bit", "paged_lion_32bit", "rmsprop_bnb", "rmsprop_bnb_8bit"),
        *("rmsprop_bnb_32bit", "galore_adamw_8bit", "galore_adamw_8bit_layerwise"),
    }
)
_TRACKERS = ("wandb", "swanlab", "mlflow", "trackio")
_Asks = Callable[[Settings], bool]


@dataclass(frozen=True, slots=True)
class Need:
    """A package that an option needs; `rejected` is false where it is done without, quietly."""

    key: str
    package: str
    asks: _Asks
    rejected: bool = True
    change: object | Unset = UNSET
    """The value of the key that does without the package."""


def environment_needs(
    config: EffectiveConfig, environment: Environment, *, distributed: bool | None = None
) -> tuple[SchemaFault, ...]:
    """Return what a config asks of its environment that is not there.

    `distributed` tells whether torchrun starts the training.
    """
    schema: Mapping[str, KeyInfo] = environment.keys or KEYS
    settings = Settings(config.as_dict(), schema, distributed=distributed)
    found = [
        *_packages(settings, environment),
        *_gpus(settings, environment),
        *_launch(settings, environment),
    ]
    return tuple(placed(one, config) for one in found)


def _on(key: str) -> _Asks:
    return lambda s: s.on(key)


def _optimizer(*names: str) -> _Asks:
    return lambda s: s.text("optim") in names


def _reports(name: str) -> _Asks:
    return lambda s: name in s.words("report_to")


def _quantizes(method: str) -> _Asks:
    return lambda s: s.has("quantization_bit") and s.text("quantization_method") == method


_NEEDS = (
    Need("use_unsloth", "unsloth", _on("use_unsloth"), change=False),
    Need("enable_liger_kernel", "liger_kernel", _on("enable_liger_kernel"), change=False),
    Need("use_liger_kernel", "liger_kernel", _on("use_liger_kernel"), change=False),
    Need("mixture_of_depths", "mixture_of_depth", lambda s: s.has("mixture_of_depths")),
    Need("use_galore", "galore_torch", _on("use_galore"), change=False),
    Need("use_apollo", "apollo_torch", _on("use_apollo"), change=False),
    Need("use_badam", "badam", _on("use_badam"), change=False),
    Need("use_adam_mini", "adam_mini", _on("use_adam_mini"), change=False),
    Need("use_swanlab", "swanlab", _on("use_swanlab"), change=False),
    Need("use_kt", "kt_kernel", _on("use_kt"), change=False),
    Need("plot_loss", "matplotlib", _on("plot_loss"), change=False),
    Need("deepspeed", "deepspeed", _on("deepspeed")),
    Need("predict_with_generate", "jieba", _on("predict_with_generate")),
    Need("predict_with_generate", "nltk", _on("predict_with_generate")),
    Need("predict_with_generate", "rouge_chinese", _on("predict_with_generate")),
    Need("quantization_bit", "bitsandbytes", _quantizes("bnb")),
    Need("quantization_bit", "hqq", _quantizes("hqq")),
    Need("quantization_bit", "eetq", _quantizes("eetq")),
    Need("optim", "bitsandbytes", _optimizer(*_BITSANDBYTES), change="adamw_torch"),
    Need("optim", "torchao", _optimizer("adamw_torch_8bit", "adamw_torch_4bit")),
    Need("optim", "lomo_optim", _optimizer("lomo", "adalomo")),
    Need("optim", "grokadamw", _optimizer("grokadamw")),
    Need("optim", "torch_optimi", _optimizer("stable_adamw")),
    Need(
        "optim",
        "schedulefree",
        _optimizer("schedule_free_adamw", "schedule_free_sgd", "schedule_free_radam"),
    ),
    Need(
        "flash_attn",
        "flash_attn",
        lambda s: s.text("flash_attn") == "fa2",
        rejected=False,
        change="auto",
    ),
    *(Need("report_to", name, _reports(name), change="none") for name in _TRACKERS),
)


def _packages(settings: Settings, environment: Environment) -> Iterator[SchemaFault]:
    for need in _NEEDS:
        if need.asks(settings) and environment.has(need.package) is False:
            name = need.package.replace("_", "-")
            quietly = "" if need.rejected else "; it would be done without"
            yield _fault(
                settings,
                need.key,
                f"package_{need.package}",
                f"{need.key} needs the package {name}, which is not installed{quietly}",
                rejected=need.rejected,
                package=name,
                change=need.change,
            )
    boards = environment.has("tensorboard"), environment.has("tensorboardX")
    if _reports("tensorboard")(settings) and boards == (False, False):
        yield _fault(
            settings,
            "report_to",
            "package_tensorboard",
            "report_to tensorboard needs the package tensorboard, which is not installed",
            rejected=True,
            package="tensorboard",
            change="none",
        )


def _gpus(settings: Settings, environment: Environment) -> Iterator[SchemaFault]:
    if settings.on("use_cpu"):
        return
    yield from _without_gpu(settings, environment)
    yield from _old_gpus(settings, environment)


def _without_gpu(settings: Settings, environment: Environment) -> Iterator[SchemaFault]:
    without_cuda = (environment.versions.get("torch") or "").endswith("+cpu")
    if environment.gpu_source is None and not without_cuda:
        return
    if not environment.gpus or without_cuda:
        reason = "this PyTorch is built without CUDA" if without_cuda else "there is no GPU"
        for key in ("bf16", "pure_bf16"):
            if settings.on(key):
                yield _fault(
                    settings,
                    key,
                    f"{key}_without_gpu",
                    f"{key} needs a GPU, and {reason}",
                    rejected=True,
                    change=False,
                )
        if environment.gpus:
            yield _fault(
                settings,
                "use_cpu",
                "torch_without_cuda",
                f"{reason}, so the GPUs would stand idle",
                rejected=False,
            )


def _old_gpus(settings: Settings, environment: Environment) -> Iterator[SchemaFault]:
    if not environment.gpus:
        return
    known = [one.compute_capability for one in environment.gpus if one.compute_capability]
    if len(known) < len(environment.gpus):
        return
    oldest = min(known)
    for key, least, rejected, change in (
        ("bf16", _AMPERE, None, False),
        ("pure_bf16", _AMPERE, None, False),
        ("tf32", _AMPERE, True, None),
        ("fp8", _ADA, None, False),
    ):
        if settings.on(key) and oldest < least:
            yield _too_old(settings, key, oldest, least, rejected=rejected, change=change)
    attention = settings.text("flash_attn")
    least = {"fa2": _AMPERE, "fa3": _HOPPER}.get(attention, (0, 0))
    if oldest < least:
        yield _too_old(settings, "flash_attn", oldest, least, rejected=True, change="sdpa")


def _too_old(
    settings: Settings,
    key: str,
    has: tuple[int, int],
    least: tuple[int, int],
    *,
    rejected: bool | None,
    change: object,
) -> SchemaFault:
    needs, there = (".".join(map(str, one)) for one in (least, has))
    return _fault(
        settings,
        key,
        f"{key}_too_old",
        f"{key} needs a GPU of compute capability {needs}, and the oldest here has {there}",
        rejected=rejected,
        change=change,
    )


def _launch(settings: Settings, environment: Environment) -> Iterator[SchemaFault]:
    """Tell of DeepSpeed in a process that torchrun did not start: a single GPU's is one."""
    if not settings.on("deepspeed") or not settings.works or settings.distributed:
        return
    alone = environment.gpu_source is not None and len(environment.gpus) == 1
    if settings.distributed is False or alone:
        yield _fault(
            settings,
            "deepspeed",
            "torchrun",
            "deepspeed needs torchrun, which FORCE_TORCHRUN=1 brings about on one GPU",
            rejected=True if settings.distributed is False else None,
            said="ValueError: Please use `FORCE_TORCHRUN=1` to launch DeepSpeed training.",
        )


def _fault(
    settings: Settings,
    key: str,
    name: str,
    message: str,
    *,
    rejected: bool | None,
    said: str = "",
    package: str | None = None,
    change: object | Unset = UNSET,
) -> SchemaFault:
    return SchemaFault(
        FaultKind.NEEDS,
        key,
        settings.given.get(key, UNSET),
        rejected,
        name,
        message,
        said,
        suggested_value=change,
        package=package,
    )
