"""The scanners with which each test of skimming runs."""

import pytest

from diagnostics.sources.skim.scanning import HyperscanScanner
from tests.sources.skim.reading import SCANNERS, Make


@pytest.fixture(params=SCANNERS, ids=["hyperscan", "lines"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param is HyperscanScanner:
        pytest.importorskip("hyperscan")
    chosen: Make = request.param
    return chosen
