"""Owns the one place where the screens meet what acts: Services over diagnostics.runs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from diagnostics.errors import RunError
from diagnostics.findings import Finding, Fix, Language
from diagnostics.history import Snapshot
from diagnostics.monitor import Monitor
from diagnostics.monitor_update import Proposal
from diagnostics.ruleset import RuleSet
from diagnostics.runs.launcher import LocalLauncher
from diagnostics.runs.model import Run
from diagnostics.runs.proposal import TreatmentPlan, propose, propose_stop
from diagnostics.runs.resolve import live_runs, recent_runs
from diagnostics.runs.treatment import carry_out, undo
from diagnostics.runs.watching import make_watcher, refreshed_group

if TYPE_CHECKING:  # the first screen needs neither: they are imported after it
    from diagnostics.memory.advice import Advice
    from diagnostics.runs.config_look import ConfigCheck, ConfigLook


class LocalServices:
    """Serves the runs of this user on this host."""

    def __init__(
        self, rules: RuleSet, *, interval_s: float, read_only: bool, language: Language
    ) -> None:
        self.read_only = read_only
        self.language = language
        self._rules = rules
        self._interval_s = interval_s
        self._launcher = LocalLauncher()

    def list_runs(self) -> Sequence[Run]:
        """Return live runs, then recorded ones that have ended."""
        return [*live_runs(), *recent_runs()]

    def watch(self, run: Run) -> Monitor:
        """Return a monitor of a run; nothing is read before it is started."""
        return Monitor(
            run,
            lambda: make_watcher(
                run, interval_s=self._interval_s, rules=self._rules, read_only=self.read_only
            ),
        )

    def propose(self, run: Run, finding: Finding | None, fix: Fix) -> Proposal:
        """Work out what a fix and the relaunch would do."""
        return propose(self._present(run), finding, fix)

    def look_at_config(self, run: Run, snapshot: Snapshot) -> "ConfigLook":
        """Read a run's config as it stands, and what predicts its memory."""
        from diagnostics.runs.config_look import look_at_config  # noqa: PLC0415 - later

        return look_at_config(run, snapshot)

    def check_config(self, run: Run, look: "ConfigLook") -> "ConfigCheck":
        """Judge a config that was looked at, by the rules that judge a run."""
        from diagnostics.runs.config_look import check_config  # noqa: PLC0415 - the same

        return check_config(run, look, self._rules.rules)

    def advise(self, run: Run, look: "ConfigLook") -> "Advice":
        """Weigh the methods for a config's model and data."""
        from diagnostics.memory.advice import advise  # noqa: PLC0415 - the same
        from diagnostics.runs.advising import case_of  # noqa: PLC0415 - the same

        if look.config is None or look.facts is None:
            raise RunError("there is no config to advise on")
        return advise(case_of(look.config, look.facts, run.cwd))

    def propose_relaunch(self, run: Run) -> Proposal:
        """Work out what a relaunch without a change would do."""
        return propose(self._present(run), None, None)

    def propose_stop(self, run: Run) -> Proposal:
        """Work out what a stop would do."""
        return propose_stop(self._present(run))

    def treat(self, proposal: Proposal, on_progress: Callable[[str], None] = lambda _: None) -> Run:
        """Carry out what was consented to."""
        if self.read_only:
            raise RunError("llamavet was started with --read-only: nothing is written or stopped")
        if not isinstance(proposal, TreatmentPlan):
            raise RunError("this proposal was not worked out by llamavet")
        return carry_out(proposal, self._launcher, on_progress=on_progress)

    def undo(self, run: Run) -> str:
        """Put the config back as it was before the last change."""
        if self.read_only:
            raise RunError("llamavet was started with --read-only: nothing is written or stopped")
        return undo(run)

    def _present(self, run: Run) -> Run:
        """Return the run with the processes that it has now, not those of the last look."""
        return replace(run, group=refreshed_group(run))
