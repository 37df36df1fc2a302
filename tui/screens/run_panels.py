"""Owns what each panel of the dashboard shows of a run. Pure but for the clock it is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diagnostics.findings import Language
from tui import words
from tui.screens.headline import ledger_lines, title_line
from tui.screens.run_view import RunView
from tui.widgets.cells import Line, Role, cut, inert, rule
from tui.widgets.chart import chart_lines, end_of_axis, latest_values
from tui.widgets.findings import findings_lines
from tui.widgets.progress import progress_line
from tui.widgets.vitals import gpu_lines, host_line
from tui.words import say

LOG_ROWS = 200


@dataclass(frozen=True, slots=True)
class Frame:
    """How the screen stands when its panels are drawn."""

    language: Language
    now: float
    is_short: bool
    """Whether fewer GPUs, findings and attempts are shown."""
    can_fix: bool


@dataclass(frozen=True, slots=True)
class RunPanels:
    """The panels of a run, each a function of its width and height."""

    view: RunView
    frame: Callable[[], Frame]

    def title(self, width: int, _height: int) -> Sequence[Line]:
        """Return the name, the status and the times."""
        view, frame = self.view, self.frame()
        return (title_line(view.run, view.update, frame.now, width, frame.language),)

    def gpus(self, width: int, _height: int) -> Sequence[Line]:
        """Return a row for each GPU."""
        frame = self.frame()
        most = 3 if frame.is_short else 8
        return gpu_lines(self.view.snapshot, width, frame.language, most)

    def host(self, width: int, _height: int) -> Sequence[Line]:
        """Return the row of the host."""
        return (host_line(self.view.snapshot.host, width, self.frame().language),)

    def progress(self, width: int, _height: int) -> Sequence[Line]:
        """Return the bar of steps."""
        view, frame = self.view, self.frame()
        if view.update is None:
            return (((say(words.LOOKING, frame.language), Role.DIM),),)
        speed, snapshot = view.speed(frame.now), view.snapshot
        return (progress_line(snapshot, speed, width, frame.language, running=view.trains),)

    def chart(self, width: int, height: int) -> Sequence[Line]:
        """Return the loss over the steps."""
        view, language = self.view, self.frame().language
        snapshot = view.snapshot
        logged = next((p for p in reversed(snapshot.steps) if p.loss is not None), None)
        judged = next((p for p in reversed(snapshot.evals) if p.eval_loss is not None), None)
        latest = latest_values(
            logged.loss if logged is not None else None,
            logged.step if logged is not None else None,
            judged.eval_loss if judged is not None else None,
            language,
        )
        waiting = view.update is None or view.trains
        empty = say(words.NO_LOSS if waiting else words.NO_LOSS_ENDED, language)
        return chart_lines(
            view.series,
            snapshot.evals,
            latest=latest,
            empty=empty,
            last_step=end_of_axis(view.series, snapshot.total_steps) if view.trains else 0,
            language=language,
            width=width,
            height=height,
        )

    def findings(self, width: int, _height: int) -> Sequence[Line]:
        """Return what is wrong, and what mends it."""
        view, frame = self.view, self.frame()
        return findings_lines(
            view.update.diagnosis if view.update is not None else None,
            width,
            frame.language,
            running=view.trains,
            can_fix=frame.can_fix,
            limit=6 if frame.is_short else 14,
        )

    def ledger(self, width: int, _height: int) -> Sequence[Line]:
        """Return the attempts."""
        frame = self.frame()
        return ledger_lines(self.view.update, width, frame.language, 1 if frame.is_short else 6)

    def log_rule(self, width: int, _height: int) -> Sequence[Line]:
        """Return the line above the log, with its path."""
        path = self.view.run.log_path
        columns = max(width // 2, 10)
        note: Line = ((cut(inert(str(path)), columns), Role.DIM),) if path is not None else ()
        return (rule(say(words.LOG, self.frame().language), width, note),)

    def log(self, width: int, _height: int) -> Sequence[Line]:
        """Return the end of the log, or why there is none."""
        lines = self.view.snapshot.log[-LOG_ROWS:]
        if lines:
            return [((cut(inert(line.text), width), Role.DIM),) for line in lines]
        language, reason = self.frame().language, self.view.run.no_log_reason
        if reason:
            text = say(words.NO_LOG, language, reason=inert(reason))
        else:
            text = say(words.NO_LINES, language)
        return (((cut(text, width), Role.DIM),),)
