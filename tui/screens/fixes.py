"""Owns the list of a finding's fixes: each with safety, reason and price; Enter asks for one."""

from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from diagnostics.findings import Finding, Fix, Safety
from tui import words
from tui.screens.base import LlamavetScreen
from tui.widgets.cells import Role
from tui.widgets.content import to_content
from tui.widgets.findings import finding_full, first_fix, fix_full
from tui.widgets.panel import Panel
from tui.words import say


class FixListScreen(LlamavetScreen):
    """Lets a person choose; `chosen` is called with a fix that llamavet can carry out."""

    BINDINGS: ClassVar[list[Any]] = [
        Binding("up", "scroll", "choose"),
        Binding("enter", "choose", "choose"),
        Binding("escape", "back", "back"),
    ]

    def __init__(self, finding: Finding, chosen: Callable[[Fix], None]) -> None:
        super().__init__()
        self._finding = finding
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        """Compose the finding, its fixes, the footer."""
        with VerticalScroll(id="finding"):
            yield Panel(lambda width, _: finding_full(self._finding, width, self.language))
        yield OptionList(id="fixes", markup=False)
        yield from self.footer()

    def on_mount(self) -> None:
        """Select the safest fix."""
        self._fill()
        options = self.query_one("#fixes", OptionList)
        first = first_fix(self._finding)
        if first is not None:
            options.highlighted = self._finding.fixes.index(first)
        options.focus()

    def redraw(self) -> None:
        """Draw the list in the language of the moment too."""
        super().redraw()
        if self.is_mounted:
            self._fill()

    def key_word(self, action: str) -> str:
        """Say that arrows move."""
        return super().key_word("move" if action == "scroll" else action)

    def _fill(self) -> None:
        options = self.query_one("#fixes", OptionList)
        width = max(self.size.width - 5, 20)
        prompts = [
            to_content((*fix_full(fix, width, self.language), ())) for fix in self._finding.fixes
        ]
        kept = options.highlighted
        options.clear_options()
        options.add_options([Option(prompt) for prompt in prompts])
        options.highlighted = kept

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Ask about the chosen fix; advice is only read."""
        fix = self._finding.fixes[event.option_index]
        if fix.safety is Safety.MANUAL or self.services.read_only:
            self.say_note(say(words.NOT_APPLICABLE, self.language), Role.WARN)
            return
        self.dismiss()
        self._chosen(fix)

    def action_back(self) -> None:
        """Return without choosing."""
        self.dismiss()

    def action_scroll(self) -> None:
        """Stand for the arrow keys, which the list itself takes."""

    def action_choose(self) -> None:
        """Choose the highlighted fix."""
        self.query_one("#fixes", OptionList).action_select()
