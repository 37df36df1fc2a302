"""Failures in a log: whose they are, one for each, whatever is printed between their lines."""

import pytest

from diagnostics.observations import (
    LogLine,
    MemoryDevice,
    MemoryPhase,
    OutOfMemory,
    Phase,
    Traceback,
)
from diagnostics.parsing.console import ConsoleParser
from tests.parsing.streams import bar, header, only, parse

FRAMES = """\
Traceback (most recent call last):
  File "/opt/lf/site-packages/llamafactory/cli.py", line 24, in main
    launcher.launch()
  File "/opt/lf/site-packages/transformers/trainer.py", line 1937, in training_step
    self.accelerator.backward(loss, **kwargs)
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
"""
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU {gpu} has a \
total capacity of 23.50 GiB of which 1.25 GiB is free.\n"
CHAIN = "\nDuring handling of the above exception, another exception occurred:\n\n"


def test_output_of_others_between_the_frames_breaks_no_traceback():
    lines = FRAMES.splitlines(keepends=True)
    text = "".join(
        [
            *lines[:3],
            "[INFO|2026-11-24 05:54:05] llamafactory.data.loader:144 >> Loading dataset a...\n",
            bar(1, 3, "Loading checkpoint shards") + "\n",
            *lines[3:],
            OOM.format(gpu=0),
        ]
    )
    (traceback,) = only(Traceback, parse(text))
    assert [frame.rpartition(":")[2] for frame in traceback.frames] == ["main", "training_step"]
    assert [oom.phase for oom in only(OutOfMemory, parse(text))] == [MemoryPhase.TRAIN]


def test_ranks_of_old_releases_have_no_prefix_and_are_told_apart_by_their_gpus():
    frames = FRAMES.splitlines(keepends=True)
    text = "".join([*frames[:4], *frames, OOM.format(gpu=0), OOM.format(gpu=1)])
    ooms = only(OutOfMemory, parse(text + OOM.format(gpu=1)))
    assert [(oom.gpu, oom.phase) for oom in ooms] == [
        (0, MemoryPhase.TRAIN),
        (1, MemoryPhase.TRAIN),
    ]


def test_a_training_that_goes_on_can_run_out_of_memory_again():
    failure = FRAMES + OOM.format(gpu=0) + "\n"
    seen = parse(header() + bar(3, 50) + failure + bar(7, 50) + failure)
    assert [oom.step for oom in only(OutOfMemory, seen)] == [3, 7]


def test_a_failure_told_again_in_a_chain_is_one_failure():
    text = FRAMES + OOM.format(gpu=0) + CHAIN + FRAMES + "RuntimeError: CUDA out of memory.\n"
    seen = parse(text)
    assert len(only(OutOfMemory, seen)) == 1
    assert [found.exception for found in only(Traceback, seen)] == [
        "torch.OutOfMemoryError",
        "RuntimeError",
    ]


def test_a_workers_failure_is_told_by_its_own_traceback():
    text = (
        FRAMES
        + "torch.OutOfMemoryError: Caught OutOfMemoryError in replica 0 on device 0.\n"
        + "Original "
        + FRAMES
        + OOM.format(gpu=1)
    )
    seen = parse(text)
    assert [oom.gpu for oom in only(OutOfMemory, seen)] == [1]
    assert len(only(Traceback, seen)) == 2


def test_numbers_on_the_lines_after_the_first_are_read():
    text = FRAMES + (
        "torch.OutOfMemoryError: CUDA out of memory.\n"
        "Tried to allocate 2.00 GiB. GPU 3 has a total capacity of 23.50 GiB\n"
    )
    (oom,) = only(OutOfMemory, parse(text))
    assert (oom.gpu, oom.requested_bytes) == (3, 2 * 2**30)
    assert oom.text == "torch.OutOfMemoryError: CUDA out of memory."
    assert oom.line == 7


def test_a_failure_with_its_numbers_is_told_before_another_line_comes():
    parser = ConsoleParser("stdout.log")
    seen = parser.feed((FRAMES + OOM.format(gpu=0)).encode(), 1.0)
    assert len(only(OutOfMemory, seen)) == 1
    assert only(Traceback, seen) == []
    assert len(only(Traceback, parser.settle(2.0))) == 1


def test_the_communication_librarys_failure_is_the_gpus():
    text = FRAMES + (
        "torch.distributed.DistBackendError: NCCL error in: /pytorch/NCCLUtils.hpp:275, unhandled "
        "cuda error\nncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\n"
        "Cuda failure 2 'out of memory'\n"
    )
    (oom,) = only(OutOfMemory, parse(text))
    assert (oom.device, oom.requested_bytes) == (MemoryDevice.GPU, None)


def test_an_abort_without_a_traceback_is_told_by_its_last_words():
    text = "terminate called after throwing an instance of 'c10::Error'\n"
    text += "  what():  CUDA error: out of memory\n"
    (oom,) = only(OutOfMemory, parse(text))
    assert (oom.device, oom.line) == (MemoryDevice.GPU, 2)


def test_the_driver_failing_in_an_offload_is_the_hosts_pinned_memory():
    failure = (
        "Traceback (most recent call last):\n"
        '  File "/opt/site-packages/deepspeed/runtime/engine.py", line 1, in _configure_optimizer\n'
        '  File "/opt/site-packages/deepspeed/runtime/zero/stage_1_and_2.py", line 2, in __init__\n'
        "RuntimeError: CUDA error: out of memory\n"
    )
    (plain,) = only(OutOfMemory, parse(failure))
    (offloaded,) = only(OutOfMemory, parse("Time to load cpu_adam op: 2.5 seconds\n" + failure))
    assert (plain.device, offloaded.device) == (MemoryDevice.GPU, MemoryDevice.PINNED)
    assert plain.phase is offloaded.phase is MemoryPhase.OPTIMIZER


def test_without_telling_frames_the_log_tells_the_phase():
    text = bar(1, 15, "Loading checkpoint shards") + "\n" + OOM.format(gpu=0)
    assert [oom.phase for oom in only(OutOfMemory, parse(text))] == [MemoryPhase.LOAD]
    text = header() + bar(3, 50) + "\n***** Running Evaluation *****\n" + OOM.format(gpu=0)
    assert [oom.phase for oom in only(OutOfMemory, parse(text))] == [MemoryPhase.EVAL]


def test_a_nonsensical_size_is_unknown():
    text = OOM.format(gpu=0).replace(
        "is free.",
        "is free. Including non-PyTorch memory, this process has 17179869184.00 GiB memory in use.",
    )
    (oom,) = only(OutOfMemory, parse(text))
    assert (oom.process_bytes, oom.free_bytes) == (None, 1280 * 2**20)


def test_the_lines_of_a_failure_are_lines_of_the_log_with_their_rank():
    text = "".join(f"[rank2]: {line}\n" for line in (FRAMES + OOM.format(gpu=2)).splitlines())
    seen = parse(text)
    assert {line.rank for line in only(LogLine, seen)} == {2}
    assert only(LogLine, seen)[0].text == "Traceback (most recent call last):"
    (oom,) = only(OutOfMemory, seen)
    assert (oom.rank, oom.line) == (2, 7)


def test_a_deep_recursion_keeps_its_outermost_and_innermost_frames():
    frame = '  File "/opt/a.py", line 1, in f{}\n    f()\n'
    text = "Traceback (most recent call last):\n"
    text += "".join(frame.format(number) for number in range(5000)) + "RecursionError: too deep\n"
    (traceback,) = only(Traceback, parse(text))
    assert len(traceback.frames) == 200
    assert (traceback.frames[0], traceback.frames[-1]) == ("/opt/a.py:f0", "/opt/a.py:f4999")


def test_a_traceback_carries_the_phase_that_it_was_printed_in():
    text = header() + bar(3, 50) + "\n" + FRAMES + "ValueError: no\n"
    assert [found.phase for found in only(Traceback, parse(text))] == [Phase.TRAINING]


QUOTED = FRAMES.replace("/opt/lf/site-packages/llamafactory/cli.py", "/home/me/train.py")


@pytest.mark.parametrize("section", ["inputs", "labels", "chosen_inputs", "rejected_labels"])
def test_a_failure_that_a_sample_quotes_is_none(section: str):
    text = f"training example:\n{section}:\nwhy?\n{QUOTED}{OOM.format(gpu=0)}\nKilled by it\n"
    seen = parse(text)
    assert [line.text for line in only(LogLine, seen)] == ["training example:"]
    assert only(OutOfMemory, seen) == []
    assert only(Traceback, seen) == []


@pytest.mark.parametrize(
    "line",
    [
        "[WARNING|2026-11-24 05:54:05] llamafactory.x:144 >> careful",
        "[transformers] `torch_dtype` is deprecated",
        "/opt/a.py:12: UserWarning: careful",
        "run.sh: line 41:   356 Bus error               (core dumped) python train.py",
        "Killed",
        "{'loss': 1.5, 'epoch': 0.1}",
        "***** train metrics *****",
    ],
)
def test_what_no_sample_prints_ends_its_block(line: str):
    seen = parse(f"training example:\ninputs:\nhello\nlabels:\nworld\n{line}\nafter\n")
    assert [found.text for found in only(LogLine, seen)] == ["training example:", line, "after"]


def test_the_trainings_own_failure_behind_a_sample_counts():
    seen = parse("training example:\ninputs:\nhello\n" + FRAMES + OOM.format(gpu=0))
    assert len(only(OutOfMemory, seen)) == len(only(Traceback, seen)) == 1
    assert only(Traceback, seen)[0].first_line == 4


@pytest.mark.parametrize("word", ["Killed", "Bus error (core dumped)", "已杀死"])
def test_a_shells_word_within_a_sample_is_the_samples(word: str):
    seen = parse(f"training example:\ninputs:\nit said\n{word}\nwhy?\nlabels:\nmemory\n")
    assert [found.text for found in only(LogLine, seen)] == ["training example:"]


@pytest.mark.parametrize("rest", ["", "[transformers] `torch_dtype` is deprecated\n"])
def test_a_shells_word_after_which_a_sample_does_not_go_on_is_log(rest: str):
    seen = parse(f"training example:\ninputs:\nhello\nKilled\n{rest}")
    assert [found.text for found in only(LogLine, seen)][:2] == ["training example:", "Killed"]


def test_a_chinese_shells_verdict_ends_a_message():
    text = (
        FRAMES + OOM.format(gpu=0) + "run.sh: 行 12: 28411 已杀死               python train.py\n"
    )
    assert only(Traceback, parse(text))[0].message.endswith("is free.")


def test_the_lines_of_a_container_without_a_number_are_read():
    log = FRAMES + OOM.format(gpu=0)
    text = "".join(f"llamafactory  | {line}" for line in log.splitlines(keepends=True))
    assert len(only(OutOfMemory, parse(text))) == 1
