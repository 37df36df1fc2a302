"""A console log as a stream: bytes in, observations out."""

import math
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.observations import (
    BarKind,
    EvalPoint,
    LogLine,
    MemoryDevice,
    MemoryPhase,
    Observation,
    OutOfMemory,
    Phase,
    PhaseChange,
    Progress,
    RankExit,
    RunFact,
    Traceback,
    TrainStep,
)
from diagnostics.parsing.console import ConsoleParser

LOGS = Path(__file__).parents[1] / "data" / "logs"
Kind = TypeVar("Kind")

HEADER = """\
[INFO|trainer.py:1469] 2026-01-02 06:10:29,780 >> ***** Running training *****
[INFO|trainer.py:1470] 2026-01-02 06:10:29,780 >>   Num examples = 1,600
[INFO|trainer.py:1471] 2026-01-02 06:10:29,780 >>   Num Epochs = 2
[INFO|trainer.py:1473] 2026-01-02 06:10:29,780 >>   Instantaneous batch size per device = 4
[INFO|trainer.py:1476] 2026-01-02 06:10:29,780 >>   Total train batch size (w. parallel, distributed & accumulation) = 16
[INFO|trainer.py:1477] 2026-01-02 06:10:29,780 >>   Gradient Accumulation steps = 4
[INFO|trainer.py:1478] 2026-01-02 06:10:29,780 >>   Total optimization steps = 200
"""  # noqa: E501 - a log's own lines
OOM_TRACEBACK = """\
Traceback (most recent call last):
  File "/opt/site-packages/transformers/trainer.py", line 1737, in _run_epoch
    tr_loss_step = self.training_step(model, inputs, num_items_in_batch)
                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/opt/site-packages/transformers/trainer.py", line 1937, in training_step
    self.accelerator.backward(loss, **kwargs)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 40.00 GiB of which 1.00 GiB is free.
"""  # noqa: E501 - the same
SAMPLE = """\
training example:
input_ids:
[1, 85, 91]
inputs:
why does it say
RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB
Traceback (most recent call last):
  File "x.py", line 1, in f
torch.OutOfMemoryError: CUDA out of memory.
***** Running training *****
label_ids:
[-100, 85]
labels: 50%|█████     | 5/10 [00:05<00:05,  1.00it/s]
buy more
"""


def bar(done: int, total: int = 200, description: str = "") -> str:
    return f"\r{description}{100 * done // total:3d}%|██  | {done}/{total} [00:10<01:00,  1.00it/s]"


def parse(text: str | bytes) -> list[Observation]:
    data = text.encode() if isinstance(text, str) else text
    parser = ConsoleParser("out.log")
    return parser.feed(data, 1.0) + parser.finish(1.0)


def of(kind: type[Kind], seen: list[Observation]) -> list[Kind]:
    return [one for one in seen if isinstance(one, kind)]


def facts(seen: list[Observation]) -> dict[str, int | float | str]:
    return {fact.name: fact.value for fact in of(RunFact, seen)}


def phases(seen: list[Observation]) -> list[Phase]:
    return [change.phase for change in of(PhaseChange, seen)]


def ranked(text: str, rank: int) -> list[str]:
    return [f"[rank{rank}]: {line}" for line in text.splitlines()]


fragments = st.lists(
    st.sampled_from(
        [
            *HEADER.splitlines(keepends=True),
            *OOM_TRACEBACK.splitlines(keepends=True),
            *SAMPLE.splitlines(keepends=True),
            bar(3),
            bar(4) + "\n",
            "{'loss': 1.5, 'epoch': 0.02}\n",
            "{'eval_loss': '1.5', 'epoch': '0.02'}\r\n",
            "[rank1]: Traceback (most recent call last):\n",
            "\n",
            "\x1b[31m",
            "\0" * 9,
            "  exitcode  : -9 (pid: 12)\n",
        ]
    ),
    max_size=25,
).map(lambda parts: "".join(parts).encode())


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


def test_an_out_of_memory_carries_its_step_rank_and_place():
    seen = parse(HEADER + bar(12) + "\n" + OOM_TRACEBACK)
    (oom,) = of(OutOfMemory, seen)
    assert (oom.device, oom.phase, oom.step, oom.rank, oom.gpu) == (
        MemoryDevice.GPU,
        MemoryPhase.TRAIN,
        12,
        None,
        1,
    )
    (traceback,) = of(Traceback, seen)
    assert traceback.exception == "torch.OutOfMemoryError"
    assert traceback.frames[-1] == "/opt/site-packages/transformers/trainer.py:training_step"
    assert traceback.last_line - traceback.first_line == 6
    assert traceback.last_line == oom.line
    assert traceback.phase is Phase.TRAINING


def test_ranks_that_write_across_each_other_keep_their_own_tracebacks():
    lines = [
        line
        for pair in zip(ranked(OOM_TRACEBACK, 0), ranked(OOM_TRACEBACK, 1), strict=True)
        for line in pair
    ]
    seen = parse("\n".join(lines) + "\n")
    assert [oom.rank for oom in of(OutOfMemory, seen)] == [0, 1]
    assert {one.rank: len(one.frames) for one in of(Traceback, seen)} == {0: 2, 1: 2}


def test_chained_tracebacks_give_one_out_of_memory_for_each_rank():
    chained = (
        OOM_TRACEBACK
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + OOM_TRACEBACK.replace("training_step", "compute_loss")
    )
    text = "\n".join(line for rank in (0, 1) for line in ranked(chained, rank)) + "\n"
    seen = parse(text)
    assert [oom.rank for oom in of(OutOfMemory, seen)] == [0, 1]
    assert [one.rank for one in of(Traceback, seen)].count(0) == 2
    assert len(of(Traceback, seen)) == 4


def test_a_message_of_many_lines_is_bounded():
    text = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n'
    text += "RuntimeError: size mismatch\n"
    seen = parse(
        text + "\tsize mismatch for a.b: " + "x" * 9000 + "\n" + "\tsize mismatch\n" * 5000
    )
    (traceback,) = of(Traceback, seen)
    assert traceback.message.startswith("size mismatch\n\tsize mismatch for a.b")
    assert len(traceback.message) <= 4096


@pytest.mark.parametrize(
    ("line", "exception"),
    [
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("zlib.error: Error -3 while decompressing", "zlib.error"),
        ("socket.timeout: timed out", "socket.timeout"),
        ("json.decoder.JSONDecodeError: Expecting value", "json.decoder.JSONDecodeError"),
        ("AssertionError", "AssertionError"),
    ],
)
def test_exceptions_of_any_name_end_a_traceback(line: str, exception: str):
    text = f'Traceback (most recent call last):\n  File "a.py", line 1, in f\n{line}\n'
    (traceback,) = of(Traceback, parse(text))
    assert traceback.exception == exception


@pytest.mark.parametrize(
    "line",
    [
        "RuntimeError: CUDA error: out of memory",
        "torch.AcceleratorError: CUDA error: out of memory",
        "MemoryError",
        "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 1.50 GiB for an array",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)
def test_an_error_without_its_traceback_counts_too(line: str):
    (oom,) = of(OutOfMemory, parse(line + "\n"))
    assert oom.line == 1
    assert not oom.text.endswith(": ")


@pytest.mark.parametrize(
    "line",
    [
        "[WARNING] [stage3.py:2014:step] 2 pytorch allocator cache flushes since last step",
        "If you run out of memory, try a smaller batch. CUDA out of memory is common.",
        "set max_split_size_mb or expandable_segments:True to avoid CUDA out of memory",
        "terminate called after throwing an instance of 'c10::Error'",
    ],
)
def test_talk_of_memory_is_no_out_of_memory(line: str):
    assert of(OutOfMemory, parse(line + "\n")) == []


NEW_BLOCK = """\
E0102 06:08:34.906000 111 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1) local_rank: 0 (pid: 20) of binary: /opt/python
============================================================
launcher.py FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-01-02_06:08:34
  host      : node
  rank      : 9 (local_rank: 1)
  exitcode  : -15 (pid: 21)
  error_file: <N/A>
  traceback : Signal 15 (SIGTERM) received by PID 21
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-01-02_06:08:34
  host      : node
  rank      : 8 (local_rank: 0)
  exitcode  : 1 (pid: 20)
  error_file: /tmp/e.json
  traceback : Traceback (most recent call last):
    File "/opt/site-packages/torch/distributed/elastic/multiprocessing/errors/__init__.py", line 1, in wrapper
      return f(*args, **kwargs)
  torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.

============================================================
"""  # noqa: E501 - a launcher's own lines


def test_torchruns_block_names_each_rank_and_the_root_cause():
    ends = of(RankExit, parse(NEW_BLOCK))
    assert [(end.rank, end.exit_code, end.pid, end.root_cause) for end in ends[1:]] == [
        (9, -15, 21, False),
        (8, 1, 20, True),
    ]


def test_the_traceback_that_torchrun_repeats_is_not_a_second_failure():
    text = HEADER + "\n".join(ranked(OOM_TRACEBACK, 0)) + "\n" + NEW_BLOCK
    assert [oom.rank for oom in of(OutOfMemory, parse(text))] == [0]


def test_the_older_torchrun_says_it_in_its_own_log_form():
    text = (
        "[2024-01-02 06:08:34,906] torch.distributed.elastic.multiprocessing.api: [ERROR] "
        "failed (exitcode: -9) local_rank: 2 (pid: 30) of binary: /opt/python\n"
        "ERROR:torch.distributed.elastic.multiprocessing.api:failed (exitcode: 1) "
        "local_rank: 3 (pid: 31) of binary: /opt/python\n"
    )
    ends = of(RankExit, parse(text))
    assert [(end.rank, end.exit_code, end.pid) for end in ends] == [(2, -9, 30), (3, 1, 31)]


def test_deepspeeds_launcher_tells_how_a_rank_ended():
    text = (
        "[2026-01-02 06:08:34,906] [ERROR] [launch.py:325:sigkill_handler] ['/opt/python', '-u', "
        "'train.py', '--local_rank=1'] exits with return code = -9\n"
    )
    (end,) = of(RankExit, parse(text))
    assert (end.rank, end.exit_code, end.root_cause) == (1, -9, True)


def test_settling_ends_a_whole_traceback_and_leaves_an_open_one_be():
    head, tail = (
        OOM_TRACEBACK.splitlines(keepends=True)[:3],
        OOM_TRACEBACK.splitlines(keepends=True)[3:],
    )
    parser = ConsoleParser("out.log")
    parser.feed("".join(head).encode(), 1.0)
    assert parser.settle(2.0) == []
    seen = parser.feed("".join(tail).encode(), 3.0)
    assert len(of(OutOfMemory, seen)) == 1
    (traceback,) = of(Traceback, parser.settle(4.0))
    assert len(traceback.frames) == 2
    assert parser.settle(5.0) == []


def test_a_real_piped_training_has_every_step_at_its_place():
    seen = parse((LOGS / "lora_pipe.log").read_bytes())
    assert [step.step for step in of(TrainStep, seen)] == list(range(5, 51, 5))
    assert of(Traceback, seen) == []
    assert of(OutOfMemory, seen) == []
    assert phases(seen)[-1] is Phase.FINISHED
    assert facts(seen)["total_steps"] == 50
    assert facts(seen)["train_loss"] == 7.404


def test_a_real_terminal_recording_gives_the_same_steps():
    seen = parse((LOGS / "lora_pty.log").read_bytes())
    assert [step.step for step in of(TrainStep, seen)] == list(range(5, 51, 5))
    assert all("\r" not in line.text and "%|" not in line.text for line in of(LogLine, seen))
    assert phases(seen)[-1] is Phase.FINISHED


def test_a_real_failure_of_the_hosts_allocator_is_the_hosts():
    seen = parse((LOGS / "cpu_oom.log").read_bytes())
    (oom,) = of(OutOfMemory, seen)
    assert (oom.device, oom.phase, oom.step) == (MemoryDevice.HOST, MemoryPhase.TRAIN, 0)
    assert oom.requested_bytes == 2**30
    (traceback,) = of(Traceback, seen)
    assert traceback.exception == "RuntimeError"
    assert traceback.frames[-1].endswith("torch/autograd/graph.py:_engine_run_backward")


def test_a_real_kill_under_torchrun_names_the_rank_that_died_first():
    seen = parse((LOGS / "torchrun_kill.log").read_bytes())
    (root,) = [end for end in of(RankExit, seen) if end.root_cause]
    assert (root.rank, root.exit_code) == (0, -9)
    assert (1, -15) in [(end.rank, end.exit_code) for end in of(RankExit, seen)]
    assert of(OutOfMemory, seen) == []
    assert [one.rank for one in of(Traceback, seen)] == [1, None, None]
