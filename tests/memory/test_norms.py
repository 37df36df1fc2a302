"""What norms keep for their backward, counted by hand in bytes of an element."""

import pytest

from diagnostics.memory.norms import Norm, NormKind, NormPlace, add_norm
from diagnostics.memory.tape import Tape, walk
from tests.memory.shapes import SMALL, model

ROWS, WIDTH = 8, 64
ELEMENTS = ROWS * WIDTH


def kept(kind: NormKind, *, trains: bool = False, weight: int = 2, kernel: bool = False) -> float:
    """Return what a norm of a half-precision input keeps, of each element."""
    tape = Tape("input", {"input": 2.0 * ELEMENTS})
    norm = Norm(kind, trains=trains, weight_bytes=weight, autocast=True, kernel=kernel)
    name = add_norm(tape, norm, "norm", "input", (ROWS, WIDTH))
    tape.add("output", tape.sizes[name], [name])
    means = sum(size for name, size in tape.sizes.items() if name.endswith("mean"))
    return (walk(tape).kept_bytes - means) / ELEMENTS


@pytest.mark.parametrize(
    ("kind", "frozen", "trained"),
    [
        (NormKind.RMS, 4, 4 + 2),
        (NormKind.WIDE_RMS, 4, 4 + 4),
        (NormKind.CENTRED, 4 + 4, 4 + 4 + 4),
        (NormKind.FUSED, 4, 4),
        (NormKind.NARROWED, 4, 4),
        (NormKind.PLAIN, 2, 2),
    ],
)
def test_a_norm_keeps_its_float32_input_and_where_it_trains_what_its_weight_was_given(
    kind: NormKind, frozen: float, trained: float
):
    assert kept(kind) == frozen
    assert kept(kind, trains=True) == trained


def test_ligers_norm_keeps_its_input_and_nothing_else():
    assert kept(NormKind.RMS, kernel=True) == 2


@pytest.mark.parametrize(
    ("model_type", "place"),
    [
        ("llama", NormPlace.BEFORE),
        ("gemma2", NormPlace.AROUND),
        ("glm4", NormPlace.AROUND),
        ("olmo2", NormPlace.AFTER),
        ("cohere2", NormPlace.SHARED),
    ],
)
def test_a_family_has_its_norms_where_its_code_has_them(model_type: str, place: NormPlace):
    assert model(SMALL, model_type=model_type).norm_place is place
