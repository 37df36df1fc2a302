"""A console log as a stream: bytes in, observations out."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.observations import (
    BarKind,
    EvalPoint,
    LogLine,
    Observation,
    OutOfMemory,
    Phase,
    Progress,
    RankExit,
    Traceback,
    TrainStep,
)
from diagnostics.parsing.console import ConsoleParser
from tests.parsing.console_logs import (
    HEADER,
    OOM_TRACEBACK,
    SAMPLE,
    bar,
    facts,
    fragments,
    of,
    parse,
    phases,
    ranked,
)


@given(st.binary(max_size=400))
def test_random_bytes_never_raise(data: bytes):
    assert all(one.at == 1.0 for one in parse(data))


@settings(max_examples=60)
@given(fragments, st.lists(st.integers(0, 6000), max_size=8))
def test_observations_do_not_depend_on_how_the_bytes_arrive(data: bytes, cuts: list[int]):
    parser = ConsoleParser("out.log")
    found: list[Observation] = []
    start = 0
    for cut in sorted(cut % (len(data) + 1) for cut in cuts):
        found += parser.feed(data[start:cut], 1.0)
        start = cut
    found += parser.feed(data[start:], 1.0) + parser.finish(1.0)
    assert found == parse(data)


@pytest.mark.parametrize(
    "text",
    [
        "Traceback (most recent call last):\n" + "A" * 60_000 + "!\n",
        "  exitcode : 1 (pid: 5)\n  rank : " + "9" * 5000 + " (local_rank: 0)\n",
        "failed (exitcode: " + "9" * 5000 + ") local_rank: 1 (pid: 3)\n",
        "exits with return code = " + "9" * 5000 + "\n",
        "{'loss': " + "1" * 60_000 + ", 'epoch': 1e999}\n",
        "***** Running training *****\n  Num examples = " + "9" * 5000 + "\n",
        "{'" * 30_000 + "\n",
        "[A|" * 20_000 + "\n",
    ],
    ids=range(8),
)
def test_hostile_lines_neither_raise_nor_stall(text: str):
    assert of(RankExit, parse(text)) == []


def test_bare_numbers_and_quoted_ones_are_the_same_metrics():
    bare = "{'loss': 1.1268, 'grad_norm': 1.47, 'learning_rate': 1.87e-05, 'epoch': 0.05}\n"
    quoted = (
        "{'loss': '1.1268', 'grad_norm': '1.47', 'learning_rate': '1.87e-05', 'epoch': '0.05'}\n"
    )
    for text in (bare, quoted):
        (step,) = of(TrainStep, parse(HEADER + bar(5) + "\n" + text))
        assert (step.step, step.total_steps) == (5, 200)
        assert (step.loss, step.grad_norm, step.learning_rate, step.epoch) == (
            1.1268,
            1.47,
            1.87e-05,
            0.05,
        )
        assert step.extra == {}


@pytest.mark.parametrize("quote", ["", "'"])
def test_nan_and_infinity_are_values(quote: str):
    text = "{'loss': @nan@, 'grad_norm': @inf@, 'reward': @-inf@}\n".replace("@", quote)
    (step,) = of(TrainStep, parse(bar(5) + "\n" + text))
    assert step.loss is not None
    assert math.isnan(step.loss)
    assert step.grad_norm == math.inf
    assert step.extra == {"reward": -math.inf}


def test_metrics_with_nothing_to_tell_their_step_have_none():
    (step,) = of(TrainStep, parse("{'loss': 1.0, 'epoch': 0.5}\n"))
    assert step.step is None


def test_preference_metrics_are_kept_beside_the_loss():
    (step,) = of(
        TrainStep, parse(bar(5) + "\n{'loss': 0.6, 'rewards/margins': 0.5, 'logps/chosen': -9.0}\n")
    )
    assert step.extra == {"rewards/margins": 0.5, "logps/chosen": -9.0}


def test_an_evaluation_is_a_point_at_the_step_of_its_training():
    text = HEADER + bar(100) + "\n[INFO|trainer.py:1] 2026-01-02 06:10:29,780 >> "
    text += "***** Running Evaluation *****\n" + bar(1, 7) + bar(7, 7)
    text += "\n{'eval_loss': 1.25, 'eval_runtime': 3.0, 'epoch': 1.0}\n" + bar(101)
    seen = parse(text)
    (point,) = of(EvalPoint, seen)
    assert (point.step, point.eval_loss, point.extra) == (100, 1.25, {"eval_runtime": 3.0})
    assert [one.kind for one in of(Progress, seen)] == [
        BarKind.TRAIN,
        BarKind.EVAL,
        BarKind.EVAL,
        BarKind.TRAIN,
    ]
    assert phases(seen) == [Phase.TRAINING, Phase.EVALUATING, Phase.TRAINING]


def test_the_last_metrics_end_the_training_and_are_facts():
    seen = parse("{'train_runtime': 6.359, 'train_loss': 7.404, 'epoch': 2}\n")
    assert facts(seen) == {"train_loss": 7.404, "train_runtime_s": 6.359}
    assert phases(seen) == [Phase.FINISHED]
    assert of(TrainStep, seen) == []


def test_the_board_prints_each_dict_twice_and_it_counts_once():
    text = (
        HEADER + bar(5) + "\n{'loss': 1.5, 'grad_norm': 0.5, 'epoch': 0.05}\n"
        "[INFO|2026-01-02 06:10:31] llamafactory.train.callbacks:144 >> "
        "{'loss': 1.5000, 'learning_rate': 9.9e-05, 'epoch': 0.05}\n"
    )
    (step,) = of(TrainStep, parse(text))
    assert step.grad_norm == 0.5


def test_held_back_output_comes_in_one_lump_and_the_epoch_places_it():
    text = HEADER + "".join(bar(done) for done in range(0, 201, 10)) + "\n"
    text += "".join(f"{{'loss': {9 - n}.0, 'epoch': {n / 5}}}\n" for n in range(1, 8))
    steps = of(TrainStep, parse(text))
    assert [step.step for step in steps] == [20, 40, 60, 80, 100, 120, 140]


def test_a_resumed_training_goes_on_at_its_step():
    text = HEADER + "".join(bar(done) for done in range(0, 61, 10))
    text += "\n{'loss': 2.0, 'epoch': 0.6}\n"
    text += "[INFO|2026-01-02 07:00:00] llamafactory.hparams.parser:144 >> "
    text += "Resuming training from /data/out/checkpoint-40.\n" + HEADER
    text += (
        "[INFO|trainer.py:9] 2026-01-02 07:00:05,000 >>   Continuing training from global step 40\n"
        + bar(41)
        + bar(50)
        + "\n{'loss': 1.9, 'epoch': 0.5}\n"
    )
    seen = parse(text)
    assert [step.step for step in of(TrainStep, seen)] == [60, 50]
    assert facts(seen)["resumed_step"] == 40
    assert facts(seen)["resumed_from"] == "/data/out/checkpoint-40"


def test_a_second_training_in_the_same_log_can_run_out_of_memory_again():
    once = HEADER + bar(3) + "\n" + OOM_TRACEBACK
    assert len(of(OutOfMemory, parse(once + once))) == 2


def test_the_header_and_the_start_up_lines_are_facts():
    text = HEADER + (
        "[INFO|2026-01-02 06:10:28] llamafactory.model.adapter:144 >> Fine-tuning method: LoRA\n"
        "[INFO|2026-01-02 06:10:28] llamafactory.model.loader:144 >> "
        "trainable params: 8,704 || all params: 2,126,496 || trainable%: 0.4093\n"
        "[INFO|2026-01-02 06:10:28] llamafactory.hparams.parser:523 >> Process rank: 0, "
        "world size: 2, device: cuda:0, distributed training: True, compute dtype: torch.bfloat16\n"
        "[INFO|trainer.py:3815] 2026-01-02 06:19:56,006 >> "
        "Saving model checkpoint to /data/out/checkpoint-100\n"
    )
    found = facts(parse(text))
    assert found == {
        "num_examples": 1600,
        "num_epochs": 2,
        "per_device_batch_size": 4,
        "total_batch_size": 16,
        "accumulation_steps": 4,
        "total_steps": 200,
        "method": "LoRA",
        "trainable_params": 8704,
        "all_params": 2_126_496,
        "world_size": 2,
        "device": "cuda:0",
        "compute_dtype": "torch.bfloat16",
        "saved_checkpoint": "/data/out/checkpoint-100",
    }


def test_records_of_older_releases_tell_the_same():
    text = (
        "01/02/2024 06:10:28 - INFO - llamafactory.model.adapter - Fine-tuning method: Full\n"
        "01/02/2024 06:10:28 - INFO - llamafactory.hparams.parser - Process rank: 0, "
        "device: cuda:0, n_gpu: 1, distributed training: False, compute dtype: torch.float16\n"
    )
    assert facts(parse(text)) == {
        "method": "Full",
        "device": "cuda:0",
        "compute_dtype": "torch.float16",
    }


def test_a_record_behind_a_bar_is_a_line_of_its_own():
    seen = parse(bar(5) + "[INFO|trainer.py:1] 2026-01-02 06:10:29,780 >> hello\n" + bar(6))
    (line,) = of(LogLine, seen)
    assert line.text == "[INFO|trainer.py:1] 2026-01-02 06:10:29,780 >> hello"
    assert line.line == 1


def test_a_printed_sample_is_data_and_not_log():
    seen = parse(
        SAMPLE + "[INFO|2026-01-02 06:10:28] llamafactory.x:144 >> Fine-tuning method: LoRA\n"
    )
    assert of(OutOfMemory, seen) == []
    assert of(Traceback, seen) == []
    assert of(Progress, seen) == []
    assert [line.text[:9] for line in of(LogLine, seen)] == ["training ", "[INFO|202"]
    assert facts(seen) == {"method": "LoRA"}


@pytest.mark.parametrize(
    "error", [OOM_TRACEBACK, "\n".join(ranked(OOM_TRACEBACK, 3)) + "\n"], ids=["plain", "ranked"]
)
def test_an_error_right_behind_a_sample_is_seen(error: str):
    (oom,) = of(OutOfMemory, parse(SAMPLE + error))
    assert oom.requested_bytes == 2 * 2**30


def test_a_ranked_error_ends_a_sample_whose_labels_never_came():
    text = "training example:\ninputs:\nhalf\n" + "\n".join(ranked(OOM_TRACEBACK, 0))
    assert len(of(OutOfMemory, parse(text))) == 1


def test_a_launchers_verdict_behind_a_sample_is_seen():
    text = SAMPLE + (
        "E0102 06:08:34.906000 11196 torch/distributed/elastic/multiprocessing/api.py:1002] "
        "failed (exitcode: -9) local_rank: 0 (pid: 11274) of binary: /opt/bin/python3\n"
    )
    (end,) = of(RankExit, parse(text))
    assert (end.rank, end.exit_code, end.pid) == (0, -9, 11274)
