"""Owns what a signal is: a named value read from a Context, with what shows it.

A signal is a pure function of the Context; None means that it has no value now, which a
condition takes as not met. A Missing reading raises no alarm either: it makes the rule blind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from diagnostics.config.effective import EffectiveConfig
from diagnostics.datasets import DatasetReport
from diagnostics.findings import Evidence
from diagnostics.history import Snapshot
from diagnostics.observations import Missing

if TYPE_CHECKING:  # most runs need no prediction: importing it takes longer than judging them
    from diagnostics.memory.facts import MemoryFacts

Value: TypeAlias = int | float | str | bool
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    """All that a rule may read: what was observed, the config, the data, what is installed."""

    snapshot: Snapshot
    config: EffectiveConfig | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the run; empty where unknown."""
    packages: Mapping[str, bool] = field(default_factory=dict)
    """Whether a package is installed for the training; absent where unknown."""
    closed: bool = False
    """True where the log is complete: a post-mortem, or a run known to have ended."""
    datasets: tuple[DatasetReport, ...] | None = None
    """A look at the training's data files; None where nobody looked."""
    memory: "MemoryFacts | None" = None
    """What predicts the training's memory; None where nobody looked."""
    memo: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was worked out of this context already."""

    def once(self, name: str, work: Callable[["Context"], T]) -> T:
        """Return what `work` makes of this context, worked out once however often it is asked."""
        if name not in self.memo:
            self.memo[name] = work(self)
        found: T = self.memo[name]
        return found


@dataclass(frozen=True, slots=True)
class Signal:
    """One named value with what shows it."""

    value: Value | Missing
    evidence: tuple[Evidence, ...] = ()


Reader: TypeAlias = Callable[[Context], Signal | None]


def plain(read: Callable[[Context], Value | None]) -> Reader:
    """Return a reader of a value that is shown by itself."""

    def reader(context: Context) -> Signal | None:
        value = read(context)
        return None if value is None else Signal(value)

    return reader
