"""How long steps took, from what a run's own clock told."""

import pytest

from diagnostics.history import History
from diagnostics.observations import BarKind, Progress
from diagnostics.report.pace import step_times


def times(*bars: tuple[int, float]) -> tuple[tuple[int, float], ...]:
    """Return the times that a report shows after these (step, elapsed seconds) of the bar."""
    history = History()
    for done, elapsed_s in bars:
        history.add(Progress(elapsed_s, "log", BarKind.TRAIN, "", done, 100_000, elapsed_s))
    return step_times(history.snapshot().pace)


def test_a_change_of_pace_is_seen_where_it_happened():
    each = dict(
        times(*((done, 2.0 * done if done <= 200 else 5.0 * done - 600) for done in range(401)))
    )

    assert {round(seconds) for step, seconds in each.items() if step <= 200} == {2}
    assert {round(seconds) for step, seconds in each.items() if step > 210} == {5}


def test_whole_seconds_of_quick_steps_do_not_make_the_pace_jump():
    found = times(*((done, float(done * 3 // 10)) for done in range(1, 400)))

    assert [seconds for _, seconds in found] == pytest.approx([0.3] * len(found), rel=0.2)
    assert len(found) > 10


def test_of_a_run_of_seconds_nothing_is_said():
    assert times(*((done, float(done // 2)) for done in range(1, 6))) == ()
    assert times() == ()


def test_a_second_training_in_the_log_starts_the_pace_anew():
    first = [(done, done * 10.0) for done in range(1, 50)]
    second = [(done, done * 20.0) for done in range(1, 50)]

    assert {round(each) for _, each in times(*first, *second)} == {20}


def test_the_pace_of_a_run_of_weeks_stays_small():
    found = times(*((done, done * 3.0) for done in range(20_000)))

    assert 20 < len(found) <= 100
    assert {round(each, 6) for _, each in found} == {3.0}
