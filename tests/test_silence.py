"""No rule fires on a healthy run while it is replayed line by line, at any moment of it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from diagnostics.engine import diagnose
from diagnostics.findings import Severity
from diagnostics.history import History
from diagnostics.parsing.console import ConsoleParser
from diagnostics.ruleset import load_rules
from diagnostics.runs.resolve import resolve
from diagnostics.signals import Context
from diagnostics.sources.trainer_log import TrainerLog
from tests.labelled_cases import HEALTHY, Labelled, name

RULES = load_rules()
SECONDS_A_LINE = 0.25


def pieces(path: Path) -> list[bytes]:
    """Return a log as its writer wrote it: lines, and bars redrawn within a line."""
    return re.findall(rb"[^\r\n]*[\r\n]+|[^\r\n]+$", path.read_bytes())


def replay(case: Labelled, folder: Path) -> Iterator[History]:
    """Feed a run's log and LLaMA-Factory's own record side by side, a line at a time."""
    history = History(RULES.patterns)
    parser = ConsoleParser("stdout.log")
    log = pieces(case.folder / "stdout.log")
    record = case.folder / "trainer_log.jsonl"
    rows = record.read_bytes().splitlines(keepends=True) if record.is_file() else []
    growing = folder / record.name
    follower = TrainerLog(growing)
    given = 0
    for number, piece in enumerate(log, 1):
        at = number * SECONDS_A_LINE
        for observation in parser.feed(piece, at):
            history.add(observation)
        due = len(rows) * number // len(log)
        if due > given:
            with growing.open("ab") as file:
                file.writelines(rows[given:due])
            given = due
            for observation in follower.poll(at):
                history.add(observation)
        yield history
    follower.close()
    for observation in parser.finish(len(log) * SECONDS_A_LINE):
        history.add(observation)
    yield history


@pytest.mark.parametrize("case", HEALTHY, ids=name)
def test_a_healthy_run_is_quiet_at_every_moment(case: Labelled, tmp_path: Path):
    run = resolve(str(case.folder))
    loud: dict[str, int] = {}
    moments = 0
    for moment, history in enumerate(replay(case, tmp_path)):
        moments += 1
        context = Context(history.snapshot(), run.config)
        for finding in diagnose(RULES.rules, context).findings:
            if finding.severity > Severity.NOTE:
                loud.setdefault(finding.id, moment)

    assert moments > 10
    assert loud == {}
