"""Owns putting a watcher together for a run: which sources, which rules, what is installed."""

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import replace

from diagnostics.demo.gpu import SimulatedGpu
from diagnostics.errors import RunError, StoreError
from diagnostics.history import Snapshot
from diagnostics.memory.facts import MemoryFacts
from diagnostics.monitor import Watcher
from diagnostics.ruleset import RuleSet, load_rules
from diagnostics.runs.data_look import data_look
from diagnostics.runs.discover import RunGroup, find_run, find_runs
from diagnostics.runs.environment import probe_environment
from diagnostics.runs.forecasting import Devices, gather_facts
from diagnostics.runs.launcher import read_handle
from diagnostics.runs.lessons import record_lesson
from diagnostics.runs.model import Attempt, Run
from diagnostics.runs.processes import ProcessId, identify
from diagnostics.runs.programs import trainer_words
from diagnostics.runs.store import (
    attempts,
    create_attempt,
    create_record,
    save_launch,
    save_outcome,
    write_attempt,
)
from diagnostics.runs.supervisor import boot_id
from diagnostics.sources.base import Source
from diagnostics.sources.console import ConsoleLog
from diagnostics.sources.host import Host
from diagnostics.sources.nvml import NvmlGpus
from diagnostics.sources.process import Processes
from diagnostics.sources.supervised import Supervised
from diagnostics.sources.trainer_log import TrainerLog
from diagnostics.sources.trainer_state import CheckpointStates

PACKAGES = ("liger_kernel", "bitsandbytes", "deepspeed", "flash_attn", "unsloth")


def make_watcher(
    run: Run, *, interval_s: float = 2.0, rules: RuleSet | None = None, read_only: bool = False
) -> Watcher:
    """Return a watcher of a run, its sources not yet polled."""
    rules = rules if rules is not None else load_rules()
    host = socket.gethostname()
    run = run if read_only else adopted(run)
    made = attempts(run.record) if run.record is not None else []
    began_at = made[-1].started_at if made else 0.0
    if not made and run.group is not None:
        began_at = run.group.started_at
    fast: list[Source] = []
    if run.log_path is not None:
        fast.append(ConsoleLog(run.log_path, patterns=rules.patterns))
    if run.output_dir is not None:
        fast.append(TrainerLog(run.output_dir / "trainer_log.jsonl", began_at))
    fast.append(_process_source(run, made, host))
    slow: list[Source] = [
        SimulatedGpu(run.simulated_gpu) if run.simulated_gpu is not None else NvmlGpus(host),
        Host(run.output_dir or run.cwd, host),
    ]
    if run.output_dir is not None:
        slow.append(CheckpointStates(run.output_dir, began_at))
    memory = memory_of(run)
    return Watcher(
        run=run,
        rules=rules,
        fast=fast,
        slow=slow,
        packages=packages_of(run),
        memory=memory,
        data=data_look(run),
        attempts=made,
        save=None if read_only or not made else _save,
        learn=None
        if read_only or run.simulated_gpu is not None
        else lambda attempt, snapshot: _learn(run, memory, attempt, snapshot),
        interval_s=interval_s,
        began_at=began_at,
    )


def adopted(run: Run) -> Run:
    """Return a run that somebody else started with a record of its own: its first attempt.

    So it can be relaunched after its end, and the relaunch compared with it. Where nothing can be
    written it stays without.
    """
    if run.group is None or run.record is not None or run.launch is None:
        return run
    root = run.group.root
    facts = {
        "cwd": str(run.cwd),
        "found_pid": root.pid,
        "found_ticks": root.started_ticks,
        "boot_id": boot_id(),
    }
    try:
        record = create_record(run.name, facts)
        attempt = create_attempt(record, log_path=run.log_path, treatment=None)
        write_attempt(replace(attempt, started_at=run.group.started_at))
        save_launch(attempt.folder, run.launch)
    except StoreError:
        return run
    return replace(run, record=record)


def memory_of(run: Run) -> MemoryFacts | None:
    """Return what predicts a run's memory; None where its config or model is not known.

    The GPUs are left out: what is observed of them comes with the samples.
    """
    if run.config is None:
        return None
    limit = run.launch.limits.get("data") if run.launch is not None else None
    return gather_facts(
        run.config,
        run.cwd,
        run.launch.environ if run.launch is not None else {},
        devices=Devices(1, None),
        data_limit_bytes=limit[0] if limit is not None else None,
    )


def packages_of(run: Run) -> dict[str, bool]:
    """Return whether the packages that fixes need are installed for the training, where known."""
    if run.launch is None:
        return {}
    environment = probe_environment(run.launch.argv, run.launch.environ, run.launch.cwd)
    known = {name: environment.has(name) for name in PACKAGES}
    return {name: present for name, present in known.items() if present is not None}


def refreshed_group(run: Run) -> RunGroup | None:
    """Return the run's live processes as they are now, or None where it has ended.

    Ranks may outlive all that started them: then the group is theirs, and says `orphaned`.
    """
    root = _root(run)
    if root is not None:
        with contextlib.suppress(RunError):
            group = find_run(root.pid)
            if group.root == root or root in group.members:
                return group
    return _orphans(run)


def _orphans(run: Run) -> RunGroup | None:
    """Return ranks that go on without their launcher: same folder, same config and overrides."""
    words = trainer_words(run.launch.argv) if run.launch is not None else None
    if words is None:
        return None
    return next(
        (
            group
            for group in find_runs()
            if group.orphaned and group.cwd == run.cwd and trainer_words(group.argv) == words
        ),
        None,
    )


def _root(run: Run) -> ProcessId | None:
    if run.record is not None:
        made = attempts(run.record)
        handle = read_handle(made[-1].folder) if made else None
        if handle is not None:
            return handle.process if identify(handle.process.pid) == handle.process else None
    return run.group.root if run.group is not None else None


def _process_source(run: Run, made: Sequence[Attempt], host: str) -> Source:
    if made and (made[-1].folder / "child.json").exists():
        return Supervised(made[-1].folder, host)
    members = run.group.members if run.group is not None else ()
    return Processes(members, host)


def _learn(run: Run, memory: MemoryFacts | None, attempt: Attempt, snapshot: Snapshot) -> None:
    with contextlib.suppress(StoreError):  # the next prediction is merely less exact
        record_lesson(attempt, run.config, memory, snapshot)


def _save(attempt: Attempt) -> None:
    try:
        save_outcome(attempt)
    except StoreError:
        return  # a full disk must not end the watching; the outcome is judged again next time
