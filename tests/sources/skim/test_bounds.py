"""However long a log is, and whatever its bytes are, skimming it stays bounded and never raises."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.history import History
from diagnostics.parsing.console import ConsoleParser
from diagnostics.sources.backlog import Backlog, Ends
from diagnostics.sources.skim.scanning import LineScanner
from tests.sources.skim.logs import SAVING, TOTAL, evaluation, header, steps
from tests.sources.skim.reading import PATTERNS, SMALL, TIGHT, Make, skimmed, taken


def test_what_is_kept_does_not_grow_with_the_log(make: Make):
    dice = random.Random(5)
    block = (steps(1, 100, TOTAL, dice) + evaluation(100, TOTAL) + SAVING.format(step=100)).encode()
    counts = []
    for repeats in (20, 80):
        history = History(PATTERNS)
        parser = ConsoleParser("log")
        limits = replace(TIGHT, max_rows=100)
        backlog = Backlog(parser, PATTERNS, ends=SMALL, limits=limits, make=make)
        seen = backlog.feed(header(TOTAL).encode() + block * repeats, 1.0)
        seen += [*backlog.close(1.0)]
        taken(history, seen)
        counts.append(len(seen))
    assert counts[1] < 1.5 * counts[0]


def test_a_line_of_megabytes_is_passed_over_and_what_follows_is_read(make: Make):
    long = b"y" * 3_000_000
    data = header(TOTAL).encode() + b"\n" + long + b"\nOVERFLOW! Rank 0\n" + b"z\n" * 2000
    (hit,) = skimmed(data, make).hits["OVERFLOW! Rank"]
    assert (hit.text, hit.line) == ("OVERFLOW! Rank 0", 13)


@given(st.binary(max_size=3000), st.integers(1, 900))
@settings(max_examples=20, deadline=None)
def test_any_bytes_are_skimmed_without_raising(data: bytes, piece: int):
    ends = Ends(whole_bytes=40, head_bytes=20, tail_bytes=20)
    limits = replace(TIGHT, block_bytes=100, ahead_bytes=60)
    assert skimmed(data, LineScanner, piece=piece, ends=ends, limits=limits) is not None
