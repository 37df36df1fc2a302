"""Owns looking at where a training would write, and at the checkpoint that it would go on from."""

import os
import shutil
from pathlib import Path, PurePosixPath

from diagnostics.config.settings import as_float
from diagnostics.precheck.surroundings import OutputFolder, Presence, SavedState
from diagnostics.runs.files import read_json
from diagnostics.runs.output_dir import WEIGHTS, Checkpoint, read_output_dir, read_state
from diagnostics.runs.paths import names_in, nearest_to, presence_of

_FINISHED = frozenset(
    {
        *("adapter_model.safetensors", "adapter_model.bin"),
        *("model.safetensors", "model.safetensors.index.json"),
        *("pytorch_model.bin", "pytorch_model.bin.index.json"),
    }
)
"""What LLaMA-Factory takes for a finished model in output_dir."""
_STATE_FILES = ("trainer_state.json", "optimizer.pt")


def look_at_output(value: object, cwd: Path) -> OutputFolder | None:
    """Look at the folder that output_dir names; None where it names none."""
    if not isinstance(value, str) or not value or "\0" in value:
        return None
    path = cwd / value
    presence = presence_of(path)
    if presence is not Presence.FOLDER:
        return OutputFolder(presence, _writable(path), _free_bytes(path))
    found = read_output_dir(path)
    last = found.highest
    names = set(names_in(path))
    return OutputFolder(
        presence,
        _writable(path),
        _free_bytes(path),
        _saved(last, str(PurePosixPath(value, last.path.name))) if last is not None else None,
        has_weights=any(name in _FINISHED and (path / name).is_file() for name in names),
        has_trainer_log=found.has_trainer_log,
    )


def _writable(path: Path) -> bool | None:
    """Tell whether a folder, or the nearest above it that is there, lets us write."""
    nearest = nearest_to(path)
    if nearest is None:
        return None
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _free_bytes(path: Path) -> int | None:
    nearest = nearest_to(path)
    try:
        return shutil.disk_usage(nearest).free if nearest is not None else None
    except OSError:
        return None


def look_at_checkpoint(path: Path, shown: str) -> SavedState:
    """Read what the small files of a checkpoint tell; a model's folder may stand in for one."""
    found = (one for one in read_output_dir(path.parent).checkpoints if one.path.name == path.name)
    return _saved(next(found, Checkpoint(path, 0, 0.0)), shown)


def _saved(found: Checkpoint, shown: str) -> SavedState:
    path, fault = found.path, found.fault
    state = read_state(path / "trainer_state.json") or {}
    adapter = read_json(path / "adapter_config.json") or {}
    step = _whole(state.get("global_step"))
    return SavedState(
        path=shown,
        step=found.step or step or 0,
        fault=fault,
        fault_file=next((name for name in _STATE_FILES if name in fault), ""),
        max_steps=_whole(state.get("max_steps")),
        epochs=_number(state.get("num_train_epochs")),
        batch_size=_whole(state.get("train_batch_size")),
        lora_rank=_whole(adapter.get("r")),
        has_weights=any(name.startswith(WEIGHTS) for name in names_in(path)),
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return as_float(value)
