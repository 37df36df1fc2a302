"""Owns reading the files of a run that has ended, or of one whose processes are not ours to see."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from diagnostics.datasets import DatasetReport
from diagnostics.engine import diagnose
from diagnostics.errors import RunError
from diagnostics.findings import Diagnosis
from diagnostics.history import History, Snapshot
from diagnostics.memory.keys import MEMORY_KEYS
from diagnostics.observations import Missing, Observation, Phase
from diagnostics.report.model import Report, RunFacts
from diagnostics.report.pace import step_times
from diagnostics.report.remedy import best_fix, commands, find_fix, work_out_remedy
from diagnostics.ruleset import RuleSet
from diagnostics.runs.known import remains_of
from diagnostics.runs.log_parts import parts_that_count
from diagnostics.runs.output_dir import read_output_dir
from diagnostics.runs.remains import Remains
from diagnostics.signals import Context
from diagnostics.sources.console import read_console, read_stream
from diagnostics.sources.trainer_log import TrainerLog
from diagnostics.sources.trainer_state import read_trainer_state
from diagnostics.status import RunStatus, ended_status, status_of_log

if TYPE_CHECKING:  # importing these takes longer than reading a small run
    from diagnostics.memory.facts import MemoryFacts
    from diagnostics.runs.model import Run

_BEFORE_TRAINING = frozenset({Phase.STARTING, Phase.PREPROCESSING, Phase.LOADING})


@dataclass(frozen=True, slots=True)
class PostMortem:
    """What the files of a run tell."""

    left: Remains
    facts: RunFacts
    snapshot: Snapshot
    diagnosis: Diagnosis

    @property
    def recognised(self) -> bool:
        """Whether anything in the files is of a training at all."""
        seen = self.snapshot
        return bool(
            self.diagnosis.findings
            or seen.facts
            or seen.steps
            or seen.progress
            or seen.tracebacks
            or seen.rank_exits
            or seen.ended
        )

    def report(self, fix_id: str | None = None, written: str | None = None) -> Report:
        """Return what there is to tell, with the best fix or a chosen one worked out.

        `written` is the mended config, where it was written already.

        Raises:
            RunError: no finding has the fix that was chosen.
        """
        config = self.left.config
        chosen = best_fix(self.diagnosis) if fix_id is None else find_fix(self.diagnosis, fix_id)
        if fix_id is not None and chosen is None:
            known = [fix.id for finding in self.diagnosis.findings for fix in finding.fixes]
            listed = ", ".join(dict.fromkeys(known))
            raise RunError(
                f"{fix_id}: no such fix for this run",
                remedy=f"its fixes are {listed}" if known else "nothing to fix was found",
            )
        remedy = work_out_remedy(*chosen, config) if chosen is not None else None
        record = self.left.record
        return Report(
            run=self.facts,
            diagnosis=self.diagnosis,
            name=self.left.name,
            logs=tuple(str(log) for log in self.left.logs),
            snapshot=self.snapshot,
            remedy=remedy,
            relaunch=commands(
                remedy,
                config,
                name="" if self.left.stream else self.left.name,
                record=record.name if record is not None else None,
                written=written,
                chosen=fix_id is not None,
            ),
            pace=step_times(self.snapshot.pace),
        )


def examine(run: "Run", rules: RuleSet) -> PostMortem:
    """Read all that a run left and diagnose it."""
    return examine_remains(remains_of(run), rules)


def examine_remains(left: Remains, rules: RuleSet) -> PostMortem:
    """Read what was gathered of a run and diagnose it.

    Raises:
        OSError: its log cannot be read.
        RunError: nothing came through the pipe that it was to be read from.
    """
    now = time.time()
    began_at = _began_at(left)
    history = History(rules.patterns, began_at)
    for seen in _console(left, now, rules.patterns):
        history.add(seen)
    if left.stream and not history.snapshot().observed:
        raise RunError(f"{left.name}: {'standard input' if left.name == '-' else 'it'} is empty")
    folder = left.output_dir or _written_to(history.snapshot(), left)
    if folder is not None and not _never_trained(history.snapshot()):
        for seen in _output(folder, now, began_at):
            history.add(seen)
    for seen in _supervised(left, now):
        history.add(seen)
    return _judge(left, folder, history.snapshot(), rules)


def _console(left: Remains, now: float, patterns: Sequence[str]) -> Iterator[Observation]:
    if left.stream:
        name = "stdin" if left.name == "-" else left.name
        with _opened(left) as stream:
            yield from read_stream(stream, now, name, patterns)
        return
    for path in parts_that_count(left.logs):
        if path.is_file() or left.record is None:
            yield from read_console(path, now, path.name, patterns)


def _opened(left: Remains) -> BinaryIO:
    if left.name == "-":
        return open(sys.stdin.fileno(), "rb", closefd=False)
    return Path(left.name).open("rb")


def _output(folder: Path, now: float, began_at: float) -> Iterator[Observation]:
    states = [checkpoint.path for checkpoint in read_output_dir(folder).checkpoints[-1:]]
    for path in (*states, folder):
        yield from read_trainer_state(path / "trainer_state.json", now)
    log = folder / "trainer_log.jsonl"
    if log.is_file():
        follower = TrainerLog(log, began_at)
        while rows := follower.poll(now):
            yield from rows
        follower.close()


def _written_to(snapshot: Snapshot, left: Remains) -> Path | None:
    """Return the output folder that the log speaks of, where it is here."""
    said = snapshot.facts.get("saved_checkpoint")
    if not isinstance(said, str) or left.stream:
        return None
    for base in (left.cwd, Path.cwd()):
        folder = (base / said).parent
        try:
            if (folder / "trainer_log.jsonl").is_file():
                return folder
        except (OSError, ValueError):  # too long, or a NUL in it
            return None
    return None


def _never_trained(snapshot: Snapshot) -> bool:
    """Tell whether the run failed before its first step: a record of steps is another's then."""
    failed = snapshot.tracebacks or snapshot.ooms
    started = snapshot.steps or snapshot.progress is not None
    if not failed or started or snapshot.phase not in _BEFORE_TRAINING:
        return False
    frames = (frame for found in snapshot.tracebacks for frame in found.frames)
    return not any("trainer" in frame for frame in frames)


def _began_at(left: Remains) -> float:
    if left.record is None:
        return 0.0
    from diagnostics.runs.store import attempts  # noqa: PLC0415 - slow to import

    made = attempts(left.record)
    return made[-1].started_at if made else 0.0


def _supervised(left: Remains, now: float) -> Iterator[Observation]:
    if left.record is None:
        return
    from diagnostics.runs.store import attempts  # noqa: PLC0415 - slow to import
    from diagnostics.sources.supervised import Supervised  # noqa: PLC0415 - the same

    for attempt in attempts(left.record)[-1:]:
        yield from Supervised(attempt.folder).poll(now)


def _judge(left: Remains, folder: Path | None, snapshot: Snapshot, rules: RuleSet) -> PostMortem:
    status = ended_status(snapshot.ended) if snapshot.ended else status_of_log(snapshot)
    if left.alive or (snapshot.process is not None and snapshot.process.alive):
        status = RunStatus.RUNNING
    packages, version = _installed(left)
    context = Context(
        snapshot=snapshot,
        config=left.config,
        environ=left.environ,
        packages=packages,
        closed=status is not RunStatus.RUNNING,
        datasets=_data(left),
    )
    document = left.config.document if left.config is not None else None
    code = snapshot.ended.exit_code if snapshot.ended is not None else None
    named = left.config.get("output_dir", None) if left.config is not None else None
    facts = RunFacts(
        config=str(document.path) if document is not None and document.path is not None else None,
        output_dir=str(folder) if folder is not None else named if isinstance(named, str) else None,
        llamafactory=version,
        status=status.value,
        exit_code=None if isinstance(code, Missing) else code,
        step=snapshot.step,
        total_steps=snapshot.total_steps,
    )
    diagnosis = diagnose(rules.rules, context)
    if _changes_memory(diagnosis) and (memory := _memory(left)) is not None:
        diagnosis = diagnose(rules.rules, replace(context, memory=memory, memo={}))
    return PostMortem(left, facts, snapshot, diagnosis)


def _changes_memory(diagnosis: Diagnosis) -> bool:
    """Tell whether a fix is worth a prediction: gathering what that takes is not free."""
    return any(
        change.key in MEMORY_KEYS
        for finding in diagnosis.findings
        for fix in finding.fixes
        for change in fix.changes
    )


def _memory(left: Remains) -> "MemoryFacts | None":
    """Gather what predicts the training's memory; the GPUs here are not the run's."""
    if left.config is None:
        return None
    from diagnostics.runs.forecasting import Devices, gather_facts  # noqa: PLC0415 - rarely needed

    return gather_facts(left.config, left.cwd, left.environ, devices=Devices(1, None))


def _data(left: Remains) -> tuple[DatasetReport, ...] | None:
    """Look at the data files, if the folder that the config names is on this machine."""
    if left.config is None or left.stream:
        return None
    named = left.config.value("dataset_dir")
    for base in dict.fromkeys((left.cwd, Path.cwd())):
        try:
            if isinstance(named, str) and (base / named).is_dir():
                from diagnostics.sources.dataset import look  # noqa: PLC0415 - rarely needed

                return look(left.config, base)
        except (OSError, ValueError):  # too long, or a NUL in it
            return None
    return None


def _installed(left: Remains) -> tuple[dict[str, bool], str | None]:
    """Return which packages that fixes need are there for the training, and its version."""
    if not left.argv:
        return {}, None
    from diagnostics.runs.environment import probe_environment  # noqa: PLC0415 - rarely needed
    from diagnostics.runs.watching import PACKAGES  # noqa: PLC0415 - the same

    environment = probe_environment(left.argv, left.environ, left.cwd)
    known = {name: environment.has(name) for name in PACKAGES}
    packages = {name: present for name, present in known.items() if present is not None}
    return packages, environment.packages.get("llamafactory")
