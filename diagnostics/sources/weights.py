"""Owns what the weights' files of a model folder say without being loaded.

The header of a safetensors file is 8 bytes of length and a JSON of names, dtypes and shapes
(https://huggingface.co/docs/safetensors). Of pickled files only the size is taken.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path

from diagnostics.findings import Text

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 16 * 1024 * 1024
_LARGEST_HEADER_BYTES = 100_000_000
"""The format's own limit: a larger one means another kind of file."""
_MAX_HEADERS_BYTES = 24 * 1024 * 1024
_MAX_INDEX_BYTES = 16 * 1024 * 1024
_MAX_FILES = 1_000
_MAX_NAMES = 10_000
_MAX_ELEMENTS = 10**13
_MAX_DIMENSIONS = 8
_MAX_EXTENT = 2**40
_BYTES: Mapping[str, int] = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_BUFFER = re.compile(
    r"rotary_emb\.|\.inv_freq$|\.attn\.(?:masked_)?bias$|attention\.bias$|position_ids$"
)
"""Tensors that old checkpoints keep and no model counts."""
_TOWER = re.compile(
    r"(?:^|\.)(?:visual|vision_tower|vision_model|vision_embed_tokens|vision|vpm|resampler"
    r"|image_newline|multi_modal_projector|mm_projector|mlp1|audio_tower|apm|aligner|connector"
    r"|projector|embed_vision|embed_audio)(?:\.|$)"
)
_PICKLED = re.compile(r"^pytorch_model(?:-\d{1,6}-of-\d{1,6})?\.bin$")
_SAFETENSORS = re.compile(r"^(?:model|consolidated)?[^/]{0,200}\.safetensors$")


@dataclass(frozen=True, slots=True)
class Weights:
    """What the files say; a count is None where it could not be read whole."""

    params: int | None = None
    tower_params: int = 0
    """Of `params`, those beside the decoder."""
    dtype_bytes: int | None = None
    """Bytes of an element of most of them; None where they are packed or of no plain dtype."""
    packed: bool = False
    """Whether integers hold weights: a quantized checkpoint."""
    file_bytes: int | None = None
    fault: Text | None = None
    """Why nothing could be counted, in words."""


def weights_in(folder: Path) -> Weights:
    """Read the headers of a folder's safetensors files, or the size of its pickled ones."""
    try:
        names, missing = _files(folder)
        if missing:
            return Weights(fault=Text(f"{missing} is not there", f"缺少 {missing}"))
        if names:
            return _counted([folder / name for name in names])
        pickled = [
            path for path in islice(folder.iterdir(), _MAX_NAMES) if _PICKLED.match(path.name)
        ]
        if pickled:
            return Weights(file_bytes=sum(path.stat().st_size for path in pickled[:_MAX_FILES]))
    except (OSError, ValueError, RecursionError):
        return Weights(fault=Text("the weights cannot be read", "权重无法读取"))
    return Weights()


def tensor_names(path: Path) -> list[str]:
    """Return the names of a safetensors file's tensors; none where its header is not sound."""
    try:
        header = _header(path, _MAX_HEADER_BYTES)[0] if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return []
    return list(header)


def is_damaged(path: Path) -> bool | None:
    """Tell whether a safetensors file is none, or does not end where its last tensor does.

    None where that cannot be told.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        start = _LENGTH_BYTES + length
        if not 2 <= length <= _LARGEST_HEADER_BYTES or size < start:  # noqa: PLR2004 - "{}"
            return True
        header = _header(path, _MAX_HEADER_BYTES)[0]
    except json.JSONDecodeError:
        return True
    except (OSError, ValueError, RecursionError):
        return None
    spans = [entry.get("data_offsets") for entry in header.values() if isinstance(entry, Mapping)]
    ends = [span[-1] for span in spans if isinstance(span, list) and span]
    return size != start + max((end for end in ends if isinstance(end, int)), default=0)


def _files(folder: Path) -> tuple[list[str], str]:
    """Return the names of safetensors files, and the first that an index has and the folder not."""
    index = folder / "model.safetensors.index.json"
    if index.is_file() and index.stat().st_size <= _MAX_INDEX_BYTES:
        found = json.loads(index.read_bytes())
        listed = found.get("weight_map") if isinstance(found, dict) else None
        if not isinstance(listed, dict):
            raise ValueError("no weight_map")
        names = sorted({name for name in listed.values() if isinstance(name, str)})
        names = [name for name in names if _SAFETENSORS.match(name)][:_MAX_FILES]
        return names, next((name for name in names if not (folder / name).is_file()), "")
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"], ""
    return [], ""


def _counted(paths: list[Path]) -> Weights:
    room = _MAX_HEADERS_BYTES
    elements: dict[str, int] = {}
    tower = files = 0
    for path in paths:
        header, length = _header(path, room)
        room -= length
        files += path.stat().st_size
        for name, entry in header.items():
            if name == "__metadata__" or _BUFFER.search(name):
                continue
            dtype, count = _tensor(entry)
            elements[dtype] = elements.get(dtype, 0) + count
            if _TOWER.search(name):
                tower += count
    total = sum(elements.values())
    if not 0 < total <= _MAX_ELEMENTS:
        fault = Text("the weights' headers name no sound sizes", "权重文件头中的尺寸无效")
        return Weights(file_bytes=files, fault=fault)
    main = max(elements, key=lambda dtype: elements[dtype])
    packed = any(dtype not in _BYTES and count > total // 100 for dtype, count in elements.items())
    return Weights(
        params=None if packed else total,
        tower_params=0 if packed else tower,
        dtype_bytes=None if packed else _BYTES.get(main),
        packed=packed,
        file_bytes=files,
    )


def _header(path: Path, room: int) -> tuple[Mapping[str, object], int]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 2 <= length <= min(_MAX_HEADER_BYTES, room):  # noqa: PLR2004 - "{}"
            raise ValueError("no header of a sound length")
        data = file.read(length)
    if len(data) < length:
        raise ValueError("a header that is cut off")
    header = json.loads(data)
    if not isinstance(header, dict):
        raise ValueError("a header that is no object")  # noqa: TRY004 - the caller takes all alike
    return header, length


def _tensor(entry: object) -> tuple[str, int]:
    """Return the dtype and the number of elements of one tensor."""
    if not isinstance(entry, Mapping):
        raise ValueError("a tensor without description")  # noqa: TRY004
    dtype, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError("a tensor without dtype or shape")
    for extent in shape:
        if isinstance(extent, bool) or not isinstance(extent, int) or not 0 <= extent < _MAX_EXTENT:
            raise ValueError("a tensor of no sound shape")
    return dtype[:16], prod(shape)
