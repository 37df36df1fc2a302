"""Trying a config's values on paper: which steps they take, and what comes of them."""

from dataclasses import replace

import pytest

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import Environment
from diagnostics.config.unset import UNSET
from diagnostics.errors import LlamavetError
from diagnostics.findings import Safety, Text
from diagnostics.memory.calibration import Calibration, Measure
from diagnostics.memory.config_json import architecture_of
from diagnostics.memory.facts import MemoryFacts
from diagnostics.memory.forecast import Forecast
from diagnostics.what_if import BATCH, WhatIf, stepped
from tests.memory.shapes import LLAMA_8B

NOTHING = Text("", "")
FACTS = MemoryFacts(architecture_of(LLAMA_8B), capacity_gib=24.0)
CONFIG = """\
stage: sft
do_train: true
finetuning_type: lora
dataset: mine
template: llama3
output_dir: saves
per_device_train_batch_size: 4
gradient_accumulation_steps: 2
bf16: true
"""


def trying(text: str = CONFIG, facts: MemoryFacts = FACTS, **kinds) -> WhatIf:
    return WhatIf(EffectiveConfig(parse_document(text.encode())), facts, **kinds)


def told(forecast: Forecast | LlamavetError) -> Forecast:
    assert isinstance(forecast, Forecast)
    return forecast


@pytest.mark.parametrize(
    ("key", "value", "down", "up"),
    [
        (BATCH, 4, 2, 8),
        (BATCH, 5, 2, 10),
        (BATCH, 1, UNSET, 2),
        (BATCH, 4096, 2048, UNSET),
        (BATCH, -4, UNSET, UNSET),
        (BATCH, True, UNSET, UNSET),
        (BATCH, "4", UNSET, UNSET),
        ("cutoff_len", 16, UNSET, 32),
        ("freeze_trainable_layers", -4, -2, -8),
        ("enable_liger_kernel", False, True, True),
        ("enable_liger_kernel", None, True, True),
        ("enable_liger_kernel", "yes", UNSET, UNSET),
        ("quantization_bit", None, 4, 8),
        ("quantization_bit", 4, 8, None),
        ("finetuning_type", "lora", "full", "freeze"),
        ("model_name_or_path", "x", UNSET, UNSET),
        ("stage", "sft", UNSET, UNSET),
        ("learning_rate", 1e-4, UNSET, UNSET),
    ],
)
def test_a_value_steps_by_what_its_key_is(key, value, down, up):
    assert stepped(key, value, forward=False) == down
    assert stepped(key, value, forward=True) == up


def test_a_choice_that_is_not_usual_stays_among_the_choices():
    assert stepped("quantization_bit", 2, forward=True, own=2) is None
    assert stepped("quantization_bit", None, forward=False, own=2) == 2


def test_a_list_where_a_word_is_meant_takes_no_step():
    assert stepped("optim", ["a"], forward=True, own=["a"]) is UNSET


def test_a_smaller_batch_needs_less_and_the_config_stays():
    what = trying()
    tried = what.step(BATCH, forward=False)

    assert told(tried.after).needed_gib < told(tried.before).needed_gib
    assert told(tried.before).needed_gib == told(what.after).needed_gib
    assert tried.changes == {BATCH: 2}
    assert what.changes == {}


def test_what_is_stepped_back_is_no_change():
    tried = trying().step(BATCH, forward=False).step(BATCH, forward=True)

    assert tried.changes == {}
    assert tried.after is tried.before


def test_a_key_that_is_not_set_counts_from_its_default():
    tried = trying().step("enable_liger_kernel", forward=True)

    assert tried.changes == {"enable_liger_kernel": True}
    assert tried.step("enable_liger_kernel", forward=True).changes == {}


def test_a_bare_no_is_the_strategy_no():
    what = trying(CONFIG + "eval_strategy: no\n")

    assert what.value("eval_strategy") == "no"
    assert what.step("eval_strategy", forward=True).changes == {"eval_strategy": "steps"}


def test_the_fix_holds_the_changes_with_their_prediction():
    tried = trying().step(BATCH, forward=False).step("enable_liger_kernel", forward=True)
    fix = tried.as_fix(NOTHING, NOTHING, Text("price", ""))

    assert [(one.key, one.old, one.new) for one in fix.changes] == [
        (BATCH, 4, 2),
        ("enable_liger_kernel", UNSET, True),
    ]
    assert fix.predicted is not None
    assert fix.predicted.peak_gib == told(tried.after).needed_gib
    assert fix.predicted.before_gib == told(tried.before).needed_gib


def test_only_what_keeps_the_recipe_is_safe():
    half = trying().step(BATCH, forward=False)
    kept = half.step("gradient_accumulation_steps", forward=True)
    method = trying().step("finetuning_type", forward=True)

    for tried, safety in ((half, Safety.UNSAFE), (kept, Safety.SAFE), (method, Safety.UNSAFE)):
        assert tried.as_fix(NOTHING, NOTHING, Text("price", "")).safety is safety
    assert kept.as_fix(NOTHING, NOTHING, Text("price", "")).price == NOTHING


def test_only_new_refusals_are_told():
    tried = trying(CONFIG + "quantization_bit: 4\nno_such_key: 1\n").step(
        "finetuning_type", forward=False
    )

    assert tried.value("finetuning_type") == "full"
    assert [one.key for one in tried.refusals] == ["quantization_bit"]
    assert trying(CONFIG + "no_such_key: 1\n").refusals == ()


def test_a_package_that_is_known_to_be_missing_refuses_what_needs_it():
    without = Environment(None, versions={"bitsandbytes": None})
    tried = trying(environment=without).step("quantization_bit", forward=True)

    assert any(one.package == "bitsandbytes" for one in tried.refusals)
    assert trying().step("quantization_bit", forward=True).refusals == ()


def test_what_was_measured_of_one_method_says_nothing_of_another():
    learned = Calibration(1.5, 30.0, 20.0, Measure.DEVICE)
    facts = replace(FACTS, calibration=learned)
    batch = trying(facts=facts).step(BATCH, forward=False)
    method = trying(facts=facts).step("finetuning_type", forward=True)

    assert told(batch.after).method == "calibrated"
    assert told(method.after).method == "closed_form"


def test_an_unknown_model_is_an_answer_and_no_crash():
    facts = MemoryFacts(None, reason="it is nowhere")
    tried = trying(facts=facts).step(BATCH, forward=False)

    assert isinstance(tried.before, LlamavetError)
    assert isinstance(tried.after, LlamavetError)
    assert tried.as_fix(NOTHING, NOTHING, NOTHING).predicted is None
