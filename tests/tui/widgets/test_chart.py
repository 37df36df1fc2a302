import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from diagnostics.findings import Language
from diagnostics.observations import EvalPoint, TrainStep
from tui.widgets.cells import width_of
from tui.widgets.chart import chart_lines, end_of_axis
from tui.widgets.series import CAPACITY, Series


def points(losses, every: int = 1) -> list[TrainStep]:
    return [TrainStep(0.0, "log", n, n * every, loss=loss) for n, loss in enumerate(losses, 1)]


def drawn(series: Series, evals=(), width: int = 40, height: int = 8) -> list[str]:
    rows = chart_lines(
        series,
        evals,
        latest=(),
        empty="none",
        last_step=0,
        language=Language.EN,
        width=width,
        height=height,
    )
    assert all(width_of(row) <= width for row in rows)
    return ["".join(text for text, _ in row) for row in rows]


def braille(row: str) -> list[int]:
    return [at for at, character in enumerate(row) if 0x2801 <= ord(character) <= 0x28FF]


def test_a_falling_loss_falls_from_the_top_left_to_the_bottom_right() -> None:
    series = Series()
    series.update(points([4.0, 3.0, 2.0, 1.0]))
    rows = drawn(series)
    assert braille(rows[1])[0] == 9
    assert braille(rows[-2])[-1] == 39
    assert "4 ┤" in rows[1]
    assert "1 ┤" in rows[-2]
    assert rows[-1].strip().startswith("└1")
    assert rows[-1].endswith("4")


def test_a_value_that_is_no_number_leaves_a_gap_and_a_mark() -> None:
    series = Series()
    series.update(points([1.0, 1.0, math.nan, 1.0, 1.0]))
    rows = drawn(series)
    curve = next(row for row in rows[1:-1] if braille(row))
    columns = braille(curve)
    assert any(after - before > 5 for before, after in pairwise(columns))
    assert any("×" in row for row in rows)


def test_an_evaluation_is_marked() -> None:
    series = Series()
    series.update(points([2.0, 1.0]))
    rows = drawn(series, [EvalPoint(0.0, "log", 1, 2, eval_loss=1.5)])
    assert sum(row.count("◆") for row in rows) == 1


def test_a_history_without_a_loss_says_so() -> None:
    assert "none" in "\n".join(drawn(Series()))


def test_only_new_points_are_added_and_the_result_is_the_same() -> None:
    losses = [1.0 / n for n in range(1, 5000)]
    whole, grown = Series(), Series()
    whole.update(points(losses))
    for end in (1, 2, 700, 2100, len(losses)):
        grown.update(points(losses[:end]))
    assert grown.buckets == whole.buckets
    assert grown.size == whole.size
    assert len(whole.buckets) <= CAPACITY


def test_a_restarted_history_replaces_what_was_drawn() -> None:
    series = Series()
    series.update(points([3.0, 2.0, 1.0]))
    series.update(points([9.0, 8.0]))
    assert {bucket.low for bucket in series.buckets.values()} == {9.0, 8.0}
    series.update([])
    assert series.buckets == {}


def test_peaks_survive_however_many_steps_share_a_column() -> None:
    losses = [1.0] * 100_000
    losses[54_321] = 77.0
    series = Series()
    series.update(points(losses))
    assert max(bucket.high for bucket in series.buckets.values()) == 77.0
    assert len(series.buckets) <= CAPACITY


@given(
    st.lists(st.one_of(st.none(), st.floats()), max_size=60),
    st.integers(0, 60),
    st.integers(0, 12),
    st.integers(1, 1000),
)
def test_any_losses_at_any_size_are_drawn_without_an_error(
    losses: list[float | None], width: int, height: int, every: int
) -> None:
    series = Series()
    series.update(points(losses, every))
    evals = [EvalPoint(0.0, "log", 1, n, eval_loss=loss) for n, loss in enumerate(losses)]
    rows = drawn(series, evals, width, height)
    assert len(rows) <= max(height, 1)


def test_a_growing_curve_stands_still_until_its_room_is_used() -> None:
    series = Series()
    ends = set()
    for count in range(1, 101):
        series.update(points([1.0] * count))
        ends.add(end_of_axis(series, 100))
        assert series.end <= end_of_axis(series, 100) <= 100
    assert len(ends) < 15
