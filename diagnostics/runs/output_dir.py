"""Owns what lies in a training's output folder: checkpoints, whole or torn, and other files.

Only reads. A checkpoint is whole where trainer_state.json, written last, parses, and the weights
are there; nothing of it is unpickled.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostics.runs.files import read_json

_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
_MAX_STATE_BYTES = 128 * 1024 * 1024
"""A trainer_state.json holds every logged step: some 200 bytes each."""
WEIGHTS = ("adapter_model", "model", "pytorch_model", "global_step")
"""How the names of a checkpoint's weights begin."""
_MODEL_FILES = re.compile(
    r"^(adapter_model|model|pytorch_model)[\w.-]*\.(safetensors|bin)(\.index\.json)?$|"
    r"^(adapter_config|config)\.json$"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint-N folder; `fault` says why it cannot be resumed, empty where it can."""

    path: Path
    step: int
    modified_at: float
    fault: str = ""
    max_steps: int | None = None


@dataclass(frozen=True, slots=True)
class OutputDir:
    """What a training would meet in its output folder."""

    path: Path
    exists: bool = False
    checkpoints: tuple[Checkpoint, ...] = ()
    """By step."""
    has_model: bool = False
    """Whether files of a finished model lie in it, which LLaMA-Factory refuses to train over."""
    has_trainer_log: bool = False

    @property
    def highest(self) -> Checkpoint | None:
        """The one that LLaMA-Factory resumes from by itself, whole or not."""
        return self.checkpoints[-1] if self.checkpoints else None

    def best(self, *, since: float = 0.0) -> Checkpoint | None:
        """Return the highest whole checkpoint written since a time."""
        usable = [c for c in self.checkpoints if not c.fault and c.modified_at >= since]
        return usable[-1] if usable else None


def read_output_dir(path: Path) -> OutputDir:
    """Look into an output folder; one that cannot be read counts as absent."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError:
        return OutputDir(path)
    checkpoints = [
        _checkpoint(path / name, int(match.group(1)))
        for name in names
        if (match := _CHECKPOINT.match(name)) and (path / name).is_dir()
    ]
    return OutputDir(
        path=path,
        exists=True,
        checkpoints=tuple(sorted(checkpoints, key=lambda checkpoint: checkpoint.step)),
        has_model=any(_MODEL_FILES.match(name) for name in names),
        has_trainer_log="trainer_log.jsonl" in names,
    )


def _checkpoint(path: Path, step: int) -> Checkpoint:
    try:
        names = [entry.name for entry in path.iterdir()]
        modified_at = path.stat().st_mtime
    except OSError as error:
        return Checkpoint(path, step, 0.0, f"cannot be read: {error.strerror}")
    state_path = path / "trainer_state.json"
    try:
        modified_at = state_path.stat().st_mtime
    except FileNotFoundError:
        return Checkpoint(path, step, modified_at, "trainer_state.json is missing: it is torn")
    except OSError as error:
        return Checkpoint(path, step, modified_at, f"cannot be read: {error.strerror}")
    state: dict[str, Any] | None = read_state(state_path)
    if state is None or not isinstance(state.get("global_step"), int):
        return Checkpoint(path, step, modified_at, "trainer_state.json is torn")
    weights = [name for name in names if name.startswith(WEIGHTS)]
    if not weights:
        return Checkpoint(path, step, modified_at, "it has no weights")
    empty = next((n for n in [*weights, "optimizer.pt"] if _is_empty(path / n)), None)
    if empty is not None:
        return Checkpoint(path, step, modified_at, f"{empty} is empty")
    if "optimizer.pt" in names and not _is_whole_zip(path / "optimizer.pt"):
        return Checkpoint(path, step, modified_at, "optimizer.pt is cut off")
    max_steps = state.get("max_steps")
    return Checkpoint(
        path, step, modified_at, "", max_steps if isinstance(max_steps, int) else None
    )


def read_state(path: Path) -> dict[str, Any] | None:
    """Return a trainer_state.json as an object, or None where it is not one."""
    return read_json(path, max_bytes=_MAX_STATE_BYTES)


def _is_empty(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size == 0
    except OSError:
        return False


def _is_whole_zip(path: Path) -> bool:
    """Tell whether a torch file has the end that torch writes last (a zip's directory)."""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return True  # the format before torch 1.6 has no such end
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 65_557))
            return b"PK\x05\x06" in file.read()
    except OSError:
        return False
