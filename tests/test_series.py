"""Arithmetic on series: robust levels, noise, trends, and changes of level."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.series import (
    BLOCKS,
    block_medians,
    fall,
    finite,
    lasting_rise,
    noise,
    spikes,
    steady,
    trailing,
    trend,
    valley,
)

LOSSES = st.lists(st.floats(0.001, 50, allow_nan=False), min_size=1, max_size=300)


def noisy(levels: list[float], share: float, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [level * (1 + chance.gauss(0, share)) for level in levels]


def test_what_is_no_number_is_left_out():
    assert finite([1.0, None, math.nan, math.inf, -2.0]) == [1.0, -2.0]


@given(LOSSES)
def test_blocks_are_few_and_lie_within_their_series(values: list[float]):
    medians = block_medians(values)

    assert 1 <= len(medians) <= BLOCKS
    assert min(values) <= min(medians) <= max(medians) <= max(values)


@given(LOSSES, st.floats(0.1, 10))
def test_noise_grows_with_the_unit(values: list[float], unit: float):
    scaled = [value * unit for value in values]

    assert noise(scaled) == pytest.approx(noise(values) * unit)


def test_a_steady_slope_has_a_trend_and_its_noise_is_told_apart_from_it():
    values = noisy([2 - 0.005 * i for i in range(200)], 0.01)

    assert trend(values).change == pytest.approx(-1.0, abs=0.1)
    assert trend(values).score < -5
    assert noise(values) == pytest.approx(0.015, rel=0.4)


@given(st.integers(0, 200))
@settings(max_examples=30)
def test_noise_alone_has_no_trend_to_speak_of(seed: int):
    values = noisy([1.0] * 200, 0.05, seed)

    assert abs(trend(values).change) < 0.06
    assert abs(fall(values).share) < 0.06


def test_outliers_do_not_bend_a_trend():
    values = [1.0 + 0.01 * i for i in range(100)]
    spoiled = [50.0 if i % 9 == 4 else value for i, value in enumerate(values)]

    assert trend(spoiled).change == pytest.approx(trend(values).change, rel=0.1)


@given(LOSSES)
def test_a_trend_turned_round_has_the_other_sign(values: list[float]):
    there, back = trend(block_medians(values)), trend(block_medians(values)[::-1])

    assert back.change == pytest.approx(-there.change)
    assert back.score == pytest.approx(-there.score)


def test_a_rise_that_lasts_is_told_with_both_levels():
    values = [*noisy([1.1] * 40, 0.02), *noisy([5.0] * 10, 0.05)]

    rise = lasting_rise(values, 0.5, 0.5)

    assert rise is not None
    assert rise.at == 40
    assert rise.base == pytest.approx(1.1, rel=0.05)
    assert rise.level == pytest.approx(5.0, rel=0.1)


@pytest.mark.parametrize("low", [1, 2, 4])
def test_a_rise_is_found_though_only_the_first_few_values_were_low(low: int):
    values = [1.86] * low + noisy([4.1] * 12, 0.03)

    rise = lasting_rise(values, 0.5, 0.5)

    assert rise is not None
    assert rise.at == low
    assert rise.base == pytest.approx(1.86)


@pytest.mark.parametrize("values", [[0.9, 1.4] * 8, [1.0, *noisy([1.7] * 12, 0.02)], [0.5, 1.9]])
def test_a_low_start_that_noise_explains_is_no_rise(values: list[float]):
    assert lasting_rise(values, 0.5, 0.5) is None


def test_a_rise_that_passed_is_none():
    values = noisy([1.1] * 30 + [5.0] * 10 + [1.1] * 3, 0.02)

    assert lasting_rise(values, 0.5, 0.5) is None


@given(st.lists(st.floats(0.01, 0.3), min_size=1, max_size=120))
def test_a_loss_that_only_falls_never_rises(drops: list[float]):
    values = [50.0]
    for drop in drops:
        values.append(values[-1] * (1 - drop))

    assert lasting_rise(values, 0.5, 0.5) is None
    assert fall(values).share >= 0
    assert spikes(values, 2.0) == []


@given(LOSSES)
def test_a_rise_is_above_its_base_to_the_end(values: list[float]):
    rise = lasting_rise(values, 0.5, 0.5)

    if rise is not None:
        assert 0 < rise.at < len(values)
        assert all(value > rise.base + 0.5 for value in values[rise.at :])


def test_spikes_are_found_where_they_are():
    values = noisy([1.0] * 50, 0.02)
    values[20] = values[33] = 4.0

    assert spikes(values, 2.0) == [20, 33]


def test_a_step_up_is_no_spike():
    assert spikes(noisy([1.0] * 20 + [3.0] * 20, 0.02), 2.0) == []


@given(LOSSES)
def test_the_valley_is_the_lowest_value(values: list[float]):
    found = valley(values)

    assert found is not None
    assert found.lowest == min(values) == values[found.at]
    assert found.after == len(values) - 1 - found.at
    assert found.last >= found.lowest


def test_the_last_level_is_not_one_high_value():
    found = valley([1.2, 1.0, 1.01, 1.5])

    assert found is not None
    assert found.last == 1.01


def test_steady_is_within_a_share_of_the_median():
    assert steady([7.625, 7.626, 7.6249], 0.005)
    assert not steady([7.625, 7.8], 0.005)
    assert not steady([], 0.005)


def test_a_condition_is_counted_from_the_end_to_its_first_break():
    assert trailing([0.0, 1.0, 0.0, 0.0], lambda value: value == 0.0) == 2
    assert trailing([], math.isfinite) == 0


@given(st.lists(st.floats(0.001, 50), max_size=3))
def test_short_series_have_no_story(values: list[float]):
    assert spikes(values, 2.0) == []
    assert abs(trend(values).score) < 2
    assert (valley(values) is None) == (not values)
