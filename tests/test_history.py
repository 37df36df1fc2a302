"""The memory of what was observed."""

from dataclasses import replace

from diagnostics.history import MAX_EVENTS, MAX_HITS, MAX_LOG_LINES, MAX_POINTS, History
from diagnostics.observations import (
    BarKind,
    EvalPoint,
    LogLine,
    MemoryDevice,
    MemoryPhase,
    OutOfMemory,
    Phase,
    PhaseChange,
    Progress,
    RunFact,
    SourceFault,
    TrainStep,
)

TRAINER_LOG = "trainer_log.jsonl"
CONSOLE = "stdout.log"


def step(
    number: int | None, loss: float = 1.0, source: str = TRAINER_LOG, at: float = 10.0
) -> TrainStep:
    return TrainStep(at=at, source=source, line=1, step=number, loss=loss)


def fact(name: str, value: float | str, source: str = TRAINER_LOG) -> RunFact:
    return RunFact(10.0, source, 1, name, value)


def bar(done: int, source: str = CONSOLE) -> Progress:
    return Progress(10.0, source, BarKind.TRAIN, "", done, 100)


def oom() -> OutOfMemory:
    return OutOfMemory(10.0, CONSOLE, 1, MemoryDevice.GPU, MemoryPhase.TRAIN, "CUDA out of memory.")


def phase(value: Phase) -> PhaseChange:
    return PhaseChange(10.0, CONSOLE, 1, value)


def history(*observations: object, began_at: float = 0.0) -> History:
    made = History(began_at=began_at)
    for one in observations:
        made.add(one)  # type: ignore[arg-type] # each is an observation
    return made


def losses(made: History) -> dict[int | None, float | None]:
    return {point.step: point.loss for point in made.snapshot().steps}


def test_a_resumed_attempt_replaces_the_steps_it_does_again_and_what_followed():
    made = history(*(step(n, 1.0) for n in (10, 20, 30, 40)), step(20, 2.0))
    assert losses(made) == {10: 1.0, 20: 2.0}
    made.add(step(30, 3.0))
    assert losses(made) == {10: 1.0, 20: 2.0, 30: 3.0}


def test_a_restart_takes_back_the_points_from_its_step_on():
    evaluation = EvalPoint(10.0, TRAINER_LOG, 1, 20, 1.5)
    made = history(step(10), evaluation, step(20), step(30), fact("restart", 20))
    assert losses(made) == {10: 1.0}
    assert made.snapshot().evals == ()


def test_a_restart_of_one_source_leaves_the_others():
    made = history(step(10), step(10, source=CONSOLE), fact("restart", 0, CONSOLE))
    assert losses(made) == {10: 1.0}


def test_the_console_adds_what_the_trainer_log_lacks():
    console = replace(step(10, 1.13, CONSOLE), grad_norm=0.5, epoch=0.1, extra={"reward": 2.0})
    made = history(step(10, 1.1268), console)
    (point,) = made.snapshot().steps
    assert (point.loss, point.grad_norm, point.epoch) == (1.1268, 0.5, 0.1)
    assert point.extra == {"reward": 2.0}


def test_the_trainer_logs_own_numbers_win_whichever_source_came_first():
    console = replace(step(10, 1.13, CONSOLE), grad_norm=0.5)
    (point,) = history(console, step(10, 1.1268)).snapshot().steps
    assert (point.loss, point.grad_norm) == (1.1268, 0.5)


def test_a_console_step_that_the_trainer_log_passed_over_is_not_believed():
    made = history(step(10), step(20), step(13, source=CONSOLE), step(25, source=CONSOLE))
    assert list(losses(made)) == [10, 20, 25]


def test_steps_that_nothing_places_are_numbered_in_their_order():
    made = history(step(None, 3.0, CONSOLE), step(None, 2.0, CONSOLE))
    assert losses(made) == {1: 3.0, 2: 2.0}
    made.add(step(10, 1.0))
    assert losses(made) == {10: 1.0}


def test_one_evaluation_told_by_two_sources_is_one_point():
    console = EvalPoint(1.0, CONSOLE, 9, 20, 1.52, 0.5, {"eval_runtime": 3.0})
    made = history(console, EvalPoint(1.0, TRAINER_LOG, 1, 20, 1.5159, 0.5))
    (point,) = made.snapshot().evals
    assert (point.eval_loss, point.extra) == (1.5159, {"eval_runtime": 3.0})


def test_rows_of_an_earlier_attempt_do_not_count_as_the_step_reached():
    made = history(step(60, at=5.0), began_at=8.0)
    snapshot = made.snapshot()
    assert [point.step for point in snapshot.steps] == [60]
    assert snapshot.step is None
    made.add(step(41, at=9.0))
    assert made.snapshot().step == 41


def test_the_step_reached_is_the_furthest_that_bar_or_metrics_tell():
    assert history(step(10), bar(14)).snapshot().step == 14
    assert history(step(20), bar(14)).snapshot().step == 20


def test_a_log_that_begins_anew_forgets_the_bar_of_before():
    made = history(bar(60), fact("restart", 0, CONSOLE), step(41))
    assert made.snapshot().step == 41
    assert history(bar(60), fact("restart", 41, TRAINER_LOG)).snapshot().step == 60


def test_the_total_is_the_headers_else_the_bars_else_the_rows():
    assert history(fact("total_steps", 50), bar(1)).snapshot().total_steps == 50
    assert history(bar(1)).snapshot().total_steps == 100
    assert history(replace(step(1), total_steps=70)).snapshot().total_steps == 70
    assert history().snapshot().total_steps is None


def test_a_new_training_in_the_same_log_ends_what_stopped_the_one_before():
    made = history(phase(Phase.TRAINING), oom(), phase(Phase.LOADING))
    assert len(made.snapshot().ooms) == 1
    made.add(phase(Phase.TRAINING))
    assert made.snapshot().ooms == ()


def test_going_on_after_an_evaluation_or_a_save_forgets_nothing():
    for between in (Phase.EVALUATING, Phase.SAVING):
        made = history(phase(Phase.TRAINING), oom(), phase(between), phase(Phase.TRAINING))
        assert len(made.snapshot().ooms) == 1


def test_a_fault_is_over_when_its_source_tells_something():
    for sign in (LogLine(2.0, CONSOLE, 1, "x"), bar(1), step(1, source=CONSOLE)):
        made = history(SourceFault(1.0, CONSOLE, "gone"), SourceFault(1.0, "other", "gone"), sign)
        assert list(made.snapshot().faults) == ["other"]


def test_everything_is_bounded():
    made = History(["x"])
    for number in range(MAX_POINTS + 100):
        made.add(step(number))
        made.add(step(None, source=CONSOLE))
    for number in range(MAX_LOG_LINES + 100):
        made.add(LogLine(1.0, CONSOLE, number, "x"))
        made.add(oom())
    snapshot = made.snapshot()
    assert MAX_POINTS // 2 <= len(snapshot.steps) <= MAX_POINTS
    assert snapshot.steps[0].step == 0
    assert snapshot.steps[-1].step == MAX_POINTS + 99
    assert len(snapshot.log) == MAX_LOG_LINES
    assert len(snapshot.ooms) == MAX_EVENTS
    numbers = [hit.line for hit in snapshot.hits["x"]]
    assert len(numbers) == MAX_HITS
    assert numbers[: MAX_HITS // 2] == list(range(MAX_HITS // 2))
    assert numbers[-1] == MAX_LOG_LINES + 99


def test_a_snapshot_does_not_change_after_it_is_made():
    made = history(step(1), fact("method", "LoRA"))
    before = made.snapshot()
    made.add(step(2))
    made.add(fact("method", "Full"))
    assert len(before.steps) == 1
    assert before.facts["method"] == "LoRA"


def test_what_kinds_were_seen_is_known():
    assert history().snapshot().observed == frozenset()
    assert history(step(1), LogLine(1.0, CONSOLE, 1, "x")).snapshot().observed == {"metrics", "log"}


def test_points_without_a_step_are_thinned_too_and_the_latest_stays():
    history = History()
    for number in range(MAX_POINTS + 100):
        history.add(TrainStep(1.0, "stdout.log", number, None, loss=float(number)))

    steps = history.snapshot().steps

    assert MAX_POINTS // 2 <= len(steps) <= MAX_POINTS
    assert (steps[-1].step, steps[-1].loss) == (MAX_POINTS + 100, float(MAX_POINTS + 99))
