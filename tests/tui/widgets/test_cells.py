import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.widgets.cells import Role, bar, cut, cut_line, fit, inert, right, rule, width_of, wrap


@given(st.text(), st.integers(0, 40))
def test_cut_text_never_takes_more_columns_than_it_may(text: str, width: int) -> None:
    clean = inert(text)
    assert cell_len(cut(clean, width)) <= width
    assert cell_len(fit(clean, width)) == width
    assert cell_len(right(clean, width)) == width
    line = ((clean, Role.TEXT), (clean, Role.DIM))
    assert width_of(cut_line(line, width)) <= width


@given(st.text(), st.integers(2, 40))
def test_wrapping_loses_nothing_but_blanks(text: str, width: int) -> None:
    clean = inert(text)
    rows = wrap(clean, width)
    assert all(cell_len(row) <= width for row in rows)
    assert "".join("".join(rows).split()) == "".join(clean.split())


@given(st.text(min_size=1), st.integers(2, 20), st.integers(1, 3))
def test_wrapping_keeps_to_its_rows(text: str, width: int, limit: int) -> None:
    rows = wrap(inert(text), width, limit)
    assert len(rows) <= limit
    assert all(cell_len(row) <= width for row in rows)


@given(st.text())
def test_inert_text_has_nothing_to_obey(text: str) -> None:
    clean = inert(text)
    assert all(ord(character) >= 32 and not 127 <= ord(character) < 160 for character in clean)
    clean.encode()


def test_a_huge_line_is_cut_before_it_is_measured() -> None:
    assert len(inert("x" * 10_000_000)) < 10_000


@pytest.mark.parametrize(("share", "filled"), [(-1, 0), (0, 0), (0.5, 5), (1, 10), (7, 10)])
def test_a_bar_tells_full_from_empty_without_colour(share: float, filled: int) -> None:
    text = "".join(part for part, _ in bar(share, 10, Role.GOOD))
    assert text == "━" * filled + "╌" * (10 - filled)


def test_chinese_is_wrapped_between_characters() -> None:
    assert wrap("训练步中显存不足", 8) == ("训练步中", "显存不足")


def test_a_row_does_not_begin_with_a_closing_mark() -> None:
    assert wrap("训练步中，显存不足。", 8) == ("训练步", "中，显存", "不足。")


def test_a_rule_fills_its_row() -> None:
    assert width_of(rule("loss", 40, (("1.2 at step 5", Role.STRONG),))) == 40
    assert width_of(rule("损失", 6, (("1.2 at step 5", Role.STRONG),))) <= 6
