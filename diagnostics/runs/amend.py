"""Owns writing a changed config where no run is: backed up first, so that `undo` takes it back."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import ConfigError, RunError
from diagnostics.findings import KeyChange
from diagnostics.runs.config_file import read_config_bytes
from diagnostics.runs.files import write_atomic
from diagnostics.runs.model import Launch, Treatment
from diagnostics.runs.store import create_attempt, create_record, save_launch, write_attempt
from diagnostics.runs.treatment import AFTER, BACKUP, PLACE

_NAME = "check"


def amend(
    before: EffectiveConfig,
    after: EffectiveConfig,
    fixes: Sequence[str],
    changes: Sequence[KeyChange],
) -> Path:
    """Write a changed config over the old one; return where the old text is kept.

    Raises:
        LlamavetError: it cannot be written, or was edited since it was read; nothing was changed.
    """
    old, new = before.document, after.document
    if old is None or new is None or old.path is None:
        raise RunError("the config has no file to write to")
    path = old.path.absolute()
    if read_config_bytes(path) != old.text.encode("utf-8"):
        raise ConfigError("it was edited since it was read", path=old.path, remedy="check it again")
    if not os.access(os.path.realpath(path), os.W_OK):
        raise ConfigError("is read-only for you", path=old.path, remedy="nothing was changed")
    record = create_record(f"{_NAME}-{path.stem}", {"config": str(path), "cwd": str(Path.cwd())})
    attempt = create_attempt(record, log_path=None, treatment=None)
    backup = attempt.folder / BACKUP
    treatment = Treatment(
        finding_id=_NAME,
        fix_id=" ".join(fixes),
        title_en=f"fixes of a check: {', '.join(fixes)}",
        changes=tuple(changes),
        env={},
        backup=backup,
    )
    write_atomic(backup, old.text.encode("utf-8"))
    write_atomic(attempt.folder / AFTER, new.text.encode("utf-8"))
    write_atomic(attempt.folder / PLACE, os.fsencode(path))
    # How it would be started, so that `undo` finds the record by the config's path.
    argv = ("llamafactory-cli", "train", str(path))
    save_launch(attempt.folder, Launch(argv, Path.cwd(), {}))
    write_attempt(replace(attempt, treatment=treatment))
    write_atomic(path, new.text.encode("utf-8"))
    return backup
