"""Owns what a report says of a run, whatever its form: values only."""

from dataclasses import dataclass, field

from diagnostics.config.unset import UNSET
from diagnostics.findings import Diagnosis, Fix, KeyChange, Language
from diagnostics.history import Snapshot
from diagnostics.report import words


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a report says of the run itself; None is unknown."""

    config: str | None = None
    output_dir: str | None = None
    llamafactory: str | None = None
    status: str = "unknown"
    exit_code: int | None = None
    step: int | None = None
    total_steps: int | None = None


@dataclass(frozen=True, slots=True)
class Remedy:
    """The fix that a report shows in full, worked out on the run's own config."""

    finding_id: str
    fix: Fix
    diff: str = ""
    """Unified diff; empty for advice, and where `fault` says why it could not be made."""
    fault: str = ""
    text: str | None = None
    """The mended config file; None where the file stays as it is."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is told of one run."""

    run: RunFacts
    diagnosis: Diagnosis
    name: str = ""
    logs: tuple[str, ...] = ()
    snapshot: Snapshot = field(default_factory=Snapshot)
    remedy: Remedy | None = None
    relaunch: tuple[str, ...] = ()
    """The commands that carry the remedy out and start the training again, one a line."""
    pace: tuple[tuple[int, float], ...] = ()
    """(step, seconds that a step took), in the order of steps."""


def describe_change(change: KeyChange, language: Language = Language.EN) -> str:
    """Return a change in a few words: "cutoff_len 2048 -> 1024"."""
    old = "" if change.old is UNSET else f"{_written(change.old)} -> "
    new = words.NOT_SET.to(language) if change.new is UNSET else _written(change.new)
    return f"{change.key} {old}{new}"


def _written(value: object) -> str:
    """Return a value as YAML writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe_changes(fix: Fix, language: Language = Language.EN) -> str:
    """Return all that a fix changes, in one line; empty for advice."""
    changes = [describe_change(change, language) for change in fix.changes]
    return ", ".join([*changes, *(f"{name}={value}" for name, value in fix.env.items())])
