"""Errors that did not end the run: of a former attempt, caught, printed aside, or outweighed."""

import pytest

from diagnostics.causes import Nature, Role, failures, nature, root_chain, root_exit
from diagnostics.observations import ProcessState, RunEnded
from tests.cause_logs import (
    COLLECTIVE,
    DURING,
    FINISHED,
    KILL,
    LAUNCH,
    LOAD,
    LOSS,
    LOST,
    SAVED,
    SITE,
    STEP,
    TRAINING,
    bar,
    caught,
    process_rank,
    read,
    roles,
    root,
    root_message,
    seen,
    torchrun,
    traceback,
)

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
