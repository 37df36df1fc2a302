"""Owns what a config needs of its environment: packages, GPUs that can, a launcher.

Only what the environment told counts: of a package that nobody looked for nothing is said.
https://github.com/hiyouga/LLaMA-Factory/blob/v0.9.5/src/llamafactory/hparams/parser.py
"""

from collections.abc import Iterator, Mapping

from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import ADA, AMPERE, HOPPER, Environment
from diagnostics.config.faults import FaultKind, SchemaFault, placed
from diagnostics.config.packages import missing_packages
from diagnostics.config.schema import KEYS, KeyInfo
from diagnostics.config.settings import Settings
from diagnostics.config.unset import UNSET, Unset


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


def _packages(settings: Settings, environment: Environment) -> Iterator[SchemaFault]:
    for need in missing_packages(settings, environment):
        yield _fault(
            settings,
            need.key,
            f"package_{need.package}",
            need.message,
            rejected=need.rejected,
            package=need.package.replace("_", "-"),
            change=need.change,
        )


def _gpus(settings: Settings, environment: Environment) -> Iterator[SchemaFault]:
    if settings.on("use_cpu"):
        return
    yield from _without_gpu(settings, environment)
    yield from _old_gpus(settings, environment)


def _without_gpu(settings: Settings, environment: Environment) -> Iterator[SchemaFault]:
    if not environment.sees_no_gpu:
        return
    reason = "there is no GPU"
    if environment.lacks_cuda:
        reason = "this PyTorch is built without CUDA"
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
        ("bf16", AMPERE, None, False),
        ("pure_bf16", AMPERE, None, False),
        ("tf32", AMPERE, True, None),
        ("fp8", ADA, None, False),
    ):
        if settings.on(key) and oldest < least:
            yield _too_old(settings, key, oldest, least, rejected=rejected, change=change)
    attention = settings.text("flash_attn")
    least = {"fa2": AMPERE, "fa3": HOPPER}.get(attention, (0, 0))
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
