"""Owns the first launch of a run: `llamavet run CONFIG [key=value ...]`."""

import os
import resource
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from diagnostics.config.argv import parse_launch
from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import ConfigError, RunError
from diagnostics.runs.config_file import read_config_bytes
from diagnostics.runs.launcher import Launcher
from diagnostics.runs.model import Launch, Run
from diagnostics.runs.proposal import output_dir
from diagnostics.runs.store import create_attempt, create_record
from diagnostics.runs.supervisor import LIMITS, boot_id


def start(
    config_path: Path,
    overrides: Sequence[str],
    launcher: Launcher,
    *,
    command: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    simulated_gpu: Path | None = None,
) -> Run:
    """Start a training with a config.

    `command` stands before the config's path; by default `llamafactory-cli train`.

    Raises:
        ConfigError: the file is not there or does not parse.
        RunError: LLaMA-Factory is not there or did not start.
        StoreError: the state folder cannot be written.
    """
    environment = dict(os.environ if environ is None else environ)
    data = read_config_bytes(config_path, "name the YAML file of a LLaMA-Factory training")
    document = parse_document(data, config_path)
    for override in overrides:
        if "=" not in override:
            raise ConfigError(
                f"{override!r} is not of the form key=value",
                remedy=f"write {override}=VALUE, or leave it out",
            )
    words = list(command) if command is not None else [_llamafactory(environment), "train"]
    argv = (*words, str(config_path), *overrides)
    args = parse_launch(argv)
    config = EffectiveConfig(document, args)
    cwd = Path.cwd()
    launch = Launch(argv, cwd, {**environment, "PYTHONUNBUFFERED": "1"}, own_limits())
    folder = output_dir(config, cwd)
    name = folder.name if folder is not None else config_path.stem
    record = create_record(
        name,
        {"config": str(config_path.absolute()), "cwd": str(cwd), "boot_id": boot_id()},
    )
    attempt = create_attempt(record, log_path=None, treatment=None)
    launcher.start(launch, attempt.folder)
    return Run(
        name=name,
        config=config,
        cwd=cwd,
        output_dir=folder,
        log_path=attempt.log_path,
        launch=launch,
        record=record,
        simulated_gpu=simulated_gpu,
    )


def own_limits() -> dict[str, tuple[int, int]]:
    """Return this process' resource limits, so that a later relaunch has the same."""
    return {name: resource.getrlimit(kind) for name, kind in LIMITS.items()}


def _llamafactory(environ: Mapping[str, str]) -> str:
    found = shutil.which("llamafactory-cli", path=environ.get("PATH"))
    if found is None:
        raise RunError(
            "llamafactory-cli is not on the PATH",
            remedy="activate the environment that has LLaMA-Factory, or try `llamavet demo`",
        )
    return found
