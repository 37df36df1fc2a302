"""Whether a peak fits a card: borders worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.memory.verdict import CONTEXT_GIB, WORKSPACE, Verdict, verdict_of

ORDER = [Verdict.FITS, Verdict.TIGHT, Verdict.DOES_NOT_FIT]


def test_without_a_size_nothing_is_judged():
    assert verdict_of(10, None) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("capacity_gib", "verdict"),
    [
        (11.11, Verdict.FITS),  # 10 x 1.05 + 0.6
        (11.09, Verdict.TIGHT),
        (10.31, Verdict.TIGHT),  # 10 + 0.3
        (10.29, Verdict.DOES_NOT_FIT),
    ],
)
def test_a_card_must_hold_the_peak_workspaces_and_the_context(
    capacity_gib: float, verdict: Verdict
):
    assert verdict_of(10, capacity_gib) is verdict


def test_the_predictions_own_error_widens_what_is_tight():
    fitting = 10 * 1.1 * WORKSPACE + CONTEXT_GIB
    assert verdict_of(10, fitting - 0.01, spread=0.1) is Verdict.TIGHT
    assert verdict_of(10, fitting + 0.01, spread=0.1) is Verdict.FITS
    assert verdict_of(10, 9.31, spread=0.1) is Verdict.TIGHT
    assert verdict_of(10, 9.29, spread=0.1) is Verdict.DOES_NOT_FIT


@given(
    st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 0.9), st.floats(0, 0.9)
)
def test_a_larger_card_never_fits_worse_and_a_larger_peak_never_better(
    peak: float, more: float, capacity: float, spread: float, wider: float
):
    first = verdict_of(peak, capacity, spread=spread)

    assert ORDER.index(verdict_of(peak, capacity + more, spread=spread)) <= ORDER.index(first)
    assert ORDER.index(verdict_of(peak + more, capacity, spread=spread)) >= ORDER.index(first)
    if first is Verdict.TIGHT:
        unsure = verdict_of(peak, capacity, spread=min(0.9, spread + wider))
        assert unsure is Verdict.TIGHT
