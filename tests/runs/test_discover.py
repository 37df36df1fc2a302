import os
import pty
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diagnostics.errors import RunError
from diagnostics.runs.discover import find_run, find_runs
from diagnostics.runs.proc import (
    Sink,
    read_cwd,
    read_environ,
    read_leader,
    read_limits,
    read_process,
    read_signal_masks,
    read_sink,
    read_uid,
)
from diagnostics.runs.processes import identify
from diagnostics.runs.programs import program
from tests.runs.standins import as_nobody, kill, wait_until

TRAIN = ("llamafactory-cli", "train", "train.yaml")


TORCHRUN = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2"}


def rank_of(pid: int) -> str:
    return read_environ(pid)["RANK"]


def test_a_single_process_is_one_run_with_itself_as_the_only_rank(standins):
    before = time.time()
    process = standins.start(*TRAIN, "learning_rate=1e-5", environ={"WANDB_PROJECT": "x=y"})
    run = standins.one_run()
    assert run.root == identify(process.pid)
    assert run.ranks == run.members == (run.root,)
    assert run.launcher is None
    assert run.argv[1:] == (
        str(standins.bin / "llamafactory-cli"),
        "train",
        "train.yaml",
        "learning_rate=1e-5",
    )
    assert run.cwd == standins.folder
    assert run.environ["WANDB_PROJECT"] == "x=y"
    assert run.log_paths == (standins.folder / "train.log",)
    assert run.log_sink == "file"
    assert not run.board
    assert not run.simulated
    assert not run.orphaned
    assert before - 2 < run.started_at < time.time() + 2


def test_a_torchrun_tree_is_one_run_with_its_ranks_in_order(standins):
    process = standins.start(*TRAIN, environ=TORCHRUN)
    run = standins.one_run(ranks=2)
    assert run.root.pid == process.pid
    assert run.argv[2:] == ("train", "train.yaml")
    assert run.launcher is not None
    assert run.launcher.pid not in {run.root.pid, *(rank.pid for rank in run.ranks)}
    assert [rank_of(rank.pid) for rank in run.ranks] == ["0", "1"]
    assert set(run.members) == {run.root, run.launcher, *run.ranks}
    assert not run.orphaned


def test_torchrun_by_hand_is_a_run_whose_root_is_its_launcher(standins):
    script = str(standins.folder / "llamafactory" / "launcher.py")
    process = standins.start("torchrun", "--nproc_per_node", "2", script, "train.yaml")
    run = standins.one_run(ranks=2)
    assert run.root.pid == process.pid
    assert run.launcher == run.root


def test_forked_workers_are_members_and_no_ranks(standins):
    standins.start(*TRAIN, environ={"STANDIN_WORKERS": "3"})
    run = standins.one_run(members=4)
    assert run.ranks == (run.root,)


def test_forked_workers_of_ranks_are_members_and_no_ranks(standins):
    standins.start(*TRAIN, environ={**TORCHRUN, "STANDIN_WORKERS": "2"})
    run = standins.one_run(ranks=2, members=8)
    assert run.launcher is not None


def test_the_same_config_started_twice_is_two_runs(standins):
    pids = {standins.start(*TRAIN).pid, standins.start(*TRAIN).pid}
    wait_until(lambda: {run.root.pid for run in standins.runs()} == pids)
    assert all(len(run.members) == 1 for run in standins.runs())


@pytest.mark.parametrize(
    "wrapper",
    [
        ("sh", "-c", "llamafactory-cli train train.yaml; true"),
        ("timeout", "100", *TRAIN),
        ("nohup", *TRAIN),
        ("nice", "sh", "-c", "timeout 100 llamafactory-cli train train.yaml; true"),
    ],
)
def test_a_wrapper_is_not_the_run_that_it_started(standins, wrapper):
    standins.start(*wrapper)
    run = standins.one_run()
    assert Path(run.argv[0]).name.startswith("python")
    assert run.argv[2:] == ("train", "train.yaml")
    assert run.members == (run.root,)


def test_what_only_bears_the_words_of_a_training_is_no_run(standins):
    idle = "import time; time.sleep(100)"
    carriers = [
        standins.start("tail", "-f", "train.yaml"),
        standins.start("sh", "-c", "sleep 100; : llamafactory-cli train train.yaml"),
        standins.start(sys.executable, "-c", idle, "llamafactory-cli", "train", "train.yaml"),
        standins.start("timeout", "100", "sleep", "100"),
    ]
    for name in ("vim", "grep", "llamavet"):
        words = [name, "-c", idle, "llamafactory-cli", "train", "train.yaml"]
        carriers.append(standins.start(*words, executable=sys.executable))
    wait_until(lambda: {process.pid for process in carriers} <= set(standins.living()))
    assert standins.runs() == []
    for process in carriers:
        with pytest.raises(RunError, match="is not a LLaMA-Factory training"):
            find_run(process.pid)


def test_a_train_script_of_another_project_is_no_run(standins):
    standins.train_script.write_text("import time; time.sleep(100)")
    words = (str(standins.train_script), "train.yaml")
    alone = standins.start(sys.executable, *words)
    launched = standins.start("accelerate", "launch", *words)
    wait_until(lambda: len(standins.living()) == 3)
    assert standins.runs() == []
    for process in (alone, launched):
        with pytest.raises(RunError, match="is not a LLaMA-Factory training"):
            find_run(process.pid)


def test_a_train_script_that_starts_the_command_is_a_wrapper(standins):
    words = "import subprocess\nsubprocess.run(['llamafactory-cli', 'train', 'train.yaml'])\n"
    standins.train_script.write_text(words)
    standins.start(sys.executable, str(standins.train_script))
    run = standins.one_run()
    assert run.argv[2:] == ("train", "train.yaml")
    assert run.members == (run.root,)


def test_a_train_script_that_is_gone_is_told_by_its_folder(standins):
    standins.start(sys.executable, str(standins.train_script), "train.yaml")
    before = standins.one_run()
    standins.train_script.unlink()
    assert standins.one_run().root == before.root


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (("/x/bin/python3", "/x/bin/llamafactory-cli", "train"), "llamafactory-cli"),
        (("python", "-u", "-m", "llamafactory.cli", "train"), "llamafactory.cli"),
        (("python", "-um", "torch.distributed.run", "x.py"), "torch.distributed.run"),
        (("python", "-X", "dev", "-W", "error", "src/train.py"), "train.py"),
        (("python3.11", "-c", "pass", "src/train.py"), ""),
        (("python",), ""),
        (("python", "-m"), ""),
        (("", "train"), ""),
        ((), ""),
        (("bash", "-c", "llamafactory-cli train x.yaml"), "bash"),
    ],
)
def test_a_command_line_is_named_by_what_it_runs(argv, name):
    assert program(argv) == name


def test_the_web_ui_is_no_run_and_its_training_is(standins):
    process = standins.start("llamafactory-cli", "webui")
    run = standins.one_run()
    assert run.root.pid != process.pid
    assert run.board
    assert run.board_dir == standins.folder / "saves" / "board"
    with pytest.raises(RunError, match=f"started one; name it: pid {run.root.pid}"):
        find_run(process.pid)


def test_accelerate_on_one_gpu_has_its_script_as_the_rank(standins):
    process = standins.start("accelerate", "launch", str(standins.train_script), "train.yaml")
    run = standins.one_run()
    assert run.root.pid == process.pid
    assert run.launcher == run.root
    assert run.ranks != (run.root,)


def test_deepspeed_has_the_launcher_nearest_to_the_ranks(standins):
    process = standins.start("deepspeed", str(standins.train_script), "--stage", "sft")
    run = standins.one_run(ranks=2)
    assert run.root.pid == process.pid
    assert run.launcher is not None
    assert run.launcher != run.root
    assert len(run.members) == 4


def test_a_pipe_is_named_and_has_no_path(standins):
    standins.start(*TRAIN, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    run = standins.one_run()
    assert (run.log_sink, run.log_paths) == ("pipe", ())


def test_output_thrown_away_is_named(standins):
    standins.start(*TRAIN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = standins.one_run()
    assert (run.log_sink, run.log_paths) == ("null", ())


def test_a_terminal_is_named_and_has_no_path(standins):
    ours, theirs = pty.openpty()
    try:
        standins.start(*TRAIN, stdout=theirs, stderr=theirs)
        run = standins.one_run()
        assert (run.log_sink, run.log_paths) == ("terminal", ())
    finally:
        os.close(theirs)
        os.close(ours)


def test_two_streams_in_two_files_are_two_paths(standins):
    with (standins.folder / "err.log").open("wb") as file:
        standins.start(*TRAIN, stderr=file)
    run = standins.one_run()
    assert run.log_paths == (standins.folder / "train.log", standins.folder / "err.log")


def test_a_renamed_log_is_followed_and_a_deleted_one_has_no_path(standins):
    standins.start(*TRAIN)
    standins.one_run()
    (standins.folder / "train.log").rename(standins.folder / "train.log.1")
    (standins.folder / "train.log").write_text("another")
    assert standins.one_run().log_paths == (standins.folder / "train.log.1",)
    (standins.folder / "train.log.1").unlink()
    run = standins.one_run()
    assert (run.log_sink, run.log_paths) == ("file", ())


def test_the_log_of_a_torchrun_run_is_that_of_rank_0(standins):
    standins.start(*TRAIN, environ=TORCHRUN)
    assert standins.one_run(ranks=2).log_paths == (standins.folder / "train.log",)


def test_the_limits_are_those_of_the_run(standins):
    soft = 3 * 2**40
    process = standins.start("sh", "-c", f"ulimit -S -d {soft // 1024}; exec {' '.join(TRAIN)}")
    run = standins.one_run()
    assert run.root.pid == process.pid
    assert run.limits["data"] == (soft, resource.getrlimit(resource.RLIMIT_DATA)[1])
    assert run.limits["nofile"] == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_words_that_are_not_text_come_back_as_they_were(standins):
    word = os.fsdecode(b"output_dir=/data/\xff\xfe x")
    standins.start(*TRAIN, word, "", environ={"ODD": os.fsdecode(b"\xff=\n")})
    run = standins.one_run()
    assert run.argv[-2:] == (word, "")
    assert os.fsencode(run.environ["ODD"]) == b"\xff=\n"


def test_a_deleted_working_folder_keeps_its_name(standins):
    folder = standins.folder / "gone"
    folder.mkdir()
    standins.start("sh", "-c", f"cd gone && rmdir ../gone && exec {' '.join(TRAIN)}")
    assert standins.one_run().cwd == folder


def test_the_demo_is_a_simulated_run(standins):
    package = standins.folder / "diagnostics" / "demo"
    package.mkdir(parents=True)
    text = (standins.folder / "llamafactory" / "launcher.py").read_text()
    (package / "trainer.py").write_text(text)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    words = ("-P", "-m", "diagnostics.demo.trainer", "train", "train.yaml")
    standins.start(sys.executable, *words)
    assert standins.one_run().simulated


def test_any_process_of_a_run_finds_it(standins):
    standins.start(*TRAIN, environ={**TORCHRUN, "STANDIN_WORKERS": "1"})
    run = standins.one_run(ranks=2, members=6)
    for member in run.members:
        assert find_run(member.pid).root == run.root


def test_a_pid_that_no_process_has_is_said_in_one_line():
    with pytest.raises(RunError, match=r"^pid 2147483646: no such process") as caught:
        find_run(2**31 - 2)
    assert "\n" not in str(caught.value)


def test_a_training_that_has_ended_but_was_not_reaped_is_no_such_process(standins):
    process = standins.start(*TRAIN)
    standins.one_run()
    kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(RunError, match="no such process"):
        find_run(process.pid)
    assert standins.runs() == []


def test_what_a_vanished_process_cannot_tell_is_empty():
    gone = 2**31 - 2
    assert read_process(gone) is None
    assert read_environ(gone) == {}
    assert read_limits(gone) == {}
    assert read_cwd(gone) == Path(f"/proc/{gone}/cwd")
    assert read_sink(gone, 1) == (Sink.UNKNOWN, None)
    assert read_uid(gone) is None
    assert read_leader(gone) is None
    assert read_signal_masks(gone) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_another_users_training_is_refused_by_name():
    process = as_nobody(["sleep", "60"])
    try:
        with pytest.raises(RunError, match="belongs to nobody, not to you"):
            find_run(process.pid)
        assert process.pid not in {run.root.pid for run in find_runs()}
    finally:
        process.kill()
        process.wait()


def test_processes_that_come_and_go_do_not_disturb_the_search(standins):
    standins.start("sh", "-c", "while :; do /bin/true; done")
    standins.start(*TRAIN)
    root = standins.one_run().root
    for _ in range(50):
        assert [run.root for run in standins.runs()] == [root]
