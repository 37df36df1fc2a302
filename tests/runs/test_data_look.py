"""The data files of a watched run are looked at once, beside the loop."""

import threading
from pathlib import Path

from diagnostics.config.effective import EffectiveConfig
from diagnostics.datasets import DatasetReport
from diagnostics.runs.data_look import DataLook


def test_a_look_that_takes_long_holds_nobody_up_and_is_made_once(tmp_path: Path):
    looks: list[Path] = []
    released = threading.Event()

    def slow(_config: EffectiveConfig, cwd: Path) -> tuple[DatasetReport, ...]:
        released.wait(10)
        looks.append(cwd)
        return ()

    data = DataLook(EffectiveConfig(None), tmp_path, slow)
    data.begin()
    data.begin()
    before = data.reports

    released.set()
    data.wait()
    assert before is None
    assert data.reports == ()
    assert looks == [tmp_path]


def test_a_look_that_was_never_begun_is_unknown(tmp_path: Path):
    data = DataLook(EffectiveConfig(None), tmp_path)
    data.wait()

    assert data.reports is None
