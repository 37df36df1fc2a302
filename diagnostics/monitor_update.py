"""Owns what crosses from the engine to a screen: one update of a watched run, one proposal to act.

Pure values; nothing here reads, decides or acts.
"""

from dataclasses import dataclass

from diagnostics.findings import Diagnosis, Finding, Fix, Text
from diagnostics.history import Snapshot
from diagnostics.runs.model import Attempt, Run
from diagnostics.status import RunStatus


@dataclass(frozen=True, slots=True)
class MonitorUpdate:
    """All that is known of a watched run after one tick; `at` is seconds since the epoch."""

    at: float
    run: Run
    snapshot: Snapshot
    diagnosis: Diagnosis
    status: RunStatus
    attempts: tuple[Attempt, ...]
    previous: Attempt | None = None
    """The attempt that the latest one is compared with."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Everything a person must see before saying yes; nothing has been done yet."""

    run: Run
    finding: Finding | None
    fix: Fix | None
    title: Text
    diff: str
    """Unified diff of the config; empty where the file stays as it is."""
    command: tuple[str, ...]
    """The new process' argv; empty where nothing is started."""
    consequences: tuple[Text, ...]
    """What is stopped, where the new run starts from, what becomes of its files."""
    stops: bool
    relaunches: bool
    warning: Text
    """What an unsafe fix may change; empty for the others."""
