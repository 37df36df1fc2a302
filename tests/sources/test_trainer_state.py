"""The newest checkpoint's own record: what a log that is held back does not tell."""

import json
import os
from pathlib import Path

from diagnostics.history import History
from diagnostics.observations import TrainStep
from diagnostics.sources.trainer_state import LIVE_BYTES, CheckpointStates, read_trainer_state


def checkpoint(folder: Path, step: int, *, norm: object = 0.5, padding: int = 0) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    rows = [
        {"step": at, "loss": 2.0, "grad_norm": norm, "learning_rate": 1e-4, "epoch": 0.1}
        for at in range(10, step + 1, 10)
    ]
    state = {"global_step": step, "max_steps": 100, "log_history": rows, "padding": "x" * padding}
    (path / "adapter_model.safetensors").write_bytes(b"x")
    (path / "trainer_state.json").write_text(json.dumps(state))
    return path


def test_a_new_checkpoint_is_read_once_and_then_the_next(tmp_path: Path):
    states = CheckpointStates(tmp_path)
    assert states.poll(1.0) == ()
    checkpoint(tmp_path, 20)

    first = states.poll(2.0)
    assert [seen.step for seen in first if isinstance(seen, TrainStep)] == [10, 20]
    assert states.poll(3.0) == ()

    checkpoint(tmp_path, 40)
    assert [seen.step for seen in states.poll(4.0) if isinstance(seen, TrainStep)][-1] == 40


def test_the_state_of_an_earlier_attempt_is_not_read(tmp_path: Path):
    path = checkpoint(tmp_path, 20)
    os.utime(path / "trainer_state.json", (1000, 1000))
    os.utime(path, (1000, 1000))

    assert CheckpointStates(tmp_path, since=2000.0).poll(3000.0) == ()


def test_a_very_large_state_is_left_for_after_the_run(tmp_path: Path):
    checkpoint(tmp_path, 20, padding=LIVE_BYTES)

    assert CheckpointStates(tmp_path).poll(2.0) == ()


def test_a_nan_gradient_norm_is_read_from_it(tmp_path: Path):
    path = checkpoint(tmp_path, 20, norm=float("nan"))

    (first, _) = read_trainer_state(path / "trainer_state.json", 1.0)
    assert isinstance(first, TrainStep)
    assert first.grad_norm != first.grad_norm


def test_a_checkpoint_read_late_does_not_set_the_step_back(tmp_path: Path):
    history = History()
    history.add(TrainStep(1.0, "trainer_log.jsonl", 1, 60, loss=1.0))
    for seen in CheckpointStates(tmp_path / "out").poll(1.0):
        history.add(seen)
    checkpoint(tmp_path / "out", 40)
    for seen in CheckpointStates(tmp_path / "out").poll(2.0):
        history.add(seen)

    snapshot = history.snapshot()
    assert snapshot.step == 60
    assert [point.grad_norm for point in snapshot.steps][:1] == [0.5]
