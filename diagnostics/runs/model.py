"""Owns the values of a run: what it is, its attempts and what each came to. No action, no clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from diagnostics.config.effective import EffectiveConfig
from diagnostics.findings import KeyChange
from diagnostics.status import RunStatus

if TYPE_CHECKING:
    from diagnostics.runs.discover import RunGroup


class Outcome(StrEnum):
    """What became of a change, told by comparing an attempt with the one before."""

    PENDING = "pending"  # still running, the failing step not passed yet
    CURED = "cured"  # passed the step at which the one before died, or finished
    RELAPSED = "relapsed"  # died again, further on or at the same place
    WORSE = "worse"  # died earlier than the one before
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Launch:
    """How an attempt was started."""

    argv: tuple[str, ...]
    cwd: Path
    environ: Mapping[str, str]
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Soft and hard resource limits by name ("data", "as", ...), -1 for none."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """The change that led to an attempt."""

    finding_id: str
    fix_id: str
    title_en: str
    changes: tuple[KeyChange, ...]
    env: Mapping[str, str]
    backup: Path | None
    """The config as it was before, where the file was edited."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a run and how it ended, as far as known."""

    number: int
    folder: Path
    log_path: Path
    started_at: float
    status: RunStatus
    treatment: Treatment | None = None
    """None for the first attempt."""
    ended_at: float | None = None
    exit_code: int | None = None
    step: int | None = None
    """The last step it reached."""
    total_steps: int | None = None
    finding_id: str | None = None
    """The primary finding that ended it."""
    peak_gpu_bytes: int | None = None
    peak_host_bytes: int | None = None
    outcome: Outcome = Outcome.UNKNOWN


@dataclass(frozen=True, slots=True)
class Run:
    """One training, wherever it was found: alive, supervised by us, or only files."""

    name: str
    config: EffectiveConfig | None
    cwd: Path
    output_dir: Path | None
    log_path: Path | None
    launch: Launch | None = None
    """None where only files are known: then it can be diagnosed but not relaunched."""
    group: "RunGroup | None" = None
    """Its live processes, where it was found alive."""
    record: Path | None = None
    """Its folder in the state store, where llamavet launched it."""
    simulated_gpu: Path | None = None
    """The demo's GPU file; set means that everything of this run is simulated."""
    no_log_reason: str = ""
    """Why there is no log to follow: "its output goes to a terminal"."""
