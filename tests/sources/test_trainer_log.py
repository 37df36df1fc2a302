"""Following trainer_log.jsonl."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from diagnostics.observations import EvalPoint, Observation, RunFact, SourceFault, TrainStep
from diagnostics.sources import tail
from diagnostics.sources.trainer_log import TrainerLog
from diagnostics.sources.trainer_state import read_trainer_state

LOGS = Path(__file__).parents[1] / "data" / "logs"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trainer_log.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[TrainerLog]:
    follower = TrainerLog(path)
    yield follower
    follower.close()


def row(step: int, **values: object) -> str:
    return json.dumps({"current_steps": step, "total_steps": 100, "loss": 1.0, **values}) + "\n"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def steps(seen: Sequence[Observation]) -> list[int | None]:
    return [one.step for one in seen if isinstance(one, TrainStep)]


def restarts(seen: Sequence[Observation]) -> list[object]:
    return [one.value for one in seen if isinstance(one, RunFact) and one.name == "restart"]


def test_a_file_that_is_not_there_yet_is_silence(path: Path, log: TrainerLog):
    assert list(log.poll(1.0)) == []
    append(path, row(5))
    assert steps(log.poll(2.0)) == [5]


def test_rows_come_as_they_are_written_and_half_ones_wait(path: Path, log: TrainerLog):
    text = row(10)
    append(path, row(5) + text[:20])
    assert steps(log.poll(1.0)) == [5]
    assert list(log.poll(2.0)) == []
    append(path, text[20:])
    assert steps(log.poll(3.0)) == [10]


def test_a_row_gives_its_numbers_its_line_and_the_total_once(path: Path, log: TrainerLog):
    append(path, row(5, lr=0.5, epoch=0.1, vram_allocated=10.5) + row(10))
    total, first, second = log.poll(3.0)
    assert isinstance(total, RunFact)
    assert (total.name, total.value) == ("total_steps", 100)
    assert first == TrainStep(
        at=3.0,
        source="trainer_log.jsonl",
        line=1,
        step=5,
        total_steps=100,
        loss=1.0,
        learning_rate=0.5,
        epoch=0.1,
        extra={"vram_allocated": 10.5},
    )
    assert isinstance(second, TrainStep)
    assert second.line == 2


def test_an_evaluation_row_is_a_point_and_a_summary_row_is_nothing(path: Path, log: TrainerLog):
    append(path, row(5, loss=None, eval_loss=2.5, epoch=0.5) + row(5, loss=None))
    points = [one for one in log.poll(1.0) if not isinstance(one, RunFact)]
    assert points == [EvalPoint(1.0, "trainer_log.jsonl", 1, 5, 2.5, 0.5, {})]


def test_noise_between_rows_is_passed_over(path: Path, log: TrainerLog):
    append(path, row(5) + "not json\n\n[1]\n" + row(10))
    seen = log.poll(1.0)
    assert steps(seen) == [5, 10]
    assert [one.line for one in seen if isinstance(one, TrainStep)] == [1, 5]


def test_steps_that_go_back_are_a_new_attempt(path: Path, log: TrainerLog):
    append(path, row(40) + row(60) + row(45))
    seen = log.poll(1.0)
    assert restarts(seen) == [45]
    assert steps(seen) == [40, 60, 45]


def test_an_evaluation_at_the_step_of_its_row_is_no_new_attempt(path: Path, log: TrainerLog):
    append(path, row(5) + row(5, loss=None, eval_loss=1.0) + row(5, loss=None))
    assert restarts(log.poll(1.0)) == []


def test_a_cut_file_is_read_anew(path: Path, log: TrainerLog):
    append(path, row(5) + row(10) + '{"current_st')
    log.poll(1.0)
    path.write_text(row(1))
    seen = log.poll(2.0)
    assert (steps(seen), restarts(seen)) == ([1], [1])
    assert [one.line for one in seen if isinstance(one, TrainStep)] == [1]


def test_a_sparse_beginning_hides_no_row(path: Path, log: TrainerLog):
    append(path, row(5))
    log.poll(1.0)
    os.truncate(path, 0)
    assert list(log.poll(2.0)) == []
    with path.open("r+b") as file:
        file.seek(20_000)
        file.write(row(10).encode())
    assert steps(log.poll(3.0)) == [10]


def test_a_file_renamed_away_is_finished_before_its_successor(path: Path, log: TrainerLog):
    append(path, row(50))
    log.poll(1.0)
    old = path.with_suffix(".old")
    path.rename(old)
    append(old, row(55))
    append(path, row(5))
    assert steps(log.poll(2.0)) == [55]
    seen = log.poll(3.0)
    assert (steps(seen), restarts(seen)) == ([5], [5])


def test_a_deleted_file_that_comes_back_is_a_new_one(path: Path, log: TrainerLog):
    append(path, row(5) + '{"half')
    log.poll(1.0)
    path.unlink()
    assert list(log.poll(2.0)) == []
    append(path, row(1) + row(2) + row(3))
    seen = log.poll(3.0)
    assert (steps(seen), restarts(seen)) == ([1, 2, 3], [1])


def test_a_directory_in_its_place_is_a_fault_told_once(path: Path, log: TrainerLog):
    path.mkdir()
    (fault,) = log.poll(1.0)
    assert isinstance(fault, SourceFault)
    assert fault.source == "trainer_log.jsonl"
    assert list(log.poll(2.0)) == []
    path.rmdir()
    append(path, row(5))
    assert steps(log.poll(3.0)) == [5]


def test_a_line_without_end_is_not_held(path: Path, log: TrainerLog):
    path.write_bytes(b"x" * (3 * 1024 * 1024))
    assert list(log.poll(1.0)) == []
    assert log._rest == b""
    append(path, "\n" + row(5))
    assert steps(log.poll(2.0)) == [5]


def test_rows_of_an_earlier_attempt_carry_their_own_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = "".join(row(step) for step in range(1, 21))
    path.write_text(text)
    os.utime(path, (1000.0, 1000.0))
    monkeypatch.setattr(tail, "MAX_BYTES_A_POLL", len(text) // 2)
    follower = TrainerLog(path, since=2000.0)
    seen = [one for _ in range(3) for one in follower.poll(2500.0)]
    append(path, row(11))
    after = follower.poll(2600.0)
    follower.close()
    assert steps(seen) == list(range(1, 21))
    assert {one.at for one in seen} == {1000.0}
    assert {one.at for one in after} == {2600.0}


def test_a_real_file_gives_its_ten_steps(tmp_path: Path):
    copy = tmp_path / "trainer_log.jsonl"
    copy.write_bytes((LOGS / "lora_pipe.trainer_log.jsonl").read_bytes())
    follower = TrainerLog(copy)
    seen = follower.poll(1.0)
    follower.close()
    assert steps(seen) == list(range(5, 51, 5))
    assert restarts(seen) == []


def test_a_trainer_state_gives_the_gradient_norms(tmp_path: Path):
    path = tmp_path / "checkpoint-10" / "trainer_state.json"
    path.parent.mkdir()
    history = [
        {"step": 5, "loss": 1.5, "grad_norm": 0.5, "learning_rate": 1e-4, "epoch": 1, "x": 2},
        {"step": 10, "eval_loss": 2.5, "epoch": 2.0},
        {"step": True, "loss": 1.0},
        {"step": 11, "loss": 10**400},
        {"step": "12", "loss": 1.0},
        {"step": 13, "train_loss": 1.0},
        "noise",
    ]
    path.write_text(json.dumps({"max_steps": 20, "log_history": history}))
    step, point = read_trainer_state(path, 4.0)
    assert step == TrainStep(
        at=4.0,
        source="checkpoint-10/trainer_state.json",
        line=1,
        step=5,
        total_steps=20,
        loss=1.5,
        grad_norm=0.5,
        learning_rate=1e-4,
        epoch=1.0,
        extra={"x": 2.0},
    )
    assert point == EvalPoint(4.0, "checkpoint-10/trainer_state.json", 2, 10, 2.5, 2.0)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"log_history": 5}', "\0"])
def test_a_trainer_state_that_is_none_gives_nothing(tmp_path: Path, text: str):
    path = tmp_path / "trainer_state.json"
    path.write_text(text)
    assert list(read_trainer_state(path, 1.0)) == []
