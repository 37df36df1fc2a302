"""A console log as a stream: the same however it arrives, whole, and never an exception."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.observations import (
    BarKind,
    LogLine,
    Observation,
    Phase,
    PhaseChange,
    Progress,
    RunFact,
)
from diagnostics.parsing.console import ConsoleParser
from tests.parsing.streams import LOGS, bar, header, only, parse

FRAGMENTS = st.sampled_from(
    [
        *(header().splitlines(keepends=True)),
        *(bar(n, 50) for n in (0, 5, 6, 50)),
        bar(1, 3, "Loading weights"),
        "\r" + " " * 40 + "\r",
        "{'loss': '7.623', 'grad_norm': 'nan', 'learning_rate': '0.0008', 'epoch': '0.2'}\n",
        "{'loss': 7.5, 'learning_rate': 1e-05, 'epoch': 0.4}\r\n",
        "{'eval_loss': 1.5, 'eval_runtime': 0.1, 'epoch': 0.4}\n",
        "{'train_runtime': 6.3, 'train_loss': 7.4, 'epoch': 2.0}\n",
        "training example:\ninput_ids:\n[1, 2]\ninputs:\nhello\nlabels:\nworld\n",
        "Traceback (most recent call last):\n",
        "[rank1]: Traceback (most recent call last):\n",
        '  File "/opt/llamafactory/cli.py", line 24, in main\n    run()\n    ^^^^^\n',
        '[rank1]:   File "/opt/llamafactory/cli.py", line 24, in main\n[rank1]:     run()\n',
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n",
        "[rank1]: torch.OutOfMemoryError: CUDA out of memory.\n",
        "RuntimeError: CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`\n",
        "\nDuring handling of the above exception, another exception occurred:\n\n",
        (
            "E1124 05:58:36.000000 11 torch/distributed/api.py:1] failed (exitcode: -9) "
            "local_rank: 0 (pid: 12) of binary: python\n"
        ),
        "Root Cause (first observed failure):\n",
        "  rank      : 0 (local_rank: 0)\n  exitcode  : -9 (pid: 12)\n",
        "\0" * 50,
        "\x1b[A",
        "你好\n",
        "\n",
        "\r",
        "Killed\n",
    ]
)
LOG = st.lists(FRAGMENTS, max_size=30).map(lambda parts: "".join(parts).encode())


def told(seen: Sequence[Observation]) -> str:
    """Return what was seen as text, for nan is not equal to itself; of each row of bars the last.

    States of a bar that are drawn over at once may be left away, more of them in large chunks.
    """
    kept: list[Observation] = []
    for item in seen:
        before = kept[-1] if kept else None
        if (
            isinstance(item, Progress)
            and isinstance(before, Progress)
            and (item.kind, item.description) == (before.kind, before.description)
        ):
            kept.pop()
        kept.append(item)
    return repr(kept)


@given(LOG, st.integers(1, 60))
@settings(max_examples=150, deadline=None)
def test_observations_do_not_depend_on_how_the_bytes_arrive(data: bytes, chunk: int):
    assert told(parse(data, chunk)) == told(parse(data))


@given(st.binary(max_size=400), st.integers(1, 9))
@settings(deadline=None)
def test_any_bytes_are_read_without_raising(data: bytes, chunk: int):
    seen = parse(data, chunk)
    assert all(item.at == 1.0 for item in seen)
    assert repr(seen) == repr(parse(data))


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_a_real_log_is_the_same_in_any_chunks(path: Path):
    data = path.read_bytes()
    assert told(parse(data, 7)) == told(parse(data, 1000)) == told(parse(data))


@given(st.lists(st.text("abc XYZ.:-=", min_size=1, max_size=30), max_size=20))
def test_no_whole_line_is_lost(lines: list[str]):
    wanted = [line.rstrip() for line in lines if line.strip()]
    assert [line.text for line in only(LogLine, parse("\n".join(lines)))] == wanted


def test_bars_are_progress_and_not_lines():
    seen = parse(header() + bar(0, 50) + bar(1, 50) + "\r" + " " * 50 + "\r")
    assert [p.done for p in only(Progress, seen)] == [0, 1]
    assert all("%|" not in line.text for line in only(LogLine, seen))


def test_of_a_bar_that_is_redrawn_often_enough_states_are_seen_to_tell_its_pace():
    seen = only(Progress, parse(header() + "".join(bar(n, 50) for n in range(51))))
    assert (seen[0].done, seen[-1].done) == (0, 50)
    gaps = [after.done - before.done for before, after in pairwise(seen)]
    assert 1 < max(gaps) < 10


def test_a_bar_that_goes_back_is_seen_before_and_after():
    seen = parse(header() + bar(1, 50) + bar(30, 50) + bar(50, 50) + bar(2, 50) + bar(3, 50))
    assert [p.done for p in only(Progress, seen)][-3:] == [50, 2, 3]


def test_a_bar_without_a_total_is_neither_progress_nor_a_line():
    seen = parse(
        "\rGenerating train split: 0 examples [00:00, ? examples/s]\r"
        "Generating train split: 200 examples [00:00, 24153.52 examples/s]\nnext\n"
    )
    assert [line.text for line in only(LogLine, seen)] == ["next"]


def test_a_record_behind_a_bar_is_a_line_of_its_own():
    (line,) = only(
        LogLine,
        parse(
            bar(20, 50) + "[INFO|trainer.py:3815] 2026-11-24 05:54:05,932 >> Saving model "
            "checkpoint to /out/checkpoint-20\n"
        ),
    )
    assert line.text.startswith("[INFO|trainer.py:3815]")
    assert line.line == 1


def test_a_bar_that_no_line_break_has_followed_is_seen_once():
    parser = ConsoleParser("stdout.log")
    parser.feed((header() + bar(3, 50)).encode(), 1.0)
    assert [p.done for p in only(Progress, parser.peek(2.0))] == [3]
    assert parser.peek(3.0) == []
    assert only(Progress, parser.feed(bar(4, 50).encode(), 4.0)) == []
    assert [p.done for p in only(Progress, parser.peek(5.0))] == [4]


def test_a_line_of_a_hundred_megabytes_is_cut():
    parser = ConsoleParser("stdout.log")
    for _ in range(100):
        assert parser.feed(b"x" * 1_000_000, 1.0) == []
    (line, after) = only(LogLine, parser.feed(b"\nafter\n", 1.0))
    assert len(line.text) < 10_000
    assert (after.text, after.line) == ("after", 2)


def test_the_header_gives_its_facts():
    facts = {fact.name: fact.value for fact in only(RunFact, parse(header(12_000, 3)))}
    assert facts == {
        "num_examples": 12_000,
        "num_epochs": 3,
        "per_device_batch_size": 4,
        "total_batch_size": 8,
        "accumulation_steps": 2,
        "total_steps": 4_500,
    }


def test_lines_of_llamafactory_old_and_new_give_facts():
    text = """\
[INFO|2026-11-24 05:54:05] llamafactory.hparams.parser:523 >> Process rank: 1, world size: 2, \
device: cuda:1, distributed training: True, compute dtype: torch.bfloat16
03/20/2024 10:11:12 - INFO - llmtuner.model.adapter - Fine-tuning method: LoRA
[INFO|2026-11-24 05:54:05] llamafactory.model.loader:144 >> trainable params: 17,408 || all \
params: 361,792 || trainable%: 4.8116
[INFO|2026-11-24 05:54:05] llamafactory.model.model_utils.attention:144 >> Using torch SDPA for \
faster training and inference.
[INFO|2026-11-24 05:54:05] llamafactory.hparams.parser:144 >> Resuming training from \
/my runs/a.b/checkpoint-40.
[INFO|trainer.py:1] 2026-11-24 05:54:05,932 >> Saving model checkpoint to /my runs/checkpoint-60
"""
    facts = {fact.name: fact.value for fact in only(RunFact, parse(text))}
    assert facts == {
        "world_size": 2,
        "device": "cuda:1",
        "compute_dtype": "torch.bfloat16",
        "method": "LoRA",
        "trainable_params": 17_408,
        "all_params": 361_792,
        "attention": "torch SDPA",
        "resumed_from": "/my runs/a.b/checkpoint-40",
        "saved_checkpoint": "/my runs/checkpoint-60",
    }


def test_a_message_that_begins_on_the_next_line_is_read_there():
    seen = parse(
        "[INFO|trainer.py:2668] 2026-11-24 06:19:57,760 >> \n"
        "***** Running Evaluation *****\n"
        "[INFO|trainer.py:2670] 2026-11-24 06:19:57,760 >>   Num examples = 24\n"
    )
    assert [change.phase for change in only(PhaseChange, seen)] == [Phase.EVALUATING]
    assert only(RunFact, seen) == []  # they are the evaluation's


def test_bars_count_what_their_place_and_name_say():
    text = (
        bar(5, 21, "Loading weights")
        + bar(100, 200, "Running tokenizer on dataset (num_proc=4)")
        + "\n"
        + header()
        + bar(10, 50)
        + "\n***** Running Evaluation *****\n"
        + bar(1, 3)
        + bar(3, 3)
        + "\n{'eval_loss': 1.0, 'eval_runtime': 0.1, 'epoch': 0.4}\n"
        + bar(11, 50)
        + bar(2, 4, "Writing model shards")
    )
    assert [p.kind for p in only(Progress, parse(text))] == [
        BarKind.WEIGHTS,
        BarKind.DATASET,
        BarKind.TRAIN,
        BarKind.EVAL,
        BarKind.EVAL,
        BarKind.TRAIN,
        BarKind.OTHER,
    ]


def test_an_evaluation_as_long_as_the_training_is_told_from_it():
    text = header() + bar(20, 50) + "\n***** Running Evaluation *****\n"
    text += bar(1, 50) + bar(30, 50) + bar(50, 50)
    text += "\n{'eval_loss': 1.0, 'eval_runtime': 0.1, 'epoch': 0.8}\n" + bar(20, 50) + bar(21, 50)
    assert [p.kind.value for p in only(Progress, parse(text))] == [
        *("train", "eval", "eval", "train", "train"),
    ]


def test_phases_follow_the_log_through_a_whole_run():
    text = (
        "[INFO|2026-11-24 05:54:05] llamafactory.data.loader:144 >> Loading dataset a.json...\n"
        + bar(1, 2, "Loading checkpoint shards")
        + "\n"
        + header()
        + bar(1, 50)
        + "\n[INFO|trainer.py:3815] 2026-11-24 05:54:05,932 >> Saving model checkpoint to /o\n"
        + bar(2, 50)
        + "\n***** Running Evaluation *****\n"
        + bar(1, 3)
        + bar(3, 50)
        + "\nTraining completed. Do not forget to share your model\n"
        + "[INFO|trainer.py:3815] 2026-11-24 05:54:05,932 >> Saving model checkpoint to /o\n"
    )
    assert [change.phase for change in only(PhaseChange, parse(text))] == [
        Phase.PREPROCESSING,
        Phase.LOADING,
        Phase.TRAINING,
        Phase.SAVING,
        Phase.TRAINING,
        Phase.EVALUATING,
        Phase.TRAINING,
        Phase.FINISHED,
    ]


def test_without_a_header_the_first_bar_is_the_trainings():
    seen = parse(bar(1, 10) + bar(2, 10) + bar(1, 3) + bar(3, 10))
    assert [p.kind.value for p in only(Progress, seen)] == ["train", "train", "eval", "train"]
