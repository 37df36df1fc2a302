"""Owns what a whole model's trace amounts to: memory at each moment of a step, and reserved.

Parts of a step are "load", then again and again "forward", "loss" (its forward), "loss_backward",
"backward", "between", then "optimizer" and "zero".
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from diagnostics.memory.allocator import CachingAllocator, rounded
from diagnostics.memory.trace import Change

GIB = 2**30
PHASES = {
    "forward": "forward",
    "loss": "loss",
    "loss_backward": "loss",
    "backward": "backward",
    "optimizer": "optimizer",
}
"""What a part of the step is called in a prediction."""


@dataclass(slots=True)
class Part:
    """Allocated bytes in one part of the step: at its start, at its peak, at its end."""

    name: str
    start: int
    peak: int
    end: int


@dataclass(slots=True)
class Replay:
    """A trace as it was gone through."""

    parts: list[Part] = field(default_factory=list)
    reserved_bytes: int = 0

    def steady(self) -> list[Part]:
        """Return the parts of the last micro-step and of the update after it."""
        starts = [at for at, part in enumerate(self.parts) if part.name == "forward"]
        return self.parts[starts[-1] :] if starts else []

    @property
    def peak(self) -> Part:
        """The part of the steady step that needs most."""
        return max(
            (part for part in self.steady() if part.name in PHASES), key=lambda part: part.peak
        )

    def phases_gib(self) -> dict[str, float]:
        """Return the moments of the steady step."""
        steady = self.steady()
        ahead = [part for part in steady if part.name in {"forward", "loss"}]
        back = [part for part in steady if part.name in {"loss_backward", "backward"}]
        update = [part for part in steady if part.name == "optimizer"]
        sizes = {
            "static": ahead[0].start,
            "after_fwd": ahead[-1].end,
            "peak_fwd": max(part.peak for part in ahead),
            "after_bwd": back[-1].end,
            "peak_fwd_bwd": max(part.peak for part in (*ahead, *back)),
            "peak_opt": max(part.peak for part in update),
        }
        return {name: round(size / GIB, 4) for name, size in sizes.items()}


def replay(changes: Iterable[Change]) -> Replay:
    """Go through a trace."""
    result = Replay()
    allocator = CachingAllocator()
    sizes: dict[int, int] = {}
    live = 0
    for change in changes:
        if not result.parts or result.parts[-1].name != change.part:
            result.parts.append(Part(change.part, live, live, live))
        if change.size_bytes:
            allocator.allocate(change.block, change.size_bytes)
            size = sizes[change.block] = rounded(change.size_bytes)
            live += size
        else:
            allocator.free(change.block)
            live -= sizes.pop(change.block, 0)
        part = result.parts[-1]
        part.peak = max(part.peak, live)
        part.end = live
    result.reserved_bytes = allocator.reserved_bytes
    return result
