import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from diagnostics.errors import RunError
from diagnostics.runs.processes import ProcessId, identify, is_alive
from diagnostics.runs.stop import send_signal, stop_run
from tests.runs.standins import as_nobody, kill, wait_until

TRAIN = ("llamafactory-cli", "train", "train.yaml")
TORCHRUN = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2"}


def sent(outcome) -> list[tuple[int, str]]:
    return [(item.process.pid, item.number.name) for item in outcome.signalled]


def test_a_single_process_is_interrupted_and_writes_its_last_words(standins):
    process = standins.start(*TRAIN)
    outcome = stop_run(standins.one_run())
    assert outcome.survivors == ()
    assert sent(outcome) == [(process.pid, "SIGINT")]
    assert process.wait() == -signal.SIGINT
    assert "KeyboardInterrupt" in (standins.folder / "train.log").read_text()
    assert standins.living() == []


def test_a_torchrun_run_is_stopped_by_its_launcher_alone(standins):
    standins.start(*TRAIN, environ=TORCHRUN)
    run = standins.one_run(ranks=2)
    assert run.launcher is not None
    outcome = stop_run(run)
    assert outcome.survivors == ()
    assert sent(outcome) == [(run.launcher.pid, "SIGTERM")]
    assert standins.living() == []


def test_a_process_started_with_interrupts_ignored_is_terminated(standins):
    process = standins.start(*TRAIN, ignore_interrupt=True)
    outcome = stop_run(standins.one_run())
    assert outcome.survivors == ()
    assert sent(outcome) == [(process.pid, "SIGTERM")]
    assert process.wait() == -signal.SIGTERM


def test_a_training_that_handles_sigterm_gets_it_to_save_its_checkpoint(standins):
    process = standins.start(*TRAIN, environ={"STANDIN_SAVES_ON_TERM": "1"})
    outcome = stop_run(standins.one_run())
    assert outcome.survivors == ()
    assert sent(outcome) == [(process.pid, "SIGTERM")]
    assert process.wait() == 7


def test_an_interrupt_without_effect_is_followed_by_sigterm(standins):
    process = standins.start(*TRAIN, environ={"STANDIN_SWALLOWS_INT": "1"})
    outcome = stop_run(standins.one_run(), grace_s=2.0)
    assert outcome.survivors == ()
    assert sent(outcome) == [(process.pid, "SIGINT"), (process.pid, "SIGTERM")]


def test_a_stopped_process_is_woken_to_die(standins):
    process = standins.start(*TRAIN)
    run = standins.one_run()
    kill(process.pid, signal.SIGSTOP)
    outcome = stop_run(run)
    assert outcome.survivors == ()
    assert standins.living() == []


def test_a_stopped_rank_does_not_hold_up_the_others(standins):
    standins.start(*TRAIN, environ=TORCHRUN)
    run = standins.one_run(ranks=2)
    kill(run.ranks[1].pid, signal.SIGSTOP)
    outcome = stop_run(run)
    assert outcome.survivors == ()
    assert standins.living() == []


def test_orphaned_ranks_are_terminated_one_by_one(standins):
    standins.start(*TRAIN, environ=TORCHRUN)
    before = standins.one_run(ranks=2)
    assert before.launcher is not None
    kill(before.root.pid, signal.SIGKILL)
    kill(before.launcher.pid, signal.SIGKILL)
    wait_until(lambda: identify(before.root.pid) is None)
    run = standins.one_run(ranks=2)
    assert run.orphaned
    outcome = stop_run(run)
    assert outcome.survivors == ()
    assert sent(outcome) == [(rank.pid, "SIGTERM") for rank in before.ranks]
    assert standins.living() == []


def test_a_run_whose_launcher_died_since_it_was_found_is_stopped_all_the_same(standins):
    standins.start(*TRAIN, environ=TORCHRUN)
    run = standins.one_run(ranks=2)
    assert run.launcher is not None
    kill(run.root.pid, signal.SIGKILL)
    kill(run.launcher.pid, signal.SIGKILL)
    wait_until(lambda: identify(run.root.pid) is None)
    outcome = stop_run(run)
    assert outcome.survivors == ()
    assert standins.living() == []


def test_a_run_whose_torchrun_was_killed_is_stopped_while_its_entrance_still_ends(standins):
    standins.start(*TRAIN, environ={**TORCHRUN, "STANDIN_OUTLIVES": "1"})
    before = standins.one_run(ranks=2)
    assert before.launcher is not None
    kill(before.launcher.pid, signal.SIGKILL)
    wait_until(lambda: identify(before.launcher.pid) is None)
    run = standins.one_run(ranks=2)
    assert run.root == before.root
    outcome = stop_run(run, grace_s=8.0)
    assert outcome.survivors == ()
    assert sent(outcome)[:2] == [(rank.pid, "SIGTERM") for rank in run.ranks]
    assert standins.living() == []


def test_torchrun_whose_entrance_was_killed_is_stopped(standins):
    process = standins.start(*TRAIN, environ=TORCHRUN)
    standins.one_run(ranks=2)
    kill(process.pid, signal.SIGKILL)
    process.wait()
    outcome = stop_run(standins.one_run(ranks=2))
    assert outcome.survivors == ()
    assert standins.living() == []


def test_accelerate_on_one_gpu_is_stopped_by_its_script(standins):
    process = standins.start("accelerate", "launch", str(standins.train_script), "train.yaml")
    run = standins.one_run()
    outcome = stop_run(run)
    assert outcome.survivors == ()
    assert sent(outcome) == [(run.ranks[0].pid, "SIGINT")]
    process.wait()
    assert standins.living() == []


def test_deepspeed_is_stopped_by_the_launcher_nearest_to_the_ranks(standins):
    standins.start("deepspeed", str(standins.train_script), "--stage", "sft")
    run = standins.one_run(ranks=2)
    assert run.launcher is not None
    outcome = stop_run(run)
    assert outcome.survivors == ()
    assert sent(outcome) == [(run.launcher.pid, "SIGTERM")]
    assert standins.living() == []


def test_workers_that_outlive_their_trainer_are_ended_too(standins):
    process = standins.start(*TRAIN, environ={"STANDIN_WORKERS": "2"})
    run = standins.one_run(members=3)
    outcome = stop_run(run, grace_s=8.0)
    assert outcome.survivors == ()
    assert sent(outcome)[0] == (process.pid, "SIGINT")
    assert {pid for pid, _ in sent(outcome)} == {member.pid for member in run.members}
    assert standins.living() == []


def test_a_process_started_during_the_stop_is_found_and_ended(standins):
    process = standins.start(*TRAIN, environ={"STANDIN_LEAVES_CHILD": "1"})
    outcome = stop_run(standins.one_run(), grace_s=12.0)
    assert outcome.survivors == ()
    assert len(outcome.signalled) == 2
    assert outcome.signalled[0].process.pid == process.pid
    assert standins.living() == []


def test_what_resists_is_reported_and_not_killed(standins):
    process = standins.start(*TRAIN, environ={"STANDIN_IGNORES": "1"})
    run = standins.one_run()
    outcome = stop_run(run, grace_s=0.5)
    assert outcome.survivors == (run.root,)
    assert sent(outcome) == [(process.pid, "SIGTERM")]
    assert is_alive(run.root)


def test_what_resists_is_killed_where_that_was_asked_for(standins):
    process = standins.start(*TRAIN, environ={"STANDIN_IGNORES": "1", "STANDIN_WORKERS": "1"})
    outcome = stop_run(standins.one_run(members=2), grace_s=0.5, kill_after_grace=True)
    assert outcome.survivors == ()
    assert (process.pid, "SIGKILL") in sent(outcome)
    assert process.wait() == -signal.SIGKILL
    assert standins.living() == []


def test_a_reused_pid_is_never_signalled(standins):
    standins.start(*TRAIN)
    run = standins.one_run()
    earlier = ProcessId(run.root.pid, run.root.started_ticks - 1)
    stale = replace(run, root=earlier, ranks=(earlier,), members=(earlier,))
    outcome = stop_run(stale)
    assert (outcome.survivors, outcome.signalled) == ((), ())
    assert is_alive(run.root)
    assert not send_signal(earlier, signal.SIGKILL)
    assert is_alive(run.root)


def test_another_run_of_the_same_config_goes_on(standins):
    first = standins.start(*TRAIN)
    run = standins.one_run()
    second = standins.start(*TRAIN)
    wait_until(lambda: len(standins.runs()) == 2)
    outcome = stop_run(run)
    assert sent(outcome) == [(first.pid, "SIGINT")]
    assert standins.living() == [second.pid]


def test_a_run_that_has_ended_needs_no_signal(standins):
    process = standins.start(*TRAIN)
    run = standins.one_run()
    kill(process.pid, signal.SIGKILL)
    process.wait()
    outcome = stop_run(run)
    assert (outcome.survivors, outcome.signalled) == ((), ())


def test_neither_init_nor_a_number_that_is_no_pid_is_signalled():
    init = identify(1)
    assert init is not None
    for process in (init, ProcessId(0, 0), ProcessId(-1, 0), ProcessId(2**31 - 2, 1)):
        assert not send_signal(process, signal.SIGCONT)


def test_the_stop_tells_what_it_does(standins):
    process = standins.start(*TRAIN)
    lines: list[str] = []
    stop_run(standins.one_run(), on_progress=lines.append)
    assert lines == [f"SIGINT to pid {process.pid}"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_another_users_process_is_refused_before_anything_is_signalled(standins):
    own = standins.start(*TRAIN)
    run = standins.one_run()
    foreign = as_nobody(["sleep", "60"])
    try:
        known = identify(foreign.pid)
        assert known is not None
        mixed = replace(run, members=(run.root, known))
        with pytest.raises(RunError, match="belongs to nobody, not to you; nothing was stopped"):
            stop_run(mixed)
        assert own.poll() is None
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_process_that_may_not_be_signalled_is_said_with_its_pid():
    script = (
        "import os, signal, sys\n"
        "from diagnostics.errors import RunError\n"
        "from diagnostics.runs.processes import identify\n"
        "from diagnostics.runs.stop import send_signal\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        "    send_signal(identify(int(sys.argv[1])), signal.SIGTERM)\n"
        "except RunError as error:\n"
        "    print(error)\n"
    )
    root = Path(__file__).parents[2]
    target = subprocess.Popen(["sleep", "60"])
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(target.pid)],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"pid {target.pid}: may not be signalled" in done.stdout
        assert target.poll() is None
    finally:
        target.kill()
        target.wait()
