"""Owns how much of a large log is looked at and kept."""

from dataclasses import dataclass

from diagnostics.history import MAX_POINTS


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is looked at and kept; tests use smaller ones."""

    block_bytes: int = 512 * 1024
    """Small enough for a processor's cache."""
    ahead_bytes: int = 32 * 1024
    """What follows a place that was found is looked at up to here."""
    failure_bytes: int = 24 * 1024
    """Of a traceback with its message."""
    message_bytes: int = 8 * 1024
    header_bytes: int = 4 * 1024
    before_bytes: int = 64 * 1024
    """In what came before bars are looked for, to know the step and the phase."""
    sample_bytes: int = 1024 * 1024
    windows_bytes: int = 12 * 1024 * 1024
    max_rows: int = MAX_POINTS
    max_kinds: int = 1024
    """Different errors told apart."""
