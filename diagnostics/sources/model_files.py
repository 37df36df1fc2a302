"""Owns finding a model on this machine: a folder, the caches of the hubs, else its name.

Nothing is fetched and nothing is unpickled: `config.json` and the headers of safetensors files are
read, within bounds, and of other weights only the size. Never raises on what it reads.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from diagnostics.errors import ConfigError
from diagnostics.findings import Text
from diagnostics.memory.architecture import Architecture, Confidence
from diagnostics.memory.config_json import architecture_of, quantization_of
from diagnostics.memory.counting import Counts
from diagnostics.memory.model_names import model_named
from diagnostics.memory.workload import Quantization, Workload
from diagnostics.sources.weights import Weights, weights_in

_MAX_CONFIG_BYTES = 4 * 1024 * 1024
_MAX_REVISION_BYTES = 256
_MAX_ADAPTERS = 3
_MAX_PATH_CHARS = 4096
_SHOWN_CHARS = 200
_SAME = 0.001
"""Counts that differ by less are one; buffers and padding make such differences."""
_WIDE_BYTES = (3.8, 4.3)
"""Bytes a parameter in the files of a model stored in float32."""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """What is known of a model; without an architecture `reason` says why."""

    architecture: Architecture | None
    reason: str = ""
    folder: Path | None = None
    quantization: Quantization | None = None
    """How its checkpoint is quantized already."""


def find_architecture(name_or_path: str, *, base: Path, environ: Mapping[str, str]) -> FoundModel:
    """Return what is known of a model by its folder, the hubs' caches, the table, or its name.

    `base` is the folder that relative paths start at; `environ` says where the caches are.
    """
    return _find(name_or_path, base, environ, _MAX_ADAPTERS)


def _find(name: str, base: Path, environ: Mapping[str, str], adapters: int) -> FoundModel:
    name = name.strip()
    if not name or len(name) > _MAX_PATH_CHARS or not name.isprintable():
        return FoundModel(None, "unknown model: no name")
    folder = next(_folders(name, base, environ), None)
    if folder is None:
        return _by_name(name, why=_NOT_HERE)
    config = _json_object(folder / "config.json")
    if config is None:
        return _without_config(name, folder, base, environ, adapters)
    if isinstance(config, str):
        return FoundModel(None, f"{folder / 'config.json'} {config}", folder)
    quantization = quantization_of(config)
    try:
        model = architecture_of(config, source=str(folder))
    except ConfigError as error:
        return FoundModel(None, error.message, folder, quantization)
    return FoundModel(_weighed(model, folder, quantization), "", folder, quantization)


def _without_config(
    name: str, folder: Path, base: Path, environ: Mapping[str, str], adapters: int
) -> FoundModel:
    adapter = _json_object(folder / "adapter_config.json")
    if isinstance(adapter, Mapping) and adapters:
        under = adapter.get("base_model_name_or_path")
        if isinstance(under, str) and under.strip():
            return _find(under, base, environ, adapters - 1)
    why = Text(f"no config.json in {folder}", f"{folder} 中没有 config.json")
    return replace(_by_name(name, why=why), folder=folder)


_NOT_HERE = Text("not on this machine", "不在本机")


def _by_name(name: str, *, why: Text) -> FoundModel:
    named = model_named(name)
    if named is None:
        shown = name[:_SHOWN_CHARS]
        return FoundModel(
            None, f"unknown model {shown}: {why.en}, not in the table, and no size in its name"
        )
    model = named.architecture
    if named.is_known:
        remark = Text(f"{why.en}: sizes are the known ones", f"{why.zh}：按已知尺寸计算")
        model = replace(model, remarks=(*model.remarks, remark))
    return FoundModel(model, "", None, named.quantization)


def _folders(name: str, base: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders of a model that are there, the one that would be loaded first."""
    if _is_folder(base / name):
        yield base / name
    parts = name.split("/")
    if len(parts) > 2 or any(part in {"", ".", ".."} for part in parts):  # noqa: PLR2004 - org/name
        return
    hubs = [_hugging_face(parts, environ), _model_scope(parts, environ)]
    if environ.get("USE_MODELSCOPE_HUB", "0").lower() in {"1", "true", "y"}:
        hubs.reverse()
    for hub in hubs:
        yield from hub


def _hugging_face(parts: list[str], environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield snapshots in the cache of huggingface_hub."""
    repo = _hub_cache(environ) / "--".join(["models", *parts])
    snapshots = repo / "snapshots"
    revision = _line(repo / "refs" / "main")
    if revision and _is_folder(snapshots / revision):
        yield snapshots / revision
        return
    kept = sorted(_inside(snapshots))
    if len(kept) == 1:
        yield kept[0]


def _hub_cache(environ: Mapping[str, str]) -> Path:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(name):
            return _expanded(environ[name], environ)
    if environ.get("HF_HOME"):
        return _expanded(environ["HF_HOME"], environ) / "hub"
    return _cache(environ) / "huggingface" / "hub"


def _model_scope(parts: list[str], environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield folders in the cache of modelscope, which writes a dot as three underscores."""
    if environ.get("MODELSCOPE_CACHE"):
        root = _expanded(environ["MODELSCOPE_CACHE"], environ)
    else:
        root = _home(environ) / ".cache" / "modelscope" / "hub"
    written = [part.replace(".", "___") for part in parts]
    for place in (root / "models", root / "hub" / "models", root, root / "hub"):
        for names in (written, parts):
            folder = place.joinpath(*names)
            if len(parts) > 1 and _is_folder(folder):
                yield folder


def _cache(environ: Mapping[str, str]) -> Path:
    if environ.get("XDG_CACHE_HOME"):
        return _expanded(environ["XDG_CACHE_HOME"], environ)
    return _home(environ) / ".cache"


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or "/nonexistent")


def _expanded(text: str, environ: Mapping[str, str]) -> Path:
    return _home(environ) / text[2:] if text.startswith("~/") else Path(text)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _inside(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except (OSError, ValueError):
        return []


def _line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_REVISION_BYTES).decode("ascii").strip()
    except (OSError, ValueError):
        return ""
    return text if text.isalnum() else ""


def _json_object(path: Path) -> Mapping[str, object] | str | None:
    """Return a JSON object, None where there is no such file, or what is wrong with it in words."""
    try:
        if not path.exists():
            return None
        if not path.is_file():
            return "is no file"
        with path.open("rb") as file:
            data = file.read(_MAX_CONFIG_BYTES + 1)
    except (OSError, ValueError) as error:
        return f"cannot be read ({type(error).__name__})"
    if len(data) > _MAX_CONFIG_BYTES:
        return "is too large for a config"
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return "is not valid JSON"
    return value if isinstance(value, dict) else "is no JSON object"


def _weighed(model: Architecture, folder: Path, quantization: Quantization | None) -> Architecture:
    """Correct what `config.json` says by what the weights' own headers say."""
    weights = weights_in(folder)
    if quantization is not None or weights.packed:
        return model
    if weights.params is None:
        return _by_size(model, weights)
    counted, said = weights.params, Counts(model, Workload()).total
    model = replace(model, weight_bytes=weights.dtype_bytes or model.weight_bytes)
    if weights.tower_params:
        said += weights.tower_params - model.tower_params
        model = replace(model, tower_params=weights.tower_params)
    if model.tied_embeddings and counted - said == Counts(model, Workload()).embedding:
        return model  # the head is written beside the embedding that it is tied to
    differs = abs(counted - said) > _SAME * counted
    if differs and model.confidence is not Confidence.LOW:
        remark = Text(
            f"the weights hold {counted:,} parameters, config.json means {said:,}",
            f"权重共有 {counted:,} 个参数，而 config.json 对应 {said:,} 个",
        )
        return replace(
            model,
            known_params=said,
            confidence=Confidence.MEDIUM,
            remarks=(*model.remarks, remark),
        )
    return replace(model, known_params=counted)


def _by_size(model: Architecture, weights: Weights) -> Architecture:
    """Take the dtype from the size of files whose content is not read."""
    remarks = (*model.remarks, weights.fault) if weights.fault else model.remarks
    each = (weights.file_bytes or 0) / Counts(model, Workload()).total
    is_wide = _WIDE_BYTES[0] < each < _WIDE_BYTES[1]
    return replace(model, weight_bytes=4 if is_wide else model.weight_bytes, remarks=remarks)
