"""Owns a predicted peak: the moments of a step, and where the bytes of each are."""

from dataclasses import dataclass, field
from enum import StrEnum

from diagnostics.findings import Text

GIB = 2**30


class Phase(StrEnum):
    """The moments of a step that can be its peak."""

    LOAD = "load"
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    EVAL = "eval"


@dataclass(frozen=True, slots=True)
class Terms:
    """Where the bytes of one phase are."""

    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return (
            self.weights
            + self.gradients
            + self.optimizer
            + self.activations
            + self.logits
            + self.other
        )


@dataclass(frozen=True, slots=True)
class Peak:
    """The peak of allocated memory on one GPU, in bytes, phase by phase."""

    phases: dict[Phase, Terms]
    trainable_params: int
    total_params: int
    remarks: tuple[Text, ...] = field(default=())

    @property
    def phase(self) -> Phase:
        """The phase that needs most."""
        return max(self.phases, key=lambda phase: self.phases[phase].total)

    @property
    def terms(self) -> Terms:
        """The terms of the phase that needs most."""
        return self.phases[self.phase]

    @property
    def allocated_gib(self) -> float:
        """The peak."""
        return self.terms.total / GIB
