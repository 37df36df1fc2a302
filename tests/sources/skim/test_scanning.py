"""Looking for many things at once: every scanner finds the same."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.sources.skim.scanning import LineScanner, Query, make_scanner
from tests.sources.skim.logs import bar
from tests.sources.skim.reading import SCANNERS


def queries() -> Iterator[Query]:
    yield Query((b"{'",))
    yield Query((b"out of memory", b"bad_alloc"), caseless=True)
    yield Query((b"Killed",))
    yield Query((b"Kill",))
    yield Query((), pattern=rb"[0-9]{5}x")
    yield Query(("显存".encode(),))


@given(
    st.lists(
        st.sampled_from(
            [
                *("{'loss': 1}", "Out Of Memory", "bad_alloc", "Killed", "12345x", "显存", "a"),
                *("\n", "\r", "\r\n", bar(3, 9)),
            ]
        ),
        max_size=30,
    )
)
@settings(deadline=None)
def test_both_scanners_find_the_same(parts: list[str]):
    pytest.importorskip("hyperscan")
    data = "".join(parts).encode()
    fast, slow = (make(list(queries())).scan(data) for make in SCANNERS)
    assert {place: list(ends) for place, ends in fast.items()} == {
        place: list(ends) for place, ends in slow.items()
    }


def test_without_hyperscan_lines_are_searched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "hyperscan", None)
    assert isinstance(make_scanner([Query((b"x",))]), LineScanner)
