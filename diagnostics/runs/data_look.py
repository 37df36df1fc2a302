"""Owns looking at a watched run's data files once, beside the loop: it may take seconds."""

import threading
from collections.abc import Callable
from pathlib import Path

from diagnostics.config.effective import EffectiveConfig
from diagnostics.datasets import DatasetReport
from diagnostics.runs.model import Run
from diagnostics.sources.dataset import look


class DataLook:
    """A look in a thread of its own; `reports` is None until it is done, and where it failed."""

    def __init__(
        self,
        config: EffectiveConfig,
        cwd: Path,
        read: Callable[[EffectiveConfig, Path], tuple[DatasetReport, ...]] = look,
    ) -> None:
        self.reports: tuple[DatasetReport, ...] | None = None
        self._config = config
        self._cwd = cwd
        self._read = read
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start looking, the first time that it is asked."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="llamavet-data", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until the look is done."""
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        self.reports = self._read(self._config, self._cwd)


def data_look(run: Run) -> DataLook | None:
    """Return a look at a run's data, not begun; None where no config tells which."""
    return DataLook(run.config, run.cwd) if run.config is not None else None
