"""Owns Exclusion: one check of values that exclude each other, or ask for another one."""

from collections.abc import Callable
from dataclasses import dataclass

from diagnostics.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One check. `keys` are those it is about: the fault is shown at the first that is set."""

    name: str
    keys: tuple[str, ...]
    breaks: Callable[[Settings], bool]
    message: str
    """One plain sentence, without a stop."""
    said: str = ""
    """How the software's own error begins; empty where it takes it without a word."""
    change: tuple[str, object] | None = None
    """The key and the value that would mend it, where one change clearly does."""
    rejected: bool | None = True
    in_training: bool = False
    """Only checked where something is trained, evaluated or predicted."""
