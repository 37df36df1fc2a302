"""Owns whether a predicted peak fits a GPU, and how sure that is."""

from enum import StrEnum

GIB = 2**30
CONTEXT_GIB = 0.6
"""The CUDA context, cuBLAS's workspace and the like: 0.15 on a T4 to 0.6 on an A100 or H100."""
HOST_BASE_GIB = 1.1
"""What Python, torch and transformers take of host memory before the first tensor, on a CPU."""
WORKSPACE = 1.05
"""Of allocated memory: kernels' workspaces, and what of the cache cannot be given back."""


class Verdict(StrEnum):
    """Whether a training fits its GPU."""

    FITS = "fits"
    TIGHT = "tight"
    DOES_NOT_FIT = "does_not_fit"
    UNKNOWN = "unknown"


def verdict_of(
    allocated_gib: float,
    capacity_gib: float | None,
    *,
    spread: float = 0.0,
    context_gib: float = CONTEXT_GIB,
) -> Verdict:
    """Judge a peak of allocated memory against a GPU's size.

    PyTorch gives its cache back before it fails, so a card must hold the allocated peak, a few
    per cent for workspaces, and the context; what the cache reserves beside is not decisive.
    `spread` is the prediction's own relative error, both ways; `context_gib` is what is taken
    beside the tensors.
    """
    if capacity_gib is None:
        return Verdict.UNKNOWN
    if allocated_gib * (1 + spread) * WORKSPACE + context_gib <= capacity_gib:
        return Verdict.FITS
    if allocated_gib * (1 - spread) + context_gib / 2 <= capacity_gib:
        return Verdict.TIGHT
    return Verdict.DOES_NOT_FIT
