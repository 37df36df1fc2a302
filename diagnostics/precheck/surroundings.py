"""Owns the values that tell what lies around a config on the machine where it is checked.

Values only: who looked put them in. None is what nobody looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from diagnostics.config.environment_facts import Environment
from diagnostics.datasets import DatasetReport


class Presence(StrEnum):
    """What a path leads to."""

    FILE = "file"
    FOLDER = "folder"
    ABSENT = "absent"
    UNKNOWN = "unknown"  # it cannot be looked at


@dataclass(frozen=True, slots=True)
class NamedPath:
    """A path that a key names: one that may be of the hub is none."""

    key: str
    value: str
    presence: Presence
    beside: bool = False
    """Whether what it would lie in is there, so that only its end can be wrong."""
    holds: frozenset[str] = frozenset()
    """What of interest lies in the folder: names of files."""


@dataclass(frozen=True, slots=True)
class SavedState:
    """A checkpoint-N, as far as its small files tell."""

    path: str
    step: int
    fault: str = ""
    """Why it cannot be resumed; empty where it can."""
    fault_file: str = ""
    """The file that is missing or broken."""
    max_steps: int | None = None
    epochs: float | None = None
    batch_size: int | None = None
    """Of one device, as transformers saves it."""
    lora_rank: int | None = None
    has_weights: bool = True
    """Whether transformers finds anything to load."""


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """What a training would meet where it writes."""

    presence: Presence
    writable: bool | None = None
    free_bytes: int | None = None
    last: SavedState | None = None
    """The checkpoint of the highest step, which LLaMA-Factory takes by itself."""
    has_weights: bool = False
    """Whether weights lie in it outside of checkpoints, which LLaMA-Factory does not train over."""
    has_trainer_log: bool = False


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model's folder on this machine."""

    has_config: bool
    has_sound_config: bool = True
    """False where its config.json is no JSON object, such as a download that was cut off."""
    has_tokenizer: bool = True
    """Whether any file of a tokenizer is in it."""
    origin: str = ""
    """The hub's name of the model, where its config.json tells it."""
    missing_shards: tuple[str, ...] = ()
    """Files that the index of its weights names and that are not there."""
    pointers: tuple[str, ...] = ()
    """Weights that are a pointer of git-lfs, not the file itself."""
    damaged: tuple[str, ...] = ()
    """Weights that are cut off, or another kind of file."""
    modules: frozenset[str] = frozenset()
    """Last parts of the names of its matrices: "q_proj"; empty where they are not known."""
    weight_bytes: int | None = None
    """None where there are no weights, or their size is not known."""
    has_weights: bool = True
    is_quantized: bool = False
    """Whether its config.json says that the weights are quantized already."""


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A JSON file that the training would read: its object, or why it cannot be read."""

    shown: str
    value: Mapping[str, Any] | None = None
    fault: str = ""
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All that was looked at besides the config itself."""

    paths: tuple[NamedPath, ...] = ()
    at_home: bool = True
    """False where none of the absolute paths is there: it is meant for another machine then."""
    at_start: bool = True
    """Whether relative paths count from here, as far as the data tell."""
    output: OutputFolder | None = None
    resumed: SavedState | None = None
    """What resume_from_checkpoint names, where it is there."""
    model: ModelFolder | None = None
    deepspeed: JsonFile | None = None
    datasets: tuple[DatasetReport, ...] | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    environment: Environment | None = None
    """The Python environment that will train, as far as it is known."""

    @property
    def packages(self) -> Mapping[str, bool]:
        """Whether a package is installed where it will train; absent where that is not known."""
        versions = self.environment.versions if self.environment is not None else {}
        return {name: version is not None for name, version in versions.items()}

    def path(self, key: str) -> NamedPath | None:
        """Return the first path that a key names."""
        return next((one for one in self.paths if one.key == key), None)
