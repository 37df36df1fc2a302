"""Owns the dashboard of one run: it watches through a Subscription and draws each update once.

It never waits: whatever is slow runs in a thread. Closing it ends the watching, not the training.
"""

from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.worker import Worker, WorkerState

from diagnostics.findings import Finding, Fix, Safety
from diagnostics.monitor_update import MonitorUpdate, Proposal
from diagnostics.runs.model import Run
from tui import words
from tui.messages import Updated
from tui.screens.base import LlamavetScreen
from tui.screens.confirm import ConfirmScreen
from tui.screens.fixes import FixListScreen
from tui.screens.reader import ReaderScreen, log_page
from tui.screens.run_panels import Frame, RunPanels
from tui.screens.run_view import RunView
from tui.services import Subscription
from tui.watching import OneWatch
from tui.widgets.cells import Role
from tui.widgets.findings import first_fix, full_lines
from tui.widgets.panel import Panel
from tui.words import say

CLOCK_S = 1.0
SHORT_ROWS = 34
"""A terminal lower than this shows fewer GPUs, findings and attempts."""


class DashboardScreen(LlamavetScreen):
    """Everything about one run at a glance, and the keys to act on it."""

    BINDINGS: ClassVar[list[Any]] = [
        Binding("f", "fix", "fix"),
        Binding("s,k", "stop", "stop"),
        Binding("R", "relaunch", "relaunch"),
        Binding("d", "details", "details"),
        Binding("c", "config", "config"),
        Binding("l", "log", "log"),
        Binding("o,escape", "runs", "runs"),
        Binding("u", "undo", "undo"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._view = RunView(run)
        self._panels = RunPanels(self._view, self._frame)
        self._watching = OneWatch(self._subscription_to, self._publish)
        self._undo_asked = False

    def compose(self) -> ComposeResult:
        """Compose the panels; the stylesheet lays them out for narrow and wide terminals."""
        shown = self._panels
        yield Panel(shown.title, id="title")
        yield Panel(shown.gpus, id="gpus")
        yield Panel(shown.host, id="host")
        yield Panel(shown.progress, id="progress")
        with Container(id="body"):
            yield Panel(shown.chart, id="chart")
            with Container(id="side"):
                yield Panel(shown.findings, id="findings")
                yield Panel(shown.ledger, id="ledger")
                yield Panel(shown.log_rule, id="log-rule")
                yield Panel(shown.log, id="log", tail=True)
        yield from self.footer()

    def on_mount(self) -> None:
        """Begin to watch."""
        self.set_interval(CLOCK_S, self._tick)
        self.watch_run(self._view.run)

    def on_unmount(self) -> None:
        """End the watching."""
        self._watching.end()

    def watch_run(self, run: Run) -> None:
        """Watch another run, as after a relaunch."""
        number = self._watching.end()
        self._view.begin(run)
        self._undo_asked = False
        begin = partial(self._watching.begin, run, number)
        self.run_worker(begin, name="watch", thread=True, exit_on_error=False)
        self.redraw()

    def _subscription_to(self, run: Run) -> Subscription:
        return self.services.watch(run)

    def _publish(self, watch: int, update: MonitorUpdate) -> None:
        """Runs in the monitor's thread."""
        # At leaving, the loop may be gone between two ticks.
        with suppress(RuntimeError):
            self.post_message(Updated(watch, update))

    def on_updated(self, message: Updated) -> None:
        """Draw an update of the run that is watched now."""
        if message.watch != self._watching.number:
            return
        self._view.saw(message.update)
        self.owner.training_runs = self._view.trains
        self.redraw()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show what a thread could not do, or what it did."""
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.say_error(event.worker.error)
        elif event.state is WorkerState.SUCCESS and event.worker.name == "undo":
            self.say_note(str(event.worker.result), Role.GOOD)

    def _tick(self) -> None:
        """Move the clocks on; only the rows with a time in them are drawn."""
        self.query_one("#title", Panel).redraw()
        if self._view.trains:
            self.query_one("#progress", Panel).redraw()

    # What the keys do.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave out the keys that have nothing to act on, and all that act where read-only."""
        del parameters
        if action in {"fix", "stop", "relaunch", "undo"} and self.services.read_only:
            return False
        if action == "fix":
            return self._view.finding is not None
        if action == "stop":
            return self._view.trains
        if action == "relaunch":
            return self._view.run.launch is not None
        if action == "undo":
            return self._view.last_backup is not None
        return True

    def action_fix(self) -> None:
        """Ask about the first fix where it is safe, else show the list."""
        finding = self._view.finding
        if finding is None:
            return
        self._forget_note()
        first = first_fix(finding)
        if first is not None and first.safety is Safety.SAFE:
            self._confirm_fix(finding, first)
        else:
            self._list_fixes(finding)

    def _list_fixes(self, finding: Finding) -> None:
        self.app.push_screen(FixListScreen(finding, lambda fix: self._confirm_fix(finding, fix)))

    def _confirm_fix(self, finding: Finding, fix: Fix) -> None:
        run, services = self._view.run, self.services
        several = len(finding.fixes) > 1
        self.app.push_screen(
            ConfirmScreen(
                lambda: services.propose(run, finding, fix),
                self._treated,
                (lambda: self._list_fixes(finding)) if several else None,
            )
        )

    def action_stop(self) -> None:
        """Ask whether to stop the training."""
        self._forget_note()
        run, services = self._view.run, self.services
        self.app.push_screen(ConfirmScreen(lambda: services.propose_stop(run), self._treated))

    def action_relaunch(self) -> None:
        """Ask whether to start it again as it is."""
        self._forget_note()
        run, services = self._view.run, self.services
        self.app.push_screen(ConfirmScreen(lambda: services.propose_relaunch(run), self._treated))

    def _treated(self, proposal: Proposal, run: Run) -> None:
        if proposal.relaunches:
            done = words.DONE_RELAUNCHED
        else:
            done = words.DONE_APPLIED if proposal.fix is not None else words.DONE_STOPPED
        self.say_note(say(done, self.language), Role.GOOD)
        self.watch_run(run)

    def action_undo(self) -> None:
        """Put the config back; the first press only says what the second will do."""
        number = self._view.last_backup
        if number is None:
            return
        if not self._undo_asked:
            self._undo_asked = True
            self.say_note(say(words.UNDO_AGAIN, self.language, number=number), Role.WARN)
            return
        self._forget_note()
        run, services = self._view.run, self.services
        self.run_worker(lambda: services.undo(run), name="undo", thread=True, exit_on_error=False)

    def action_details(self) -> None:
        """Show every finding with evidence and fixes."""
        update = self._view.update
        if update is not None:
            diagnosis = update.diagnosis
            self.app.push_screen(
                ReaderScreen(
                    words.DETAILS_TITLE,
                    lambda width, language: full_lines(diagnosis, width, language),
                )
            )

    def action_log(self) -> None:
        """Show the log as far back as it is kept."""
        log = self._view.snapshot.log
        self.app.push_screen(
            ReaderScreen(
                words.LOG, lambda width, language: log_page(log, width, language), at_end=True
            )
        )

    def action_config(self) -> None:
        """Show the config with what a check finds, and a what-if."""
        from tui.screens.config import ConfigScreen  # noqa: PLC0415 - not on the first screen

        self._forget_note()
        self.app.push_screen(ConfigScreen(self._view.run, self._view.snapshot, self._treated))

    def action_runs(self) -> None:
        """Show the list of trainings."""
        self.owner.open_picker()

    def _forget_note(self) -> None:
        self._undo_asked = False
        self.say_note("")

    def _frame(self) -> Frame:
        return Frame(
            language=self.language,
            now=self.owner.now(),
            is_short=self.size.height < SHORT_ROWS,
            can_fix=bool(self.check_action("fix", ())),
        )
