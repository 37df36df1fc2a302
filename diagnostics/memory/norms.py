"""Owns what a decoder's norms allocate, and where they stand in a layer.

Read from the modeling files of transformers 5.6: each kind is one way to write the same norm.
"""

from dataclasses import dataclass
from enum import StrEnum

from diagnostics.memory.tape import Tape

FLOAT32 = 4


class NormPlace(StrEnum):
    """Where the norms of a layer stand."""

    BEFORE = "before attention and before the MLP"
    AFTER = "after attention and after the MLP"
    AROUND = "before and after each"
    SHARED = "one before both, which run side by side"


class NormKind(StrEnum):
    """How a norm is computed."""

    RMS = "in float32, its weight applied to the result in the input's dtype"
    WIDE_RMS = "in float32, its weight too"
    CENTRED = "in float32 around the mean, operation by operation"
    FUSED = "by torch's layer_norm, which autocast has in float32"
    NARROWED = "by torch's layer_norm in float32, its result in the input's dtype"
    PLAIN = "by torch's layer_norm in the input's dtype"


@dataclass(frozen=True, slots=True)
class Norm:
    """One norm of a training: how it is computed, and of what dtypes."""

    kind: NormKind
    trains: bool
    weight_bytes: int
    autocast: bool
    kernel: bool
    """Whether Liger's kernel stands in for it."""


def add_norm(tape: Tape, norm: Norm, name: str, source: str, shape: tuple[int, int]) -> str:
    """Write a norm of so many rows, so wide, on a tape; return what it makes."""
    add, given = tape.add, tape.sizes[source]
    rows, width = shape
    if norm.kernel:
        return add(name, given, [source], saved=(source,))
    size, mean = float(FLOAT32 * rows * width), float(FLOAT32 * rows)
    wide = source
    narrow = given < size
    stays = norm.kind is NormKind.PLAIN or (norm.kind is NormKind.FUSED and not norm.autocast)
    if narrow and not stays:
        wide = add(f"{name}.float", size, [source])
    if norm.kind in {NormKind.FUSED, NormKind.NARROWED, NormKind.PLAIN}:
        tape.sizes[f"{name}.mean"] = 2 * mean
        result = add(name, tape.sizes[wide], [wide], saved=(wide, f"{name}.mean"))
        is_back = narrow and norm.kind is NormKind.NARROWED
        return add(f"{name}.back", given, [result]) if is_back else result
    if norm.kind is NormKind.CENTRED:
        add(f"{name}.apart", size, [wide])
        add(f"{name}.square", size, [f"{name}.apart"], saved=(f"{name}.apart",))
        wide = add(f"{name}.centred", size, [wide])
    else:
        add(f"{name}.square", size, [wide], saved=(wide,))
    add(f"{name}.mean", mean, [f"{name}.square"])
    scaled = add(f"{name}.scaled", size, [wide, f"{name}.mean"], saved=(wide, f"{name}.mean"))
    if norm.kind is not NormKind.RMS:
        scaled = add(f"{name}.weighted", size, [scaled], saved=(scaled,) if norm.trains else ())
        return add(name, given, [scaled]) if narrow else scaled
    if narrow:
        scaled = add(f"{name}.cast", given, [scaled])
    # A float32 weight makes the output float32 too.
    output = size if norm.weight_bytes == FLOAT32 else given
    return add(name, output, [scaled], saved=(scaled,) if norm.trains else ())
