"""Metrics in the middle of a large log: placed as they stand, and thinned where they are many."""

import random
from dataclasses import replace
from itertools import pairwise

from diagnostics.sources.skim.rows import Group, Rows
from tests.sources.skim.logs import TOTAL, bar, header, metrics, steps
from tests.sources.skim.reading import TIGHT, Make, skimmed, told, whole


def test_metrics_that_came_in_one_lump_are_placed_as_by_reading_whole(make: Make):
    lump = "".join(metrics(step, TOTAL, 2.0) for step in range(5, 401, 5))
    text = header(TOTAL) + "".join(bar(n, TOTAL) for n in range(1, 401)) + "\n" + lump + "\nend\n"
    data = text.encode()
    assert told(skimmed(data, make)) == told(whole(data))
    assert [step.step for step in whole(data).steps] == list(range(5, 401, 5))


def test_with_more_metrics_than_are_kept_they_are_thinned_evenly(make: Make):
    dice = random.Random(3)
    text = header(6000) + steps(1, 6000, 6000, dice, quoted=True)
    limits = replace(TIGHT, max_rows=200)
    snapshot = skimmed(text.encode(), make, limits=limits)
    found = [step.step for step in snapshot.steps if step.step is not None]
    assert 20 < len(found) < 300
    assert found[-1] == 6000
    assert all(step % 5 == 0 for step in found)
    gaps = {after - before for before, after in pairwise(found)}
    assert max(gaps) < 6000 / 20


def test_a_loss_that_stands_out_and_a_bad_number_outlive_the_thinning(make: Make):
    dice = random.Random(3)
    healthy = [steps(1000 * n + 1, 1000 * n + 1000, 9000, dice) for n in range(6)]
    healthy[1] += metrics(2001, 9000, 97.5)
    healthy[4] += "{'loss': 2.5, 'grad_norm': nan, 'learning_rate': 1e-05, 'epoch': 0.5556}\n"
    snapshot = skimmed(
        (header(9000) + "".join(healthy)).encode(), make, limits=replace(TIGHT, max_rows=200)
    )
    assert 97.5 in {step.loss for step in snapshot.steps}
    assert any(step.grad_norm != step.grad_norm for step in snapshot.steps)


def test_of_metrics_all_are_kept_as_long_as_there_is_room():
    rows = Rows(Group.LOSS, 8)
    rows.add(5, [(n, n, n, b"{'loss': 1.0}", b"") for n in rows.choose(5)])
    assert rows.stride == 1
    assert len(rows) == 5
    rows.add(9, [(n, n, n, b"{'loss': 1.0}", b"") for n in rows.choose(9)])
    assert rows.stride > 1
    assert all(row.number % rows.stride == 0 for row in rows.drain())
