"""The middle of a large log, skimmed: what it tells is what reading it whole tells."""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diagnostics.engine import diagnose
from diagnostics.history import MAX_HITS, History, Snapshot
from diagnostics.observations import Observation, Phase
from diagnostics.parsing.console import ConsoleParser
from diagnostics.ruleset import load_rules
from diagnostics.signals import Context
from diagnostics.sources.backlog import Backlog, Ends
from diagnostics.sources.skim.rows import Group, Rows
from diagnostics.sources.skim.scanning import (
    HyperscanScanner,
    LineScanner,
    Query,
    Scanner,
    make_scanner,
)
from diagnostics.sources.skim.skimmer import Limits

RULES = load_rules()
PATTERNS = (
    *RULES.patterns[::8],
    "OVERFLOW! Rank",
    r"^Killed(?:\s|$)",
    r"(?i)watchdog (?!cat)\w+ (timeout|abort) \1",
    "显存不足",
    r"'loss': 0\.0,",
)
LOGS = Path(__file__).parents[1] / "data" / "logs"
SMALL = Ends(whole_bytes=1024, head_bytes=400, tail_bytes=256)
TIGHT = Limits(
    block_bytes=1024,
    ahead_bytes=6 * 1024,
    failure_bytes=5 * 1024,
    message_bytes=1024,
    header_bytes=2048,
    before_bytes=16 * 1024,
)
Make = Callable[[Sequence[Query]], Scanner]
SCANNERS: list[Make] = [HyperscanScanner, LineScanner]

HEADER = """\
[INFO|2025-06-15 15:06:40] llamafactory.hparams.parser:423 >> Process rank: 0, world size: 1, \
device: cuda:0, distributed training: False, compute dtype: torch.bfloat16
[INFO|2025-06-15 15:06:41] llamafactory.data.loader:143 >> Loading dataset train.json...
[INFO|2025-06-15 15:06:50] llamafactory.model.adapter:143 >> Fine-tuning method: LoRA
[INFO|trainer.py:2409] 2025-06-15 15:06:40,120 >> ***** Running training *****
[INFO|trainer.py:2410] 2025-06-15 15:06:40,120 >>   Num examples = {examples:,}
[INFO|trainer.py:2411] 2025-06-15 15:06:40,120 >>   Num Epochs = 1
[INFO|trainer.py:2412] 2025-06-15 15:06:40,120 >>   Instantaneous batch size per device = 8
[INFO|trainer.py:2415] 2025-06-15 15:06:40,120 >>   Total train batch size (w. parallel, \
distributed & accumulation) = 8
[INFO|trainer.py:2416] 2025-06-15 15:06:40,120 >>   Gradient Accumulation steps = 1
[INFO|trainer.py:2417] 2025-06-15 15:06:40,120 >>   Total optimization steps = {total:,}
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "/opt/env/bin/llamafactory-cli", line 8, in <module>
    sys.exit(main())
             ^^^^^^
  File "/opt/env/lib/python3.11/site-packages/transformers/trainer.py", line 3745, in training_step
    loss = self.compute_loss(model, inputs)
{exception}
"""
OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total "
    "capacity of 23.65 GiB of which 1.21 GiB is free. Including non-PyTorch memory, this process "
    "has 22.43 GiB memory in use. Of the allocated memory 20.85 GiB is allocated by PyTorch, and "
    "1.11 GiB is reserved by PyTorch but unallocated."
)
SAMPLE = """\
training example:
input_ids:
[151644, 8948, 198]
inputs:
<|im_start|>user
Killed
Traceback (most recent call last):
  File "/home/user/question.py", line 1, in ask
RuntimeError: CUDA out of memory. Tried to allocate 9.00 GiB.
label_ids:
[-100, -100, 2]
labels:
That no memory was left. OVERFLOW! Rank 0
[INFO|2025-06-15 15:06:50] llamafactory.model.adapter:143 >> Upcasting trainable params to float32.
"""
SAVING = """\
[INFO|trainer.py:3993] 2025-06-15 15:06:40,120 >> Saving model checkpoint to /out/checkpoint-{step}
[INFO|configuration_utils.py:770] 2025-06-15 15:06:40,120 >> Model config LlamaConfig {{
  "architectures": [
    "LlamaForCausalLM"
  ],
  "transformers_version": "4.52.4"
}}

"""
RANKS = """\
[rank0]: Traceback (most recent call last):
[rank1]: Traceback (most recent call last):
[rank0]:   File "/opt/env/lib/python3.11/site-packages/llamafactory/launcher.py", line 1, in a
[rank1]:   File "/opt/env/lib/python3.11/site-packages/llamafactory/launcher.py", line 1, in a
[rank1]:     run_exp()
[rank1]: ValueError: of rank 1
[rank0]:     run_exp()
[rank0]: RuntimeError: NCCL error in: ProcessGroupNCCL.cpp:3384
"""
TORCHRUN = """\
E1124 05:58:36.000000 11 torch/distributed/elastic/multiprocessing/api.py:869] failed \
(exitcode: -9) local_rank: 1 (pid: 12) of binary: /opt/env/bin/python
============================================================
llamafactory/launcher.py FAILED
------------------------------------------------------------
Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-24_05:58:36
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 12)
  error_file: <N/A>
============================================================
"""
COLOURED = (
    '\x1b[1;35mTraceback\x1b[0m (most recent call last):\n  File \x1b[35m"a.py"\x1b[0m, line 1, in '
    "f\n\x1b[1;35mValueError\x1b[0m: \x1b[35mcoloured\x1b[0m\n"
)


def bar(done: int, total: int) -> str:
    drawn = "█" * (10 * done // total)
    return (
        f"\r{100 * done // total:3d}%|{drawn:10}| {done}/{total} [{done // 60:02d}:{done % 60:02d}"
        f"<01:00,  1.00s/it]"
    )


def header(total: int) -> str:
    return HEADER.format(examples=8 * total, total=total) + bar(0, total)


def metrics(step: int, total: int, loss: float, *, quoted: bool = False) -> str:
    if quoted:
        return (
            f"{{'loss': '{loss:.4g}', 'grad_norm': '0.5', 'learning_rate': '1e-05', "
            f"'epoch': '{step / total:.4g}'}}\n"
        )
    return (
        f"{{'loss': {loss:.4f}, 'grad_norm': 0.5, 'learning_rate': 1e-05, "
        f"'epoch': {step / total:.2f}}}\n"
    )


def steps(first: int, last: int, total: int, dice: random.Random, *, quoted: bool = False) -> str:
    parts: list[str] = []
    for step in range(first, last + 1):
        parts.append(bar(step, total))
        if step % 5 == 0:
            loss = 2.0 + dice.random()
            parts += [
                "\r" + " " * 60 + "\r",
                metrics(step, total, loss, quoted=quoted),
                bar(step, total),
            ]
    return "".join(parts)


def evaluation(step: int, total: int) -> str:
    return (
        "\n[INFO|trainer.py:4226] 2025-06-15 15:06:40,120 >> \n***** Running Evaluation *****\n"
        "[INFO|trainer.py:4228] 2025-06-15 15:06:40,120 >>   Num examples = 24\n"
        + "".join(bar(done, 3) for done in range(4))
        + "\x1b[A\r"
        + " " * 60
        + f"\r{{'eval_loss': 1.25, 'eval_runtime': 1.5, 'epoch': {step / total:.2f}}}\n"
        + bar(step, total)
    )


def whole(data: bytes, patterns: Sequence[str] = PATTERNS) -> Snapshot:
    history = History(patterns)
    parser = ConsoleParser("log")
    return taken(history, (*parser.feed(data, 1.0), *parser.finish(1.0)))


def skimmed(
    data: bytes,
    make: Make = HyperscanScanner,
    *,
    piece: int = 700,
    ends: Ends = SMALL,
    limits: Limits = TIGHT,
    patterns: Sequence[str] = PATTERNS,
) -> Snapshot:
    history = History(patterns)
    parser = ConsoleParser("log")
    backlog = Backlog(parser, patterns, ends=ends, limits=limits, make=make)
    for start in range(0, len(data), piece):
        taken(history, backlog.feed(data[start : start + piece], 1.0))
    return taken(history, (*backlog.close(1.0), *parser.finish(1.0)))


def taken(history: History, seen: Sequence[Observation]) -> Snapshot:
    for one in seen:
        history.add(one)
    return history.snapshot()


def findings(snapshot: Snapshot) -> list[str]:
    found = diagnose(RULES.rules, Context(snapshot, closed=True))
    return [finding.id for finding in found.findings]


def told(snapshot: Snapshot) -> dict[str, str]:
    """Return what a snapshot tells as text, for nan is not equal to itself."""
    progress = snapshot.progress
    return {
        "steps": repr([replace(step, extra=dict(step.extra)) for step in snapshot.steps]),
        "evals": repr([replace(one, extra=dict(one.extra)) for one in snapshot.evals]),
        "ooms": repr(snapshot.ooms),
        "tracebacks": repr(snapshot.tracebacks),
        "exits": repr(snapshot.rank_exits),
        "facts": repr(sorted(snapshot.facts.items())),
        "hits": repr(sorted(snapshot.hits.items())),
        "phase": snapshot.phase,
        "progress": repr(progress and (progress.done, progress.total)),
    }


DICE = random.Random(4)
TOTAL = 400
PIECES: dict[str, Callable[[int], str]] = {
    "steps": lambda at: steps(at, at + 30, TOTAL, DICE),
    "quoted": lambda at: steps(at, at + 30, TOTAL, DICE, quoted=True),
    "evaluation": lambda at: evaluation(at, TOTAL),
    "saving": lambda at: SAVING.format(step=at),
    "training": lambda _: "\n" + header(TOTAL),
    "other training": lambda _: "\n" + header(500) + steps(1, 20, 500, DICE),
    "oom": lambda _: "\n" + TRACEBACK.format(exception=OOM),
    "error": lambda at: "\n" + TRACEBACK.format(exception=f"ValueError: number {at} of many"),
    "chained": lambda _: (
        "\n"
        + TRACEBACK.format(exception="KeyError: 'a'")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + TRACEBACK.format(exception="OSError: Failed to load tokenizer.")
    ),
    "mismatch": lambda _: (
        "\n"
        + TRACEBACK.format(exception="RuntimeError: Error(s) in loading state_dict for Peft:")
        + "".join(f"\tsize mismatch for layer.{n}: of shape [1].\n" for n in range(20))
        + "\n"
    ),
    "ranks": lambda _: "\n" + RANKS,
    "torchrun": lambda _: "\n" + TORCHRUN,
    "sample": lambda _: "\n" + SAMPLE,
    "killed": lambda _: "\nrun.sh: line 3:  4711 Killed                  llamafactory-cli train\n",
    "bare oom": lambda _: "\nRuntimeError: CUDA error: out of memory\nmore\n",
    "overflow": lambda _: "\n[deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 1\n",
    "chinese": lambda _: "\n错误: 显存不足\n",
    "reference": lambda _: "\nWatchdog caught timeout timeout\nWatchdog cats timeout timeout\n",
    "nan": lambda at: (
        f"\n{{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 1e-05, 'epoch': {at / TOTAL:.2f}}}\n"
    ),
    "nul": lambda _: "\0" * 300,
    "bad": lambda _: "\n\udcff\udcfe bad \udce4 bytes Error: \udc9b\n",
    "long": lambda _: "\n" + "x" * 5000 + "\n",
    "returns": lambda at: "".join(bar(n, TOTAL) for n in range(at, at + 40)) + "\r" * 20,
    "coloured": lambda _: "\n" + COLOURED,
    "board": lambda _: (
        "\n[INFO|2025-06-15 15:06:52] logging.py:144 >> {'loss': 1.5, 'learning_rate': 1e-05, "
        "'epoch': 0.40}\n[INFO|2025-06-15 15:06:52] llamafactory.train.callbacks:144 >> "
        "{'loss': 1.5, 'learning_rate': 1e-05, 'epoch': 0.40}\n"
    ),
    "v1": lambda at: (
        f"\n[INFO|2025-06-15 15:06:52] llamafactory.v1.callbacks:144 >> epoch: 0, step: {at}, "
        "loss: 1.2500, learning_rate: 1e-05, total_steps: 400\n"
    ),
}


def composed(names: Sequence[str]) -> bytes:
    """Return a log of pieces, after a header and before an end that healthy steps make."""
    dice = random.Random(9)
    text = header(TOTAL) + steps(1, 12, TOTAL, dice)
    for place, name in enumerate(names):
        text += PIECES[name](13 + 3 * place)
    text += steps(300, 320, TOTAL, dice)
    return text.encode("utf-8", "surrogateescape")


@pytest.fixture(params=SCANNERS, ids=["hyperscan", "lines"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param is HyperscanScanner:
        pytest.importorskip("hyperscan")
    chosen: Make = request.param
    return chosen


@pytest.mark.parametrize("name", PIECES)
def test_what_stands_in_the_middle_is_told_as_by_reading_whole(name: str, make: Make):
    data = composed(["steps", "saving", name, "steps", "evaluation", "steps"])
    assert told(skimmed(data, make)) == told(whole(data))


@given(st.lists(st.sampled_from(sorted(PIECES)), max_size=12), st.integers(50, 3000))
@example(["oom", "training", "steps", "killed"], 700)
@settings(max_examples=20, deadline=None)
def test_in_any_order_and_however_the_bytes_arrive_the_same_is_told(names: list[str], piece: int):
    data = composed(names)
    assert told(skimmed(data, LineScanner, piece=piece)) == told(whole(data))


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_a_recorded_log_tells_the_same(path: Path, make: Make):
    data = path.read_bytes()
    seen, read = skimmed(data, make, patterns=RULES.patterns), whole(data, RULES.patterns)
    assert told(seen) == told(read)
    assert findings(seen) == findings(read)


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_a_recorded_log_in_the_middle_of_another_tells_the_same(path: Path, make: Make):
    around = composed(["steps"] * 4)
    data = around + b"\n" + path.read_bytes() + b"\n" + around
    seen, read = skimmed(data, make, patterns=RULES.patterns), whole(data, RULES.patterns)
    assert told(seen) == told(read)
    assert findings(seen) == findings(read)


def test_a_log_without_a_header_tells_the_same(make: Make):
    dice = random.Random(1)
    text = steps(1, 200, TOTAL, dice) + TRACEBACK.format(exception=OOM) + steps(1, 60, TOTAL, dice)
    data = text.encode()
    assert told(skimmed(data, make)) == told(whole(data))


def test_metrics_that_came_in_one_lump_are_placed_as_by_reading_whole(make: Make):
    lump = "".join(metrics(step, TOTAL, 2.0) for step in range(5, 401, 5))
    text = header(TOTAL) + "".join(bar(n, TOTAL) for n in range(1, 401)) + "\n" + lump + "\nend\n"
    data = text.encode()
    assert told(skimmed(data, make)) == told(whole(data))
    assert [step.step for step in whole(data).steps] == list(range(5, 401, 5))


def test_of_what_matches_at_each_step_the_first_and_the_last_lines_are_kept(make: Make):
    line = "[deepspeed] OVERFLOW! Rank 0 Skipping step {}\n"
    data = (header(TOTAL) + "\n" + "".join(line.format(n) for n in range(5000))).encode()
    seen = skimmed(data, make).hits["OVERFLOW! Rank"]
    assert [hit.text for hit in seen] == [hit.text for hit in whole(data).hits["OVERFLOW! Rank"]]
    assert len(seen) == MAX_HITS


def test_a_rare_hit_among_many_that_only_look_like_it_is_kept(make: Make):
    near = "".join(f"Watchdog cats timeout timeout {n}\n" for n in range(3000))
    data = (header(TOTAL) + "\n" + near + "Watchdog saw abort abort\n" + near).encode()
    (hit,) = skimmed(data, make).hits[PATTERNS[-3]]
    assert hit.text == "Watchdog saw abort abort"


def test_an_error_among_thousands_of_another_kind_is_not_missed(make: Make):
    noise = "".join(
        TRACEBACK.format(exception=f"ConnectionError: attempt {n}") + "\n" for n in range(300)
    )
    text = header(TOTAL) + "\n" + noise + TRACEBACK.format(exception=OOM) + "\n" + noise
    snapshot = skimmed(text.encode(), make)
    assert [oom.requested_bytes for oom in snapshot.ooms] == [round(2.32 * 2**30)]
    assert "torch.OutOfMemoryError" in {one.exception for one in snapshot.tracebacks}
    assert len(snapshot.tracebacks) < 100


def test_a_failure_knows_the_phase_in_which_it_was(make: Make):
    text = header(TOTAL) + steps(1, 100, TOTAL, random.Random(2)) + evaluation(100, TOTAL)
    text = text.rpartition("\x1b[A")[0] + "\n" + TRACEBACK.format(exception=OOM) + "x\n" * 3000
    snapshot = skimmed(text.encode(), make)
    assert [one.phase for one in snapshot.tracebacks] == [Phase.EVALUATING]
    assert [one.step for one in snapshot.ooms] == [100]


def test_lines_have_their_true_numbers(make: Make):
    lines = "".join(f"line {n}\n" for n in range(2, 3000))
    data = ("first\n" + lines + "OVERFLOW! Rank 0\n" + lines).encode()
    (hit,) = skimmed(data, make).hits["OVERFLOW! Rank"]
    assert hit.line == 3000


def test_a_line_of_megabytes_is_passed_over_and_what_follows_is_read(make: Make):
    long = b"y" * 3_000_000
    data = header(TOTAL).encode() + b"\n" + long + b"\nOVERFLOW! Rank 0\n" + b"z\n" * 2000
    (hit,) = skimmed(data, make).hits["OVERFLOW! Rank"]
    assert (hit.text, hit.line) == ("OVERFLOW! Rank 0", 13)


def test_with_more_metrics_than_are_kept_they_are_thinned_evenly(make: Make):
    dice = random.Random(3)
    text = header(6000) + steps(1, 6000, 6000, dice, quoted=True)
    limits = replace(TIGHT, max_rows=200)
    snapshot = skimmed(text.encode(), make, limits=limits)
    found = [step.step for step in snapshot.steps if step.step is not None]
    assert 20 < len(found) < 300
    assert found[-1] == 6000
    assert all(step % 5 == 0 for step in found)
    gaps = {after - before for before, after in pairwise(found)}
    assert max(gaps) < 6000 / 20


def test_a_loss_that_stands_out_and_a_bad_number_outlive_the_thinning(make: Make):
    dice = random.Random(3)
    healthy = [steps(1000 * n + 1, 1000 * n + 1000, 9000, dice) for n in range(6)]
    healthy[1] += metrics(2001, 9000, 97.5)
    healthy[4] += "{'loss': 2.5, 'grad_norm': nan, 'learning_rate': 1e-05, 'epoch': 0.5556}\n"
    snapshot = skimmed(
        (header(9000) + "".join(healthy)).encode(), make, limits=replace(TIGHT, max_rows=200)
    )
    assert 97.5 in {step.loss for step in snapshot.steps}
    assert any(step.grad_norm != step.grad_norm for step in snapshot.steps)


def test_what_is_kept_does_not_grow_with_the_log(make: Make):
    dice = random.Random(5)
    block = (steps(1, 100, TOTAL, dice) + evaluation(100, TOTAL) + SAVING.format(step=100)).encode()
    counts = []
    for repeats in (20, 80):
        history = History(PATTERNS)
        parser = ConsoleParser("log")
        limits = replace(TIGHT, max_rows=100)
        backlog = Backlog(parser, PATTERNS, ends=SMALL, limits=limits, make=make)
        seen = backlog.feed(header(TOTAL).encode() + block * repeats, 1.0)
        seen += [*backlog.close(1.0)]
        taken(history, seen)
        counts.append(len(seen))
    assert counts[1] < 1.5 * counts[0]


def test_small_logs_are_read_whole():
    def refuse(_: Sequence[Query]) -> Scanner:
        raise AssertionError

    data = composed(["steps"])
    assert told(skimmed(data, refuse, ends=Ends())) == told(whole(data))


@given(st.binary(max_size=3000), st.integers(1, 900))
@settings(max_examples=20, deadline=None)
def test_any_bytes_are_skimmed_without_raising(data: bytes, piece: int):
    ends = Ends(whole_bytes=40, head_bytes=20, tail_bytes=20)
    limits = replace(TIGHT, block_bytes=100, ahead_bytes=60)
    assert skimmed(data, LineScanner, piece=piece, ends=ends, limits=limits) is not None


def queries() -> Iterator[Query]:
    yield Query((b"{'",))
    yield Query((b"out of memory", b"bad_alloc"), caseless=True)
    yield Query((b"Killed",))
    yield Query((b"Kill",))
    yield Query((), pattern=rb"[0-9]{5}x")
    yield Query(("显存".encode(),))


@given(
    st.lists(
        st.sampled_from(
            [
                *("{'loss': 1}", "Out Of Memory", "bad_alloc", "Killed", "12345x", "显存", "a"),
                *("\n", "\r", "\r\n", bar(3, 9)),
            ]
        ),
        max_size=30,
    )
)
@settings(deadline=None)
def test_both_scanners_find_the_same(parts: list[str]):
    pytest.importorskip("hyperscan")
    data = "".join(parts).encode()
    fast, slow = (make(list(queries())).scan(data) for make in SCANNERS)
    assert {place: list(ends) for place, ends in fast.items()} == {
        place: list(ends) for place, ends in slow.items()
    }


def test_without_hyperscan_lines_are_searched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "hyperscan", None)
    assert isinstance(make_scanner([Query((b"x",))]), LineScanner)


def test_of_metrics_all_are_kept_as_long_as_there_is_room():
    rows = Rows(Group.LOSS, 8)
    rows.add(5, [(n, n, n, b"{'loss': 1.0}", b"") for n in rows.choose(5)])
    assert rows.stride == 1
    assert len(rows) == 5
    rows.add(9, [(n, n, n, b"{'loss': 1.0}", b"") for n in rows.choose(9)])
    assert rows.stride > 1
    assert all(row.number % rows.stride == 0 for row in rows.drain())
