"""What a measured peak teaches the next prediction of the same run."""

import pytest

from diagnostics.memory.calibration import Measure, calibrate


def test_an_allocated_peak_corrects_by_its_ratio():
    one = calibrate(11.0, 10.0, Measure.ALLOCATED)

    assert one is not None
    assert one.factor == pytest.approx(1.1)
    assert one.corrected(20.0) == pytest.approx(22.0)


def test_reserved_memory_is_taken_back_to_what_was_allocated():
    one = calibrate(11.0, 10.0, Measure.RESERVED, reserved_ratio=1.10)

    assert one is not None
    assert one.factor == pytest.approx(1.0)


def test_a_device_figure_also_has_the_context_in_it():
    one = calibrate(11.6, 10.0, Measure.DEVICE, reserved_ratio=1.10, context_gib=0.6)

    assert one is not None
    assert one.factor == pytest.approx(1.0)


def test_a_floor_corrects_upwards_only():
    above = calibrate(12.0, 10.0, Measure.FLOOR)

    assert above is not None
    assert above.factor == pytest.approx(1.2)
    assert calibrate(9.0, 10.0, Measure.FLOOR) is None
    assert calibrate(10.0, 10.0, Measure.FLOOR) is None


@pytest.mark.parametrize("measured_gib", [4.9, 20.1, 1e9, 0.0, -3.0, float("nan")])
def test_a_figure_that_cannot_be_of_this_workload_corrects_nothing(measured_gib: float):
    assert calibrate(measured_gib, 10.0, Measure.ALLOCATED) is None


def test_a_prediction_of_nothing_is_not_corrected():
    assert calibrate(10.0, 0.0, Measure.ALLOCATED) is None


def test_what_was_corrected_by_what_is_said_in_both_languages():
    one = calibrate(11.0, 10.0, Measure.ALLOCATED)

    assert one is not None
    for text in (one.text.en, one.text.zh):
        assert "1.100" in text
        assert "11.00" in text
        assert "10.00" in text
