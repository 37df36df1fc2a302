"""Owns the seam between screens and engine: protocols only, so a screen can be tested alone."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from diagnostics.findings import Finding, Fix, Language
from diagnostics.history import Snapshot
from diagnostics.monitor_update import MonitorUpdate, Proposal
from diagnostics.runs.model import Run

if TYPE_CHECKING:  # the first screen needs neither: they are imported after it
    from diagnostics.memory.advice import Advice
    from diagnostics.runs.config_look import ConfigCheck, ConfigLook


class Subscription(Protocol):
    """One watched run."""

    def start(self, publish: Callable[[MonitorUpdate], None]) -> None:
        """Begin; `publish` is called from another thread, at most once a tick."""
        ...

    def stop(self) -> None:
        """End the watching and return at once; the training is never touched."""
        ...


class Services(Protocol):
    """What screens may ask for. Whatever is slow is called in a thread by the screen."""

    @property
    def read_only(self) -> bool:
        """True where nothing may be written, stopped or started."""
        ...

    @property
    def language(self) -> Language:
        """The language to begin with."""
        ...

    def list_runs(self) -> Sequence[Run]:
        """Return the live runs, then recent finished ones. Slow."""
        ...

    def watch(self, run: Run) -> Subscription:
        """Return a subscription that is not started yet."""
        ...

    def propose(self, run: Run, finding: Finding | None, fix: Fix) -> Proposal:
        """Work out what a fix would do; LlamavetError where it cannot be. Slow."""
        ...

    def look_at_config(self, run: Run, snapshot: Snapshot) -> "ConfigLook":
        """Read a run's config as it stands, and what predicts its memory. Slow."""
        ...

    def check_config(self, run: Run, look: "ConfigLook") -> "ConfigCheck":
        """Judge a config that was looked at. Slower: the training's own Python is asked."""
        ...

    def advise(self, run: Run, look: "ConfigLook") -> "Advice":
        """Weigh the methods for a config's model and data. Slow.

        Raises:
            LlamavetError: the model is not known, or a value has no meaning.
        """
        ...

    def treat(self, proposal: Proposal, on_progress: Callable[[str], None]) -> Run:
        """Carry a proposal out and return the run to watch next. Slow.

        `on_progress` is called, from the thread that called this, with a line for each thing done.

        Raises:
            LlamavetError: it could not be carried out, with what was left as it was.
        """
        ...

    def propose_relaunch(self, run: Run) -> Proposal:
        """Work out a start without any change; LlamavetError where it cannot be. Slow."""
        ...

    def propose_stop(self, run: Run) -> Proposal:
        """Work out a stop; LlamavetError where it cannot be. Slow."""
        ...

    def undo(self, run: Run) -> str:
        """Put the config back as it was and return a line to show. Slow.

        Raises:
            LlamavetError: there is nothing to put back, or it cannot be written.
        """
        ...
