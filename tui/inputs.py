"""Owns what the commands before a launch take in: a config with its overrides, and the GPUs."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from diagnostics.config.argv import launch_of
from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import LlamavetError
from diagnostics.memory.facts import MemoryFacts
from diagnostics.runs.config_file import read_config_bytes
from diagnostics.runs.forecasting import Devices, gather_facts, visible_devices

MOST_GPUS = 65_536
NAME_A_TRAINING = "name the YAML file of a LLaMA-Factory training"


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


def folders_of(config: Path | None) -> list[Path]:
    """Return where relative paths may start: the folder a training starts in, then its config's."""
    here = Path.cwd()
    beside = [config.parent] if config is not None else []
    return [here, *(one for one in beside if one.resolve() != here)]


def facts_of(
    args: argparse.Namespace, config: EffectiveConfig, folders: Sequence[Path]
) -> MemoryFacts:
    """Return what predicts a config's memory, from the first folder that its model is known from.

    Raises:
        LlamavetError: there is no such GPU as is named.
    """
    devices = devices_of(args)
    found = (gather_facts(config, folder, os.environ, devices=devices) for folder in folders)
    first = next(found)
    if first.model is not None:
        return first
    return next((one for one in found if one.model is not None), first)


def read_config(path: Path, overrides: list[str]) -> EffectiveConfig:
    """Read a config file and the `key=value` words that win over it.

    Raises:
        ConfigError: it cannot be read or is not a config, with the place.
    """
    args = launch_of(str(path), overrides) if overrides else None
    return EffectiveConfig(parse_document(read_config_bytes(path, NAME_A_TRAINING), path), args)
