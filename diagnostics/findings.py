"""Owns what a diagnosis says: findings with evidence and fixes, and what could not be judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from diagnostics.config.unset import UNSET, Unset


class Language(StrEnum):
    """The languages that titles, causes and advice are written in."""

    EN = "en"
    ZH = "zh"


@dataclass(frozen=True, slots=True)
class Text:
    """One text in both languages."""

    en: str
    zh: str

    def to(self, language: Language) -> str:
        """Return the text in a language; English where the other is empty."""
        return self.zh if language is Language.ZH and self.zh else self.en


class Severity(IntEnum):
    """How bad it is: a critical finding ended or will end the run, or made it worthless."""

    NOTE = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def label(self) -> str:
        """The word used in reports."""
        return self.name.lower()


class Safety(IntEnum):
    """What a fix may do, ordered: MANUAL < UNSAFE < SAFE."""

    MANUAL = 0
    """Advice: llamavet has no way to write it."""
    UNSAFE = 1
    """May change what is learned or its quality: shown with its reason, asked each time."""
    SAFE = 2
    """Keeps the training recipe."""

    @property
    def label(self) -> str:
        """The word used in reports."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One key's change; UNSET where it is not set before or after."""

    key: str
    old: object | Unset
    new: object | Unset


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a fix does to one GPU's memory: what is needed before and after it, in GiB.

    "Needed" is the allocated peak with kernels' workspaces and the CUDA context: what a card must
    have. `verdict` is "fits", "tight", "does_not_fit" or "unknown".
    """

    before_gib: float
    peak_gib: float
    capacity_gib: float | None
    verdict: str
    confidence: str
    method: str


@dataclass(frozen=True, slots=True)
class Fix:
    """One remedy, worked out for the run's own config."""

    id: str
    title: Text
    why: Text
    price: Text
    safety: Safety
    changes: tuple[KeyChange, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    caveat: Text = field(default_factory=lambda: Text("", ""))
    """What could not be checked: "needs bitsandbytes; could not tell whether it is installed"."""
    predicted: Prediction | None = None
    """What it does to memory, where that can be told."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen: a line of a log (1-based), or the points a metric rule read (line None)."""

    source: str
    line: int | None
    text: str
    column: int | None = None
    """1-based, where it is known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, with what shows it and what helps."""

    id: str
    severity: Severity
    title: Text
    cause: Text
    evidence: tuple[Evidence, ...]
    fixes: tuple[Fix, ...] = ()
    primary: bool = False
    to_be_sure: Text = field(default_factory=lambda: Text("", ""))
    """What to look at or try, so that no doubt is left; empty where nothing is said."""
    consequences: tuple["Finding", ...] = ()
    """What only followed from it: told under it, not beside it."""

    @property
    def best_fix(self) -> Fix | None:
        """The fix to try first: the first of the safest that acts and is not known to fail."""
        return max(self.fixes, key=_promise, default=None)


def _promise(fix: Fix) -> tuple[bool, Safety, bool, bool, bool]:
    acts = fix.safety > Safety.MANUAL
    fails = fix.predicted is not None and fix.predicted.verdict == "does_not_fit"
    fits = fix.predicted is not None and fix.predicted.verdict == "fits"
    return (acts and not fails, fix.safety, fits, not fix.caveat.en, bool(fix.changes or fix.env))


@dataclass(frozen=True, slots=True)
class Blind:
    """A rule that could not be judged, and what it lacked: not the same as fine."""

    id: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, most important first, and the rules that were blind."""

    findings: tuple[Finding, ...] = ()
    blind: tuple[Blind, ...] = ()

    @property
    def primary(self) -> Finding | None:
        """The finding to act on, where there is a critical or a warning."""
        return next((finding for finding in self.findings if finding.primary), None)


def is_set(value: object | Unset) -> bool:
    """Tell whether a change's side holds a value (null is one)."""
    return value is not UNSET
