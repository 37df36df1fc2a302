"""Failures in the middle of a large log: none is missed, and each knows when it was."""

import random

from diagnostics.observations import Phase
from tests.sources.skim.logs import OOM, TOTAL, TRACEBACK, evaluation, header, steps
from tests.sources.skim.reading import Make, skimmed


def test_an_error_among_thousands_of_another_kind_is_not_missed(make: Make):
    noise = "".join(
        TRACEBACK.format(exception=f"ConnectionError: attempt {n}") + "\n" for n in range(300)
    )
    text = header(TOTAL) + "\n" + noise + TRACEBACK.format(exception=OOM) + "\n" + noise
    snapshot = skimmed(text.encode(), make)
    assert [oom.requested_bytes for oom in snapshot.ooms] == [round(2.32 * 2**30)]
    assert "torch.OutOfMemoryError" in {one.exception for one in snapshot.tracebacks}
    assert len(snapshot.tracebacks) < 100


def test_a_failure_knows_the_phase_in_which_it_was(make: Make):
    text = header(TOTAL) + steps(1, 100, TOTAL, random.Random(2)) + evaluation(100, TOTAL)
    text = text.rpartition("\x1b[A")[0] + "\n" + TRACEBACK.format(exception=OOM) + "x\n" * 3000
    snapshot = skimmed(text.encode(), make)
    assert [one.phase for one in snapshot.tracebacks] == [Phase.EVALUATING]
    assert [one.step for one in snapshot.ooms] == [100]
