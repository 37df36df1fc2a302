"""Owns looking at what lies around a config before its launch: paths, folders, small files.

Only reads, and only what is small: nothing is unpickled, imported or downloaded. Whatever cannot be
read is told as not known.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import Environment
from diagnostics.datasets import DatasetReport
from diagnostics.precheck.surroundings import (
    JsonFile,
    ModelFolder,
    NamedPath,
    OutputFolder,
    Presence,
    SavedState,
    Surroundings,
)
from diagnostics.runs.files import read_json
from diagnostics.runs.output_dir import Checkpoint, read_output_dir
from diagnostics.sources.dataset import look

_INPUT_KEYS = (
    "model_name_or_path",
    "adapter_name_or_path",
    "ref_model",
    "reward_model",
    "ref_model_adapters",
    "reward_model_adapters",
    "resume_from_checkpoint",
    "deepspeed",
)
_MAY_BE_OF_THE_HUB = frozenset({"model_name_or_path", "adapter_name_or_path"}) | frozenset(
    {"ref_model", "reward_model", "ref_model_adapters", "reward_model_adapters"}
)
_WEIGHTS = frozenset(
    {
        *("adapter_model.safetensors", "adapter_model.bin"),
        *("model.safetensors", "model.safetensors.index.json"),
        *("pytorch_model.bin", "pytorch_model.bin.index.json"),
    }
)
"""What LLaMA-Factory takes for a finished model in output_dir."""
_ROOT_AND_ONE = 2
_TELLING = frozenset({"config.json", "adapter_config.json"})
_STATE_FILES = ("trainer_state.json", "optimizer.pt")
_WEIGHT_NAMES = ("adapter_model", "model", "pytorch_model", "global_step")
_MAX_STATE_BYTES = 128 * 1024 * 1024
_MAX_JSON_BYTES = 16 * 1024 * 1024
_MAX_HEADER_BYTES = 16 * 1024 * 1024
_MAX_FILES = 2_000
_MAX_SHOWN = 8
_WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf")
_MOST_POINTER_BYTES = 1024
_POINTER = b"version https://git-lfs"


def look_around(
    config: EffectiveConfig,
    cwd: Path,
    environ: Mapping[str, str],
    environment: Environment | None,
) -> Surroundings:
    """Look at all that a training with this config would meet, started in a folder."""
    paths = tuple(_named(config, cwd))
    values = config.as_dict()
    model = next((one for one in paths if one.key == "model_name_or_path"), None)
    resume = next((one for one in paths if one.key == "resume_from_checkpoint"), None)
    deepspeed = next((one for one in paths if one.key == "deepspeed"), None)
    return Surroundings(
        paths=paths,
        at_home=_at_home(paths, values),
        at_start=_has_data(values, cwd),
        output=_output(values.get("output_dir"), cwd),
        resumed=_checkpoint(cwd / resume.value, resume.value)
        if resume is not None and resume.presence is Presence.FOLDER
        else None,
        model=_model(cwd / model.value)
        if model is not None and model.presence is Presence.FOLDER
        else None,
        deepspeed=_json(cwd / deepspeed.value, deepspeed.value)
        if deepspeed is not None and deepspeed.presence is Presence.FILE
        else None,
        datasets=_datasets(config, cwd),
        environ=environ,
        environment=environment,
    )


def _datasets(config: EffectiveConfig, cwd: Path) -> tuple[DatasetReport, ...] | None:
    try:
        return look(config, cwd)
    except (OSError, ValueError):  # a path that is too long, or with a NUL in it
        return None


def _named(config: EffectiveConfig, cwd: Path) -> Iterator[NamedPath]:
    for key in _INPUT_KEYS:
        for text in _texts(config.get(key, None)):
            presence = _presence(cwd / text)
            if presence is Presence.ABSENT and key in _MAY_BE_OF_THE_HUB and not _is_path(text):
                continue  # a name on the hub
            beside = _leads_here(text, cwd)
            yield NamedPath(key, text, presence, beside, _TELLING & set(_names(cwd / text)))


def _texts(value: object) -> list[str]:
    """Return the paths in a value: LLaMA-Factory splits them at commas."""
    found = value if isinstance(value, list) else [value]
    texts = [one for one in found if isinstance(one, str)]
    parts = [part.strip() for text in texts for part in text.split(",")]
    return [part for part in parts if part and "\0" not in part][:_MAX_SHOWN]


def _is_path(text: str) -> bool:
    """Tell whether a text can only be a path: a name on the hub is "owner/name" at most."""
    return text.startswith(("/", "./", "../", "~")) or len(PurePosixPath(text).parts) > 2  # noqa: PLR2004 - owner and name


def _leads_here(text: str, cwd: Path) -> bool:
    """Tell whether what a path lies in is here, so that only its end can be wrong.

    Of an absolute path two folders must be there: /data alone is on many machines.
    """
    if text.startswith("/"):
        nearest = _nearest(Path(text).parent)
        return nearest is not None and len(nearest.parts) > _ROOT_AND_ONE
    parent = (cwd / text).parent
    if _presence(parent) is not Presence.FOLDER:
        return False
    return os.path.realpath(parent) != os.path.realpath(cwd)


def _presence(path: Path) -> Presence:
    try:
        if path.is_dir():
            return Presence.FOLDER
        if path.is_file():
            return Presence.FILE
        if path.exists():
            return Presence.UNKNOWN  # a pipe or a device
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Presence.ABSENT
    except (OSError, ValueError):
        return Presence.UNKNOWN
    return Presence.ABSENT  # a link that leads nowhere


_PLACE_KEYS = ("dataset_dir", "media_dir", "tokenized_path", "output_dir")


def _at_home(paths: tuple[NamedPath, ...], values: Mapping[str, object]) -> bool:
    """Tell whether the absolute paths of a config are meant for this machine: one leads here."""
    absolute = [one.value for one in paths if one.value.startswith("/")]
    for key in _PLACE_KEYS:
        value = values.get(key)
        if isinstance(value, str) and value.startswith("/") and "\0" not in value:
            absolute.append(value)
    here = (
        _presence(Path(one)) is not Presence.ABSENT or _leads_here(one, Path()) for one in absolute
    )
    return not absolute or any(here)


def _has_data(values: Mapping[str, object], cwd: Path) -> bool:
    """Tell whether the data folder is here by a relative path."""
    named = values.get("dataset_dir", "data")
    if not isinstance(named, str) or named.startswith("/") or "\0" in named:
        return False
    return "dataset" in values and _presence(cwd / named) is Presence.FOLDER


def _output(value: object, cwd: Path) -> OutputFolder | None:
    if not isinstance(value, str) or not value or "\0" in value:
        return None
    path = cwd / value
    presence = _presence(path)
    if presence is not Presence.FOLDER:
        return OutputFolder(presence, _writable(path), _free_bytes(path))
    found = read_output_dir(path)
    last = found.highest
    names = set(_names(path))
    return OutputFolder(
        presence,
        _writable(path),
        _free_bytes(path),
        _saved(last, str(PurePosixPath(value, last.path.name))) if last is not None else None,
        has_weights=any(name in _WEIGHTS and (path / name).is_file() for name in names),
        has_trainer_log=found.has_trainer_log,
    )


def _writable(path: Path) -> bool | None:
    """Tell whether a folder, or the nearest above it that is there, lets us write."""
    nearest = _nearest(path)
    if nearest is None:
        return None
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _nearest(path: Path) -> Path | None:
    for one in (path, *path.parents):
        presence = _presence(one)
        if presence is Presence.UNKNOWN:
            return None
        if presence is not Presence.ABSENT:
            return one
    return None


def _free_bytes(path: Path) -> int | None:
    nearest = _nearest(path)
    try:
        return shutil.disk_usage(nearest).free if nearest is not None else None
    except OSError:
        return None


def _checkpoint(path: Path, shown: str) -> SavedState:
    """Read what the small files of a checkpoint tell; a model's folder may stand in for one."""
    found = (one for one in read_output_dir(path.parent).checkpoints if one.path.name == path.name)
    return _saved(next(found, Checkpoint(path, 0, 0.0)), shown)


def _saved(found: Checkpoint, shown: str) -> SavedState:
    path, fault = found.path, found.fault
    state = _object(path / "trainer_state.json", _MAX_STATE_BYTES)
    adapter = _object(path / "adapter_config.json")
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
        has_weights=any(name.startswith(_WEIGHT_NAMES) for name in _names(path)),
    )


def _object(path: Path, most: int = _MAX_JSON_BYTES) -> dict[str, Any]:
    """Return a JSON object; empty where there is none."""
    try:
        return (read_json(path, max_bytes=most) or {}) if path.is_file() else {}
    except (OSError, ValueError):
        return {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _names(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry, _ in zip(entries, range(_MAX_FILES), strict=False)]
    except OSError:
        return []


def _json(path: Path, shown: str) -> JsonFile:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_JSON_BYTES + 1)
        if len(data) > _MAX_JSON_BYTES:
            return JsonFile(shown)
        value = json.loads(data)
    except json.JSONDecodeError as error:
        said = f"{error.msg}: line {error.lineno} column {error.colno} (char {error.pos})"
        return JsonFile(shown, None, said[:200], error.lineno, error.colno)
    except UnicodeDecodeError as error:
        return JsonFile(shown, None, f"is not UTF-8 at byte {error.start}", 1, 1)
    except (OSError, ValueError, RecursionError):
        return JsonFile(shown)
    return JsonFile(shown, value) if isinstance(value, dict) else JsonFile(shown)


def _model(path: Path) -> ModelFolder:
    names = set(_names(path))
    facts = _object(path / "config.json")
    index = _object(path / "model.safetensors.index.json")
    weights = index.get("weight_map")
    shards = {str(name) for name in weights.values()} if isinstance(weights, dict) else set()
    files = sorted(name for name in names if name.endswith((".safetensors", ".bin")))[:_MAX_FILES]
    origin = facts.get("_name_or_path")
    return ModelFolder(
        has_config="config.json" in names,
        origin=origin if isinstance(origin, str) else "",
        missing_shards=tuple(sorted(name for name in shards if not _is_there(path, name, names)))[
            :_MAX_SHOWN
        ],
        pointers=tuple(name for name in files if _is_pointer(path / name))[:_MAX_SHOWN],
        modules=_modules(path, weights if isinstance(weights, dict) else None, names),
        weight_bytes=_size(path, files),
        has_weights=any(name.endswith(_WEIGHT_ENDINGS) for name in names),
        is_quantized="quantization_config" in facts,
    )


def _is_there(path: Path, name: str, names: set[str]) -> bool:
    if name in names:
        return True
    try:
        return "/" in name and "\0" not in name and (path / name).is_file()
    except OSError:
        return False


def _is_pointer(path: Path) -> bool:
    try:
        if not path.is_file() or path.stat().st_size > _MOST_POINTER_BYTES:
            return False
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def _size(path: Path, files: list[str]) -> int | None:
    total = 0
    for name in files:
        try:
            total += (path / name).stat().st_size
        except OSError:
            return None
    return total or None


def _modules(path: Path, weights: dict[str, Any] | None, names: set[str]) -> frozenset[str]:
    """Return the last parts of the names that stand before ".weight", as lora_target means them."""
    tensors = list(weights) if weights is not None else []
    if (
        not tensors
        and "model.safetensors" in names
        and _presence(path / "model.safetensors") is Presence.FILE
    ):
        tensors = _header(path / "model.safetensors")
    found = (name.split(".") for name in tensors if name.endswith((".weight", ".qweight")))
    return frozenset(parts[-2] for parts in found if len(parts) > 1)


def _header(path: Path) -> list[str]:
    """Return the names of the tensors in a safetensors file: a length, then JSON."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 0 < size <= _MAX_HEADER_BYTES:
                return []
            value = json.loads(file.read(size))
    except (OSError, ValueError, RecursionError):
        return []
    return [str(name) for name in value] if isinstance(value, dict) else []
