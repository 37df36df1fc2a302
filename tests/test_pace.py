"""The arithmetic of pace, and the record of steps that it works on."""

import math
import random
from collections.abc import Iterator, Sequence

import pytest

from diagnostics.course import MAX_DATA_BARS, MAX_PACE_POINTS, Course
from diagnostics.history import History
from diagnostics.observations import BarKind, Phase, Progress, RunFact, TrainStep
from diagnostics.pace import (
    buckets,
    find_drift,
    find_pauses,
    find_shift,
    levels,
    most_flops,
    stretches,
    usual_seconds,
)
from diagnostics.parsing.console import ConsoleParser


def bar(step: int, elapsed_s: float, *, source: str = "out.log", total: int = 1000) -> Progress:
    return Progress(elapsed_s, source, BarKind.TRAIN, "", step, total, elapsed_s)


def drawn(seconds: Sequence[float], *, pause_every: int = 0, pause_s: float = 0.0) -> Course:
    """Record steps as a bar shows them: at each one, in whole seconds."""
    course, elapsed = Course(), 0.0
    for step, one in enumerate(seconds, 1):
        elapsed += one
        course.add(bar(step, float(int(elapsed))), Phase.TRAINING)
        if pause_every and step % pause_every == 0:
            elapsed += pause_s
    return course


def shift(course: Course, least: float = 2.5) -> tuple[int, int] | None:
    found = find_shift(stretches(course.pace), least, steps=10, fast_s=5, slow_s=10)
    return None if found is None else (found.slow.first, found.slow.last)


def test_the_usual_pace_is_known_though_the_clock_tells_whole_seconds_only():
    for seconds in (0.05, 0.3, 1.7, 12.0):
        usual = usual_seconds(stretches(drawn([seconds] * 400).pace))

        assert usual == pytest.approx(seconds, rel=0.25)


def test_the_first_steps_and_pauses_do_not_move_the_usual_pace():
    course = drawn([60.0, 20.0, *[2.0] * 200], pause_every=20, pause_s=90)

    assert usual_seconds(stretches(course.pace)) == pytest.approx(2.0, rel=0.01)


def test_a_change_is_found_where_it_began_and_where_it_ended():
    found = find_shift(
        stretches(drawn([0.11] * 60 + [0.67] * 30 + [0.1] * 60).pace),
        2.5,
        steps=10,
        fast_s=5,
        slow_s=10,
    )

    assert found is not None
    assert 55 <= found.slow.first <= 65
    assert 85 <= found.slow.last <= 97
    assert found.fast.seconds_per_step == pytest.approx(0.11, rel=0.3)
    assert found.slow.seconds_per_step == pytest.approx(0.67, rel=0.3)
    assert found.over is not None


def test_a_change_that_lasts_to_the_end_is_not_over():
    found = find_shift(
        stretches(drawn([2.0] * 100 + [9.0] * 50).pace), 2.5, steps=10, fast_s=5, slow_s=10
    )

    assert found is not None
    assert found.over is None
    assert found.slow.last == 150


@pytest.mark.parametrize("seconds", [0.1, 1.0, 20.0])
def test_a_change_is_no_change_before_it_has_lasted(seconds: float):
    assert shift(drawn([seconds] * 100 + [5 * seconds] * 5)) is None


@pytest.mark.parametrize("spread", [0.3, 0.6, 1.0])
def test_samples_of_very_different_length_are_no_change_at_any_moment(spread: float):
    for seed in range(12):
        chance = random.Random(seed)
        seconds = [math.exp(chance.gauss(0, spread)) for _ in range(240)]
        found = stretches(drawn(seconds, pause_every=50, pause_s=20).pace)

        moments = (found[: part * len(found) // 8] for part in range(1, 9))
        assert not [
            one for one in moments if find_shift(one, 2.5, steps=10, fast_s=5, slow_s=10)
        ], seed


@pytest.mark.parametrize(("every", "pause_s"), [(10, 20), (10, 100), (50, 300), (5, 3)])
def test_evaluations_are_pauses_and_no_change_of_pace(every: int, pause_s: float):
    course = drawn([1.0] * 300, pause_every=every, pause_s=pause_s)
    pauses = find_pauses(stretches(course.pace))

    assert shift(course) is None
    assert find_drift(stretches(course.pace), 2.0, steps=60, seconds=60) is None
    assert pauses is not None
    assert pauses.every_steps == every
    assert pauses.seconds == pytest.approx(pause_s * (300 // every - 1), rel=0.1)


def test_slow_first_steps_are_no_change_for_the_slower():
    assert shift(drawn([30.0, 20.0, 10.0, *[1.0] * 100])) is None


def test_a_stop_of_the_process_is_one_pause():
    course = drawn([1.0] * 50 + [600.0] + [1.0] * 50)
    pauses = find_pauses(stretches(course.pace))

    assert shift(course) is None
    assert pauses is not None
    assert (pauses.count, pauses.every_steps) == (1, None)


def test_a_pace_that_falls_all_along_is_a_drift_and_a_jump_is_none():
    falling = stretches(drawn([2 + 0.03 * step for step in range(300)]).pace)
    jumped = stretches(drawn([2.0] * 150 + [8.0] * 150).pace)

    drift = find_drift(falling, 2.0, steps=60, seconds=60)
    assert drift is not None
    assert 3 <= drift.ratio <= 5
    assert find_drift(jumped, 2.0, steps=60, seconds=60) is None


def test_no_step_that_was_timed_is_lost_between_buckets_or_levels():
    found = stretches(drawn([0.4] * 120 + [3.0] * 50 + [0.2] * 90).pace)

    for parts in (buckets(found), levels(found)):
        assert sum(one.steps for one in parts) == sum(one.steps for one in found)
        assert sum(one.seconds for one in parts) == sum(one.seconds for one in found)


def test_nothing_is_said_of_a_run_without_steps():
    assert usual_seconds([]) is None
    assert levels([]) == []
    assert find_pauses([]) is None
    assert find_drift([], 2.0, steps=0, seconds=0) is None


def test_the_work_of_a_step_grows_with_what_is_trained_and_repeated():
    lora = most_flops(params=1e9, trained_share=0, tokens=100, longest=1, recomputed=False)
    full = most_flops(params=1e9, trained_share=1, tokens=100, longest=1, recomputed=True)

    assert lora == pytest.approx(4e11, rel=0.001)
    assert full == pytest.approx(8e11, rel=0.001)


def test_a_resumed_run_is_timed_from_its_own_first_step():
    course = Course()
    for step, elapsed in [(1, 1.0), (40, 40.0), (0, 0.0), (41, 0.0), (42, 2.0), (50, 18.0)]:
        course.add(bar(step, elapsed), Phase.TRAINING)

    assert [point.step for point in course.pace] == [41, 42, 50]
    assert usual_seconds(stretches(course.pace)) == 2.0


def test_steps_of_an_attempt_before_are_forgotten_where_the_clock_starts_anew():
    course = drawn([10.0] * 30)
    for step in range(31, 60):
        course.add(bar(step, 2.0 * (step - 30)), Phase.TRAINING)

    assert course.pace[0].step == 31
    assert usual_seconds(stretches(course.pace)) == 2.0


def test_the_trainers_clock_is_believed_over_the_time_at_which_its_rows_were_read():
    course = Course()
    for step in (10, 20, 30):
        course.add(
            TrainStep(500.0, "trainer_log.jsonl", step, step, elapsed_s=3.0 * step), Phase.TRAINING
        )

    assert usual_seconds(stretches(course.pace)) == 3.0


def test_without_any_clock_the_arrival_of_steps_tells_the_pace():
    course = Course()
    for step in range(1, 20):
        course.add(TrainStep(100.0 + 4.0 * step, "out.log", step, step), Phase.TRAINING)

    assert usual_seconds(stretches(course.pace)) == 4.0


def test_a_log_read_in_one_go_tells_no_pace_by_its_arrival():
    course = Course()
    for step in range(1, 20):
        course.add(TrainStep(100.0, "out.log", step, step), Phase.TRAINING)

    assert stretches(course.pace) == []


def test_points_are_thinned_evenly_and_keep_the_pace_of_a_run_of_weeks():
    course = drawn([1.0] * (3 * MAX_PACE_POINTS) + [5.0] * (2 * MAX_PACE_POINTS))
    gaps = [
        two.elapsed_s - one.elapsed_s
        for one, two in zip(course.pace, course.pace[1:], strict=False)
    ]

    assert len(course.pace) <= MAX_PACE_POINTS + 1
    assert max(gaps[:-1]) <= 2.5 * min(gaps[:-1])
    begun = shift(course)
    assert begun is not None
    assert begun[0] == pytest.approx(3 * MAX_PACE_POINTS, rel=0.1)


def test_a_restart_told_by_a_source_clears_what_it_showed():
    course = drawn([1.0] * 30)
    course.add(RunFact(1.0, "out.log", 1, "restart", 0), Phase.TRAINING)

    assert course.pace == ()


def test_bars_of_several_data_sets_are_added_up():
    course = Course()
    for done, elapsed in [(0, 0.0), (100, 10.0), (0, 0.0), (50, 4.0), (100, 8.0)]:
        made = Progress(1.0, "out.log", BarKind.DATASET, "Running tokenizer", done, 100, elapsed)
        course.add(made, Phase.PREPROCESSING)

    (timed,) = course.data_bars
    assert timed.seconds == 18.0
    assert timed.seconds_left == 0.0


def test_names_of_bars_are_bounded():
    course = Course()
    for number in range(10 * MAX_DATA_BARS):
        made = Progress(1.0, "out.log", BarKind.DATASET, f"Map {number}", 1, 2, 1.0)
        course.add(made, Phase.PREPROCESSING)

    assert len(course.data_bars) == MAX_DATA_BARS


def hostile() -> Iterator[bytes]:
    yield b"  1%|x| 1/100 [00:01<00:10, 1.0s/it]\r"
    yield b"  1%|x| 99999999999999999999/99999999999999999999 [99999999:59<00:10, 1.0s/it]\r"
    yield b"  1%|x| 2/100 [00:00<00:10, 1.0s/it]\r"
    yield b"  1%|x| 3/100 [\x00:..:99<?, ?it/s]\r"
    yield b"{'loss': nan, 'epoch': nan}\n" * 3
    yield b"Running tokenizer on dataset:   0%|  | 0/0 [00:00<?, ? examples/s]\r"


def test_hostile_bars_leave_the_record_in_order():
    history, parser = History(()), ConsoleParser("out.log")
    for number, piece in enumerate(hostile()):
        for seen in parser.feed(piece, float(number)):
            history.add(seen)

    found = stretches(history.snapshot().pace)
    assert all(one.steps > 0 and one.seconds > 0 for one in found)
    assert levels(found) == levels(found)
