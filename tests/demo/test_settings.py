"""Reading the demo's config: defaults, overrides, and values that nobody meant."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.demo.failures import SimulatedError
from diagnostics.demo.pace import LONG_BATCH_AT, SPEED, read_pace
from diagnostics.demo.schedule import Schedule, plan_schedule
from diagnostics.demo.settings import check_settings, read_settings, read_values

LEAST: dict[str, object] = {
    "model_name_or_path": "meta-llama/Llama-3.2-3B-Instruct",
    "do_train": True,
    "dataset": "demo_alpaca",
}
ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.lists(st.integers(), max_size=3)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)
KEYS = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "warmup_steps",
    "warmup_ratio",
    "lora_rank",
    "lora_target",
    "freeze_trainable_layers",
    "finetuning_type",
    "bf16",
    "pure_bf16",
    "output_dir",
    "resume_from_checkpoint",
    "lr_scheduler_type",
    "save_total_limit",
)


def schedule_of(values: dict[str, object], examples: int = 32) -> Schedule:
    settings = check_settings(values)
    return plan_schedule(
        examples=examples,
        batch_size=settings.batch_size,
        accumulation_steps=settings.accumulation_steps,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        warmup_steps=settings.warmup_steps,
        learning_rate=settings.learning_rate,
        scheduler=settings.scheduler,
        longest_tokens=2048,
        long_batch_at=5,
        seed=settings.seed,
    )


def test_what_is_not_set_has_llamafactorys_defaults() -> None:
    settings = check_settings(LEAST)
    assert settings.batch_size == 8
    assert settings.accumulation_steps == 1
    assert settings.recipe.finetuning_type == "lora"
    assert settings.recipe.gradient_checkpointing
    assert settings.save_steps == settings.logging_steps == 500
    assert settings.output_dir == Path("trainer_output")


def test_an_override_wins_over_the_file_and_null_unsets(tmp_path: Path) -> None:
    config = tmp_path / "demo.yaml"
    config.write_text("cutoff_len: 2048\nmax_steps: 5\nlora_rank: 16\n", encoding="utf-8")
    assert read_values(config, ["cutoff_len=1024", "max_steps=null"]) == {
        "cutoff_len": 1024,
        "max_steps": None,
        "lora_rank": 16,
    }


def test_a_float_without_a_point_is_a_number_as_llamafactory_reads_it(tmp_path: Path) -> None:
    config = tmp_path / "demo.yaml"
    config.write_text("learning_rate: 1e-4\n", encoding="utf-8")
    words = [f"{key}={value}" for key, value in LEAST.items()]
    assert read_settings(config, words).learning_rate == 1.0e-4


@pytest.mark.parametrize(
    "data",
    [b"- a\n- b\n", b"just words\n", b"a: 1\na: 2\n", b"\xff\xfe", b"a: \x00\n", b"a: [" * 99],
)
def test_a_file_that_is_not_keys_and_values_is_refused_with_its_place(
    tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "demo.yaml").write_bytes(data)
    with pytest.raises(SimulatedError, match=r'in ".*demo\.yaml", line \d+, column \d+$'):
        read_values(tmp_path / "demo.yaml", ())


def test_a_list_made_of_aliases_is_refused_without_being_written_out() -> None:
    bomb: list[object] = ["x", "x"]
    for _ in range(40):
        bomb = [bomb] * 9
    with pytest.raises(SimulatedError, match="learning_rate must be a number, not list"):
        check_settings({**LEAST, "learning_rate": bomb})


@given(st.dictionaries(st.sampled_from(KEYS), ODD))
def test_odd_values_give_a_schedule_or_an_error_of_the_stack(odd: dict[str, object]) -> None:
    try:
        schedule = schedule_of({**LEAST, **odd})
    except SimulatedError:
        return
    assert schedule.total_steps >= 1
    assert 0 < schedule.longest_at(1) <= 2048


def test_max_steps_wins_over_epochs_and_says_how_many_epochs_it_takes() -> None:
    schedule = schedule_of({**LEAST, "gradient_accumulation_steps": 2, "max_steps": 7})
    assert (schedule.total_steps, schedule.steps_per_epoch, schedule.epochs) == (7, 2, 4)


def test_a_partial_last_batch_counts_as_a_step_and_ends_the_epoch_at_a_whole_number() -> None:
    schedule = schedule_of({**LEAST, "gradient_accumulation_steps": 2}, examples=33)
    assert schedule.steps_per_epoch == 3
    assert schedule.total_steps == 9
    assert [schedule.epoch_at(step) for step in (0, 1, 3, 9)] == [0.0, 0.4, 1.0, 3.0]


def test_the_cosine_schedule_warms_up_and_falls_to_nearly_nothing() -> None:
    values = {**LEAST, "lr_scheduler_type": "cosine", "warmup_ratio": 0.1, "max_steps": 30}
    schedule = schedule_of({**values, "learning_rate": 1.0e-3})
    rates = [schedule.learning_rate_at(step) for step in range(1, 31)]
    assert rates[0] == 0.0
    assert rates[4] == pytest.approx(0.0009966191788709714)
    assert rates[29] == pytest.approx(3.3808211290284885e-06)


def test_the_same_seed_gives_the_same_curve_and_another_seed_another() -> None:
    one, same, other = (
        [schedule_of({**LEAST, "seed": seed}).loss_at(step) for step in range(1, 13)]
        for seed in (1, 1, 2)
    )
    assert one == same != other


def test_batches_grow_before_the_long_one_and_only_that_one_is_the_longest() -> None:
    schedule = schedule_of({**LEAST, "max_steps": 60})
    lengths = [schedule.longest_at(step) for step in range(1, 6)]
    assert lengths == sorted(set(lengths))
    assert lengths[4] == 2048 > 1.9 * lengths[3]


@pytest.mark.parametrize("text", ["", "fast", "nan", "-3", "0", "inf"])
def test_an_environment_that_means_nothing_counts_as_not_set(text: str) -> None:
    assert read_pace({SPEED: text, LONG_BATCH_AT: text}) == read_pace({})


def test_speed_divides_the_time_of_everything() -> None:
    assert read_pace({SPEED: "10"}).seconds(0.2) == pytest.approx(0.02)
