"""Owns what must be known beside the config to predict its memory, and the prediction from both."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import ConfigError, LlamavetError
from diagnostics.findings import Text
from diagnostics.memory.architecture import Architecture
from diagnostics.memory.calibration import Calibration
from diagnostics.memory.counting import Counts
from diagnostics.memory.forecast import Forecast, forecast
from diagnostics.memory.reading import workload_of
from diagnostics.memory.support import supported
from diagnostics.memory.workload import Method, Quantization, Workload


@dataclass(frozen=True, slots=True)
class MemoryFacts:
    """What a machine and its files tell. Sizes are of one GPU."""

    model: Architecture | None
    name: str = ""
    """What the config calls the model."""
    reason: str = ""
    """Why the model is not known."""
    folder: Path | None = None
    """Where its files are on this machine."""
    quantized: Quantization | None = None
    """How the checkpoint itself is quantized already."""
    gpus: int = 1
    """How many GPUs the training uses; 1 where that is not known."""
    capacity_gib: float | None = None
    device_name: str = ""
    no_gpu: str = ""
    """Why no GPU's size is known; empty where it is."""
    host_gib: float | None = None
    """What a training on the CPU may use: the memory, or the limit set on it."""
    deepspeed: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """DeepSpeed configs that could be read, by the path that a config names."""
    longest_tokens: int | None = None
    calibration: Calibration | None = None
    anchored: bool = False
    """Whether this training was seen to run out of this memory."""


def workload_from(config: EffectiveConfig, facts: MemoryFacts) -> Workload:
    """Read a config's workload on this machine.

    Raises:
        ConfigError: a value that decides memory has no meaning.
    """
    named = config.value("deepspeed")
    notes: tuple[Text, ...] = ()
    deepspeed: Mapping[str, object] | None = None
    if isinstance(named, Mapping):
        deepspeed = {str(key): value for key, value in named.items()}
    elif isinstance(named, str) and named:
        deepspeed = facts.deepspeed.get(named)
        if deepspeed is None:
            deepspeed, note = _by_name(named)
            notes = (note,)
    work = workload_of(
        config, gpus=facts.gpus, deepspeed=deepspeed, longest_tokens=facts.longest_tokens
    )
    if facts.quantized is not None and work.quantization is None:
        work = replace(work, quantization=facts.quantized)
    if facts.model is not None:
        flash = config.value("flash_attn")
        work = supported(work, facts.model, flash_attn=flash)
    return replace(work, assumptions=(*notes, *work.assumptions)) if notes else work


def forecast_config(config: EffectiveConfig, facts: MemoryFacts) -> Forecast:
    """Predict what a config needs on this machine.

    Raises:
        LlamavetError: the model is not known, or a value has no meaning; never a guess.
    """
    if facts.model is None:
        raise LlamavetError(
            facts.reason or "the model is not known",
            remedy="name its folder in model_name_or_path, or download it first",
        )
    work = workload_from(config, facts)
    _refuse_no_target(config, facts.model, work)
    capacity = facts.host_gib if work.on_cpu else facts.capacity_gib
    return forecast(
        facts.model,
        work,
        capacity_gib=capacity,
        calibration=facts.calibration,
        anchored=facts.anchored,
        name=facts.name,
    )


def _refuse_no_target(config: EffectiveConfig, model: Architecture, work: Workload) -> None:
    counts = Counts(model, work)
    if work.adapter is None or counts.trainable or not model.linears:
        return
    key = "oft_target" if work.method is Method.OFT else "lora_target"
    place = config.place(key)
    raise ConfigError(
        f"{key}: this model has no layer called {', '.join(work.adapter.targets)[:80]}",
        path=config.document.path if config.document is not None else None,
        line=place.line if place is not None else None,
        remedy=f"write all, or some of {', '.join(one.name for one in model.linears)}",
    )


def _by_name(path: str) -> tuple[Mapping[str, object], Text]:
    """Take a DeepSpeed config that is not there for what its name says (ds_z3_offload ...)."""
    name = path.rsplit("/", 1)[-1].lower()
    stage = next((number for number in (3, 2, 1, 0) if f"z{number}" in name), None)
    if stage is None:
        stage = next((number for number in (3, 2, 1) if f"zero{number}" in name), 0)
    zero: dict[str, object] = {"stage": stage}
    if "offload" in name:
        zero["offload_optimizer"] = {"device": "cpu"}
        if stage == 3:  # noqa: PLR2004
            zero["offload_param"] = {"device": "cpu"}
    return {"zero_optimization": zero}, Text(
        f"{path} could not be read: taken as ZeRO-{stage}",
        f"{path} 无法读取：按 ZeRO-{stage} 计算",
    )
