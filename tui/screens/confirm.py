"""Owns the question before anything is written, stopped or started, and the wait while it is done.

Nothing happens before `y`; diff, consequences and an unsafe fix's warning are on the screen.
"""

import shlex
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.worker import Worker, WorkerState

from diagnostics.findings import Safety
from diagnostics.monitor_update import Proposal
from diagnostics.report.outlook import predicted_line
from diagnostics.runs.model import Run
from tui import words
from tui.messages import TreatmentProgress
from tui.screens.base import LlamavetScreen
from tui.widgets.cells import Line, Role, Span, cut, cut_line, inert, rule, width_of, wrap
from tui.widgets.difference import diff_lines
from tui.widgets.findings import memory_role
from tui.widgets.panel import Panel
from tui.words import say

MAX_DONE = 8


class ConfirmScreen(LlamavetScreen):
    """Shows what `propose` works out and asks.

    Args:
        propose: works the proposal out; called in a thread, raises LlamavetError.
        treated: called with the proposal and the run to watch once all is done.
        others: opens the list of other fixes, or None where there is none.
    """

    BINDINGS: ClassVar[list[Any]] = [
        Binding("y", "confirm", "yes"),
        Binding("escape,n", "back", "back"),
        Binding("l,tab", "others", "other fixes"),
        Binding("up", "scroll", "scroll"),
    ]

    ALWAYS = (("z", "toggle_language"), ("q", "leave"))

    def __init__(
        self,
        propose: Callable[[], Proposal],
        treated: Callable[[Proposal, Run], None],
        others: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._propose = propose
        self._treated = treated
        self._others = others
        self._proposal: Proposal | None = None
        self._failed = False
        self._done: list[str] = []
        self.treating = False

    def compose(self) -> ComposeResult:
        """Compose the title, the change, what happens, the footer."""
        yield Panel(lambda width, _: self._head(width), id="heading")
        with VerticalScroll(id="page"):
            yield Panel(lambda width, _: self._change(width), id="change")
            yield Panel(lambda width, _: self._happens(width), id="happens")
        yield from self.footer()

    def on_mount(self) -> None:
        """Work the proposal out, away from the keys."""
        self.query_one("#page", VerticalScroll).focus()
        self.run_worker(self._propose, name="propose", thread=True, exit_on_error=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Allow `y` once there is something to agree to, and nothing while it is carried out."""
        del parameters
        if action == "confirm":
            ready = self._proposal is not None and not self.treating and not self._failed
            return ready and not self.services.read_only
        if action == "others":
            return self._others is not None and not self.treating
        if action == "back":
            return not self.treating
        if action == "scroll":
            return self.query_one("#page", VerticalScroll).max_scroll_y > 0
        return True

    def key_word(self, action: str) -> str:
        """Say what `y` will do."""
        proposal = self._proposal
        if action != "confirm" or proposal is None:
            return super().key_word(action)
        if proposal.fix is not None:
            text = words.APPLY_RELAUNCH if proposal.relaunches else words.APPLY
        elif proposal.relaunches:
            text = words.RELAUNCH_IT
        else:
            text = words.STOP_IT if proposal.stops else words.YES
        return text.to(self.language)

    def action_confirm(self) -> None:
        """Carry the proposal out."""
        proposal = self._proposal
        if proposal is None or self.treating:
            return
        self.treating = True
        self.say_note(say(words.TREATING, self.language), Role.ACCENT)
        self.redraw()
        services = self.services
        self.run_worker(
            lambda: services.treat(proposal, self._tell_progress),
            name="treat",
            thread=True,
            exit_on_error=False,
        )

    def _tell_progress(self, line: str) -> None:
        """Runs in the thread that carries the proposal out."""
        self.post_message(TreatmentProgress(line))

    def on_treatment_progress(self, message: TreatmentProgress) -> None:
        """Show one more thing done."""
        self._done.append(message.line)
        self.query_one("#happens", Panel).redraw()
        self.query_one("#page", VerticalScroll).scroll_end(animate=False)

    def action_back(self) -> None:
        """Return without having done anything."""
        self.dismiss()

    def action_scroll(self) -> None:
        """Stand for the arrow keys, which the page itself takes."""

    def action_others(self) -> None:
        """Show the other fixes instead."""
        if self._others is not None:
            self.dismiss()
            self._others()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Take in what a thread brought back."""
        worker = event.worker
        if event.state is WorkerState.ERROR and worker.error is not None:
            self._failed = True
            self.treating = False
            self.say_error(worker.error)
            self.redraw()
        elif event.state is WorkerState.SUCCESS and worker.name == "propose":
            self._proposal = worker.result
            self.redraw()
            # How far the page scrolls, which the footer tells, is known after the layout.
            self.call_after_refresh(self.redraw)
        elif event.state is WorkerState.SUCCESS and worker.name == "treat":
            self.treating = False
            run, proposal = worker.result, self._proposal
            self.dismiss()
            if proposal is not None and isinstance(run, Run):
                self._treated(proposal, run)

    def _head(self, width: int) -> Sequence[Line]:
        proposal = self._proposal
        if proposal is None:
            text = "" if self._failed else say(words.WORKING_OUT, self.language)
            return (((text, Role.DIM),),)
        title = inert(proposal.title.to(self.language))
        lines: list[Line] = [((title, Role.STRONG),)]
        if proposal.fix is not None:
            safety = proposal.fix.safety
            role = Role.GOOD if safety is Safety.SAFE else Role.WARN
            tag: Span = (f"  [{words.SAFETIES[safety].to(self.language)}]", role)
            means: Span = (f"  {words.SAFETY_MEANS[safety].to(self.language)}", Role.DIM)
            # However long the title is, what the fix may do stays in view.
            short = cut(title, max(width - width_of((tag,)), 1))
            lines = [cut_line(((short, Role.STRONG), tag, means), width)]
            predicted = proposal.fix.predicted
            if predicted is not None:
                told = predicted_line(predicted, self.language)
                lines.append(((told, memory_role(predicted)),))
        warning = inert(proposal.warning.to(self.language))
        if warning:
            lines += [((row, Role.WARN),) for row in wrap(f"▲ {warning}", width, 4)]
        return lines

    def _change(self, width: int) -> Sequence[Line]:
        proposal = self._proposal
        if proposal is None:
            return ()
        if not proposal.diff:
            if proposal.fix is None:
                return ()
            return (((say(words.NO_DIFF, self.language), Role.DIM),),)
        return (rule(say(words.DIFF, self.language), width), *diff_lines(proposal.diff, width))

    def _happens(self, width: int) -> Sequence[Line]:
        proposal = self._proposal
        if proposal is None:
            return ()
        lines: list[Line] = [rule(say(words.HAPPENS, self.language), width)]
        texts = [text.to(self.language) for text in proposal.consequences]
        if proposal.command:
            command = shlex.join(proposal.command)
            texts.append(say(words.STARTS, self.language, command=command))
        if self.treating:
            texts = self._done[-MAX_DONE:] or self._doing(proposal)
        for text in texts:
            rows = wrap(inert(text), width - 2)
            lines += [
                (("• " if index == 0 else "  ", Role.DIM), (row, Role.TEXT))
                for index, row in enumerate(rows)
            ]
        return lines

    def _doing(self, proposal: Proposal) -> list[str]:
        doing = []
        if proposal.stops:
            doing.append(words.DOING_STOP)
        if proposal.diff:
            doing.append(words.DOING_WRITE)
        if proposal.relaunches:
            doing.append(words.DOING_START)
        return [say(text, self.language) + "…" for text in doing]
