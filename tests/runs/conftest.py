"""Stand-ins for processes of trainings, ended with the test that started them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runs.standins import Standins


@pytest.fixture
def standins(tmp_path: Path) -> Iterator[Standins]:
    made = Standins(tmp_path)
    yield made
    made.close()
