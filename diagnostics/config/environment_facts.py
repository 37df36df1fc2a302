"""Owns what was told of a training's Python environment: packages, GPUs, its own arguments.

Values only: who asked, and how, is for others.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from diagnostics.config.schema import KeyInfo

AMPERE, ADA, HOPPER = (8, 0), (8, 9), (9, 0)
"""Compute capabilities: bfloat16 begins with Ampere, float8 with Ada."""
_NOTHING: Mapping[str, str | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as its driver tells it; None where it does not."""

    name: str
    total_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment that a training would run in, as far as it was told.

    `versions` has None for a package that was looked for and is not there; one that nobody
    looked for is no key of it.
    """

    python: Path | None
    versions: Mapping[str, str | None] = field(default_factory=lambda: _NOTHING)
    """By name as pip writes it, in lower case with underscores: flash_attn, liger_kernel."""
    gpus: tuple[Gpu, ...] = ()
    gpu_source: str | None = None
    """Who told of the GPUs: "nvidia-smi", "nvml"; None where nobody could, so none is known."""
    cuda: str | None = None
    """The CUDA version that torch is built for; None for a build without it, or not known."""
    python_version: str | None = None
    keys: Mapping[str, KeyInfo] | None = None
    """The arguments of the installed LLaMA-Factory; None where they could not be read."""
    reason: str | None = None
    """Why the environment, or a part of it, could not be read."""

    def has(self, package: str) -> bool | None:
        """Tell whether a package is installed; None where that is not known."""
        if package not in self.versions:
            return None
        return self.versions[package] is not None

    @property
    def lacks_cuda(self) -> bool:
        """Whether the installed PyTorch is known to be built without CUDA."""
        return (self.versions.get("torch") or "").endswith("+cpu")

    @property
    def sees_no_gpu(self) -> bool:
        """Whether PyTorch is known to see no GPU: its build has no CUDA, or the driver has none."""
        return self.lacks_cuda or (self.gpu_source is not None and not self.gpus)

    def version(self, package: str) -> tuple[int, ...] | None:
        """Return the numbers of an installed version, (0, 9, 5); None where it is not known."""
        return release(self.versions.get(package) or "")


def release(text: str) -> tuple[int, ...] | None:
    """Return the leading numbers of a version: "2.13.0+cpu" is (2, 13, 0)."""
    found = re.match(r"v?(\d{1,9}(?:\.\d{1,9}){0,5})", text)
    return tuple(int(part) for part in found[1].split(".")) if found is not None else None
