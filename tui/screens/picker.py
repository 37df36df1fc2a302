"""Owns the list of trainings to open, and what is said where there is none."""

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import OptionList
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState

from diagnostics.history import Snapshot
from diagnostics.monitor_update import Proposal
from diagnostics.runs.model import Run
from tui import words
from tui.screens.base import LlamavetScreen
from tui.widgets.cells import Line, Role, Span, cut, fit, inert, rule, wrap
from tui.widgets.content import to_content
from tui.widgets.panel import Panel
from tui.words import say

NAME_COLUMNS = 30


class PickerScreen(LlamavetScreen):
    """Live trainings first, then recorded ones; Enter opens."""

    BINDINGS: ClassVar[list[Any]] = [
        Binding("enter", "choose", "open"),
        Binding("up", "scroll", "choose"),
        Binding("c", "config", "config"),
        Binding("r", "refresh", "look again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._runs: Sequence[Run] | None = None
        self._failed = False

    def compose(self) -> ComposeResult:
        """Compose title, list, the text for an empty list, footer."""
        yield Panel(lambda width, _: (rule(say(words.RUNS, self.language), width),), id="heading")
        yield OptionList(id="runs", markup=False)
        yield Panel(lambda width, _: self._empty(width), id="empty")
        yield from self.footer()

    def on_mount(self) -> None:
        """Look for trainings."""
        self.action_refresh()

    def redraw(self) -> None:
        """Draw the list in the language of the moment too."""
        super().redraw()
        if self.is_mounted:
            self._fill()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer to open only where there is something to open."""
        del parameters
        return bool(self._runs) if action in {"choose", "scroll", "config"} else True

    def key_word(self, action: str) -> str:
        """Say that arrows move and Enter opens."""
        return super().key_word({"scroll": "move", "choose": "open"}.get(action, action))

    def action_refresh(self) -> None:
        """Look again, away from the keys."""
        self.say_note(say(words.LISTING, self.language), Role.DIM)
        self.run_worker(
            self.services.list_runs, name="list", thread=True, exclusive=True, exit_on_error=False
        )

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Take in the list, or show why there is none."""
        if event.state is WorkerState.SUCCESS:
            self._runs = tuple(event.worker.result or ())
            self.say_note("")
            self.redraw()
            if self._runs:
                self.query_one("#runs", OptionList).focus()
        elif event.state is WorkerState.ERROR and event.worker.error is not None:
            self._runs = self._runs or ()
            self.say_error(event.worker.error)
            self.redraw()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open the chosen training."""
        if self._runs:
            self.owner.open_run(self._runs[event.option_index])

    def action_choose(self) -> None:
        """Open the highlighted training."""
        self.query_one("#runs", OptionList).action_select()

    def action_config(self) -> None:
        """Show the config of the highlighted training."""
        from tui.screens.config import ConfigScreen  # noqa: PLC0415 - not on the first screen

        at = self.query_one("#runs", OptionList).highlighted
        if self._runs and at is not None:
            self.app.push_screen(ConfigScreen(self._runs[at], Snapshot(), self._treated))

    def _treated(self, _proposal: Proposal, run: Run) -> None:
        self.owner.open_run(run)

    def action_scroll(self) -> None:
        """Stand for the arrow keys, which the list itself takes."""

    def _fill(self) -> None:
        options = self.query_one("#runs", OptionList)
        runs = self._runs or ()
        options.display = bool(runs)
        self.query_one("#empty", Panel).display = not runs
        kept = options.highlighted or 0
        options.clear_options()
        width = max(self.size.width - 5, 20)
        options.add_options(Option(to_content(self._row(run, width))) for run in runs)
        options.highlighted = min(kept, len(runs) - 1) if runs else None

    def _row(self, run: Run, width: int) -> Sequence[Line]:
        if run.group is not None:
            status: Span = (words.LIVE.to(self.language), Role.GOOD)
        elif run.record is not None:
            status = (words.RECORDED.to(self.language), Role.TEXT)
        else:
            status = (words.FILES_ONLY.to(self.language), Role.DIM)
        first: list[Span] = [
            (fit(inert(run.name), min(NAME_COLUMNS, width // 2)), Role.STRONG),
            ("  ", Role.TEXT),
            (fit(status[0], 10), status[1]),
        ]
        if run.simulated_gpu is not None:
            badge = f" {words.SIMULATED.to(self.language)} "
            first += [("  ", Role.TEXT), (badge, Role.BADGE_WARN)]
        if run.group is not None and run.group.started_at:
            clock = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.group.started_at))
            first.append((f"  {say(words.STARTED, self.language, time=clock)}", Role.DIM))
        document = run.config.document if run.config is not None else None
        config = str(document.path) if document is not None and document.path else ""
        place = "  ".join(part for part in (config, str(run.cwd)) if part)
        return (tuple(first), (("  " + cut(inert(place), width - 2), Role.DIM),), ())

    def _empty(self, width: int) -> Sequence[Line]:
        if self._runs is None or self._runs:
            return ()
        rows: list[Line] = []
        for text in words.EMPTY:
            line = text.to(self.language)
            role = Role.STRONG if line.startswith("    ") else Role.TEXT
            indent = "    " if line.startswith("    ") else ""
            rows += [
                (("  " + indent + row, role),) for row in wrap_or_blank(line.strip(), width - 8)
            ]
        return rows


def wrap_or_blank(text: str, width: int) -> Sequence[str]:
    """Return wrapped rows; an empty text is one empty row."""
    return wrap(text, width) or ("",)
