"""Watching a run and reading it afterwards give the same findings, however the bytes arrive."""

import random
import shutil
from pathlib import Path

import pytest

from diagnostics.engine import diagnose
from diagnostics.findings import Diagnosis
from diagnostics.history import History
from diagnostics.postmortem import examine
from diagnostics.ruleset import load_rules
from diagnostics.runs.model import Run
from diagnostics.runs.resolve import resolve
from diagnostics.runs.watching import make_watcher
from diagnostics.signals import Context
from diagnostics.sources.base import Source
from tests.labelled_cases import CASES, Labelled, name

RULES = load_rules()


def told(diagnosis: Diagnosis) -> list[tuple[object, ...]]:
    """Return what a person is told, without what is only of the moment."""
    return [
        (
            one.id,
            one.severity,
            one.primary,
            [(item.source, item.line) for item in one.evidence],
            [(fix.id, fix.changes, fix.predicted) for fix in one.fixes],
            sorted(under.id for under in one.consequences),
        )
        for one in diagnosis.findings
    ]


def watched(run: Run, sizes: list[int], folder: Path) -> Diagnosis:
    """Copy a run's files piece by piece while its sources follow them; judge at the end."""
    watcher = make_watcher(run, rules=RULES, read_only=True)
    history = History(RULES.patterns)
    sources: list[Source] = [*watcher.fast, *watcher.slow]
    ours = [
        one
        for one in sources
        if type(one).__name__ in {"ConsoleLog", "TrainerLog", "CheckpointStates"}
    ]
    data = (folder / "stdout.log").read_bytes()
    assert run.log_path is not None
    at, now = 0, 1000.0
    with run.log_path.open("wb", buffering=0) as log:
        for size in sizes:
            log.write(data[at : at + size])
            at += size
            now += 1.0
            for source in ours:
                for seen in source.poll(now):
                    history.add(seen)
            if at >= len(data):
                break
        log.write(data[at:])
    for _ in range(3):
        now += 1.0
        for source in ours:
            for seen in source.poll(now):
                history.add(seen)
    watcher.close()
    context = Context(
        history.snapshot(),
        run.config,
        packages=watcher.packages,
        memory=watcher.memory,
        closed=True,
    )
    return diagnose(RULES.rules, context)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_a_run_that_was_watched_is_told_as_it_is_read_afterwards(case: Labelled, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(case.folder, folder, ignore=shutil.ignore_patterns("labels.json"))
    after = examine(resolve(str(folder)), RULES).diagnosis
    dice = random.Random(case.folder.name)
    sizes = [dice.randrange(1, 6000) for _ in range(400)]
    run = resolve(str(folder))

    live = watched(run, sizes, case.folder)

    assert told(live) == told(after)
