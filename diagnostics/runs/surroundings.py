"""Owns looking at what lies around a config before its launch: paths, folders, small files.

Only reads, and only what is small: nothing is unpickled, imported or downloaded. Whatever cannot be
read is told as not known.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import Environment
from diagnostics.datasets import DatasetReport
from diagnostics.precheck.surroundings import JsonFile, NamedPath, Presence, Surroundings
from diagnostics.runs.model_look import look_at_model
from diagnostics.runs.output_look import look_at_checkpoint, look_at_output
from diagnostics.runs.paths import names_in, nearest_to, presence_of
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
_MAY_BE_OF_THE_HUB = frozenset(_INPUT_KEYS) - {"resume_from_checkpoint", "deepspeed"}
_ROOT_AND_ONE = 2
_TELLING = frozenset({"config.json", "adapter_config.json"})
_MAX_JSON_BYTES = 16 * 1024 * 1024
_MAX_SHOWN = 8


def look_around(
    config: EffectiveConfig,
    cwd: Path,
    environ: Mapping[str, str],
    environment: Environment | None,
) -> Surroundings:
    """Look at all that a training with this config would meet, started in a folder."""
    paths = tuple(_named(config, cwd))
    values = config.as_dict()
    model = _first(paths, "model_name_or_path", Presence.FOLDER)
    resumed = _first(paths, "resume_from_checkpoint", Presence.FOLDER)
    deepspeed = _first(paths, "deepspeed", Presence.FILE)
    return Surroundings(
        paths=paths,
        at_home=_at_home(paths, values),
        at_start=_has_data(values, cwd),
        output=look_at_output(values.get("output_dir"), cwd),
        resumed=look_at_checkpoint(cwd / resumed, resumed) if resumed is not None else None,
        model=look_at_model(cwd / model) if model is not None else None,
        deepspeed=_json(cwd / deepspeed, deepspeed) if deepspeed is not None else None,
        datasets=_datasets(config, cwd),
        environ=environ,
        environment=environment,
    )


def _first(paths: tuple[NamedPath, ...], key: str, presence: Presence) -> str | None:
    """Return the first path that a key names, where it leads to a folder or file as it should."""
    first = next((one for one in paths if one.key == key), None)
    return first.value if first is not None and first.presence is presence else None


def _datasets(config: EffectiveConfig, cwd: Path) -> tuple[DatasetReport, ...] | None:
    try:
        return look(config, cwd)
    except (OSError, ValueError):  # a path that is too long, or with a NUL in it
        return None


def _named(config: EffectiveConfig, cwd: Path) -> Iterator[NamedPath]:
    for key in _INPUT_KEYS:
        for text in _texts(config.get(key, None)):
            presence = presence_of(cwd / text)
            if presence is Presence.ABSENT and key in _MAY_BE_OF_THE_HUB and not _is_path(text):
                continue  # a name on the hub
            beside = _leads_here(text, cwd)
            yield NamedPath(key, text, presence, beside, _TELLING & set(names_in(cwd / text)))


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
        nearest = nearest_to(Path(text).parent)
        return nearest is not None and len(nearest.parts) > _ROOT_AND_ONE
    parent = (cwd / text).parent
    if presence_of(parent) is not Presence.FOLDER:
        return False
    return os.path.realpath(parent) != os.path.realpath(cwd)


_PLACE_KEYS = ("dataset_dir", "media_dir", "tokenized_path", "output_dir")


def _at_home(paths: tuple[NamedPath, ...], values: Mapping[str, object]) -> bool:
    """Tell whether the absolute paths of a config are meant for this machine: one leads here."""
    absolute = [one.value for one in paths if one.value.startswith("/")]
    for key in _PLACE_KEYS:
        value = values.get(key)
        if isinstance(value, str) and value.startswith("/") and "\0" not in value:
            absolute.append(value)
    here = (
        presence_of(Path(one)) is not Presence.ABSENT or _leads_here(one, Path())
        for one in absolute
    )
    return not absolute or any(here)


def _has_data(values: Mapping[str, object], cwd: Path) -> bool:
    """Tell whether the data folder is here by a relative path."""
    named = values.get("dataset_dir", "data")
    if not isinstance(named, str) or named.startswith("/") or "\0" in named:
        return False
    return "dataset" in values and presence_of(cwd / named) is Presence.FOLDER


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
