"""What fixes do to memory: real fix rules on real configs, judged against a GPU's size."""

from collections.abc import Sequence
from typing import Any

import pytest

from diagnostics.config.effective import EffectiveConfig
from diagnostics.engine import diagnose
from diagnostics.findings import Fix, Safety
from diagnostics.fixes import FixRule, plan
from diagnostics.history import History, Snapshot
from diagnostics.memory.facts import MemoryFacts, forecast_config
from diagnostics.outlook import NOTHING, PLAN, as_observed, with_outlook
from diagnostics.parsing.console import ConsoleParser
from diagnostics.rule_fields import read_fields
from diagnostics.rule_reader import read_fix
from diagnostics.ruleset import bundled_rules, load_rules
from diagnostics.signals import Context
from tests.memory.shapes import LLAMA_8B, config, model

INSTALLED = {"bitsandbytes": True, "liger_kernel": True, "deepspeed": True}
LORA: dict[str, Any] = {
    "finetuning_type": "lora",
    "bf16": True,
    "per_device_train_batch_size": 8,
    "cutoff_len": 2048,
}
FULL: dict[str, Any] = {**LORA, "finetuning_type": "full"}
OOM = (
    "Traceback (most recent call last):\n"
    '  File "/opt/lf/transformers/trainer.py", line 1937, in training_step\n'
    "    work()\n"
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total"
    " capacity of {capacity} GiB of which 0.20 GiB is free. Including non-PyTorch memory, this"
    " process has {held} GiB memory in use. Of the allocated memory {allocated} GiB is allocated"
    " by PyTorch, and 300.00 MiB is reserved by PyTorch but unallocated.\n"
)


def rules(*names: str) -> list[FixRule]:
    folder = bundled_rules() / "fixes"
    return [read_fix(read_fields(folder / f"{name}.yaml")) for name in names]


def seen(log: str = "") -> Snapshot:
    history, parser = History(()), ConsoleParser("stdout.log")
    for one in (*parser.feed(log.encode(), 1.0), *parser.finish(1.0)):
        history.add(one)
    return history.snapshot()


def context(
    settings: dict[str, Any], capacity_gib: float | None, *, log: str = "", gpus: int = 1
) -> Context:
    facts = MemoryFacts(model(LLAMA_8B), capacity_gib=capacity_gib, gpus=gpus, device_name="a card")
    return Context(seen(log), config=config(**settings), packages=INSTALLED, memory=facts)


def outlook(names: Sequence[str], given: Context, *, cures_memory: bool = True) -> tuple[Fix, ...]:
    return with_outlook(rules(*names), given, {}, cures_memory=cures_memory)


def ids(fixes: Sequence[Fix]) -> list[str]:
    return [fix.id for fix in fixes]


def changed(fix: Fix) -> dict[str, object]:
    return {change.key: change.new for change in fix.changes}


def verdict(fix: Fix) -> str | None:
    return None if fix.predicted is None else fix.predicted.verdict


def test_what_fits_stands_before_what_does_not_and_the_harmless_before_the_others():
    names = ["qlora", "freeze", "shorter_cutoff", "fused_loss", "halve_batch"]

    fixes = outlook(names, context(LORA, 24))

    assert [(fix.id, fix.safety, verdict(fix)) for fix in fixes] == [
        ("halve_batch", Safety.SAFE, "fits"),
        ("fused_loss", Safety.SAFE, "tight"),
        ("shorter_cutoff", Safety.UNSAFE, "fits"),
        ("qlora", Safety.UNSAFE, "does_not_fit"),
        ("freeze", Safety.UNSAFE, "does_not_fit"),
    ]


def test_a_finding_about_something_else_keeps_the_order_of_its_rule():
    names = ["freeze", "qlora", "halve_batch"]

    fixes = outlook(names, context(LORA, 24), cures_memory=False)

    assert ids(fixes) == names
    assert all(fix.predicted is not None for fix in fixes)


def test_halving_a_batch_is_repeated_until_it_fits_and_keeps_the_samples_of_a_step():
    (once,) = outlook(["halve_batch"], context(LORA, 48))
    (thrice,) = outlook(["halve_batch"], context(LORA, 24))

    assert changed(once) == {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    assert changed(thrice) == {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    assert [verdict(fix) for fix in (once, thrice)] == ["fits", "fits"]


def test_what_a_repeated_fix_writes_starts_from_the_value_that_is_in_the_config():
    given = context(LORA, 24)
    (fix,) = outlook(["halve_batch"], given)
    assert given.config is not None

    change = plan(fix, given.config)

    assert [one.old for one in fix.changes if one.key == "per_device_train_batch_size"] == [8]
    assert change.after.value("per_device_train_batch_size") == 1
    assert change.after.value("gradient_accumulation_steps") == 8


def test_a_prediction_tells_what_is_needed_before_and_after_the_fix():
    given = context(LORA, 48)
    assert given.config is not None
    assert given.memory is not None
    (fix,) = outlook(["halve_batch"], given)
    told = fix.predicted
    assert told is not None

    before = forecast_config(given.config, given.memory)
    after = forecast_config(plan(fix, given.config).after, given.memory)

    assert told.before_gib == before.needed_gib
    assert told.peak_gib == after.needed_gib
    assert told.peak_gib < told.before_gib
    assert told.capacity_gib == 48


def test_several_changes_are_planned_where_no_harmless_one_is_enough():
    settings = {**LORA, "cutoff_len": 4096, "disable_gradient_checkpointing": True}

    fixes = outlook(["halve_batch", "checkpointing_on", "qlora"], context(settings, 40))

    first = fixes[0]
    assert first.id == PLAN
    assert first.safety is Safety.SAFE
    assert verdict(first) == "fits"
    assert changed(first)["disable_gradient_checkpointing"] is False
    assert changed(first)["per_device_train_batch_size"] == 1
    assert " + " in first.title.en
    assert " + " in first.title.zh
    assert all(verdict(fix) == "does_not_fit" for fix in fixes[1:])


def test_a_plan_has_no_change_that_it_does_not_need():
    settings = {**LORA, "cutoff_len": 4096, "disable_gradient_checkpointing": True}
    given = context(settings, 40)
    assert given.config is not None
    assert given.memory is not None
    names = ["halve_batch", "checkpointing_on", "fused_loss", "qlora"]
    planned = outlook(names, given)[0]
    assert planned.id == PLAN

    pairs = [{"per_device_train_batch_size", "gradient_accumulation_steps"}]
    pairs += [{key} for key in changed(planned).keys() - pairs[0]]

    assert len(pairs) > 1
    for without in pairs:
        left = {key: value for key, value in changed(planned).items() if key not in without}
        after = config(**{**settings, **left})
        assert forecast_config(after, given.memory).verdict != "fits"


def test_a_plan_that_needs_a_change_with_a_price_says_so():
    fixes = outlook(["lora_from_full", "qlora", "shorter_cutoff"], context(FULL, 24))

    first = fixes[0]
    assert first.id == PLAN
    assert first.safety is Safety.UNSAFE
    assert changed(first)["finetuning_type"] == "lora"
    assert first.price.en
    assert verdict(first) == "fits"


def test_a_plan_takes_a_harmless_change_rather_than_one_with_a_price():
    # Halving the batch alone keeps gradients between micro-steps, and so helps no full tuning.
    names = ["halve_batch", "shorter_cutoff", "lora_from_full"]

    fixes = outlook(names, context(FULL, 24))

    assert fixes[0].id == PLAN
    assert changed(fixes[0]) == {
        "finetuning_type": "lora",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
    }
    assert verdict(fixes[0]) == "fits"


def test_where_nothing_fits_that_is_said_first_with_what_would():
    fixes = outlook(["halve_batch", "shorter_cutoff", "optimizer_8bit"], context(FULL, 24))

    assert ids(fixes)[0] == NOTHING
    assert fixes[0].safety is Safety.MANUAL
    assert "24.0 GiB (a card)" in fixes[0].title.en
    assert "24.0 GiB" in fixes[0].title.zh
    assert "ZeRO-3" in fixes[0].why.en
    assert "QLoRA" in fixes[0].why.en
    assert {verdict(fix) for fix in fixes[1:]} == {"does_not_fit"}


def test_qlora_is_no_hope_where_even_its_weights_are_too_large():
    fixes = outlook(["halve_batch"], context(FULL, 4))

    assert ids(fixes) == [NOTHING, "halve_batch"]
    assert "QLoRA" not in fixes[0].why.en


def test_without_the_size_of_a_gpu_fixes_tell_their_effect_but_promise_nothing():
    fixes = outlook(["qlora", "halve_batch"], context(LORA, None))

    assert ids(fixes) == ["qlora", "halve_batch"]
    assert [verdict(fix) for fix in fixes] == ["unknown", "unknown"]
    assert changed(fixes[1])["per_device_train_batch_size"] == 4


def test_without_a_known_model_there_is_no_prediction():
    given = Context(
        seen(),
        config=config(**LORA),
        packages=INSTALLED,
        memory=MemoryFacts(None, "no such model", capacity_gib=24),
    )

    fixes = outlook(["qlora", "halve_batch"], given)

    assert ids(fixes) == ["qlora", "halve_batch"]
    assert [fix.predicted for fix in fixes] == [None, None]


def test_without_a_config_there_is_no_prediction():
    given = Context(seen(), memory=MemoryFacts(model(LLAMA_8B), capacity_gib=24))

    assert [fix.predicted for fix in outlook(["halve_batch"], given)] == [None]


def test_a_config_whose_values_have_no_meaning_gets_its_fixes_without_predictions():
    fixes = outlook(["qlora", "shorter_cutoff"], context({**LORA, "lora_rank": "many"}, 24))

    assert ids(fixes) == ["qlora", "shorter_cutoff"]
    assert [fix.predicted for fix in fixes] == [None, None]


def test_a_share_of_a_model_is_not_predicted_where_the_number_of_gpus_is_unknown():
    alone = outlook(["zero3"], context(FULL, 80))
    four = outlook(["zero3"], context(FULL, 80, gpus=4))

    assert [(fix.id, fix.predicted) for fix in alone] == [("zero3", None)]
    assert {fix.id: fix.predicted is not None for fix in four}["zero3"]


def test_a_fix_that_changes_nothing_of_memory_has_no_prediction():
    fixes = outlook(["expandable_segments", "free_the_gpu", "halve_batch"], context(LORA, 48))

    predicted = {fix.id: fix.predicted is not None for fix in fixes}
    assert predicted == {"expandable_segments": False, "free_the_gpu": False, "halve_batch": True}


def test_an_out_of_memory_names_the_gpu_and_is_a_floor_of_what_is_needed():
    log = OOM.format(capacity="47.50", held="47.00", allocated="46.00")
    given = context(LORA, 80, log=log)
    assert given.config is not None
    assert given.memory is not None
    before = forecast_config(given.config, given.memory)

    facts = as_observed(given.memory, given.config, given)

    assert facts is not None
    assert facts.anchored
    assert facts.capacity_gib == pytest.approx(47.5)
    assert facts.calibration is not None
    after = forecast_config(given.config, facts)
    # 46 GiB were there and 2 more were asked for; the card could give that much at most.
    assert after.allocated_gib == pytest.approx(48.0)
    assert after.allocated_gib > before.allocated_gib
    assert after.method == "calibrated"
    assert after.verdict != "fits"


def test_an_out_of_memory_below_the_prediction_corrects_nothing():
    log = OOM.format(capacity="23.65", held="23.40", allocated="21.00")
    given = context(LORA, 80, log=log)
    assert given.config is not None
    assert given.memory is not None

    facts = as_observed(given.memory, given.config, given)

    assert facts is not None
    assert facts.anchored
    assert facts.calibration is None
    assert facts.capacity_gib == pytest.approx(23.65)


def test_an_out_of_memory_far_from_the_prediction_silences_it():
    small = {**LORA, "per_device_train_batch_size": 1, "cutoff_len": 128}
    log = OOM.format(capacity="79.15", held="78.80", allocated="77.00")

    fixes = outlook(["halve_batch", "qlora"], context(small, 80, log=log))

    assert ids(fixes) == ["qlora"]
    assert [fix.predicted for fix in fixes] == [None]


def test_memory_of_other_processes_is_no_room_for_this_one():
    log = OOM.format(capacity="47.50", held="27.00", allocated="26.00").replace(
        "Including non-PyTorch", "Process 4711 has 20.00 GiB memory in use. Including non-PyTorch"
    )
    given = context(LORA, 80, log=log)
    assert given.config is not None
    assert given.memory is not None

    facts = as_observed(given.memory, given.config, given)

    assert facts is not None
    assert facts.capacity_gib == pytest.approx(27.5)


def test_a_floor_that_lies_above_the_prediction_makes_a_fix_halve_further():
    log = OOM.format(capacity="47.50", held="47.00", allocated="46.00")
    tight = {**LORA, "per_device_train_batch_size": 7}
    (mild,) = outlook(["shorter_cutoff"], context({**tight}, 30))
    (warned,) = outlook(["shorter_cutoff"], context({**tight}, 30, log=log))

    assert mild.predicted is not None
    assert warned.predicted is not None
    assert warned.predicted.before_gib > mild.predicted.before_gib
    assert warned.predicted.method == "calibrated"


def test_a_diagnosis_of_an_out_of_memory_offers_a_fix_that_is_predicted_to_fit():
    log = OOM.format(capacity="23.65", held="23.40", allocated="21.00")
    given = context(LORA, None, log=log)
    settings = given.config
    assert isinstance(settings, EffectiveConfig)

    found = diagnose(load_rules().rules, given)

    primary = found.findings[0]
    assert primary.id == "gpu_oom.train"
    best = primary.best_fix
    assert best is not None
    assert verdict(best) == "fits"
    assert best.predicted is not None
    assert best.predicted.capacity_gib == pytest.approx(23.65)
    assert plan(best, settings).after.value("per_device_train_batch_size") == 1


def test_of_what_leaves_the_memory_as_it_is_nothing_is_told_beside_another_finding():
    (fix,) = outlook(["loss_add_eval"], context(LORA, 24), cures_memory=False)

    assert fix.changes
    assert fix.predicted is None
