"""Owns what the GPUs, or their absence, foretell: number formats, a training on the CPU."""

from collections.abc import Iterator

from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import AMPERE, Environment
from diagnostics.findings import Severity, Text
from diagnostics.precheck.foreseen import PARSER, Foreseen, Named
from diagnostics.precheck.surroundings import Surroundings

_ARGUMENTS = (PARSER[0], "transformers/training_args.py:__post_init__")
_HALVES = ("bf16", "fp16")


def foresee_devices(config: EffectiveConfig, around: Surroundings) -> Iterator[Foreseen]:
    """Yield what would be printed, or come about, because of the GPUs there are."""
    environment = around.environment
    if environment is None:
        return
    if environment.sees_no_gpu:
        yield from _on_the_cpu(config)
    elif environment.gpus and config.value("use_cpu") is not True:
        yield from _without_bf16(config, environment)
        yield from _in_fp32(config)


def _on_the_cpu(config: EffectiveConfig) -> Iterator[Foreseen]:
    if config.value("pure_bf16") is True:
        yield Foreseen("ValueError: This device does not support `pure_bf16`.", ("pure_bf16",))
    if config.value("use_cpu") is True or config.value("no_cuda") is True:
        return
    halves = tuple(key for key in _HALVES if config.value(key) is True)
    if "bf16" in halves:
        said = "Your setup doesn't support bf16/gpu. You need to assign use_cpu to train on CPU."
        yield Foreseen(f"ValueError: {said}", halves, _ARGUMENTS)
    elif halves:
        said = "FP16 Mixed precision training with AMP can only be used on CUDA devices."
        yield Foreseen(f"ValueError: {said}", halves, _ARGUMENTS)
    else:
        said = "Process rank: 0, world size: 1, device: cpu, distributed training: False"
        yield Foreseen(said, ("use_cpu",), ())


def _without_bf16(config: EffectiveConfig, environment: Environment) -> Iterator[Foreseen]:
    """Foresee bf16 on GPUs that have none: PyTorch refuses it, or computes it slowly."""
    keys = tuple(key for key in ("bf16", "pure_bf16") if config.value(key) is True)
    old = [one for one in environment.gpus if one.compute_capability is not None]
    if not keys or not old or any((one.compute_capability or AMPERE) >= AMPERE for one in old):
        return
    first = old[0]
    capability = ".".join(str(part) for part in first.compute_capability or ())
    cause = Text(
        f"{first.name} has compute capability {capability}, and bf16 begins with 8.0: PyTorch"
        " refuses it or computes it slowly.",
        f"{first.name} 的计算能力为 {capability}，而 bf16 需要 8.0：PyTorch 会拒绝或缓慢模拟。",
    )
    yield Foreseen(cause.en, keys, (), named=Named("env.no_bf16", {}, cause, Severity.WARNING))


_SMALLER = ("bf16", "fp16", "pure_bf16", "fp8")


def _in_fp32(config: EffectiveConfig) -> Iterator[Foreseen]:
    if config.value("do_train") is not True or any(config.value(key) is True for key in _SMALLER):
        return
    cause = Text("Neither bf16 nor fp16 is set.", "未设置 bf16 或 fp16。")
    named = Named("slow.fp32", {}, cause, Severity.WARNING)
    yield Foreseen(cause.en, ("bf16",), (), named=named)
