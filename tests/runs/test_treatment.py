"""The cure on a live stand-in training: stopped, edited, relaunched, and put back again."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from diagnostics.errors import ConfigError, LlamavetError, RunError, StoreError
from diagnostics.findings import Fix, KeyChange, Safety, Text
from diagnostics.runs.launcher import LocalLauncher, RunHandle, read_handle
from diagnostics.runs.model import Launch, Run
from diagnostics.runs.processes import identify, is_alive
from diagnostics.runs.proposal import propose, propose_stop
from diagnostics.runs.resolve import effective_config
from diagnostics.runs.store import attempts
from diagnostics.runs.treatment import carry_out, undo
from diagnostics.runs.watching import adopted
from diagnostics.status import RunStatus
from tests.runs.standins import MARK, Standins, as_nobody, wait_until

BEFORE = (
    b"# my run \xe2\x80\x94 do not touch\r\n"
    b"stage: sft\r\n"
    b"do_train: true\r\n"
    b"output_dir: out   # relative\r\n"
    b"per_device_train_batch_size: 8   # fits, I think\r\n"
    b"gradient_accumulation_steps: 2"
)
AFTER = BEFORE.replace(b"size: 8 ", b"size: 4 ").replace(b"steps: 2", b"steps: 4")
HALVE = Fix(
    id="halve_batch",
    title=Text("halve the batch", "批大小减半"),
    why=Text("less memory", "更少内存"),
    price=Text("", ""),
    safety=Safety.SAFE,
    changes=(
        KeyChange("per_device_train_batch_size", 8, 4),
        KeyChange("gradient_accumulation_steps", 2, 4),
    ),
    env={"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
)


@dataclass
class Case:
    """A stand-in training that runs, its config, and its run as llamavet knows it."""

    standins: Standins
    config: Path
    run: Run

    def carry_out(self, plan=None, launcher=None) -> Run:
        chosen = plan if plan is not None else propose(self.run, None, HALVE)
        return carry_out(chosen, launcher if launcher is not None else LocalLauncher())

    @property
    def alive(self) -> bool:
        assert self.run.group is not None
        self.standins.reap()
        return is_alive(self.run.group.root)

    def nothing_was_changed(self, data: bytes = BEFORE) -> bool:
        assert self.run.record is not None
        return self.alive and self.config.read_bytes() == data and len(made(self.run)) == 1


class Refusing:
    """A launcher that cannot start anything; what it is asked for is seen first."""

    def __init__(self, look: Callable[[], object] = lambda: None) -> None:
        self.look = look

    def start(self, launch: Launch, folder: Path) -> RunHandle:
        self.look()
        raise RunError(f"{launch.argv[0]} could not be started in {folder.name}")


def made(run: Run) -> list[int]:
    assert run.record is not None
    return [attempt.number for attempt in attempts(run.record)]


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    standins = Standins(tmp_path)
    monkeypatch.setenv("LLAMAVET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv(MARK, standins.mark)
    config = standins.folder / "train.yaml"
    config.write_bytes(BEFORE)
    try:
        standins.start("llamafactory-cli", "train", "train.yaml")
        group = standins.one_run()
        launch = Launch(group.argv, group.cwd, group.environ, group.limits)
        run = Run(
            name="out",
            config=effective_config(launch),
            cwd=group.cwd,
            output_dir=group.cwd / "out",
            log_path=standins.folder / "train.log",
            launch=launch,
            group=group,
        )
        yield Case(standins, config, adopted(run))
    finally:
        standins.close()


def test_a_treatment_stops_backs_up_edits_with_comments_kept_and_relaunches(case):
    plan = propose(case.run, None, HALVE)
    assert case.nothing_was_changed()
    assert "+per_device_train_batch_size: 4   # fits, I think" in plan.diff
    assert (plan.stops, plan.relaunches) == (True, True)

    after = case.carry_out(plan)

    assert not case.alive
    assert case.config.read_bytes() == AFTER
    first, second = attempts(after.record)
    assert first.status is RunStatus.STOPPED
    assert second.status is RunStatus.RUNNING
    assert second.treatment is not None
    assert second.treatment.fix_id == "halve_batch"
    assert second.treatment.changes == HALVE.changes
    assert second.treatment.backup is not None
    assert second.treatment.backup.read_bytes() == BEFORE
    assert after.log_path == second.log_path
    group = case.standins.one_run()
    handle = read_handle(second.folder)
    assert handle is not None
    assert handle.process == group.root
    assert group.argv == case.run.group.argv
    assert group.environ["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    assert group.cwd == case.run.cwd
    wait_until(lambda: "training" in second.log_path.read_text())


def test_undo_restores_the_bytes_and_leaves_the_training_alone(case):
    after = case.carry_out()
    assert "put back as it was before attempt 2 (halve the batch)" in undo(after)
    assert case.config.read_bytes() == BEFORE
    assert case.standins.one_run().root
    with pytest.raises(RunError, match="no change left to put back"):
        undo(after)


def test_undo_refuses_a_config_that_was_edited_since(case):
    after = case.carry_out()
    case.config.write_bytes(AFTER + b"\r\nmine: 1")
    with pytest.raises(ConfigError, match="edited since llamavet wrote it") as caught:
        undo(after)
    assert "config.before.yaml" in caught.value.remedy
    assert case.config.read_bytes() == AFTER + b"\r\nmine: 1"


def test_undo_of_a_config_that_is_gone_is_one_clear_error(case):
    after = case.carry_out()
    case.config.unlink()
    with pytest.raises(LlamavetError, match=r"train\.yaml: cannot be read: No such file"):
        undo(after)


def test_a_config_edited_after_the_change_was_shown_is_refused_before_the_stop(case):
    plan = propose(case.run, None, HALVE)
    edited = BEFORE + b"\r\nlearning_rate: 1.0e-4"
    case.config.write_bytes(edited)
    with pytest.raises(ConfigError, match="edited after the change was shown"):
        case.carry_out(plan)
    assert case.nothing_was_changed(edited)


def test_a_config_that_is_gone_is_refused_before_the_stop(case):
    plan = propose(case.run, None, HALVE)
    case.config.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        case.carry_out(plan)
    assert case.alive


def test_a_config_edited_while_the_run_is_stopped_is_left_as_edited(case):
    plan = propose(case.run, None, HALVE)
    edited = BEFORE + b"\r\nlearning_rate: 1.0e-4"

    def edit(text: str) -> None:
        if text.startswith("stopped"):
            case.config.write_bytes(edited)

    with pytest.raises(RunError, match=r"edited while the run was being stopped.*run is stopped"):
        carry_out(plan, LocalLauncher(), on_progress=edit)
    assert case.config.read_bytes() == edited
    assert case.standins.living() == []


@pytest.fixture
def read_only(case: Case) -> Iterator[Case]:
    """A case whose config nobody may write: root on a read-only disk, others by its mode."""
    if os.geteuid() != 0:
        case.config.chmod(0o444)
        yield case
        return
    folder = case.standins.folder / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    (folder / "train.yaml").write_bytes(BEFORE)
    case.config.unlink()
    case.config.symlink_to(folder / "train.yaml")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield case
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_read_only_config_is_refused_before_the_stop(read_only):
    with pytest.raises(StoreError, match="is read-only for you; nothing was changed"):
        read_only.carry_out()
    assert read_only.nothing_was_changed()


def test_a_relaunch_that_edits_nothing_needs_no_config_to_write(read_only):
    after = read_only.carry_out(propose(read_only.run, None, None))
    assert not read_only.alive
    assert read_only.config.read_bytes() == BEFORE
    assert made(after) == [1, 2]
    assert read_only.standins.one_run().root
    with pytest.raises(RunError, match="no change left to put back"):
        undo(after)


def test_a_full_disk_of_the_config_is_met_before_the_stop(case):
    folder = case.standins.folder / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        (folder / "train.yaml").write_bytes(BEFORE)
        case.config.unlink()
        case.config.symlink_to(folder / "train.yaml")
        (folder / "ballast").write_bytes(b"x" * 12 * 1024)
        with pytest.raises(StoreError, match="No space left on device; nothing was changed"):
            case.carry_out()
        assert case.nothing_was_changed()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_relaunch_that_fails_puts_the_config_back_and_leaves_nothing_to_undo(case):
    seen: list[bytes] = []
    launcher = Refusing(lambda: seen.append(case.config.read_bytes()))
    with pytest.raises(RunError, match="the config was put back, and the old run is stopped"):
        case.carry_out(launcher=launcher)
    assert seen == [AFTER]
    assert case.config.read_bytes() == BEFORE
    assert attempts(case.run.record)[-1].status is RunStatus.FAILED
    with pytest.raises(RunError, match="no change left to put back"):
        undo(case.run)


def test_a_failed_relaunch_does_not_hide_the_change_before_it_from_undo(case):
    after = case.carry_out()
    again = replace(HALVE, changes=(KeyChange("per_device_train_batch_size", 4, 2),))
    second = replace(after, group=case.standins.one_run())
    with pytest.raises(RunError, match="put back"):
        case.carry_out(propose(second, None, again), Refusing())
    assert case.config.read_bytes() == AFTER
    undo(after)
    assert case.config.read_bytes() == BEFORE


def test_a_program_that_is_gone_puts_the_config_back(case):
    plan = propose(case.run, None, HALVE)
    assert plan.launch is not None
    gone = replace(plan, launch=replace(plan.launch, argv=("/gone/llamafactory-cli", "train")))
    with pytest.raises(RunError, match="/gone/llamafactory-cli could not be started"):
        case.carry_out(gone)
    assert case.config.read_bytes() == BEFORE


def test_overwriting_keeps_a_copy_of_the_trainer_log(case):
    data = BEFORE + b"\r\noverwrite_output_dir: true"
    case.config.write_bytes(data)
    (case.run.output_dir).mkdir()
    (case.run.output_dir / "trainer_log.jsonl").write_text('{"current_steps": 1}\n')
    after = case.carry_out()
    copy = attempts(after.record)[-1].folder / "trainer_log.before.jsonl"
    assert copy.read_text() == '{"current_steps": 1}\n'


def test_a_stop_that_was_asked_for_stops_and_changes_nothing_else(case):
    plan = propose_stop(case.run)
    assert (plan.stops, plan.relaunches, plan.diff) == (True, False, "")
    assert "there is no checkpoint yet" in plan.consequences[-1].en
    after = case.carry_out(plan)
    assert after.group is None
    assert case.standins.living() == []
    assert case.config.read_bytes() == BEFORE
    assert attempts(case.run.record)[-1].status is RunStatus.STOPPED
    with pytest.raises(RunError, match="nothing of it runs"):
        propose_stop(after)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_a_stop_that_is_refused_changes_nothing_and_a_later_end_is_no_stop(case):
    other = as_nobody(["sleep", "120"])
    try:
        theirs = identify(other.pid)
        assert theirs is not None
        group = replace(case.run.group, members=(*case.run.group.members, theirs))
        plan = propose(replace(case.run, group=group), None, HALVE)
        with pytest.raises(RunError, match="nothing was stopped"):
            case.carry_out(plan)
        assert case.nothing_was_changed()
        assert attempts(case.run.record)[-1].status is not RunStatus.STOPPED
    finally:
        other.kill()
        other.wait()


def test_a_run_whose_launch_is_not_known_is_not_relaunched(case):
    with pytest.raises(RunError, match=r"start it with `llamavet run CONFIG\.yaml`"):
        propose(replace(case.run, launch=None), None, HALVE)
    assert case.alive


def test_advice_is_not_carried_out(case):
    with pytest.raises(LlamavetError, match="is advice: there is nothing to write"):
        propose(case.run, None, replace(HALVE, safety=Safety.MANUAL))
