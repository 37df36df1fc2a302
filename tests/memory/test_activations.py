"""What activations keep for their backward, in bytes of an element of half precision."""

import pytest

from diagnostics.memory.activations import Activation, add_activation
from diagnostics.memory.tape import Tape, walk
from tests.memory.shapes import SMALL, model

ELEMENTS = 64


@pytest.mark.parametrize(
    ("how", "given", "wanted"),
    [
        (Activation.FUSED, 4, 2),
        (Activation.SQUARED, 4, 2),
        # The input, tanh and one more than it in float32, and half of the input.
        (Activation.STEPWISE, 4, 4 + 4 + 4 + 2),
        (Activation.STEPWISE, 2, 2 + 2 + 2 + 2),
    ],
)
def test_an_activation_keeps_what_its_own_operations_need(how: Activation, given: int, wanted: int):
    tape = Tape("source", {"source": 2.0 * ELEMENTS})
    name = add_activation(tape, how, "source", ELEMENTS, given)
    tape.add("output", tape.sizes[name], [name])

    assert walk(tape).kept_bytes == wanted * ELEMENTS


def test_the_config_names_the_activation_and_a_name_that_is_not_known_is_one_kernel():
    assert model(SMALL, hidden_act="relu2").activation is Activation.SQUARED
    assert model(SMALL, activation_function="gelu_new").activation is Activation.STEPWISE
    assert model(SMALL, hidden_act="brand_new").activation is Activation.FUSED
    assert model(SMALL, hidden_act=["gelu_new"]).activation is Activation.FUSED
