"""Which error ended a run: logs as they are printed, through the parser and the history."""

from collections.abc import Sequence

import pytest

from diagnostics.causes import Nature, Role, failures, nature, root_chain, root_exit
from diagnostics.engine import diagnose
from diagnostics.history import History, Snapshot
from diagnostics.observations import ProcessState, RunEnded
from diagnostics.parsing.console import ConsoleParser
from diagnostics.ruleset import load_rules
from diagnostics.signals import Context, read_signal
from diagnostics.signals.errors import lone_errors

SITE = "/opt/conda/lib/python3.11/site-packages"
LAUNCHER = f"{SITE}/llamafactory/launcher.py"
STEP = (f"{SITE}/transformers/trainer.py:training_step",)
LOAD = (f"{SITE}/transformers/modeling_utils.py:from_pretrained",)
COLLECTIVE = (f"{SITE}/torch/distributed/distributed_c10d.py:all_reduce",)

LAUNCH = (
    "[INFO|2025-06-02 11:05:50] llamafactory.launcher:143 >> "
    "Initializing 2 distributed tasks at: 127.0.0.1:37125\n"
)
TRAINING = """\
[INFO|trainer.py:2414] 2025-06-02 11:06:32,091 >> ***** Running training *****
[INFO|trainer.py:2422] 2025-06-02 11:06:32,217 >>   Total optimization steps = 100
"""
LOSS = "{'loss': 1.5, 'grad_norm': 0.9, 'learning_rate': 1e-05, 'epoch': 0.25}\n"
SAVED = (
    "[INFO|trainer.py:3910] 2025-06-02 11:20:00,000 >> "
    "Saving model checkpoint to saves/a/checkpoint-50\n"
)
FINISHED = """\
{'train_runtime': 100.0, 'train_samples_per_second': 1.0, 'train_loss': 1.2, 'epoch': 1.0}
***** train metrics *****
"""
KILL = (
    "W0602 11:17:40.5 8981 torch/distributed/elastic/multiprocessing/api.py:897] "
    "Sending process 9016 closing signal SIGTERM\n"
)
DIRECT = "\nThe above exception was the direct cause of the following exception:\n\n"
DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"
LOST = (
    "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error "
    "[127.0.0.1]:63178: Connection reset by peer"
)
NCCL_LOST = """\
torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/\
ProcessGroupNCCL.cpp:1970, remote process exited or there was a network error, NCCL version 2.20.5
ncclRemoteError: A call failed possibly due to a network error or a remote process exiting.
Last error:
socketProgress: Connection closed by remote peer node-1<43047>"""
UNIQUE_ID = (
    "torch.distributed.DistBackendError: [1] is setting up NCCL communicator and retrieving "
    "ncclUniqueId from [0] via c10d key-value store by key '0', but store->get('0') got error: "
    "Connection reset by peer. This may indicate a possible application crash on rank 0."
)
OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total "
    "capacity of 23.65 GiB of which 1.20 GiB is free."
)


def process_rank(rank: int = 0, world: int = 2) -> str:
    return (
        f"[INFO|2025-06-02 11:06:00] llamafactory.hparams.parser:143 >> Process rank: {rank}, "
        f"world size: {world}, device: cuda:{rank}, distributed training: {world > 1}, "
        "compute dtype: torch.bfloat16\n"
    )


def bar(done: int, total: int = 100) -> str:
    return f" {done}%|##        | {done}/{total} [01:07<1:21:30,  2.83s/it]\n"


def traceback(
    error: str, frames: Sequence[str] = (), rank: int | None = None, script: str = LAUNCHER
) -> str:
    """An uncaught error: its traceback begins at the script's own code."""
    return caught(error, (f"{script}:<module>", *frames), rank)


def caught(error: str, frames: Sequence[str], rank: int | None = None) -> str:
    """An error that somebody caught and printed: its traceback begins where it was caught."""
    lines = ["Traceback (most recent call last):"]
    for frame in frames:
        path, _, function = frame.rpartition(":")
        lines += [f'  File "{path}", line 12, in {function}', "    work()"]
    lines += error.split("\n")
    prefix = f"[rank{rank}]: " if rank is not None else ""
    return "".join(f"{prefix}{line}\n" for line in lines)


def prefixed(text: str, rank: int) -> str:
    return "".join(f"[rank{rank}]: {line}\n" for line in text.splitlines())


def torchrun(rank: int, code: int = 1, others: Sequence[tuple[int, int]] = ()) -> str:
    """The end as torchrun of PyTorch 2.4 and later tells it, and LLaMA-Factory's launcher."""
    signal = " (SIGKILL)" if code == -9 else ""
    rest = "".join(
        f"[{index}]:\n  time      : 2025-06-02_11:17:40\n  host      : node-0\n"
        f"  rank      : {other} (local_rank: {other})\n"
        f"  exitcode  : {ended} (pid: {9000 + other})\n"
        "  error_file: <N/A>\n"
        for index, (other, ended) in enumerate(others, 1)
    )
    block = (
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
        + "=" * 60
        + f"\n{LAUNCHER} FAILED\n"
        + "-" * 60
        + "\nFailures:\n"
        + (rest or "  <NO_OTHER_FAILURES>\n")
        + "-" * 60
        + "\nRoot Cause (first observed failure):\n[0]:\n  time      : 2025-06-02_11:17:40\n"
        f"  host      : node-0\n  rank      : {rank} (local_rank: {rank})\n"
        f"  exitcode  : {code} (pid: {9000 + rank}){signal}\n  error_file: <N/A>\n" + "=" * 60
    )
    called = "subprocess.CalledProcessError: Command '['torchrun', '--nnodes', '1']' returned "
    return (
        KILL
        + f"E0602 11:17:40.6 8981 torch/distributed/elastic/multiprocessing/api.py:869] failed "
        f"(exitcode: {code}) local_rank: {rank} (pid: {9000 + rank}) of binary: /opt/bin/python\n"
        + traceback(block, (f"{SITE}/torch/distributed/run.py:run",), script="/bin/torchrun")
        + traceback(
            f"{called}non-zero exit status 1.",
            (f"{SITE}/llamafactory/launcher.py:launch", "/usr/lib/python3.11/subprocess.py:run"),
            script="/bin/llamafactory-cli",
        )
    )


def read(log: str) -> History:
    history = History()
    parser = ConsoleParser("stdout.log")
    for observation in (*parser.feed(log.encode(), 1.0), *parser.finish(1.0)):
        history.add(observation)
    return history


def seen(log: str) -> Snapshot:
    return read(log).snapshot()


def root(log: str) -> str:
    """The class of the error that ended the run; "" where none did."""
    chain = root_chain(seen(log))
    return chain[-1].exception if chain else ""


def root_message(log: str) -> str:
    chain = root_chain(seen(log))
    return chain[-1].message.partition("\n")[0] if chain else ""


def roles(log: str) -> list[tuple[Role, str]]:
    return [
        (failure.role, failure.chain[-1].exception.rpartition(".")[2])
        for failure in failures(seen(log))
    ]


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


def test_the_last_of_several_launches_in_one_log_counts():
    first = LAUNCH + process_rank() + traceback("ValueError: first", LOAD, 0) + torchrun(0)
    second = LAUNCH + process_rank() + traceback("KeyError: 'second'", LOAD, 1) + torchrun(1)

    found = failures(seen(first + second))

    assert [failure.chain[-1].exception for failure in found if failure.role is Role.ROOT] == [
        "KeyError"
    ]
    assert "ValueError" not in {failure.chain[-1].exception for failure in found}
    end = root_exit(seen(first + second))
    assert end is not None
    assert end.rank == 1


def test_a_second_launch_that_fails_before_it_says_anything_counts_too():
    first = process_rank() + traceback("ValueError: first", LOAD, 0) + torchrun(0)

    assert root(first + traceback("KeyError: 'second'", rank=0) + torchrun(0)) == "KeyError"


def test_an_elastic_restart_makes_the_error_before_it_a_former_attempts():
    first = process_rank() + process_rank(1) + traceback("ValueError: first", LOAD, 0)
    second = process_rank() + process_rank(1) + traceback("KeyError: 'second'", LOAD, 1)

    assert roles(first + KILL + second + torchrun(1))[0] == (Role.ROOT, "KeyError")


def test_a_single_process_that_starts_again_makes_its_former_error_a_former_attempts():
    first = process_rank(world=1) + traceback("ValueError: first", LOAD)

    assert root(first) == "ValueError"
    assert roles(first + process_rank(world=1)) == []


def test_a_rank_that_fails_before_rank_0_has_told_itself_is_no_former_attempt():
    log = LAUNCH + traceback("RuntimeError: no device", rank=1) + process_rank() + torchrun(1)

    assert root(log) == "RuntimeError"


def test_an_error_from_before_a_training_that_goes_well_is_none():
    first = process_rank(world=1) + traceback("ValueError: first", LOAD)
    log = first + process_rank(world=1) + TRAINING + bar(24) + LOSS

    assert roles(log) == []
    assert roles(log + FINISHED) == []


def test_a_callbacks_error_that_was_printed_is_none_once_training_goes_on():
    printed = caught("TimeoutError: upload timed out", (f"{SITE}/swanlab/log.py:upload",))
    log = process_rank(world=1) + TRAINING + bar(24) + printed + bar(25) + LOSS

    assert roles(log) == []
    assert roles(log + FINISHED) == []
    assert root(log + traceback("KeyError: 'real'", STEP)) == "KeyError"


def test_an_error_that_was_printed_is_none_once_a_checkpoint_is_saved_after_it():
    printed = caught("OSError: no space for events", (f"{SITE}/tensorboardX/writer.py:flush",))

    assert roles(process_rank(world=1) + TRAINING + bar(24) + printed + SAVED) == []


def test_an_error_that_was_caught_is_none_while_its_process_lives():
    printed = caught("TimeoutError: upload timed out", (f"{SITE}/swanlab/log.py:upload",))
    history = read(TRAINING + bar(24) + printed)
    assert [failure.role for failure in failures(history.snapshot())] == [Role.ROOT]

    history.add(ProcessState(2.0, "host", alive=True, pids=(1,)))

    assert failures(history.snapshot()) == ()


def test_losses_that_a_pipe_held_back_do_not_acquit_an_uncaught_error():
    log = process_rank(world=1) + TRAINING + bar(24) + traceback("KeyError: 'x'", STEP) + LOSS * 9

    assert root(log) == "KeyError"


def test_a_good_exit_code_acquits_every_error():
    history = read(TRAINING + bar(24) + traceback("KeyError: 'x'", STEP))
    history.add(RunEnded(2.0, 0))

    assert failures(history.snapshot()) == ()


def test_an_error_after_the_training_finished_counts():
    log = TRAINING + bar(100) + FINISHED + traceback("ImportError: no matplotlib")

    assert root(log) == "ImportError"


ASIDES = {
    "a thread's": (
        "Exception in thread Thread-auto_conversion:\n"
        + caught(
            "OSError: Could not create safetensors conversion PR.",
            (
                "/usr/lib/python3.11/threading.py:_bootstrap_inner",
                f"{SITE}/transformers/safetensors_conversion.py:auto_conversion",
            ),
        )
    ),
    "a finalizer's": (
        "Exception ignored in: <function DeepSpeedCPUAdam.__del__ at 0x7f2b>\n"
        + caught(
            "AttributeError: 'DeepSpeedCPUAdam' object has no attribute 'ds_opt_adam'",
            (f"{SITE}/deepspeed/ops/adam/cpu_adam.py:__del__",),
        )
    ),
    "an exit function's": (
        "Error in atexit._run_exitfuncs:\n"
        + caught("BrokenPipeError: [Errno 32]", (f"{SITE}/wandb/sdk/lib/exit.py:teardown",))
    ),
    "the logger's": (
        "--- Logging error ---\n"
        + caught("OSError: [Errno 28]", ("/usr/lib/python3.11/logging/__init__.py:emit",))
        + "Call stack:\n"
        + '  File "/opt/a.py", line 1, in <module>\n'
    ),
    "the resource tracker's": caught(
        "KeyError: '/mp-abc'", ("/usr/lib/python3.11/multiprocessing/resource_tracker.py:main",)
    ),
}


@pytest.mark.parametrize("aside", ASIDES.values(), ids=ASIDES)
def test_an_error_that_ends_no_process_is_no_root(aside: str):
    assert root(process_rank(world=1) + TRAINING + bar(24) + aside) == ""


@pytest.mark.parametrize("aside", ASIDES.values(), ids=ASIDES)
def test_an_error_raised_while_a_process_ends_follows_from_the_one_that_ended_it(aside: str):
    log = process_rank(world=1) + TRAINING + bar(24) + traceback("KeyError: 'x'", STEP) + aside

    found = roles(log)

    assert found[0] == (Role.ROOT, "KeyError")
    assert {role for role, _ in found[1:]} <= {Role.TEARDOWN}


def test_an_error_of_its_own_outweighs_somebodys_interrupt_of_the_other_ranks():
    log = (
        process_rank()
        + TRAINING
        + bar(24)
        + traceback("KeyboardInterrupt", COLLECTIVE, 0)
        + traceback("KeyError: 'x'", STEP, 1)
    )

    assert root(log) == "KeyError"


def test_an_interrupt_while_a_queue_was_empty_is_an_interrupt():
    empty = traceback("_queue.Empty", (f"{SITE}/torch/utils/data/dataloader.py:_try_get_data",))
    log = TRAINING + bar(24) + empty + DURING + traceback("KeyboardInterrupt", STEP)

    assert nature(root_chain(seen(log))) is Nature.STOPPED


def test_a_log_of_abridged_tracebacks_still_tells_its_error():
    abridged = caught("KeyError: 'x'", (f"{SITE}/llamafactory/train/tuner.py:run_exp",))

    assert root(process_rank() + TRAINING + bar(24) + abridged + torchrun(0)) == "KeyError"


def test_an_uncaught_error_outweighs_what_another_rank_caught():
    printed = caught("TimeoutError: upload timed out", (f"{SITE}/swanlab/log.py:upload",), 0)
    log = process_rank() + TRAINING + bar(24) + printed + traceback(LOST, STEP, 1) + torchrun(1)

    assert root_message(log).endswith("Connection reset by peer")


def test_many_ranks_that_fail_alike_have_one_root():
    log = process_rank(world=200) + "".join(
        traceback("ValueError: same", LOAD, rank) for rank in range(200)
    )

    found = failures(seen(log + torchrun(7)))

    assert [failure.rank for failure in found if failure.role is Role.ROOT] == [7]
    assert len(found) == 202


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


def silence(log: str, *, at: float, alive: bool = True) -> float | None:
    history = read(log)
    history.add(ProcessState(at, "host", alive=alive, pids=(1,)))
    signal = read_signal("run.silent_intervals", Context(history.snapshot()))
    return None if signal is None else float(str(signal.value))


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
