"""Owns what all screens share: the footer with the keys that work now, and the line of notes.

A screen shows only values; whatever is slow runs in a thread and comes back by its screen.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.binding import Binding
from textual.screen import Screen

from diagnostics.errors import LlamavetError
from diagnostics.findings import Language
from tui import words
from tui.services import Services
from tui.widgets.cells import Line, Role, Span, inert, width_of, wrap
from tui.widgets.panel import Panel
from tui.words import say

if TYPE_CHECKING:
    from tui.app import LlamavetApp

KEY_NAMES = {
    "escape": "Esc",
    "question_mark": "?",
    "enter": "Enter",
    "up": "↑↓",
    "right": "←→",
    "tab": "Tab",
}
NOTE_ROWS = 3


class LlamavetScreen(Screen[None]):
    """A screen with a note above its footer; `redraw` renders all of it in the app's language."""

    BINDINGS: ClassVar[list[Any]] = []
    ALWAYS: ClassVar[Sequence[tuple[str, str]]] = (
        ("z", "toggle_language"),
        ("?", "help"),
        ("q", "leave"),
    )
    """The app's own keys that the footer never leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self._note = ""
        self._note_role = Role.TEXT

    @property
    def owner(self) -> "LlamavetApp":
        """The app, as what it is."""
        return cast("LlamavetApp", self.app)

    @property
    def services(self) -> Services:
        """What the engine offers."""
        return self.owner.services

    @property
    def language(self) -> Language:
        """The language of the moment."""
        return self.owner.language

    def footer(self) -> Sequence[Panel]:
        """Return the note and the footer, to be composed last."""
        return (
            Panel(lambda width, _: self._note_lines(width), id="note"),
            Panel(lambda width, _: (self._footer_line(width),), id="footer"),
        )

    def say_note(self, text: str, role: Role = Role.TEXT) -> None:
        """Show a line above the footer until the next one; empty takes it away."""
        self._note, self._note_role = inert(text), role
        for panel in self.query("#note").results(Panel):
            panel.redraw()

    def say_error(self, error: BaseException) -> None:
        """Show what failed as one line with its remedy."""
        if isinstance(error, LlamavetError):
            self.say_note(str(error), Role.BAD)
        else:
            text = f"{type(error).__name__}: {error}"
            self.say_note(say(words.UNEXPECTED, self.language, error=text), Role.BAD)

    def redraw(self) -> None:
        """Draw every panel again."""
        for panel in self.query(Panel):
            panel.redraw()

    def on_screen_resume(self) -> None:
        """Draw again: the language may have changed while another screen was on top."""
        self.redraw()

    def _note_lines(self, width: int) -> Sequence[Line]:
        mark = "✖ " if self._note_role is Role.BAD else ""
        rows = wrap(mark + self._note, width, NOTE_ROWS) if self._note else ()
        return [((row, self._note_role),) for row in rows]

    def _footer_line(self, width: int) -> Line:
        shown: list[tuple[str, str]] = []
        for binding in self.BINDINGS:
            if isinstance(binding, Binding) and binding.show and self._works(binding.action):
                name = binding.key.split(",", 1)[0]
                shown.append((KEY_NAMES.get(name, name), self.key_word(binding.action)))
        fixed = [(key, words.KEYS[action].to(self.language)) for key, action in self.ALWAYS]
        tail = [span for key, word in fixed for span in _key(key, word)]
        if self.services.read_only:
            tail += [(f" {say(words.READ_ONLY, self.language)} ", Role.BADGE_WARN)]
        spans: list[Span] = []
        for key, word in shown:
            more = _key(key, word)
            if width_of((*spans, *more, *tail)) > width:
                break
            spans += more
        return (*spans, *tail)

    def key_word(self, action: str) -> str:
        """Return the footer's word for an action."""
        return words.KEYS[action].to(self.language)

    def _works(self, action: str) -> bool:
        return bool(self.check_action(action, ()))


def _key(key: str, word: str) -> Line:
    return ((f" {key} ", Role.BADGE), (f" {word} ", Role.TEXT))
