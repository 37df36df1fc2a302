"""Owns what a path leads to and what lies there, without opening it. Never raises."""

import os
from pathlib import Path

from diagnostics.precheck.surroundings import Presence

_MAX_NAMES = 2_000


def presence_of(path: Path) -> Presence:
    """Tell what a path leads to."""
    try:
        if path.is_dir():
            return Presence.FOLDER
        if path.is_file():
            return Presence.FILE
        if path.exists():
            return Presence.UNKNOWN  # a pipe or a device
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Presence.ABSENT
    except (OSError, ValueError):
        return Presence.UNKNOWN
    return Presence.ABSENT  # a link that leads nowhere


def nearest_to(path: Path) -> Path | None:
    """Return a path, or the nearest above it that is there; None where that cannot be told."""
    for one in (path, *path.parents):
        presence = presence_of(one)
        if presence is Presence.UNKNOWN:
            return None
        if presence is not Presence.ABSENT:
            return one
    return None


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, at most 2,000; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry, _ in zip(entries, range(_MAX_NAMES), strict=False)]
    except (OSError, ValueError):
        return []
