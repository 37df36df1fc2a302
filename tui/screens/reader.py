"""Owns the screen that lets a person read something long: help, findings in full, the log."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll

from diagnostics.findings import Language, Text
from diagnostics.observations import LogLine
from tui import words
from tui.screens.base import LlamavetScreen
from tui.widgets.cells import Line, Role, inert, rule, wrap
from tui.widgets.panel import Panel
from tui.words import say

Pages = Callable[[int, Language], Sequence[Line]]
"""From a width and a language to all rows."""


class ReaderScreen(LlamavetScreen):
    """Rows to scroll through under a title; `at_end` begins at the last of them."""

    BINDINGS: ClassVar[list[Any]] = [
        Binding("escape", "back", "back"),
        Binding("up", "scroll", "scroll"),
    ]

    def __init__(self, title: Text, pages: Pages, *, at_end: bool = False) -> None:
        super().__init__()
        self._heading = title
        self._pages = pages
        self._at_end = at_end

    def compose(self) -> ComposeResult:
        """Compose title, rows, footer."""
        yield Panel(lambda width, _: (rule(self._heading.to(self.language), width),), id="heading")
        with VerticalScroll(id="page"):
            yield Panel(lambda width, _: self._pages(width, self.language), id="rows")
        yield from self.footer()

    def on_mount(self) -> None:
        """Give the arrow keys to the page."""
        page = self.query_one("#page", VerticalScroll)
        page.focus()
        if self._at_end:
            self.call_after_refresh(page.scroll_end, animate=False)

    def action_back(self) -> None:
        """Return to the screen below."""
        self.dismiss()

    def action_scroll(self) -> None:
        """Stand for the arrow keys, which the page itself takes."""


def help_page(width: int, language: Language) -> Sequence[Line]:
    """Return the keys with what they do, then what the words on the screen mean."""
    keys = {
        "f": "fix",
        "s": "stop",
        "R": "relaunch",
        "u": "undo",
        "d": "details",
        "l": "log",
        "c": "config",
        "o": "runs",
        "z": "toggle_language",
        "q": "leave",
    }
    lines: list[Line] = [()]
    for key, action in keys.items():
        text = words.KEYS_LONG[action].to(language)
        lines.append(((" ", Role.TEXT), (f" {key} ", Role.BADGE), (f"  {text}", Role.TEXT)))
    for note in words.HELP_NOTES:
        lines += [(), *(((f"  {row}", Role.TEXT),) for row in wrap(note.to(language), width - 4))]
    return lines


def log_page(log: Sequence[LogLine], width: int, language: Language) -> Sequence[Line]:
    """Return all log lines that are kept, each wrapped, with its number in the file."""
    lines: list[Line] = []
    for entry in log:
        for index, row in enumerate(wrap(inert(entry.text), width - 8) or ("",)):
            number = f"{entry.line:>6}  " if index == 0 else " " * 8
            lines.append(((number, Role.DIM), (row, Role.TEXT)))
    return lines or [((say(words.NO_LINES, language), Role.DIM),)]
