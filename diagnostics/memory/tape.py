"""Owns liveness: which of a layer's tensors are in memory while it runs forward and backward.

A Tape is the list of operations of one decoder layer, each with the bytes of what it makes and
of what autograd keeps for it. Walking it forward and back gives three sizes: what a layer keeps
until its backward, and the peak of each direction. Nothing is executed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: makes `output` of `inputs`; autograd keeps `saved` for its backward.

    `holds` are tensors that the code's own variables keep alive until then.
    `kept_bytes` is what it keeps beside tensors of the tape (a weight cast to half precision),
    `forward_bytes` what it needs only while it runs, `backward_bytes` the same of its backward,
    and `gradient_bytes` the weights' gradients that its backward leaves behind.
    """

    output: str
    inputs: tuple[str, ...]
    saved: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    kept_bytes: float = 0.0
    forward_bytes: float = 0.0
    backward_bytes: float = 0.0
    gradient_bytes: float = 0.0


@dataclass(slots=True)
class Tape:
    """The operations of a layer in order; sizes are in bytes."""

    source: str
    sizes: dict[str, float] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)

    def add(self, output: str, size_bytes: float, inputs: Sequence[str], **parts: object) -> str:
        """Append an operation; return the name of what it makes."""
        self.sizes[output] = size_bytes
        self.operations.append(Operation(output, tuple(inputs), **parts))  # type: ignore[arg-type]
        return output


@dataclass(frozen=True, slots=True)
class Walk:
    """What walking a tape found, in bytes; a layer's input counts only where it says so."""

    kept_bytes: float
    """In memory between its forward and its backward: the input too where it is kept."""
    forward_peak_bytes: float
    plain_peak_bytes: float
    """The peak of a forward that keeps nothing for a backward."""
    backward_peak_bytes: float
    """With all that is kept but the input, and the gradient of the output, there at its start."""
    gradient_bytes: float
    """Gradients of weights that the backward leaves behind."""


def walk(tape: Tape) -> Walk:
    """Walk a tape forward and back."""
    kept, forward_peak = _forward(tape)
    _, plain_peak = _forward(tape, keeping=False)
    saved = {name for one in tape.operations for name in one.saved}
    if tape.operations[-1].output not in saved:
        kept.pop(tape.operations[-1].output)
    source = tape.sizes[tape.source] if tape.source in saved else 0.0
    kept_bytes = sum(kept.values()) + source
    backward_peak, gradients = _backward(tape, kept)
    return Walk(kept_bytes, forward_peak, plain_peak, backward_peak, gradients)


def _forward(tape: Tape, *, keeping: bool = True) -> tuple[dict[str, float], float]:
    """Return what is kept and the peak."""
    last_use = {
        name: at for at, one in enumerate(tape.operations) for name in (*one.inputs, *one.holds)
    }
    saved = {name for one in tape.operations for name in one.saved} if keeping else set()
    live: dict[str, float] = {}
    peak = 0.0
    for at, one in enumerate(tape.operations):
        live[one.output] = tape.sizes[one.output]
        if one.kept_bytes and keeping:
            live[f"weights of {one.output}"] = one.kept_bytes
        for name in saved.intersection(one.saved) - {tape.source}:
            live.setdefault(name, tape.sizes[name])
        peak = max(peak, sum(live.values()) + one.forward_bytes)
        for name in (*one.inputs, *one.holds):
            if last_use[name] == at and name not in saved:
                live.pop(name, None)
    return live, peak


def _backward(tape: Tape, live: dict[str, float]) -> tuple[float, float]:
    """Return the peak and the weights' gradients left behind."""
    users = dict.fromkeys(live, 0)
    for one in tape.operations:
        for name in one.saved:
            users[name] = users.get(name, 0) + 1
    result = tape.operations[-1].output
    gradients = {result: tape.sizes[result]}
    left = 0.0
    peak = sum(live.values()) + gradients[result]
    for one in reversed(tape.operations):
        if one.output not in gradients:
            continue
        for name in one.inputs:
            # A second gradient of the same tensor is there beside the first while they are added.
            adding = tape.sizes[name]
            held = sum(live.values()) + sum(gradients.values()) + left
            peak = max(peak, held + adding + one.backward_bytes + one.gradient_bytes)
            gradients.setdefault(name, adding)
        left += one.gradient_bytes
        del gradients[one.output]
        live.pop(f"weights of {one.output}", None)
        for name in one.saved:
            users[name] -= 1
            if not users[name]:
                live.pop(name, None)
    return peak, left
