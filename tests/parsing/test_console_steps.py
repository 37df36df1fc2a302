"""Which step each dict of metrics belongs to, in logs of every kind."""

import math

import pytest

from diagnostics.observations import EvalPoint, LogLine, RunFact, TrainStep
from diagnostics.parsing.trainer_log import parse_row
from tests.parsing.streams import LOGS, bar, header, only, parse


def metrics(epoch: float, loss: float = 1.5) -> str:
    return f"{{'loss': {loss}, 'learning_rate': 1e-05, 'epoch': {epoch}}}\n"


def steps(text: str) -> list[int | None]:
    return [point.step for point in only(TrainStep, parse(text))]


def test_bare_and_quoted_numbers_are_the_same_metrics():
    bare = "{'loss': 1.25, 'grad_norm': nan, 'learning_rate': 9.8e+29, 'epoch': 0.2}\n"
    quoted = "{'loss': '1.25', 'grad_norm': 'nan', 'learning_rate': '9.8e+29', 'epoch': '0.2'}\n"
    for text in (bare, quoted):
        (point,) = only(TrainStep, parse(header() + bar(5, 50) + "\n" + text))
        assert (point.step, point.loss, point.learning_rate) == (5, 1.25, 9.8e29)
        assert point.grad_norm is not None
        assert math.isnan(point.grad_norm)
        assert point.total_steps == 50


def test_other_numbers_of_a_dict_are_kept():
    (point,) = only(
        TrainStep,
        parse(
            "{'loss': 0.7, 'rewards/margins': -inf, 'num_input_tokens_seen': 5472, 'epoch': 0.1}\n"
        ),
    )
    assert point.extra == {"rewards/margins": -math.inf, "num_input_tokens_seen": 5472.0}
    assert point.grad_norm is None


def test_a_live_dict_belongs_to_the_step_of_the_bar():
    text = header(examples=60_000)
    for step in (10, 20, 30):
        text += bar(step, 15_000) + "\r" + " " * 60 + "\r" + metrics(round(step / 7500, 2))
        text += bar(step, 15_000)
    assert steps(text) == [10, 20, 30]


def test_dicts_that_were_held_back_belong_to_the_steps_of_their_epochs():
    lump = "".join(metrics(round(n / 25, 2)) for n in range(5, 51, 5))
    assert steps(header() + bar(0, 50) + bar(50, 50) + "\n" + lump) == list(range(5, 51, 5))


def test_steps_that_two_decimals_cannot_tell_are_multiples_of_a_round_number():
    lump = "".join(metrics(round(n / 7500, 2)) for n in range(10, 101, 10))
    text = header(examples=60_000) + bar(15_000, 15_000) + "\n" + lump
    assert steps(text) == list(range(10, 101, 10))


def test_what_an_epoch_leaves_over_counts_as_the_trainer_counts_it():
    # 200 samples are 25 batches on each of two devices, 13 steps of two; see the epochs.
    text = """\
***** Running training *****
  Num examples = 200
  Num Epochs = 100
  Num update steps per epoch = 13
  Instantaneous batch size per device = 4
  Total train batch size (w. parallel, distributed & accumulation) = 16
  Gradient Accumulation steps = 2
  Total optimization steps = 1,300
"""
    epochs = ("0.4", "0.8", "1.16", "1.56", "1.96")
    lump = "".join(f"{{'loss': '7.6', 'epoch': '{epoch}'}}\n" for epoch in epochs)
    assert steps(text + bar(30, 1300) + "\n" + lump) == [5, 10, 15, 20, 25]


def test_without_a_bar_the_epoch_tells_the_step():
    assert steps(header() + metrics(0.2) + metrics(0.4)) == [5, 10]


def test_without_header_and_bar_nothing_tells_the_step():
    assert steps(metrics(0.2) + metrics(0.4)) == [None, None]


def test_without_a_header_a_lump_is_told_by_the_epoch_at_the_end():
    text = bar(10, 10) + "\n" + metrics(0.2) + metrics(0.4)
    assert steps(text) == [None, None]
    assert steps(text + "{'train_runtime': 0.8, 'train_loss': 7.5, 'epoch': 0.4}\n") == [5, 10]


def test_without_a_header_a_live_dict_belongs_to_the_bar_drawn_after_it():
    text = bar(3, 10) + "\r      \r" + metrics(0.2) + bar(4, 10) + bar(5, 10)
    assert steps(text) == [4]


def test_an_evaluation_is_told_apart_with_its_step():
    text = header() + bar(20, 50) + "\n***** Running Evaluation *****\n" + bar(3, 3)
    text += "\n{'eval_loss': 1.5, 'eval_runtime': 0.1, 'epoch': 0.8}\n" + bar(21, 50)
    (point,) = only(EvalPoint, parse(text))
    assert (point.step, point.eval_loss, point.epoch) == (20, 1.5, 0.8)
    assert point.extra == {"eval_runtime": 0.1}
    assert steps(text) == []


def test_a_late_evaluation_belongs_to_its_epoch():
    text = header() + bar(40, 50) + "\n{'eval_loss': '6.1', 'epoch': '0.8'}\n"
    assert [point.step for point in only(EvalPoint, parse(text))] == [20]


def test_the_boards_second_dict_is_no_second_step():
    text = header() + bar(5, 50) + "\n" + metrics(0.2)
    text += (
        "[INFO|2026-11-24 06:16:37] llamafactory.train.callbacks:144 >> {'loss': 1.5, "
        "'learning_rate': 9.4273e-04, 'epoch': 0.20, 'throughput': 3308.22}\n"
    )
    assert steps(text) == [5]
    assert only(LogLine, parse(text))[-1].text.endswith("3308.22}")


def test_the_boards_own_log_has_its_dicts_in_records():
    text = header() + "[INFO|2026-11-24 06:16:37] logging.py:144 >> {'loss': 1.5, 'epoch': 0.20}\n"
    assert steps(text) == [5]


def test_the_second_trainer_prints_its_steps():
    (point,) = only(
        TrainStep,
        parse(
            "[INFO|2026-11-24 06:16:37] llamafactory.v1.utils.callbacks.logging_callback:61 >> "
            "epoch: 0, step: 5, loss: 1.2345, grad_norm: 0.9876, learning_rate: 0.0001, "
            "total_steps: 10\n"
        ),
    )
    assert (point.step, point.total_steps, point.loss) == (5, 10, 1.2345)
    assert (point.grad_norm, point.extra) == (0.9876, {})


def test_the_summary_gives_facts_and_no_step():
    text = "{'train_runtime': '6.359', 'train_loss': '7.404', 'epoch': '2'}\n"
    facts = {fact.name: fact.value for fact in only(RunFact, parse(text))}
    assert facts == {"train_loss": 7.404, "train_runtime_s": 6.359}
    assert steps(text) == []


def test_a_resumed_training_in_the_same_log_goes_on_after_its_checkpoint():
    first = header() + bar(45, 50) + "\n" + metrics(1.8)
    again = header() + "  Continuing training from global step 40\n" + bar(0, 50) + bar(45, 50)
    seen = parse(first + again + "\n" + metrics(1.8))
    assert [fact.value for fact in only(RunFact, seen) if fact.name == "restart"] == [41]
    assert [point.step for point in only(TrainStep, seen)] == [45, 45]


def test_a_training_begun_anew_in_the_same_log_starts_over():
    seen = parse(header() + bar(45, 50) + "\n" + header() + bar(1, 50))
    assert [fact.value for fact in only(RunFact, seen) if fact.name == "restart"] == [1]


@pytest.mark.parametrize(
    "line",
    [
        "{'task': {'name': 'Causal Language Modeling', 'type': 'text-generation'}}",
        "{'temperature': 0.7, 'top_p': 0.9}",
        "{'loss':",
        "my {'loss': 1.0, 'epoch': 1.0}",
        "{'loss': 'high', 'epoch': 'soon'}",
    ],
)
def test_other_dicts_are_no_steps(line: str):
    seen = parse(line + "\n")
    assert only(TrainStep, seen) == []
    assert [found.text for found in only(LogLine, seen)] == [line]


@pytest.mark.parametrize("name", ["lora_pipe", "lora_pty"])
def test_a_real_log_gives_the_steps_that_its_trainer_recorded(name: str):
    rows = [
        row
        for line in (LOGS / "lora_pipe.trainer_log.jsonl").read_bytes().splitlines()
        if (row := parse_row(line)) is not None and row.loss is not None
    ]
    points = only(TrainStep, parse((LOGS / f"{name}.log").read_bytes()))
    assert [point.step for point in points] == [row.step for row in rows]
    for point, row in zip(points, rows, strict=True):
        assert point.loss == pytest.approx(row.loss, rel=1e-3)
        assert point.learning_rate == pytest.approx(row.learning_rate, rel=1e-3)
