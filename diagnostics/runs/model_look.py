"""Owns looking at a model's folder: what it says of itself, and which of its files are there."""

import re
from collections.abc import Mapping
from pathlib import Path

from diagnostics.precheck.surroundings import ModelFolder
from diagnostics.runs.files import read_json
from diagnostics.runs.paths import names_in
from diagnostics.sources.weights import is_damaged, tensor_names

_MAX_JSON_BYTES = 16 * 1024 * 1024
_MAX_SHOWN = 8
_MOST_CHECKED = 64
_VOCABULARY = re.compile(r"token|vocab|merges|spiece|sentencepiece|\.model$|\.bpe$", re.IGNORECASE)
"""What the files of a tokenizer are called."""
_WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf")
_MOST_POINTER_BYTES = 1024
_POINTER = b"version https://git-lfs"


def look_at_model(path: Path) -> ModelFolder:
    """Look at a folder that a config names as its model."""
    names = set(names_in(path))
    told = read_json(path / "config.json", max_bytes=_MAX_JSON_BYTES)
    facts = told or {}
    index = read_json(path / "model.safetensors.index.json", max_bytes=_MAX_JSON_BYTES) or {}
    mapped = index.get("weight_map")
    weights: Mapping[str, object] = mapped if isinstance(mapped, dict) else {}
    shards = {str(name) for name in weights.values()}
    loaded = sorted(shards & names) or ["model.safetensors"] * ("model.safetensors" in names)
    files = sorted(name for name in names if name.endswith((".safetensors", ".bin")))
    pointers = tuple(name for name in files if _is_pointer(path / name))[:_MAX_SHOWN]
    origin = facts.get("_name_or_path")
    return ModelFolder(
        has_config="config.json" in names,
        has_sound_config=told is not None or not _is_small(path / "config.json"),
        has_tokenizer=any(_VOCABULARY.search(name) for name in names),
        origin=origin if isinstance(origin, str) else "",
        missing_shards=tuple(sorted(name for name in shards if not _is_there(path, name, names)))[
            :_MAX_SHOWN
        ],
        pointers=pointers,
        damaged=tuple(
            name
            for name in loaded[:_MOST_CHECKED]
            if name not in pointers and name.endswith(".safetensors") and is_damaged(path / name)
        )[:_MAX_SHOWN],
        modules=_modules(path, weights),
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


def _is_small(path: Path) -> bool:
    """Tell whether it is a file of a size that was read."""
    try:
        return path.is_file() and path.stat().st_size <= _MAX_JSON_BYTES
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


def _modules(path: Path, weights: Mapping[str, object]) -> frozenset[str]:
    """Return the last parts of the names that stand before ".weight", as lora_target means them."""
    tensors = weights or tensor_names(path / "model.safetensors")
    found = (name.split(".") for name in tensors if name.endswith((".weight", ".qweight")))
    return frozenset(parts[-2] for parts in found if len(parts) > 1)
