"""Owns the simulated card: what it can hold, what is on it now, and the failure when it is full.

It counts bytes as PyTorch's caching allocator does: what was reserved once stays reserved.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from diagnostics.demo.memory import Allocation, Stage

GIB = 1024**3
MIB = 1024**2

CARD_NAME = "SIMULATED RTX 4090 24GB"
TOTAL_BYTES = 24_564 * MIB  # as the driver counts it
CAPACITY_BYTES = int(23.65 * GIB)  # as PyTorch counts it
CONTEXT_BYTES = 468 * MIB  # the process' CUDA context
_SLACK = 1.04  # cached blocks that fit no request, as a share of what is allocated
_SLACK_EXPANDABLE = 1.01
_SLACK_AT_FAILURE = 0.4  # PyTorch frees cached blocks and tries again; this share of them stays
_ROUNDING_BYTES = 2 * MIB


class CardFullError(Exception):
    """An allocation that the card has no room for; the numbers are those of the moment."""

    def __init__(
        self, stage: Stage, *, requested_bytes: int, allocated_bytes: int, cached_bytes: int
    ) -> None:
        super().__init__(f"no room for {requested_bytes} bytes on the simulated card")
        self.stage = stage
        self.requested_bytes = requested_bytes
        self.allocated_bytes = allocated_bytes
        self.cached_bytes = cached_bytes

    @property
    def process_bytes(self) -> int:
        """All memory of the process on the card."""
        return CONTEXT_BYTES + self.allocated_bytes + self.cached_bytes

    @property
    def free_bytes(self) -> int:
        """What is free of the capacity."""
        return CAPACITY_BYTES - self.process_bytes


@dataclass(slots=True)
class Card:
    """The memory of the one process on the simulated card."""

    expandable_segments: bool = False
    allocated_bytes: int = 0
    reserved_bytes: int = field(default=0)

    @property
    def used_bytes(self) -> int:
        """What the driver reports as used: the context and all that is reserved."""
        return CONTEXT_BYTES + self.reserved_bytes

    def run(self, allocations: Iterable[Allocation]) -> None:
        """Make a sequence of allocations.

        Raises:
            CardFullError: one of them found no room; those before it are made.
        """
        for allocation in allocations:
            self._make(allocation)

    def _make(self, allocation: Allocation) -> None:
        after = self.allocated_bytes + allocation.size_bytes
        slack = (_SLACK_EXPANDABLE if self.expandable_segments else _SLACK) - 1
        kept = slack * _SLACK_AT_FAILURE
        if CONTEXT_BYTES + after + int(kept * self.allocated_bytes) > CAPACITY_BYTES:
            raise CardFullError(
                allocation.stage,
                requested_bytes=-(-allocation.size_bytes // _ROUNDING_BYTES) * _ROUNDING_BYTES,
                allocated_bytes=self.allocated_bytes,
                cached_bytes=int(kept * self.allocated_bytes),
            )
        self.allocated_bytes = after
        room = CAPACITY_BYTES - CONTEXT_BYTES
        self.reserved_bytes = max(self.reserved_bytes, min(room, int(after * (1 + slack))))
