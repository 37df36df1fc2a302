"""Owns reading the files of a training's datasets."""

from pathlib import Path

from diagnostics.config.effective import EffectiveConfig
from diagnostics.datasets import DatasetReport


def look(config: EffectiveConfig, cwd: Path) -> tuple[DatasetReport, ...]:
    """Look at each dataset that the config names."""
    del config, cwd
    return ()
