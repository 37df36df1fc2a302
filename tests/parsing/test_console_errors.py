"""Errors in a console log: memory, tracebacks across ranks, the launchers' words."""

import pytest

from diagnostics.observations import (
    MemoryDevice,
    MemoryPhase,
    OutOfMemory,
    Phase,
    RankExit,
    Traceback,
)
from diagnostics.parsing.console import ConsoleParser
from tests.parsing.console_logs import HEADER, OOM_TRACEBACK, bar, of, parse, ranked

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
