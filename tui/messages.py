"""Owns the messages that threads send to screens."""

from textual.message import Message

from diagnostics.monitor_update import MonitorUpdate


class Updated(Message, bubble=False):
    """The monitor published; `watch` tells which subscription of the screen it belongs to."""

    def __init__(self, watch: int, update: MonitorUpdate) -> None:
        super().__init__()
        self.watch = watch
        self.update = update

    def can_replace(self, message: Message) -> bool:
        """Let a burst collapse: an update still waiting of the same subscription is dropped."""
        return isinstance(message, Updated) and message.watch == self.watch


class TreatmentProgress(Message, bubble=False):
    """One more thing was done while a proposal is carried out."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self.line = line
