"""Owns the app: which screen is open, the language, and leaving without touching a training."""

import time
from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding
from textual.theme import Theme

from diagnostics.findings import Language
from diagnostics.runs.model import Run
from tui import words
from tui.screens.base import LlamavetScreen
from tui.screens.confirm import ConfirmScreen
from tui.screens.dashboard import DashboardScreen
from tui.screens.picker import PickerScreen
from tui.screens.reader import ReaderScreen, help_page
from tui.services import Services
from tui.widgets.cells import Role
from tui.words import say

THEME = Theme(
    name="llamavet",
    primary="#7aa2c9",
    secondary="#8a93a3",
    accent="#7fb4d6",
    success="#8fbf7f",
    warning="#e0b45c",
    error="#e2706b",
    foreground="#d5d9e0",
    background="#14171c",
    surface="#14171c",
    panel="#1d2229",
    dark=True,
)


class LlamavetApp(App[None]):
    """llamavet on a terminal.

    Args:
        services: the engine.
        opening: the run to show first, or None for the list of runs.
        now: the clock, seconds since the epoch.
    """

    CSS_PATH = "app.tcss"
    TITLE = "llamavet"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[Any]] = [
        Binding("q,ctrl+c,ctrl+q", "leave", "quit", priority=True),
        Binding("z", "toggle_language", "language"),
        Binding("question_mark", "help", "help"),
    ]

    def __init__(
        self, services: Services, opening: Run | None, now: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (140, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]
        self.services = services
        self.now = now
        self.language: Language = services.language
        self.training_runs = False
        """Whether the run watched last was alive, for the word at leaving."""
        self._opening = opening

    def on_mount(self) -> None:
        """Open the first screen."""
        self.register_theme(THEME)
        self.theme = THEME.name
        first = PickerScreen() if self._opening is None else DashboardScreen(self._opening)
        self.push_screen(first)

    def open_run(self, run: Run) -> None:
        """Show a run instead of the list."""
        self.switch_screen(DashboardScreen(run))

    def open_picker(self) -> None:
        """Show the list instead of a run."""
        self.training_runs = False
        self.switch_screen(PickerScreen())

    def action_toggle_language(self) -> None:
        """Change between English and Chinese."""
        self.language = Language.EN if self.language is Language.ZH else Language.ZH
        if isinstance(self.screen, LlamavetScreen):
            self.screen.redraw()

    def action_help(self) -> None:
        """Show the keys."""
        top = self.screen
        if not isinstance(top, ReaderScreen) and not self._treating():
            self.push_screen(ReaderScreen(words.HELP_TITLE, help_page))

    def action_leave(self) -> None:
        """Leave; watching ends, the training goes on."""
        top = self.screen
        if self._treating() and isinstance(top, LlamavetScreen):
            # A config half written or a run half started must not be left behind.
            top.say_note(say(words.BUSY, self.language), Role.WARN)
            return
        goodbye = words.GOODBYE_RUNNING if self.training_runs else words.GOODBYE
        self.exit(message=say(goodbye, self.language))

    def _treating(self) -> bool:
        return any(isinstance(top, ConfirmScreen) and top.treating for top in self.screen_stack)
