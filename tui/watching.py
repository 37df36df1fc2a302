"""Owns watching one run at a time for a screen; what comes late of another is dropped."""

import threading
from collections.abc import Callable

from diagnostics.monitor_update import MonitorUpdate
from diagnostics.runs.model import Run
from tui.services import Subscription


class OneWatch:
    """At most one subscription; each watch has a number, and `number` is that of the newest."""

    def __init__(
        self,
        attach: Callable[[Run], Subscription],
        publish: Callable[[int, MonitorUpdate], None],
    ) -> None:
        self.number = 0
        self._attach = attach
        self._publish = publish
        self._subscription: Subscription | None = None
        self._lock = threading.Lock()

    def end(self) -> int:
        """Stop what is watched and return the number of the watch that may begin."""
        with self._lock:
            self.number += 1
            if self._subscription is not None:
                self._subscription.stop()
                self._subscription = None
            return self.number

    def begin(self, run: Run, number: int) -> None:
        """Attach to a run and publish its updates. Slow: it reads processes and files."""
        subscription = self._attach(run)
        with self._lock:
            if number != self.number:
                return
            self._subscription = subscription
        subscription.start(lambda update: self._publish(number, update))
