"""Owns reading the files of a run that has ended, or of one whose processes are not ours to see."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diagnostics.engine import diagnose
from diagnostics.findings import Diagnosis
from diagnostics.history import History, Snapshot
from diagnostics.monitor import ended_status, status_of_log
from diagnostics.observations import Missing, Observation
from diagnostics.parsing.console import ConsoleParser
from diagnostics.report import RunFacts
from diagnostics.ruleset import RuleSet
from diagnostics.runs.model import Run, RunStatus
from diagnostics.runs.output_dir import read_output_dir
from diagnostics.runs.store import attempts
from diagnostics.runs.watching import llamafactory_version, packages_of
from diagnostics.signals import Context
from diagnostics.sources.console import read_console
from diagnostics.sources.supervised import Supervised
from diagnostics.sources.trainer_log import TrainerLog
from diagnostics.sources.trainer_state import read_trainer_state


@dataclass(frozen=True, slots=True)
class PostMortem:
    """What the files of a run tell."""

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


def examine(run: Run, rules: RuleSet) -> PostMortem:
    """Read all that a run left and diagnose it."""
    now = time.time()
    history = History(rules.patterns)
    for observation in _left_behind(run, now):
        history.add(observation)
    return _judge(run, history.snapshot(), rules)


def examine_text(data: bytes, rules: RuleSet) -> PostMortem:
    """Diagnose the text of a console log alone, as it comes from standard input."""
    now = time.time()
    history = History(rules.patterns)
    parser = ConsoleParser("stdin")
    for observation in (*parser.feed(data, now), *parser.finish(now)):
        history.add(observation)
    run = Run("stdin", None, Path.cwd(), None, None)
    return _judge(run, history.snapshot(), rules)


def _left_behind(run: Run, now: float) -> Sequence[Observation]:
    found: list[Observation] = []
    folder = run.output_dir
    if folder is not None:
        states = [checkpoint.path for checkpoint in read_output_dir(folder).checkpoints[-1:]]
        for path in (*states, folder):
            found.extend(read_trainer_state(path / "trainer_state.json", now))
        log = folder / "trainer_log.jsonl"
        if log.is_file():
            follower = TrainerLog(log)
            while rows := follower.poll(now):
                found.extend(rows)
            follower.close()
    if run.log_path is not None and run.log_path.is_file():
        found.extend(read_console(run.log_path, now))
    made = attempts(run.record) if run.record is not None else []
    if made:
        found.extend(Supervised(made[-1].folder).poll(now))
    return found


def _judge(run: Run, snapshot: Snapshot, rules: RuleSet) -> PostMortem:
    status = ended_status(snapshot.ended) if snapshot.ended else status_of_log(snapshot)
    if run.group is not None or (snapshot.process is not None and snapshot.process.alive):
        status = RunStatus.RUNNING
    context = Context(
        snapshot=snapshot,
        config=run.config,
        environ=run.launch.environ if run.launch is not None else {},
        packages=packages_of(run),
        closed=status is not RunStatus.RUNNING,
    )
    document = run.config.document if run.config is not None else None
    code = snapshot.ended.exit_code if snapshot.ended is not None else None
    facts = RunFacts(
        config=str(document.path) if document is not None and document.path is not None else None,
        output_dir=str(run.output_dir) if run.output_dir is not None else None,
        llamafactory=llamafactory_version(run),
        status=status.value,
        exit_code=None if isinstance(code, Missing) else code,
        step=snapshot.step,
        total_steps=snapshot.total_steps,
    )
    return PostMortem(facts, snapshot, diagnose(rules.rules, context))
