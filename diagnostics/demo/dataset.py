"""Owns reading the demo's dataset the way LLaMA-Factory does: dataset_info.json, then alpaca JSON.

There is no tokenizer: a sample's tokens are estimated from its characters.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from diagnostics.demo.failures import SimulatedError

_MAX_FILE_BYTES = 64 * 1024 * 1024
_CHARACTERS_PER_TOKEN = 4
_TEMPLATE_TOKENS = 24  # what a chat template adds to a sample
_COLUMNS = ("instruction", "input", "output")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample, its texts joined, and the tokens it is taken to have."""

    prompt: str
    response: str

    @property
    def tokens(self) -> int:
        """The estimated number of tokens."""
        characters = len(self.prompt) + len(self.response)
        return _TEMPLATE_TOKENS + math.ceil(characters / _CHARACTERS_PER_TOKEN)


def dataset_file(folder: Path, name: str) -> Path:
    """Return the file of a dataset as dataset_info.json names it.

    Raises:
        SimulatedError: there is no such file, or no such dataset in it.
    """
    info_path = folder / "dataset_info.json"
    try:
        info = json.loads(_read(info_path))
    except (OSError, ValueError, RecursionError) as error:
        raise _data_error(f"Cannot open {info_path} due to {error}.") from error
    entry = info.get(name) if isinstance(info, dict) else None
    if not isinstance(entry, dict):
        raise _data_error(f"Undefined dataset {name} in dataset_info.json.")
    path = folder / str(entry.get("file_name", ""))
    if not path.is_file():
        raise _data_error(f"File {path} not found.")
    return path


def read_samples(path: Path) -> tuple[Sample, ...]:
    """Return the samples of an alpaca file.

    Raises:
        SimulatedError: it is not a JSON list of samples, or has none with a response.
    """
    try:
        rows = json.loads(_read(path))
    except (OSError, ValueError, RecursionError) as error:
        raise SimulatedError(
            "datasets.exceptions.DatasetGenerationError",
            "An error occurred while generating the dataset",
            stack="data",
        ) from error
    samples = []
    for row in rows if isinstance(rows, list) else []:
        missing = next((c for c in _COLUMNS if not isinstance(row, dict) or c not in row), None)
        if missing is not None:
            raise SimulatedError("KeyError", repr(missing), stack="data")
        prompt = "\n".join(str(row[c]) for c in ("instruction", "input") if row[c])
        if row["output"] is not None:
            samples.append(Sample(prompt, str(row["output"])))
    if not samples:
        raise SimulatedError(
            "RuntimeError",
            "Cannot find valid samples, check `data/README.md` for the data format.",
            stack="data",
        )
    return tuple(samples)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError("the file is larger than 64 MiB")
    return data


def _data_error(message: str) -> SimulatedError:
    return SimulatedError("ValueError", message, stack="data")
