"""Owns reading trainer_state.json, a checkpoint's or the last: it has what trainer_log lacks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diagnostics.observations import EvalPoint, Observation, TrainStep
from diagnostics.runs.output_dir import read_output_dir, read_state

STATE = "trainer_state.json"
LIVE_BYTES = 4 * 1024 * 1024
"""Some 20,000 logged steps: reading it takes a moment that a watched run can spare."""
LARGEST = 2**53
"""Beyond it an integer is no count, and a float not exact."""
_STEP_KEYS = {"loss", "grad_norm", "learning_rate", "epoch", "step"}


class CheckpointStates:
    """Follows the newest checkpoint's state: a log that is held back tells no gradient norm.

    `since` is when the present attempt began: states from before it are an earlier one's.
    """

    def __init__(self, output_dir: Path, since: float = 0.0) -> None:
        self._folder = output_dir
        self._since = since
        self._read: tuple[Path, float] | None = None

    def poll(self, now: float) -> Sequence[Observation]:
        """Return what the newest checkpoint has, once; a large one is left for after the run."""
        newest = read_output_dir(self._folder).best(since=self._since)
        if newest is None or (newest.path, newest.modified_at) == self._read:
            return ()
        self._read = (newest.path, newest.modified_at)
        path = newest.path / STATE
        try:
            large = path.stat().st_size > LIVE_BYTES
        except OSError:
            return ()
        return () if large else read_trainer_state(path, min(now, newest.modified_at))

    def close(self) -> None:
        """Nothing is held open."""


def read_trainer_state(path: Path, at: float) -> Sequence[Observation]:
    """Return the steps and evaluations of a trainer_state.json; none where it cannot be read."""
    state = read_state(path)
    history = state.get("log_history") if state is not None else None
    if not isinstance(history, list):
        return ()
    total = state.get("max_steps") if state is not None else None
    source = f"{path.parent.name}/{path.name}" if path.parent.name else path.name
    found: list[Observation] = []
    for number, row in enumerate(history, start=1):
        if not isinstance(row, dict) or type(row.get("step")) is not int:
            continue
        step = int(row["step"])
        numbers = {str(key): float(value) for key, value in row.items() if _is_number(value)}
        if "eval_loss" in numbers:
            found.append(
                EvalPoint(at, source, number, step, numbers["eval_loss"], numbers.get("epoch"))
            )
        elif "loss" in numbers:
            found.append(
                TrainStep(
                    at=at,
                    source=source,
                    line=number,
                    step=step,
                    total_steps=total if isinstance(total, int) else None,
                    loss=numbers["loss"],
                    grad_norm=numbers.get("grad_norm"),
                    learning_rate=numbers.get("learning_rate"),
                    epoch=numbers.get("epoch"),
                    extra=_extra(numbers),
                )
            )
    return found


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < LARGEST
    return isinstance(value, float)


def _extra(numbers: Mapping[str, float]) -> Mapping[str, float]:
    return {key: value for key, value in numbers.items() if key not in _STEP_KEYS}
