"""Owns writing the mended config beside the user's own, which is never touched."""

from pathlib import Path

from diagnostics.errors import RunError, StoreError
from diagnostics.findings import Safety
from diagnostics.report.model import Remedy, describe_changes
from diagnostics.runs.files import write_atomic
from diagnostics.runs.remains import Remains, same_place

_READABLE = 0o644


def write_mended(left: Remains, remedy: Remedy | None, target: Path, *, force: bool) -> None:
    """Write the config with a remedy in it to another file.

    Raises:
        RunError: there is nothing to write, or it may not be written there.
        StoreError: it cannot be written there.
    """
    text = _mended_text(left, remedy)
    document = left.config.document if left.config is not None else None
    original = document.path if document is not None else None
    if original is not None and _is_same_file(target, original):
        raise RunError(
            f"{target}: is the run's own config, which is left as it is",
            remedy="name another file",
        )
    data = text.encode("utf-8", "surrogateescape")
    if force:
        write_atomic(target, data, mode=_READABLE)
        return
    try:
        with target.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise RunError(f"{target}: exists already", remedy="--force overwrites it") from error
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error


def _mended_text(left: Remains, remedy: Remedy | None) -> str:
    if remedy is None:
        raise RunError("no config is written: nothing to fix was found")
    if left.config is None or left.config.document is None:
        raise RunError(
            "no config is written: the run's own is not known",
            remedy="name it beside the log: `llamavet analyze LOG CONFIG.yaml`",
        )
    fix = remedy.fix
    if fix.safety is Safety.MANUAL:
        raise RunError(f"no config is written: {fix.id} is advice, not an edit")
    if remedy.fault:
        raise RunError(f"no config is written: {remedy.fault}")
    if remedy.text is None:
        raise RunError(
            f"no config is written: {fix.id} leaves the file as it is",
            remedy=f"it changes the command line or the environment: {describe_changes(fix)}",
        )
    return remedy.text


def _is_same_file(first: Path, second: Path) -> bool:
    try:
        return same_place(first, second) or first.samefile(second)
    except OSError:
        return False
