"""The middle of a large log, skimmed: what it tells is what reading it whole tells."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diagnostics.sources.backlog import Ends
from diagnostics.sources.skim.scanning import LineScanner, Query, Scanner
from tests.sources.skim.logs import OOM, PIECES, TOTAL, TRACEBACK, composed, steps
from tests.sources.skim.reading import RULES, Make, findings, skimmed, told, whole

LOGS = Path(__file__).parents[2] / "data" / "logs"


@pytest.mark.parametrize("name", PIECES)
def test_what_stands_in_the_middle_is_told_as_by_reading_whole(name: str, make: Make):
    data = composed(["steps", "saving", name, "steps", "evaluation", "steps"])
    assert told(skimmed(data, make)) == told(whole(data))


@given(st.lists(st.sampled_from(sorted(PIECES)), max_size=12), st.integers(50, 3000))
@example(["oom", "training", "steps", "killed"], 700)
@settings(max_examples=20, deadline=None)
def test_in_any_order_and_however_the_bytes_arrive_the_same_is_told(names: list[str], piece: int):
    data = composed(names)
    assert told(skimmed(data, LineScanner, piece=piece)) == told(whole(data))


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_a_recorded_log_tells_the_same(path: Path, make: Make):
    data = path.read_bytes()
    seen, read = skimmed(data, make, patterns=RULES.patterns), whole(data, RULES.patterns)
    assert told(seen) == told(read)
    assert findings(seen) == findings(read)


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.log")), ids=lambda path: path.stem)
def test_a_recorded_log_in_the_middle_of_another_tells_the_same(path: Path, make: Make):
    around = composed(["steps"] * 4)
    data = around + b"\n" + path.read_bytes() + b"\n" + around
    seen, read = skimmed(data, make, patterns=RULES.patterns), whole(data, RULES.patterns)
    assert told(seen) == told(read)
    assert findings(seen) == findings(read)


def test_a_log_without_a_header_tells_the_same(make: Make):
    dice = random.Random(1)
    text = steps(1, 200, TOTAL, dice) + TRACEBACK.format(exception=OOM) + steps(1, 60, TOTAL, dice)
    data = text.encode()
    assert told(skimmed(data, make)) == told(whole(data))


def test_small_logs_are_read_whole():
    def refuse(_: Sequence[Query]) -> Scanner:
        raise AssertionError

    data = composed(["steps"])
    assert told(skimmed(data, refuse, ends=Ends())) == told(whole(data))
