"""Owns the config screen: a run's YAML with what a check finds, and a what-if for its memory.

Nothing is written here: changes that are tried can be proposed, and are asked about like any fix.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.worker import Worker, WorkerState

from diagnostics.findings import Severity
from diagnostics.history import Snapshot
from diagnostics.memory.facts import MemoryFacts
from diagnostics.monitor_update import Proposal
from diagnostics.runs.config_look import ConfigCheck, ConfigLook
from diagnostics.runs.model import Run
from diagnostics.what_if import BATCH, WhatIf
from tui import words
from tui.screens.advisor import AdvisorScreen
from tui.screens.base import LlamavetScreen
from tui.screens.config_entries import entries_of, file_rule
from tui.screens.config_memory import memory_block, tried_fix
from tui.screens.confirm import ConfirmScreen
from tui.widgets.cells import Line, Role
from tui.widgets.config_lines import Entry, View, draw, next_line, next_stop
from tui.widgets.panel import Panel
from tui.words import say

WIDE_COLUMNS = 140
"""From this width on the memory stands beside the file, as the stylesheet has it."""


class ConfigScreen(LlamavetScreen):
    """Shows the config of a run.

    Args:
        run: the run that it is of.
        snapshot: what was seen of the run, which knows its GPUs.
        treated: called with the proposal and the run to watch, once a proposal is carried out.
    """

    BINDINGS: ClassVar[list[Any]] = [
        Binding("right,plus,equals_sign", "more", "change"),
        Binding("left,minus", "less", "change", show=False),
        Binding("enter", "propose", "propose"),
        Binding("r", "reset", "reset"),
        Binding("escape", "back", "back"),
        Binding("a", "advise", "advisor"),
        Binding("tab", "next", "next"),
        Binding("shift+tab", "former", "next", show=False),
        Binding("up", "up", "move"),
        Binding("down", "down", "move", show=False),
        Binding("pageup", "page_up", "move", show=False),
        Binding("pagedown", "page_down", "move", show=False),
        Binding("home", "top", "move", show=False),
        Binding("end", "bottom", "move", show=False),
    ]

    def __init__(
        self, run: Run, snapshot: Snapshot, treated: Callable[[Proposal, Run], None]
    ) -> None:
        super().__init__()
        self._run = run
        self._snapshot = snapshot
        self._treated = treated
        self._look: ConfigLook | None = None
        self._what: WhatIf | None = None
        self._check: ConfigCheck | None = None
        self._entries: Sequence[Entry] = ()
        self._view = View()
        self._moved = False

    def compose(self) -> ComposeResult:
        """Compose memory and lines; the stylesheet puts them side by side where it is wide."""
        with Container(id="config"):
            yield Panel(self._memory, id="prediction")
            with Container(id="file"):
                yield Panel(self._heading, id="file-rule")
                yield Panel(self._lines, id="file-lines")
        yield from self.footer()

    def on_mount(self) -> None:
        """Read the config, away from the keys."""
        services, run, snapshot = self.services, self._run, self._snapshot
        self.run_worker(
            lambda: services.look_at_config(run, snapshot),
            name="look",
            thread=True,
            exit_on_error=False,
        )

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Take in what a thread brought back."""
        worker = event.worker
        if event.state is WorkerState.ERROR and worker.error is not None:
            self.say_error(worker.error)
            self.redraw()
        elif event.state is WorkerState.SUCCESS and isinstance(worker.result, ConfigLook):
            self._take_look(worker.result)
        elif event.state is WorkerState.SUCCESS and isinstance(worker.result, ConfigCheck):
            self._take_check(worker.result)

    def _take_look(self, look: ConfigLook) -> None:
        self._look = look
        if look.config is not None:
            self._what = WhatIf(look.config, look.facts or MemoryFacts(None))
        services, run = self.services, self._run
        self.run_worker(
            lambda: services.check_config(run, look), name="check", thread=True, exit_on_error=False
        )
        self.redraw()
        keys = [entry.key for entry in self._entries]
        self._go(keys.index(BATCH) if BATCH in keys else next_stop(self._entries, -1, forward=True))

    def _take_check(self, check: ConfigCheck) -> None:
        selected = self._selected
        self._check = check
        if self._what is not None:
            what = self._what
            self._what = WhatIf(what.config, what.facts, check.environment, what.changes)
        self.redraw()
        worst = [
            index
            for index, entry in enumerate(self._entries)
            if any(one.severity is Severity.CRITICAL for one in entry.findings)
        ]
        if worst and not self._moved:
            self._go(worst[0])
        elif selected is not None:
            same = (
                entry.number == selected.number and entry.key == selected.key
                for entry in self._entries
            )
            self._go(next((index for index, found in enumerate(same) if found), 0))

    def _list(self) -> None:
        if self._look is not None:
            found = self._check.findings if self._check is not None else ()
            self._entries = entries_of(self._look, self._what, found, self.language)

    def _go(self, cursor: int) -> None:
        self._view = View(max(cursor, 0), self._view.top)
        for name in ("#file-lines", "#footer"):
            self.query_one(name, Panel).redraw()

    def _move(self, cursor: int) -> None:
        self._moved = True
        self._go(cursor)

    def redraw(self) -> None:
        """Draw anew, in the language of the moment."""
        self._list()
        super().redraw()

    # What the keys do.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave out the keys that have nothing to act on."""
        del parameters
        if action in {"more", "less"}:
            return self._selected is not None and self._selected.value is not None
        if action == "reset":
            return self._tries
        if action == "propose":
            known = self._run.launch is not None
            return self._tries and known and not self.services.read_only
        if action == "advise":
            return self._what is not None and self._what.facts.model is not None
        if action in {"next", "former"}:
            return any(entry.matters for entry in self._entries)
        return True

    def key_word(self, action: str) -> str:
        """Say that arrows move."""
        return super().key_word("move" if action == "up" else action)

    def action_more(self) -> None:
        """Step the selected value on."""
        self._step(forward=True)

    def action_less(self) -> None:
        """Step the selected value back."""
        self._step(forward=False)

    def _step(self, *, forward: bool) -> None:
        entry = self._selected
        if entry is None or entry.value is None or self._what is None:
            return
        self._moved = True
        self._what = self._what.step(entry.key, forward=forward)
        self._tell_refusal()
        self.redraw()

    def _tell_refusal(self) -> bool:
        """Say what LLaMA-Factory would not take of the changes; whether there is any."""
        refusals = self._what.refusals if self._what is not None else ()
        if not refusals:
            self.say_note("")
            return False
        first = refusals[0]
        keys = ", ".join((first.key, *first.others))
        text = say(words.REFUSED, self.language, message=first.message, keys=keys)
        self.say_note(text, Role.WARN)
        return True

    def action_reset(self) -> None:
        """Take all changes back."""
        if self._what is not None:
            self._what = WhatIf(self._what.config, self._what.facts, self._what.environment)
            self.say_note("")
            self.redraw()

    def action_propose(self) -> None:
        """Ask whether to make these changes; they are carried out like any fix."""
        what = self._what
        if what is None or not what.changes or self._tell_refusal():
            return
        fix, run, services = tried_fix(what), self._run, self.services
        self.app.push_screen(ConfirmScreen(lambda: services.propose(run, None, fix), self._done))

    def _done(self, proposal: Proposal, run: Run) -> None:
        self.dismiss()
        self._treated(proposal, run)

    def action_advise(self) -> None:
        """Show which method fits this model, GPU and data."""
        if self._look is not None:
            self.app.push_screen(AdvisorScreen(self._run, self._look))

    def action_next(self) -> None:
        """Go to the next value or finding."""
        self._move(next_stop(self._entries, self._view.cursor, forward=True))

    def action_former(self) -> None:
        """Go to the value or finding before."""
        self._move(next_stop(self._entries, self._view.cursor, forward=False))

    def action_up(self) -> None:
        """Go a line up."""
        self._move(next_line(self._entries, self._view.cursor, -1))

    def action_down(self) -> None:
        """Go a line down."""
        self._move(next_line(self._entries, self._view.cursor, 1))

    def action_page_up(self) -> None:
        """Go a page up."""
        self._move(next_line(self._entries, self._view.cursor, -self._page))

    def action_page_down(self) -> None:
        """Go a page down."""
        self._move(next_line(self._entries, self._view.cursor, self._page))

    def action_top(self) -> None:
        """Go to the first line."""
        self._move(next_line(self._entries, 0, 0))

    def action_bottom(self) -> None:
        """Go to the last line."""
        self._move(next_line(self._entries, len(self._entries) - 1, 0))

    def action_back(self) -> None:
        """Return; what was tried is forgotten."""
        self.dismiss()

    # What is known.

    @property
    def _selected(self) -> Entry | None:
        cursor = self._view.cursor
        return self._entries[cursor] if cursor < len(self._entries) else None

    @property
    def _tries(self) -> bool:
        return self._what is not None and bool(self._what.changes)

    @property
    def _page(self) -> int:
        return max(self.query_one("#file-lines", Panel).size.height - 1, 1)

    # The panels.

    def _memory(self, width: int, _height: int) -> Sequence[Line]:
        in_full = self.size.width >= WIDE_COLUMNS
        return memory_block(self._look, self._what, width, self.language, in_full=in_full)

    def _heading(self, width: int, _height: int) -> Sequence[Line]:
        findings = self._check.findings if self._check is not None else ()
        line = file_rule(
            self._look, findings, width, self.language, checked=self._check is not None
        )
        return (line,)

    def _lines(self, width: int, height: int) -> Sequence[Line]:
        drawn = draw(self._entries, self._view, width, height, self.language)
        self._view = View(self._view.cursor, drawn.top)
        return drawn.lines
