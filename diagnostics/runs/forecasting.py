"""Owns gathering what a memory prediction needs of this machine: model files, GPUs, limits.

Reads small files and asks the driver once; starts nothing, imports nothing of the training.
"""

import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from diagnostics.config.effective import EffectiveConfig
from diagnostics.memory.deepspeed import is_deepspeed
from diagnostics.memory.facts import MemoryFacts
from diagnostics.observations import GpuSample, GpuUnavailable, Missing
from diagnostics.runs.files import read_json
from diagnostics.sources.model_files import find_architecture
from diagnostics.sources.nvml import NvmlGpus

GIB = 2**30
_MAX_JSON_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Devices:
    """The GPUs of a training: how many, and the size of the smallest."""

    count: int
    capacity_gib: float | None
    name: str = ""
    reason: str = ""
    """Why no size is known."""


def gather_facts(
    config: EffectiveConfig,
    cwd: Path,
    environ: Mapping[str, str],
    *,
    devices: Devices | None = None,
    data_limit_bytes: int | None = None,
) -> MemoryFacts:
    """Gather what predicts this config's memory; what is missing is said, never raised.

    Args:
        config: the config in force.
        cwd: the folder that the training starts in: relative paths are seen from it.
        environ: the training's environment.
        devices: its GPUs; asked of NVML where not given.
        data_limit_bytes: the limit on its data segment, where it has one of its own.
    """
    name = config.value("model_name_or_path")
    found = find_architecture(str(name or ""), base=cwd, environ=environ)
    gpus = devices or visible_devices(environ)
    return MemoryFacts(
        model=found.architecture,
        name=str(name or ""),
        reason=found.reason if name else "the config names no model (model_name_or_path)",
        folder=found.folder,
        quantized=found.quantization,
        gpus=gpus.count,
        capacity_gib=gpus.capacity_gib,
        device_name=gpus.name,
        no_gpu=gpus.reason,
        host_gib=_host_gib(data_limit_bytes),
        deepspeed=_deepspeed_files(config, cwd),
    )


def visible_devices(environ: Mapping[str, str]) -> Devices:
    """Ask NVML for the GPUs that a training with this environment sees."""
    source = NvmlGpus()
    try:
        polled = source.poll(time.time())
    finally:
        source.close()
    samples = [one for one in polled if isinstance(one, GpuSample)]
    if not samples:
        reasons = [one.reason for one in polled if isinstance(one, GpuUnavailable)]
        return Devices(1, None, reason=f"no GPU: {reasons[0] if reasons else 'none is listed'}")
    seen = _chosen(samples, environ.get("CUDA_VISIBLE_DEVICES"))
    if not seen:
        return Devices(1, None, reason="no GPU: CUDA_VISIBLE_DEVICES hides them all")
    sizes = [
        one.memory_total_bytes for one in seen if not isinstance(one.memory_total_bytes, Missing)
    ]
    if not sizes:
        return Devices(len(seen), None, seen[0].name, "the GPU does not tell its memory")
    return Devices(len(seen), min(sizes) / GIB, seen[0].name)


def _chosen(samples: list[GpuSample], visible: str | None) -> list[GpuSample]:
    if visible is None:
        return samples
    wanted = [part.strip() for part in visible.split(",") if part.strip()]
    by_index = {str(one.index): one for one in samples}
    found = []
    for word in wanted:
        one = by_index.get(word) or next((s for s in samples if s.uuid.startswith(word)), None)
        if one is None:
            break  # CUDA stops at the first that it does not know
        found.append(one)
    return found


def _host_gib(data_limit_bytes: int | None) -> float | None:
    """Return what a process may use of host memory: the least of the memory and its limits."""
    limits = [psutil.virtual_memory().total]
    soft = data_limit_bytes
    if soft is None:
        soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
    if soft > 0:
        limits.append(soft)
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdigit() and int(text) > 0:
            limits.append(int(text))
    return min(limits) / GIB


def _deepspeed_files(config: EffectiveConfig, cwd: Path) -> dict[str, Mapping[str, object]]:
    """Read the DeepSpeed config that is named, and LLaMA-Factory's own examples beside it."""
    named = config.value("deepspeed")
    names = [f"examples/deepspeed/ds_z{kind}_config.json" for kind in ("2", "3", "3_offload")]
    if isinstance(named, str) and named:
        names.append(named)
    found: dict[str, Mapping[str, object]] = {}
    for name in names:
        value = read_json(cwd / name, max_bytes=_MAX_JSON_BYTES)
        if value is not None and (name == named or is_deepspeed(value)):
            found[name] = value
    return found
