"""Owns the dashboard of one run: it watches through a Subscription and draws each update once.

It never waits: whatever is slow runs in a thread. Closing it ends the watching, not the training.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.worker import Worker, WorkerState

from diagnostics.findings import Finding, Fix, Safety
from diagnostics.history import Snapshot
from diagnostics.monitor_update import MonitorUpdate, Proposal
from diagnostics.runs.model import Run
from diagnostics.status import RunStatus
from tui import words
from tui.messages import Updated
from tui.screens.base import LlamavetScreen
from tui.screens.confirm import ConfirmScreen
from tui.screens.fixes import FixListScreen
from tui.screens.headline import ledger_lines, title_line
from tui.screens.reader import ReaderScreen, log_page
from tui.services import Subscription
from tui.widgets.cells import Line, Role, cut, inert, rule
from tui.widgets.chart import chart_lines, end_of_axis, latest_values
from tui.widgets.findings import findings_lines, first_fix, full_lines, treatable
from tui.widgets.pace import Pace
from tui.widgets.panel import Panel
from tui.widgets.progress import Speed, progress_line
from tui.widgets.series import Series
from tui.widgets.vitals import gpu_lines, host_line
from tui.words import say

CLOCK_S = 1.0
LOG_ROWS = 200
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
        self.run = run
        self.update_seen: MonitorUpdate | None = None
        self._subscription: Subscription | None = None
        self._watch = 0
        self._lock = threading.Lock()
        self._series = Series()
        self._pace = Pace()
        self._undo_asked = False

    def compose(self) -> ComposeResult:
        """Compose the panels; the stylesheet lays them out for narrow and wide terminals."""
        yield Panel(self._title, id="title")
        yield Panel(self._gpus, id="gpus")
        yield Panel(lambda width, _: (self._host(width),), id="host")
        yield Panel(self._progress, id="progress")
        with Container(id="body"):
            yield Panel(self._chart, id="chart")
            with Container(id="side"):
                yield Panel(self._findings, id="findings")
                yield Panel(self._ledger, id="ledger")
                yield Panel(self._log_rule, id="log-rule")
                yield Panel(self._log, id="log", tail=True)
        yield from self.footer()

    def on_mount(self) -> None:
        """Begin to watch."""
        self.set_interval(CLOCK_S, self._tick)
        self.watch_run(self.run)

    def on_unmount(self) -> None:
        """End the watching."""
        self._end_watch()

    def _end_watch(self) -> int:
        """Stop what is watched and return the number of the watch that may begin."""
        with self._lock:
            self._watch += 1
            if self._subscription is not None:
                self._subscription.stop()
                self._subscription = None
            return self._watch

    def watch_run(self, run: Run) -> None:
        """Watch another run, as after a relaunch."""
        watch = self._end_watch()
        self.run = run
        self.update_seen = None
        self._series = Series()
        self._pace = Pace()
        self._undo_asked = False
        self.run_worker(
            lambda: self._subscribe(run, watch), name="watch", thread=True, exit_on_error=False
        )
        self.redraw()

    def _subscribe(self, run: Run, watch: int) -> None:
        """Runs in a thread: attaching reads processes and files."""
        subscription = self.services.watch(run)
        with self._lock:
            if watch != self._watch:
                return
            self._subscription = subscription
        subscription.start(lambda update: self._publish(watch, update))

    def _publish(self, watch: int, update: MonitorUpdate) -> None:
        """Runs in the monitor's thread."""
        # At leaving, the loop may be gone between two ticks.
        with suppress(RuntimeError):
            self.post_message(Updated(watch, update))

    def on_updated(self, message: Updated) -> None:
        """Draw an update of the run that is watched now."""
        if message.watch != self._watch:
            return
        update = message.update
        self.update_seen = update
        self.run = update.run
        snapshot = update.snapshot
        self._series.update(snapshot.steps)
        bar_at = snapshot.progress.at if snapshot.progress is not None else 0.0
        point_at = snapshot.steps[-1].at if snapshot.steps else 0.0
        self._pace.saw(max(bar_at, point_at), snapshot.step)
        self.owner.training_runs = update.status is RunStatus.RUNNING
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
        if self._trains:
            self.query_one("#progress", Panel).redraw()

    # What the keys do.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave out the keys that have nothing to act on, and all that act where read-only."""
        del parameters
        if action in {"fix", "stop", "relaunch", "undo"} and self.services.read_only:
            return False
        if action == "fix":
            return self._finding() is not None
        if action == "stop":
            return self._trains
        if action == "relaunch":
            return self.run.launch is not None
        if action == "undo":
            return self._last_backup() is not None
        return True

    def action_fix(self) -> None:
        """Ask about the first fix where it is safe, else show the list."""
        finding = self._finding()
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
        run, services = self.run, self.services
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
        run, services = self.run, self.services
        self.app.push_screen(ConfirmScreen(lambda: services.propose_stop(run), self._treated))

    def action_relaunch(self) -> None:
        """Ask whether to start it again as it is."""
        self._forget_note()
        run, services = self.run, self.services
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
        number = self._last_backup()
        if number is None:
            return
        if not self._undo_asked:
            self._undo_asked = True
            self.say_note(say(words.UNDO_AGAIN, self.language, number=number), Role.WARN)
            return
        self._forget_note()
        run, services = self.run, self.services
        self.run_worker(lambda: services.undo(run), name="undo", thread=True, exit_on_error=False)

    def action_details(self) -> None:
        """Show every finding with evidence and fixes."""
        update = self.update_seen
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
        log = self._snapshot.log
        self.app.push_screen(
            ReaderScreen(
                words.LOG, lambda width, language: log_page(log, width, language), at_end=True
            )
        )

    def action_config(self) -> None:
        """Show the config with what a check finds, and a what-if."""
        from tui.screens.config import ConfigScreen  # noqa: PLC0415 - not on the first screen

        self._forget_note()
        self.app.push_screen(ConfigScreen(self.run, self._snapshot, self._treated))

    def action_runs(self) -> None:
        """Show the list of trainings."""
        self.owner.open_picker()

    # What is known.

    @property
    def _snapshot(self) -> Snapshot:
        return self.update_seen.snapshot if self.update_seen is not None else Snapshot()

    @property
    def _trains(self) -> bool:
        return self.update_seen is not None and self.update_seen.status is RunStatus.RUNNING

    def _finding(self) -> Finding | None:
        return treatable(self.update_seen.diagnosis) if self.update_seen is not None else None

    def _last_backup(self) -> int | None:
        attempts = self.update_seen.attempts if self.update_seen is not None else ()
        changed = [
            a for a in attempts if a.treatment is not None and a.treatment.backup is not None
        ]
        return changed[-1].number if changed else None

    def _forget_note(self) -> None:
        self._undo_asked = False
        self.say_note("")

    @property
    def _short(self) -> bool:
        return self.size.height < SHORT_ROWS

    # The panels.

    def _title(self, width: int, _height: int) -> Sequence[Line]:
        update, now = self.update_seen, self.owner.now()
        return (title_line(self.run, update, now, width, self.language),)

    def _gpus(self, width: int, _height: int) -> Sequence[Line]:
        return gpu_lines(self._snapshot, width, self.language, 3 if self._short else 8)

    def _host(self, width: int) -> Line:
        return host_line(self._snapshot.host, width, self.language)

    def _progress(self, width: int, _height: int) -> Sequence[Line]:
        if self.update_seen is None:
            return (((say(words.LOOKING, self.language), Role.DIM),),)
        snapshot = self._snapshot
        speed = Speed(
            self._pace.seconds_per_step, self._pace.eta_s(self.owner.now(), snapshot.total_steps)
        )
        running = self._trains
        return (progress_line(snapshot, speed, width, self.language, running=running),)

    def _chart(self, width: int, height: int) -> Sequence[Line]:
        snapshot = self._snapshot
        logged = next((p for p in reversed(snapshot.steps) if p.loss is not None), None)
        judged = next((p for p in reversed(snapshot.evals) if p.eval_loss is not None), None)
        latest = latest_values(
            logged.loss if logged is not None else None,
            logged.step if logged is not None else None,
            judged.eval_loss if judged is not None else None,
            self.language,
        )
        waiting = self.update_seen is None or self._trains
        empty = say(words.NO_LOSS if waiting else words.NO_LOSS_ENDED, self.language)
        return chart_lines(
            self._series,
            snapshot.evals,
            latest=latest,
            empty=empty,
            last_step=end_of_axis(self._series, snapshot.total_steps) if self._trains else 0,
            language=self.language,
            width=width,
            height=height,
        )

    def _findings(self, width: int, _height: int) -> Sequence[Line]:
        diagnosis = self.update_seen.diagnosis if self.update_seen is not None else None
        return findings_lines(
            diagnosis,
            width,
            self.language,
            running=self._trains,
            can_fix=bool(self.check_action("fix", ())),
            limit=6 if self._short else 14,
        )

    def _ledger(self, width: int, _height: int) -> Sequence[Line]:
        return ledger_lines(self.update_seen, width, self.language, 1 if self._short else 6)

    def _log_rule(self, width: int, _height: int) -> Sequence[Line]:
        path = self.run.log_path
        columns = max(width // 2, 10)
        note: Line = ((cut(inert(str(path)), columns), Role.DIM),) if path is not None else ()
        return (rule(say(words.LOG, self.language), width, note),)

    def _log(self, width: int, _height: int) -> Sequence[Line]:
        log = self._snapshot.log[-LOG_ROWS:]
        if log:
            return [((cut(inert(line.text), width), Role.DIM),) for line in log]
        reason = self.run.no_log_reason
        if reason:
            text = say(words.NO_LOG, self.language, reason=inert(reason))
        else:
            text = say(words.NO_LINES, self.language)
        return (((cut(text, width), Role.DIM),),)
