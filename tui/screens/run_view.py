"""Owns a run as the dashboard last saw it: the newest update, and what builds up over them."""

from diagnostics.findings import Finding
from diagnostics.history import Snapshot
from diagnostics.monitor_update import MonitorUpdate
from diagnostics.runs.model import Run
from diagnostics.status import RunStatus
from tui.widgets.findings import treatable
from tui.widgets.pace import Pace
from tui.widgets.progress import Speed
from tui.widgets.series import Series


class RunView:
    """One run at a time; `update` is None until something was seen of it."""

    def __init__(self, run: Run) -> None:
        self.begin(run)

    def begin(self, run: Run) -> None:
        """Forget what was seen: another run is looked at."""
        self.run = run
        self.update: MonitorUpdate | None = None
        self.series = Series()
        self._pace = Pace()

    def saw(self, update: MonitorUpdate) -> None:
        """Take in an update."""
        self.run, self.update = update.run, update
        snapshot = update.snapshot
        self.series.update(snapshot.steps)
        bar_at = snapshot.progress.at if snapshot.progress is not None else 0.0
        point_at = snapshot.steps[-1].at if snapshot.steps else 0.0
        self._pace.saw(max(bar_at, point_at), snapshot.step)

    @property
    def snapshot(self) -> Snapshot:
        """All that was observed; empty before the first update."""
        return self.update.snapshot if self.update is not None else Snapshot()

    @property
    def trains(self) -> bool:
        """Whether it is known to run."""
        return self.update is not None and self.update.status is RunStatus.RUNNING

    def speed(self, now: float) -> Speed:
        """Return how fast it goes, and how long it will take."""
        left_s = self._pace.eta_s(now, self.snapshot.total_steps)
        return Speed(self._pace.seconds_per_step, left_s)

    @property
    def finding(self) -> Finding | None:
        """The finding that can be treated first."""
        return treatable(self.update.diagnosis) if self.update is not None else None

    @property
    def last_backup(self) -> int | None:
        """The number of the last attempt whose config was changed, so that it can be put back."""
        attempts = self.update.attempts if self.update is not None else ()
        changed = [
            a for a in attempts if a.treatment is not None and a.treatment.backup is not None
        ]
        return changed[-1].number if changed else None
