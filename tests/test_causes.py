"""Which error ended a run: logs as they are printed, through the parser and the history."""

import pytest

from diagnostics.causes import Nature, Role, failures, nature, root_chain, root_exit
from tests.cause_logs import (
    COLLECTIVE,
    DIRECT,
    DURING,
    LAUNCH,
    LOAD,
    LOST,
    NCCL_LOST,
    OOM,
    SITE,
    STEP,
    TRAINING,
    UNIQUE_ID,
    bar,
    caught,
    prefixed,
    process_rank,
    roles,
    root,
    seen,
    torchrun,
    traceback,
)


def test_the_one_error_of_a_single_process_is_its_root():
    log = process_rank(world=1) + TRAINING + bar(24) + traceback("KeyError: 'x'", STEP)

    assert roles(log) == [(Role.ROOT, "KeyError")]


def test_a_direct_cause_and_its_consequence_are_one_chain():
    log = traceback("ValueError: bad byte") + DIRECT + traceback("OSError: cannot load", LOAD)

    assert [one.exception for one in root_chain(seen(log))] == ["ValueError", "OSError"]


def test_a_chain_holds_together_where_a_message_ends_in_blank_lines():
    cuda = "RuntimeError: CUDA error: device-side assert triggered\nCompile with `DSA`.\n\n"
    log = traceback(cuda, STEP) + DURING + traceback("KeyError: 'cleanup'")

    assert [one.exception for one in root_chain(seen(log))] == ["RuntimeError", "KeyError"]


def test_the_lines_of_a_chain_may_lie_apart_among_those_of_other_ranks():
    first = prefixed(traceback("ValueError: bad byte") + DIRECT + traceback("OSError: no"), 0)
    second = prefixed(traceback("ValueError: bad byte") + DIRECT + traceback("OSError: no"), 1)
    lines = zip(first.splitlines(), second.splitlines(), strict=True)
    log = "".join(f"{one}\n{other}\n" for one, other in lines)

    found = failures(seen(log))

    assert [len(failure.chain) for failure in found] == [2, 2]
    assert [failure.role for failure in found] == [Role.ROOT, Role.CASCADE]


def test_two_errors_one_after_the_other_are_no_chain():
    log = traceback("ValueError: one") + "\n\n" + traceback("KeyError: 'two'")

    assert [len(failure.chain) for failure in failures(seen(log))] == [1]
    assert root(log) == "KeyError"


def test_an_error_in_a_loader_worker_is_told_with_the_workers_own_traceback():
    log = TRAINING + traceback(
        "ValueError: Caught ValueError in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n"
        f'  File "{SITE}/torch/utils/data/_utils/fetch.py", line 52, in fetch\n'
        "    data = [self.dataset[idx] for idx in batch]\n"
        "ValueError: image is broken"
    )

    chain = root_chain(seen(log))

    assert [one.message for one in chain] == [
        "Caught ValueError in DataLoader worker process 0.",
        "image is broken",
    ]


def test_an_error_in_a_preprocessing_worker_is_told_with_the_remote_traceback():
    remote = caught("KeyError: 'instruction'", (f"{SITE}/multiprocess/pool.py:worker",))
    log = (
        'multiprocess.pool.RemoteTraceback: \n"""\n'
        + remote
        + '"""\n'
        + DIRECT
        + traceback("KeyError: 'instruction'", (f"{SITE}/datasets/arrow_dataset.py:map",))
    )

    assert len(root_chain(seen(log))) == 2


def test_torchruns_word_on_which_rank_failed_first_is_taken():
    log = (
        LAUNCH
        + process_rank()
        + TRAINING
        + bar(24)
        + traceback("KeyError: 'peer'", STEP, 0)
        + traceback("ValueError: mine", STEP, 1)
        + torchrun(1, others=[(0, 1)])
    )

    assert roles(log) == [
        (Role.CASCADE, "KeyError"),
        (Role.ROOT, "ValueError"),
        (Role.TEARDOWN, "ChildFailedError"),
        (Role.TEARDOWN, "CalledProcessError"),
    ]


def test_a_victim_that_torchrun_saw_first_is_no_root_where_another_rank_has_an_error_of_its_own():
    log = (
        process_rank()
        + TRAINING
        + bar(24)
        + traceback(NCCL_LOST, STEP, 0)
        + traceback(OOM, STEP, 1)
        + torchrun(0)
    )

    assert root(log) == "torch.OutOfMemoryError"


@pytest.mark.parametrize(
    "logger",
    [
        "[2024-03-01 10:00:00,000] torch.distributed.elastic.multiprocessing.api: [ERROR] ",
        "ERROR:torch.distributed.elastic.multiprocessing.api:",
        "E0602 11:17:40.687107 8981 torch/distributed/elastic/multiprocessing/api.py:869] ",
    ],
)
def test_the_rank_is_known_from_every_wording_of_torchrun_where_its_block_is_cut_off(logger: str):
    failed = f"{logger}failed (exitcode: 1) local_rank: 1 (pid: 4410) of binary: /bin/python\n"
    end = root_exit(seen(traceback("KeyError: 'x'", STEP) + failed))

    assert end is not None
    assert (end.rank, end.exit_code) == (1, 1)


def test_ranks_that_torchrun_ended_are_not_the_first_to_end():
    block = torchrun(1, -11, others=[(0, -15)])

    end = root_exit(seen(process_rank() + TRAINING + block))

    assert end is not None
    assert (end.rank, end.exit_code) == (1, -11)


def test_a_rank_that_was_killed_leaves_no_root_among_those_who_lost_it():
    log = process_rank() + TRAINING + bar(24) + traceback(LOST, STEP, 1) + torchrun(0, -9)

    assert roles(log)[0] == (Role.CASCADE, "RuntimeError")
    assert root(log) == ""


@pytest.mark.parametrize("lost", [LOST, NCCL_LOST, UNIQUE_ID, "RuntimeError: Socket Timeout"])
def test_without_prefixes_the_error_that_is_no_lost_connection_is_the_root(lost: str):
    log = process_rank() + traceback(lost, COLLECTIVE) + traceback("ValueError: mine", LOAD)

    assert [role for role, _ in roles(log)] == [Role.CASCADE, Role.ROOT]
    assert root(log) == "ValueError"


def test_without_prefixes_and_without_lost_connections_the_first_of_the_log_is_the_root():
    log = process_rank() + traceback("ValueError: same", LOAD) * 4

    assert [role for role, _ in roles(log)] == [Role.ROOT] + [Role.CASCADE] * 3


def test_the_interleaved_tracebacks_of_ranks_without_prefixes_still_tell_the_own_error():
    ours = traceback("ValueError: mine", LOAD).splitlines()
    theirs = traceback(LOST, COLLECTIVE).splitlines()
    mixed = [line for pair in zip(theirs, ours, strict=False) for line in pair]
    log = process_rank() + "\n".join([*mixed, *theirs[len(ours) :], *ours[len(theirs) :]]) + "\n"

    chain = root_chain(seen(log))

    assert nature(chain) is Nature.OWN
    assert any("mine" in f"{one.exception}: {one.message}" for one in chain)


def test_only_a_lost_peer_is_the_root_where_nothing_else_is_told():
    log = process_rank() + TRAINING + bar(24) + traceback(NCCL_LOST, STEP, 3) + torchrun(3)

    chain = root_chain(seen(log))

    assert chain[-1].rank == 3
    assert nature(chain) is Nature.LOST_PEER


def test_a_web_request_that_failed_is_no_lost_peer():
    error = "requests.exceptions.ConnectionError: Connection refused"

    assert nature(root_chain(seen(traceback(error, LOAD)))) is Nature.OWN


def test_accelerates_report_of_its_own_process_is_teardown():
    called = "subprocess.CalledProcessError: Command '['python', 'src/train.py']' returned 1."
    log = traceback("ValueError: mine", LOAD, script="src/train.py") + traceback(
        called, (f"{SITE}/accelerate/commands/launch.py:simple_launcher",), script="/bin/accelerate"
    )

    assert roles(log) == [(Role.ROOT, "ValueError"), (Role.TEARDOWN, "CalledProcessError")]


def test_a_command_that_failed_within_the_training_is_its_own_error():
    called = "subprocess.CalledProcessError: Command '['ninja', '-v']' returned non-zero."
    log = traceback(called, (f"{SITE}/torch/utils/cpp_extension.py:_run_ninja_build",))

    assert roles(log) == [(Role.ROOT, "CalledProcessError")]


def test_deepspeeds_launcher_tells_the_rank_that_failed():
    log = (
        traceback("KeyError: 'a'", LOAD)
        + "[2024-04-02 15:00:00,718] [INFO] [launch.py:315:sigkill_handler] Killing subprocess 7\n"
        + "[2024-04-02 15:00:00,196] [ERROR] [launch.py:321:sigkill_handler] ['python', '-u', "
        + "'src/train_bash.py', '--local_rank=6'] exits with return code = 1\n"
    )

    end = root_exit(seen(log))

    assert root(log) == "KeyError"
    assert end is not None
    assert end.rank == 6


def test_a_launchers_report_alone_is_no_root():
    signal = (
        "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 1"
    )
    log = process_rank() + TRAINING + bar(24) + traceback(signal, script="/bin/torchrun")

    assert roles(log) == [(Role.TEARDOWN, "SignalException")]
    assert root(log) == ""
