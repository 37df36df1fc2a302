"""Owns what an MLP's activation allocates: one kernel, or operation by operation.

Read from transformers 5.6 (`activations.py`); autocast computes a power in float32.
"""

from collections.abc import Mapping
from enum import StrEnum

from diagnostics.memory.tape import Tape

FLOAT32 = 4


class Activation(StrEnum):
    """How an activation is computed."""

    FUSED = "by one kernel, which keeps its input"
    SQUARED = "a rectifier and its square"
    STEPWISE = "with a power and a tanh, operation by operation"


BY_NAME: Mapping[str, Activation] = {
    "gelu_new": Activation.STEPWISE,
    "gelu_python_tanh": Activation.STEPWISE,
    "relu2": Activation.SQUARED,
    "xielu": Activation.STEPWISE,
}


def add_activation(tape: Tape, how: Activation, source: str, elements: int, given: float) -> str:
    """Write the activation of `elements` of `given` bytes each; return what it makes.

    `given` is what a stepwise one widens to: 4 under autocast.
    """
    add, size = tape.add, tape.sizes[source]
    if how is Activation.SQUARED:
        add("active.positive", size, [source], saved=("active.positive",))
        return add("active", size, ["active.positive"], saved=("active.positive",))
    if how is Activation.FUSED:
        return add("active", size, [source], saved=(source,))
    wide, taken = given * elements, source
    if wide > size:
        taken = add("active.float", wide, [source])
    add("active.power", wide, [taken], saved=(taken,))
    add("active.sum", wide, [source, "active.power"])
    add("active.tanh", wide, ["active.sum"], saved=("active.tanh",))
    add("active.raised", wide, ["active.tanh"])
    add("active.half", size, [source])
    kept = ("active.half", "active.raised")
    return add("active", wide, kept, saved=kept)
