"""The signals of an error and of silence, from logs and processes."""

import pytest

from diagnostics.causes import Nature, failures, nature, root_chain
from diagnostics.engine import diagnose
from diagnostics.observations import ProcessState, RunEnded
from diagnostics.ruleset import load_rules
from diagnostics.signals import Context, read_signal
from diagnostics.signals.errors import lone_errors
from tests.cause_logs import (
    FINISHED,
    LOSS,
    NCCL_LOST,
    STEP,
    TRAINING,
    bar,
    caught,
    process_rank,
    read,
    root,
    seen,
    torchrun,
    traceback,
)


def silence(log: str, *, at: float, alive: bool = True) -> float | None:
    history = read(log)
    history.add(ProcessState(at, "host", alive=alive, pids=(1,)))
    signal = read_signal("run.silent_intervals", Context(history.snapshot()))
    return None if signal is None else float(str(signal.value))


def test_signals_tell_the_error_its_rank_and_its_nature():
    log = process_rank() + TRAINING + bar(24) + traceback(NCCL_LOST, STEP, 1) + torchrun(1)
    context = Context(seen(log))

    values = {}
    for name in ("error.class", "error.rank", "error.nature", "rank.exit_code", "run.world_size"):
        signal = read_signal(name, context)
        assert signal is not None
        values[name] = signal.value

    assert values == {
        "error.class": "torch.distributed.DistBackendError",
        "error.rank": 1,
        "error.nature": "lost_peer",
        "rank.exit_code": 1,
        "run.world_size": 2,
    }


@pytest.mark.parametrize(("code", "number"), [(-11, 11), (139, 11), (-1, 1), (137, 9)])
def test_the_signal_that_ended_a_process_is_read_from_either_form_of_its_code(
    code: int, number: int
):
    history = read(TRAINING + bar(24))
    history.add(RunEnded(2.0, code))

    signal = read_signal("run.killed_by", Context(history.snapshot()))

    assert signal is not None
    assert signal.value == number


@pytest.mark.parametrize("code", [0, 1, 2, 128, 255, -200])
def test_an_exit_code_that_is_no_signals_names_none(code: int):
    history = read(TRAINING + bar(24))
    history.add(RunEnded(2.0, code))

    assert read_signal("run.killed_by", Context(history.snapshot())) is None


def test_a_live_trainings_silence_is_told_in_its_own_steps():
    assert silence(TRAINING + bar(24), at=1.0 + 2.83 * 40) == pytest.approx(40)


def test_silence_is_unknown_without_a_pace_and_without_a_process():
    assert silence(process_rank() + "Loading\n", at=9_999.0) is None
    assert silence(TRAINING + bar(24), at=9_999.0, alive=False) is None


@pytest.mark.parametrize(("seconds", "told"), [(600, False), (1_200, True)])
def test_several_live_ranks_that_are_silent_for_long_are_told_as_a_hang(
    seconds: int, *, told: bool
):
    rules = load_rules()
    history = read(process_rank() + TRAINING + bar(24))
    history.add(ProcessState(1.0 + seconds, "host", alive=True, pids=(1, 2)))

    found = diagnose(rules.rules, Context(history.snapshot()))

    assert ("dist.hang" in {finding.id for finding in found.findings}) is told


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("ValueError: pasted alone\n", 1),
        (TRAINING + "ValueError: pasted alone\n" + bar(24) + LOSS, 0),
        (TRAINING + bar(100) + "ValueError: of a callback\n" + FINISHED, 0),
        (caught("ValueError: of a logger", STEP) + TRAINING + bar(24), 0),
        (TRAINING + bar(24) + "ValueError: pasted alone\n" + torchrun(1), 1),
    ],
)
def test_a_lone_exception_line_stands_for_an_error_only_where_nothing_acquits_it(
    log: str, expected: int
):
    snapshot = seen(log)
    named = [line for line in snapshot.log if "ValueError" in line.text]

    assert len(named) == 1
    assert len(lone_errors(Context(snapshot), named)) == expected


def test_hostile_lines_never_raise():
    noise = "\x00\x1b[31mTraceback (most recent call last):\r\n" * 300
    log = noise + "[rank99999]: " + "x" * 10_000 + '\n  File "", line 1, in \n' * 600 + ": \n" * 99

    assert failures(seen(log)) == () or root(log) != ""


def test_a_wait_of_hccl_tells_only_of_another_rank():
    waited = (
        "RuntimeError: InnerRunOpApi:torch_npu/csrc/framework/OpParamMaker.cpp:281 OPS function "
        "error: HcclAllreduce, error code is 6\n"
        "[ERROR] 2025-04-08-18:07:20 (PID:1292363, Device:1, RankID:1) ERR01100 OPS call acl api "
        "failed.\nEI0006: [PID: 1292363] 2025-04-08-18:07:20.444 Getting socket times out."
    )
    snapshot = seen(TRAINING + traceback(waited, STEP, 1))
    assert nature(root_chain(snapshot)) is Nature.LOST_PEER


@pytest.mark.parametrize("function", ["socketProgressOpt", "ncclNetIsend", "socketStartConnect"])
def test_a_function_that_nccl_names_is_no_error_of_its_own(function: str):
    lost = NCCL_LOST.rpartition("\n")[0] + f"\n{function}: Call to recv from 10.0.0.5<4071> failed"
    assert nature(root_chain(seen(TRAINING + traceback(lost, STEP, 1)))) is Nature.LOST_PEER
