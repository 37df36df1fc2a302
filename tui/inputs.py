"""Owns what the commands before a launch take in: a config with its overrides, and the GPUs."""

import argparse
import os
import shlex
from dataclasses import replace
from pathlib import Path

from diagnostics.config.argv import parse_launch
from diagnostics.config.document import MAX_BYTES, parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import ConfigError, LlamavetError
from diagnostics.runs.forecasting import Devices, visible_devices

MOST_GPUS = 65_536


def devices_of(args: argparse.Namespace) -> Devices:
    """Return the GPUs that the command line names, else those that are here.

    Raises:
        LlamavetError: there is no such GPU, or no such number of them.
    """
    if args.gpus is not None and not 1 <= args.gpus <= MOST_GPUS:
        raise LlamavetError(f"--gpus {args.gpus} is no number of GPUs", remedy="write 1 or more")
    if args.gpu is None:
        found = visible_devices(os.environ)
        return replace(found, count=args.gpus) if args.gpus is not None else found
    from diagnostics.memory.gpus import parse_gpu  # noqa: PLC0415 - only where one is named

    capacity_gib, name = parse_gpu(args.gpu)
    return Devices(args.gpus or 1, capacity_gib, name)


def read_config(path: Path, overrides: list[str]) -> EffectiveConfig:
    """Read a config file and the `key=value` words that win over it.

    Raises:
        ConfigError: it cannot be read or is not a config, with the place.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}", path=path, remedy="name the YAML of a training"
        ) from error
    document = parse_document(data, path)
    if not overrides:
        return EffectiveConfig(document)
    words = ("llamafactory-cli", "train", str(path), *overrides)
    args = parse_launch(words)
    if args is None:
        raise ConfigError(
            f"{shlex.join(overrides)[:80]} is not key=value", remedy="write key=value"
        )
    return EffectiveConfig(document, args)
