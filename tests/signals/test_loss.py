"""The signals of the loss, and the silence of their rules on healthy trainings at every moment."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.engine import diagnose
from diagnostics.findings import Severity, Text
from diagnostics.history import Snapshot
from diagnostics.observations import EvalPoint, LogLine, Missing, TrainStep
from diagnostics.ruleset import load_rules
from diagnostics.signals import SIGNALS, Context, Signal, Value, read_signal
from tests.signals.healthy import COURSES, Healthy, made_up, recordings

FAMILIES = ("loss.", "pref.", "args.lr_extreme")
RULES = [rule for rule in load_rules().rules if rule.id.startswith(FAMILIES)]
NAN = math.nan


def points(
    losses: list[float], norms: list[float] | None = None, every: int = 10
) -> tuple[TrainStep, ...]:
    return tuple(
        TrainStep(
            1.0,
            "trainer_log.jsonl",
            i + 1,
            (i + 1) * every,
            None,
            loss,
            norms[i] if norms else None,
        )
        for i, loss in enumerate(losses)
    )


def config(text: str) -> EffectiveConfig:
    return EffectiveConfig(parse_document(text.encode(), Path("config.yaml")), None)


def signal(name: str, snapshot: Snapshot, text: str | None = None) -> Signal | None:
    return read_signal(name, Context(snapshot, config(text) if text is not None else None))


def value(name: str, snapshot: Snapshot, text: str | None = None) -> Value | Missing | None:
    found = signal(name, snapshot, text)
    return None if found is None else found.value


def alarms(context: Context) -> set[str]:
    return {
        finding.id
        for finding in diagnose(RULES, context).findings
        if finding.severity > Severity.NOTE
    }


def assert_silent_at_every_moment(training: Healthy, stride: int = 1) -> None:
    effective = training.effective
    for count in [*range(0, len(training.steps), stride), len(training.steps)]:
        assert alarms(Context(training.until(count), effective)) == set(), (training.name, count)


@pytest.mark.parametrize("training", recordings(), ids=lambda one: one.name)
def test_a_recorded_healthy_training_raises_no_alarm_at_any_moment(training: Healthy):
    assert len(training.steps) > 5
    assert_silent_at_every_moment(training, stride=1 + len(training.steps) // 100)


@pytest.mark.parametrize("kind", COURSES)
@pytest.mark.parametrize(("lines", "every"), [(10, 5), (60, 10), (400, 1)])
def test_a_healthy_training_raises_no_alarm_at_any_moment(kind: str, lines: int, every: int):
    for seed in range(2):
        assert_silent_at_every_moment(made_up(kind, seed, lines, every), stride=1 + lines // 50)


@given(
    st.sampled_from(sorted(COURSES)), st.integers(0, 10**6), st.integers(1, 80), st.integers(1, 100)
)
@settings(max_examples=40, deadline=None)
def test_no_noise_makes_a_healthy_training_look_ill(kind: str, seed: int, lines: int, every: int):
    training = made_up(kind, seed, lines, every)

    assert alarms(Context(training.until(lines), training.effective)) == set()


@given(
    st.lists(
        st.tuples(
            st.floats() | st.none(),
            st.floats() | st.none(),
            st.floats() | st.none(),
            st.floats() | st.none(),
            st.integers(0, 10**18) | st.none(),
        ),
        max_size=40,
    ),
    st.lists(st.tuples(st.integers(0, 10**18) | st.none(), st.floats()), max_size=10),
)
@settings(max_examples=80, deadline=None)
def test_whatever_numbers_are_logged_every_signal_and_rule_can_be_read(
    rows: list[tuple[float | None, float | None, float | None, float | None, int | None]],
    evals: list[tuple[int | None, float]],
):
    snapshot = Snapshot(
        steps=tuple(
            TrainStep(
                1.0, "s", i, step, None, loss, norm, rate, epoch, {"rewards/chosen": rate or 0}
            )
            for i, (loss, norm, rate, epoch, step) in enumerate(rows)
        ),
        evals=tuple(EvalPoint(1.0, "s", i, step, loss) for i, (step, loss) in enumerate(evals)),
        observed=frozenset({"log", "metrics"}),
    )
    for text in (None, "stage: dpo\nlearning_rate: .nan\n", "gradient_accumulation_steps: 0\n"):
        context = Context(snapshot, config(text) if text is not None else None)
        names = [name for name in SIGNALS if name.startswith(("loss.", "pref.", "lr.", "ppo."))]
        read = [read_signal(name, context) for name in names]
        assert all(one is None or isinstance(one, Signal) for one in read)
        assert diagnose(RULES, context).findings is not None


def test_a_signal_shows_the_points_it_saw():
    found = signal("loss.zero_lines", Snapshot(steps=points([1.92, 0.0, 0.0], [1.0, NAN, NAN])))

    assert found is not None
    assert found.value == 2
    (evidence,) = found.evidence
    assert (evidence.source, evidence.line) == ("trainer_log.jsonl", 1)
    assert evidence.text.startswith(
        "loss 1.92 grad_norm 1 at step 10, loss 0 grad_norm nan at step 20"
    )


@pytest.mark.parametrize(
    ("norms", "gradient"),
    [([NAN, NAN], "nan"), ([0.0, 0.0], "zero"), ([1.4, 1.4], "normal"), (None, "unknown")],
)
def test_a_loss_of_0_is_told_by_its_gradient(norms: list[float] | None, gradient: str):
    assert value("loss.zero_gradient", Snapshot(steps=points([0.0, 0.0], norms))) == gradient


def test_a_loss_that_went_to_0_by_and_by_is_not_one_that_is_lost():
    faded = points([1.0, 0.3, 0.05, 0.01, 0.002, 0.0003, 0.0, 0.0, 0.0])

    assert value("loss.zero_lines", Snapshot(steps=faded)) is None


def test_where_no_gradient_is_logged_it_is_missing_and_why():
    found = value("loss.nan_lines", Snapshot(steps=points([1.0, 1.1])))

    assert isinstance(found, Missing)
    assert "grad_norm" in found.reason


def test_without_any_point_there_is_no_value():
    assert value("loss.nan_lines", Snapshot()) is None
    assert value("loss.last", Snapshot()) is None
    assert value("loss.eval_best", Snapshot()) is None


def test_fp16_may_look_for_its_scale_and_bf16_has_none_to_look_for():
    steps = points([1.2, 1.2, 1.2], [NAN, NAN, 0.8], every=2)

    assert value("loss.nan_count", Snapshot(steps=steps), "fp16: true\n") == 0
    assert value("loss.nan_count", Snapshot(steps=steps), "bf16: true\n") == 2


def test_overflows_are_counted_by_the_steps_that_were_made():
    words = "[deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 8, reducing to 4"
    lines = tuple(LogLine(1.0, "stdout.log", i, words) for i in range(1, 6))
    snapshot = Snapshot(log=lines, last_step=10)

    assert value("fp16.overflow_lines", snapshot) == 5
    assert value("fp16.overflow_pct", snapshot) == 50
    assert value("fp16.scale", snapshot) == 4


def test_the_best_evaluation_is_named_with_its_epochs():
    losses = [1.2, 1.1, 1.0, 1.1, 1.2]
    evals = tuple(
        EvalPoint(1.0, "trainer_log.jsonl", i, (i + 1) * 50, loss, (i + 1) * 0.5)
        for i, loss in enumerate(losses)
    )
    snapshot = Snapshot(steps=points([2.0 - 0.05 * i for i in range(25)]), evals=evals)

    assert value("loss.best_step", snapshot) == 150
    assert value("loss.best_epochs", snapshot) == 2.0
    assert value("loss.best_epochs", snapshot, "num_train_epochs: 2\n") is None
    assert value("loss.eval_interval_steps", snapshot) == 50
    rise, fallen = (
        value("loss.eval_rise_pct", snapshot),
        value("loss.train_fall_since_best_pct", snapshot),
    )
    assert rise == pytest.approx(10)
    assert isinstance(fallen, float)
    assert fallen > 20


def overfitting(text: str | None) -> Text:
    """Return the cause that is told of a training of 250 steps whose eval loss is lowest at 150."""
    losses = [1.2, 1.1, 1.0, 1.1, 1.2]
    evals = tuple(EvalPoint(1.0, "s", i, (i + 1) * 50, loss) for i, loss in enumerate(losses))
    steps = points([2.0 - 0.05 * i for i in range(25)])
    snapshot = Snapshot(steps=steps, evals=evals, last_step=250, observed=frozenset({"metrics"}))
    context = Context(snapshot, config(text) if text is not None else None)
    found = diagnose(RULES, context).findings
    return next(finding.cause for finding in found if finding.id == "loss.overfit")


@pytest.mark.parametrize(
    ("text", "checkpoint"),
    [
        ("output_dir: saves/mine\nsave_steps: 50\n", "saves/mine/checkpoint-150"),
        ("output_dir: saves/mine\nsave_steps: 80\n", "saves/mine/checkpoint-160"),
        ("output_dir: saves/mine\nsave_steps: 200\n", "saves/mine/checkpoint-200"),
    ],
)
def test_overfitting_names_the_checkpoint_nearest_to_the_lowest_eval_loss(
    text: str, checkpoint: str
):
    cause = overfitting(text)

    assert f" {checkpoint}." in cause.en
    assert f"即 {checkpoint}。" in cause.zh


@pytest.mark.parametrize(
    "text",
    [
        None,
        "save_steps: 500\n",
        "save_strategy: epoch\n",
        'save_strategy: "no"\n',
        "save_steps: 50\nsave_total_limit: 1\n",
    ],
)
def test_overfitting_names_no_checkpoint_that_may_not_exist(text: str | None):
    cause = overfitting(text)

    assert "checkpoint-" not in cause.en + cause.zh
    assert cause.en.endswith("The checkpoint nearest to step 150 is the one to keep.")


def test_a_resume_is_compared_on_both_sides():
    steps = points([1.0, 1.01, 0.99, 1.0, 1.02, 1.5, 1.51, 1.49, 1.5, 1.52])
    snapshot = Snapshot(steps=steps, facts={"resumed_step": 50})

    assert value("loss.resume_jump_pct", snapshot) == pytest.approx(50, abs=2)
    assert value("loss.resume_jump_pct", replace(snapshot, facts={})) is None


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("finetuning_type: lora\nlearning_rate: 2.0e-3\nmodel_name_or_path: a/b-7b-chat\n", 2),
        ("finetuning_type: full\nlearning_rate: 2.0e-4\nmodel_name_or_path: Qwen2.5-7B\n", 2),
        ("finetuning_type: full\nlearning_rate: 2.0e-4\nmodel_name_or_path: pythia-250m\n", 1),
        (
            "finetuning_type: full\nuse_apollo: true\nlearning_rate: 0.01\nmodel_name_or_path: 7B",
            1,
        ),
        ("finetuning_type: full\noptim: sgd\nlearning_rate: 1.0\nmodel_name_or_path: x-7B\n", 1),
        ("finetuning_type: lora\nlearning_rate: 5e-1\n", 5),
    ],
)
def test_a_learning_rate_is_judged_by_method_size_and_optimizer(text: str, times: float):
    assert value("lr.times_usual_most", Snapshot(), text) == pytest.approx(times)


def test_without_a_config_the_highest_logged_rate_counts():
    steps = tuple(
        replace(point, learning_rate=rate)
        for point, rate in zip(points([1.0, 1.1, 1.0]), [1e-5, 2e-5, 0.0], strict=True)
    )

    assert value("lr.value", Snapshot(steps=steps)) == 2e-5


def test_what_is_optimised_is_seen_in_what_is_logged():
    def stage(**extra: float) -> Value | Missing | None:
        (point,) = points([0.69])
        named = {name.replace("_", "/"): number for name, number in extra.items()}
        return value("loss.objective", Snapshot(steps=(replace(point, extra=named),)))

    assert stage() == "sft"
    assert stage(rewards_chosen=0.1) == "dpo"
    assert stage(rewards_chosen=0.1, kl=0.0) == "kto"
    assert stage(reward=0.5) == "ppo"
