"""What is told of a prediction: figures, verdict, range, how sure it is."""

from dataclasses import replace
from typing import Any

import pytest

from diagnostics.findings import Language, Text
from diagnostics.memory.architecture import Confidence
from diagnostics.memory.calibration import Measure, calibrate
from diagnostics.memory.forecast import (
    SPREAD,
    Forecast,
    as_json,
    confidence_of,
    forecast,
    with_simulated,
)
from diagnostics.memory.peak import Phase
from diagnostics.memory.verdict import Verdict
from diagnostics.memory.workload import Sharding, Workload
from tests.memory.shapes import LLAMA_8B, model, workload


def told(
    capacity_gib: float | None = None, shape: dict[str, Any] | None = None, **keys: Any
) -> Forecast:
    return forecast(model(shape or LLAMA_8B), workload(**keys), capacity_gib=capacity_gib)


def test_the_figures_stand_in_the_order_of_what_sees_them():
    one = told()

    assert one.allocated_gib < one.reserved_gib < one.device_gib
    assert one.reserved_gib == pytest.approx(1.10 * one.allocated_gib)
    assert one.device_gib == pytest.approx(one.reserved_gib + 0.6)
    assert one.low_gib < one.allocated_gib * 1.01 + 0.3
    assert one.high_gib > one.device_gib
    assert one.needed_gib == pytest.approx(1.05 * one.allocated_gib + 0.6)


def test_eager_attention_leaves_more_holes():
    one = told(flash_attn="disabled")

    assert one.reserved_gib == pytest.approx(1.17 * one.allocated_gib)


def test_a_card_is_judged_by_the_peak_and_how_sure_it_is():
    needed = told().allocated_gib * (1 + SPREAD[Confidence.HIGH]) * 1.05 + 0.6

    assert told(needed + 0.01).verdict is Verdict.FITS
    assert told(needed - 0.01).verdict is Verdict.TIGHT
    assert told(needed / 2).verdict is Verdict.DOES_NOT_FIT
    assert told().verdict is Verdict.UNKNOWN


def test_a_training_on_the_cpu_has_no_cuda_context_but_python():
    one = told(use_cpu=True)

    assert one.reserved_gib == one.allocated_gib
    assert one.device_gib == pytest.approx(one.allocated_gib + 1.1)


@pytest.mark.parametrize(
    ("keys", "confidence"),
    [
        ({}, Confidence.HIGH),
        ({"finetuning_type": "full"}, Confidence.HIGH),
        ({"quantization_bit": 4}, Confidence.HIGH),
        ({"flash_attn": "disabled"}, Confidence.MEDIUM),
        ({"finetuning_type": "full", "use_galore": True}, Confidence.MEDIUM),
        ({"stage": "dpo"}, Confidence.MEDIUM),
        ({"stage": "ppo"}, Confidence.LOW),
    ],
)
def test_a_prediction_is_as_sure_as_its_weakest_part(keys: dict[str, Any], confidence: Confidence):
    assert confidence_of(model(LLAMA_8B), workload(**keys)) is confidence


def test_several_gpus_are_less_sure():
    work = replace(workload(), sharding=Sharding(gpus=2))

    assert confidence_of(model(LLAMA_8B), work) is Confidence.MEDIUM


def test_the_less_sure_a_prediction_the_wider_its_range():
    sure, unsure = told(), told(flash_attn="disabled")

    def width(one: Forecast) -> float:
        return (one.high_gib - one.low_gib) / one.allocated_gib

    assert width(sure) < width(unsure)


def test_a_calibration_corrects_the_figures_and_says_so():
    calibration = calibrate(12.0, 10.0, Measure.ALLOCATED)
    plain = told()

    one = forecast(model(LLAMA_8B), workload(), calibration=calibration)

    assert one.allocated_gib == pytest.approx(1.2 * plain.allocated_gib)
    assert one.method == "calibrated"
    assert "x1.200" in one.assumptions[0].en
    assert plain.method == "closed_form"


def test_a_simulation_takes_the_place_of_the_closed_form():
    plain = told(100.0)

    one = with_simulated(plain, 12.0, 12.5, (Text("simulated with torch", ""),))

    assert (one.allocated_gib, one.reserved_gib) == (12.0, 12.5)
    assert one.device_gib == pytest.approx(13.1)
    assert one.method == "simulated"
    assert one.confidence is Confidence.HIGH
    assert one.verdict is Verdict.FITS
    assert one.assumptions[0].en == "simulated with torch"


def test_a_run_that_was_seen_to_fail_is_judged_by_the_difference():
    plain = forecast(model(LLAMA_8B), workload(), capacity_gib=48)
    anchored = forecast(model(LLAMA_8B), workload(), capacity_gib=48, anchored=True)

    assert anchored.allocated_gib == plain.allocated_gib
    assert anchored.high_gib - anchored.low_gib < plain.high_gib - plain.low_gib


def test_the_json_has_every_figure_and_its_terms_add_up():
    one = told(80.0, eval_strategy="steps")

    report = as_json(one)

    assert report["schema"] == 1
    assert report["allocated_gib"] == pytest.approx(one.allocated_gib, abs=1e-3)
    terms, phases = report["terms"], report["phases"]
    assert isinstance(terms, dict)
    assert isinstance(phases, dict)
    assert sum(terms.values()) == pytest.approx(one.peak.allocated_gib, abs=1e-3)
    assert set(phases) == {phase.value for phase in Phase}
    assert max(phases.values()) == pytest.approx(one.peak.allocated_gib, abs=1e-3)
    assert report["verdict"] == "fits"
    assert report["trainable_params"] == 20_971_520
    assert report["capacity_gib"] == 80.0


def test_what_was_assumed_is_told_in_the_language_asked_for():
    english, chinese = (as_json(told(), language)["assumptions"] for language in Language)

    assert any("cutoff_len" in str(text) for text in [english])
    assert english != chinese


def test_a_prediction_is_the_same_each_time():
    work: Workload = workload(lora_rank=16)

    assert forecast(model(LLAMA_8B), work) == forecast(model(LLAMA_8B), work)
