"""Runs whose launcher or entrance is gone: their ranks are found, and told apart."""

import signal
import sys
from dataclasses import replace

import pytest

from diagnostics.errors import RunError
from diagnostics.runs.discover import RunGroup, find_run
from diagnostics.runs.proc import (
    read_environ,
)
from diagnostics.runs.processes import identify
from diagnostics.runs.proposal import propose
from diagnostics.runs.resolve import run_of_group
from diagnostics.runs.watching import refreshed_group
from tests.runs.standins import Standins, kill, wait_until

TRAIN = ("llamafactory-cli", "train", "train.yaml")


TORCHRUN = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2"}
OUTLIVING = {**TORCHRUN, "STANDIN_OUTLIVES": "1"}


def rank_of(pid: int) -> str:
    return read_environ(pid)["RANK"]


def cut_off(standins: Standins) -> RunGroup:
    """Start a run and kill its torchrun alone; return it as it was before."""
    standins.start(*TRAIN, environ=OUTLIVING)
    before = standins.one_run(ranks=2)
    assert before.launcher is not None
    kill(before.launcher.pid, signal.SIGKILL)
    wait_until(lambda: all(run.launcher is None for run in standins.runs()))
    return before


def orphan(run, standins: Standins) -> None:
    """Kill everything above the ranks at once."""
    for process in (run.root, run.launcher):
        kill(process.pid, signal.SIGKILL)
    wait_until(lambda: identify(run.root.pid) is None and identify(run.launcher.pid) is None)
    standins.reap()


def test_a_killed_entrance_leaves_a_run_whose_root_is_torchrun(standins):
    process = standins.start(*TRAIN, environ=TORCHRUN)
    before = standins.one_run(ranks=2)
    kill(process.pid, signal.SIGKILL)
    process.wait()
    run = standins.one_run(ranks=2)
    assert run.root == run.launcher == before.launcher
    assert run.ranks == before.ranks
    assert not run.orphaned


def test_ranks_whose_launcher_was_killed_are_one_orphaned_run(standins):
    standins.start(*TRAIN, environ={**TORCHRUN, "STANDIN_WORKERS": "1"})
    before = standins.one_run(ranks=2, members=6)
    orphan(before, standins)
    run = standins.one_run(ranks=2, members=4)
    assert run.orphaned
    assert run.ranks == before.ranks
    assert run.root == run.ranks[0]
    assert run.launcher is None
    assert set(run.members) < set(before.members)


def test_ranks_cut_off_from_a_live_entrance_still_are_its_run(standins):
    before = cut_off(standins)
    run = standins.one_run(ranks=2, members=3)
    assert run.root == before.root
    assert run.argv == before.argv
    assert run.ranks == before.ranks
    assert run.launcher is None
    assert not run.orphaned


@pytest.mark.parametrize(
    ("more", "overrides"),
    [({}, ("lora_rank=4",)), ({"CUDA_VISIBLE_DEVICES": "7"}, ())],
    ids=["other words", "other environment"],
)
def test_orphans_do_not_join_an_entrance_that_differs(standins, more, overrides):
    other = standins.start(*TRAIN, *overrides, environ=more)
    wait_until(lambda: len(standins.runs()) == 1)
    standins.start(*TRAIN, environ=TORCHRUN)
    wait_until(lambda: [len(run.ranks) for run in standins.runs()] == [1, 2])
    orphan(standins.runs()[1], standins)
    wait_until(lambda: [run.orphaned for run in standins.runs()] == [False, True])
    assert [len(run.ranks) for run in standins.runs()] == [1, 2]
    assert standins.runs()[0].root.pid == other.pid


def test_the_orphans_of_two_launchers_are_two_runs(standins):
    standins.start(*TRAIN, environ=TORCHRUN)
    first = standins.one_run(ranks=2)
    standins.start(*TRAIN, environ=TORCHRUN)
    wait_until(lambda: [len(run.ranks) for run in standins.runs()] == [2, 2])
    for run in standins.runs():
        orphan(run, standins)
    wait_until(lambda: [run.orphaned for run in standins.runs()] == [True, True])
    assert first.ranks in [run.ranks for run in standins.runs()]


def test_workers_that_outlive_a_dead_orphan_belong_to_the_others(standins):
    standins.start(*TRAIN, environ={**TORCHRUN, "STANDIN_WORKERS": "1"})
    before = standins.one_run(ranks=2, members=6)
    orphan(before, standins)
    kill(before.ranks[1].pid, signal.SIGKILL)
    run = standins.one_run(ranks=1, members=3)
    assert run.ranks == before.ranks[:1]


def test_workers_that_outlive_a_killed_training_are_no_run(standins):
    process = standins.start(*TRAIN, environ={"STANDIN_WORKERS": "2"})
    run = standins.one_run(members=3)
    kill(process.pid, signal.SIGKILL)
    process.wait()
    assert standins.runs() == []
    with pytest.raises(RunError, match="is not a LLaMA-Factory training"):
        find_run(run.members[1].pid)


def test_an_environment_that_names_a_rank_makes_no_orphan_of_an_entrance(standins):
    cluster = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "29500"}
    standins.start(*TRAIN, environ=cluster)
    standins.start(*TRAIN, environ=cluster)
    wait_until(lambda: len(standins.runs()) == 2)
    assert not any(run.orphaned for run in standins.runs())


def test_ranks_that_a_scheduler_started_are_one_run_and_no_orphans(standins):
    for number in ("1", "0"):
        ranked = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": "2", "MASTER_PORT": "29511"}
        standins.start(sys.executable, str(standins.train_script), "train.yaml", environ=ranked)
    run = standins.one_run(ranks=2)
    assert [rank_of(rank.pid) for rank in run.ranks] == ["0", "1"]
    assert not run.orphaned


def test_orphans_of_deepspeed_are_one_run_although_their_arguments_differ(standins):
    standins.start("deepspeed", str(standins.train_script), "--stage", "sft")
    orphan(standins.one_run(ranks=2), standins)
    assert [rank_of(rank.pid) for rank in standins.one_run(ranks=2).ranks] == ["0", "1"]


def test_a_run_whose_launcher_died_is_not_taken_for_ended_while_its_ranks_live(
    standins, tmp_path, monkeypatch
):
    monkeypatch.setenv("LLAMAVET_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "train.yaml").write_text("output_dir: out\n")
    standins.start(*TRAIN, environ=TORCHRUN)
    run = run_of_group(standins.one_run(ranks=2))
    assert run.config is not None
    assert run.group is not None
    orphan(run.group, standins)
    wait_until(lambda: standins.one_run(ranks=2).orphaned)

    present = refreshed_group(run)

    assert present is not None
    assert present.orphaned
    assert present.ranks == run.group.ranks
    with pytest.raises(RunError, match="its launcher is gone"):
        propose(replace(run, group=present), None, None)
