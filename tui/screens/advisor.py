"""Owns the advisor: the table of `llamavet advise` for a run's model, GPUs and data, to be read.

Enter shows the YAML that a row means; nothing is written from here.
"""

import shlex
from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, VerticalScroll
from textual.worker import Worker, WorkerState

from diagnostics.findings import Language
from diagnostics.memory.advice import Advice, yaml_of
from diagnostics.memory.options import Option
from diagnostics.report.advice import as_text
from diagnostics.runs.config_look import ConfigLook
from diagnostics.runs.model import Run
from tui import words
from tui.screens.base import LlamavetScreen
from tui.screens.reader import ReaderScreen
from tui.widgets.cells import Line, Role, cut, inert, rule, wrap
from tui.widgets.memory import VERDICT_ROLES
from tui.widgets.panel import Panel
from tui.words import say

NEW_FILE = "new.yaml"
SHOWN_ROLES = {Role.GOOD: Role.TEXT}
"""What fits needs no colour; the other verdicts keep theirs."""


class AdvisorScreen(LlamavetScreen):
    """Weighs the methods for the config that was looked at."""

    BINDINGS: ClassVar[list[Any]] = [
        Binding("enter", "yaml", "its YAML"),
        Binding("escape", "back", "back"),
        Binding("up", "up", "move"),
        Binding("down", "down", "move", show=False),
    ]

    def __init__(self, run: Run, look: ConfigLook) -> None:
        super().__init__()
        self._run = run
        self._look = look
        self._advice: Advice | None = None
        self._failed = False
        self._cursor = 0

    def compose(self) -> ComposeResult:
        """Compose the table, what is recommended, beside it a row's YAML, the footer."""
        with Container(id="advice"):
            with Container(id="told"):
                yield Panel(lambda width, _: self._table(width), id="heading")
                with VerticalScroll(id="page"):
                    yield Panel(lambda width, _: self._reasons(width), id="reasons")
            yield Panel(lambda width, _: self._option(width), id="option")
        yield from self.footer()

    def on_mount(self) -> None:
        """Weigh, away from the keys."""
        services, run, look = self.services, self._run, self._look
        self.run_worker(
            lambda: services.advise(run, look), name="advise", thread=True, exit_on_error=False
        )

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Take in the advice, or show why there is none."""
        worker = event.worker
        if event.state is WorkerState.ERROR and worker.error is not None:
            self._failed = True
            self.say_error(worker.error)
            self.redraw()
        elif event.state is WorkerState.SUCCESS and isinstance(worker.result, Advice):
            self._advice = worker.result
            chosen = worker.result.recommended
            if chosen is not None:
                self._cursor = worker.result.options.index(chosen)
            self.redraw()

    # What the keys do.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer a row only once there is one."""
        del parameters
        return self._advice is not None if action in {"yaml", "up", "down"} else True

    def key_word(self, action: str) -> str:
        """Say that arrows move."""
        return super().key_word("move" if action == "up" else action)

    def action_up(self) -> None:
        """Go a row up."""
        self._go(-1)

    def action_down(self) -> None:
        """Go a row down."""
        self._go(1)

    def _go(self, by: int) -> None:
        count = len(self._advice.options) if self._advice is not None else 1
        self._cursor = min(max(self._cursor + by, 0), count - 1)
        self.redraw()

    def action_yaml(self) -> None:
        """Show the config that the selected row means."""
        advice = self._advice
        if advice is None:
            return
        option = advice.options[self._cursor]
        self.app.push_screen(
            ReaderScreen(
                option.recipe.title,
                lambda width, language: self._yaml(advice, option, width, language),
            )
        )

    def action_back(self) -> None:
        """Return to the config."""
        self.dismiss()

    # What is shown.

    def _option(self, width: int) -> Sequence[Line]:
        if self._advice is None:
            return ()
        option = self._advice.options[self._cursor]
        head = rule(option.recipe.title.to(self.language), width)
        return (head, *self._yaml(self._advice, option, width, self.language))

    def _yaml(
        self, advice: Advice, option: Option, width: int, language: Language
    ) -> Sequence[Line]:
        text = words.WRITES_IT if option is advice.recommended else words.WRITES_OTHER
        said = say(text, language, command=self._command(advice))
        lines: list[Line] = [((row, Role.DIM),) for row in wrap(inert(said), width)]
        lines.append(())
        for row in yaml_of(advice, option, language).splitlines():
            role = Role.DIM if row.startswith("#") else Role.TEXT
            lines.append(((cut(inert(row), width), role),))
        return lines

    def _command(self, advice: Advice) -> str:
        path, size = self._look.path, advice.case.facts.capacity_gib
        source = str(path) if path is not None else advice.case.task.model
        argv = ["llamavet", "advise", source]
        if self._look.simulated and size is not None:
            argv += ["--gpu", f"{size:g}"]
        return shlex.join([*argv, "--write", NEW_FILE])

    def _table(self, width: int) -> Sequence[Line]:
        head = rule(say(words.ADVISOR, self.language), width, self._badge())
        advice = self._advice
        if advice is None:
            text = "" if self._failed else say(words.WEIGHING, self.language)
            return (head, ((text, Role.DIM),))
        heading, table = self._parts(advice, width)[:2]
        titles, *rows = table.splitlines()
        return (
            head,
            *(((cut(inert(row), width), Role.TEXT),) for row in heading.splitlines()),
            (),
            ((cut(titles, width), Role.DIM),),
            *(self._row(advice, index, row, width) for index, row in enumerate(rows)),
        )

    def _badge(self) -> Line:
        badge = f" {say(words.SIMULATED, self.language)} "
        return ((badge, Role.BADGE_WARN),) if self._look.simulated else ()

    def _row(self, advice: Advice, index: int, text: str, width: int) -> Line:
        option = advice.options[index]
        if index == self._cursor:
            return ((cut(text, width), Role.BADGE),)
        if option is advice.recommended:
            return ((cut(text, width), Role.STRONG),)
        role = VERDICT_ROLES[option.verdict]
        return ((cut(text, width), SHOWN_ROLES.get(role, Role.DIM)),)

    def _reasons(self, width: int) -> Sequence[Line]:
        if self._advice is None:
            return ()
        legend, *told = self._parts(self._advice, width)[2:]
        lines: list[Line] = []
        for part in told:
            lines += [((cut(inert(row), width), Role.TEXT),) for row in part.splitlines()]
            lines.append(())
        return [*lines, *(((cut(row, width), Role.DIM),) for row in legend.splitlines())]

    def _parts(self, advice: Advice, width: int) -> list[str]:
        """Return the report's parts: what it is of, the table, the legend, what is recommended."""
        return as_text(advice, self.language, width).rstrip("\n").split("\n\n")
