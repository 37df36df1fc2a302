"""Owns drawing a loss curve in braille dots: two dots a column, four a row. Pure."""

import math
from collections.abc import Sequence

from diagnostics.findings import Language
from diagnostics.observations import EvalPoint
from tui import words
from tui.widgets.amounts import number
from tui.widgets.cells import Line, Role, Span, cut, right, rule
from tui.widgets.series import Series
from tui.words import say

BLANK = 0x2800
# The bit of each dot in a braille character, by its column and row.
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
LABEL_COLUMNS = 7
ROOM_TO_GROW = 1.25
EVAL_MARK = "◆"
GAP_MARK = "×"


class Grid:
    """Braille cells; dots count from the left and from the bottom."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.rows = rows
        self._cells = [[0] * columns for _ in range(rows)]

    def column(self, x: int, low: int, high: int) -> None:
        """Set the dots of one dot column from `low` to `high`."""
        for y in range(max(low, 0), min(high, self.rows * 4 - 1) + 1):
            from_top = self.rows * 4 - 1 - y
            self._cells[from_top // 4][x // 2] |= DOTS[x % 2][from_top % 4]

    def line(self, x: int, y: int, to_x: int, to_y: int) -> None:
        """Join two dots so that no column between them stays empty."""
        before = y
        for at in range(x + 1, to_x + 1):
            now = y + round((to_y - y) * (at - x) / (to_x - x))
            self.column(at, min(before, now), max(before, now))
            before = now

    def text(self, row: int) -> str:
        """Return a row's characters; blanks where no dot is set."""
        return "".join(chr(BLANK + bits) if bits else " " for bits in self._cells[row])


class Scale:
    """From steps and losses to dots; the steps reach to `last_step` at least."""

    def __init__(
        self, series: Series, evals: Sequence[EvalPoint], columns: int, rows: int, last_step: int
    ) -> None:
        finite = [b for b in series.buckets.values() if b.low <= b.high]
        values = [value for bucket in finite for value in (bucket.low, bucket.high)]
        values += [
            p.eval_loss for p in evals if p.eval_loss is not None and math.isfinite(p.eval_loss)
        ]
        self.low, self.high = (min(values), max(values)) if values else (0.0, 1.0)
        self.any = bool(values)
        self.start, self.end = series.start, max(last_step, series.end, series.start + 1)
        self._dots_x, self._dots_y = columns * 2 - 1, rows * 4 - 1

    def x(self, step: float) -> int:
        """Return the dot column of a step."""
        share = (step - self.start) / (self.end - self.start)
        return round(min(max(share, 0.0), 1.0) * self._dots_x)

    def y(self, value: float) -> int:
        """Return the dot row of a value; a flat curve lies in the middle."""
        spread = self.high - self.low
        if spread <= 0 or not math.isfinite(spread):
            return self._dots_y // 2
        return round((value - self.low) / spread * self._dots_y)


def end_of_axis(series: Series, total: int | None) -> int:
    """Return the last step to leave room for while a run goes on, so that its curve stands still.

    The room grows by a quarter at a time, to the run's last step at most.
    """
    span = series.end - series.start
    room = 8.0
    while room < span:
        room *= ROOM_TO_GROW
    end = series.start + round(room)
    return end if total is None else min(end, max(total, series.end))


def chart_lines(
    series: Series,
    evals: Sequence[EvalPoint],
    *,
    latest: Line,
    empty: str,
    last_step: int,
    language: Language,
    width: int,
    height: int,
) -> Sequence[Line]:
    """Return a section rule with the latest value, the curve with its axis, the steps below."""
    head = rule(say(words.LOSS, language), width, latest)
    rows, columns = height - 2, width - LABEL_COLUMNS - 2
    if rows < 1 or columns < 4:  # noqa: PLR2004 - less is no chart
        return (head,)
    scale = Scale(series, evals, columns, rows, last_step)
    if not scale.any and not series.buckets:
        middle = [((" " * 2 + cut(empty, width - 2), Role.DIM),)]
        blank: list[Line] = [()] * (rows // 2)
        return (head, *blank, *middle)
    grid = Grid(columns, rows)
    gaps = _draw(series, scale, grid)
    marks = dict.fromkeys(gaps, (rows - 1, GAP_MARK, Role.BAD))
    marks |= _eval_marks(evals, scale, rows)
    body = [_row(grid, marks, row, _label(scale, row, rows)) for row in range(rows)]
    return (head, *body, _axis(scale, columns))


def _draw(series: Series, scale: Scale, grid: Grid) -> set[int]:
    """Draw all buckets and return the cell columns in which a value was not finite."""
    gaps: set[int] = set()
    before: tuple[int, int] | None = None
    for index, bucket in series.buckets.items():
        x = scale.x(series.start + index * series.size)
        if bucket.gap:
            gaps.add(x // 2)
        if bucket.low > bucket.high:
            before = None
            continue
        if before is not None and x > before[0]:
            grid.line(*before, x, scale.y(bucket.first))
        grid.column(x, scale.y(bucket.low), scale.y(bucket.high))
        before = None if bucket.gap else (x, scale.y(bucket.last))
    return gaps


def _eval_marks(
    evals: Sequence[EvalPoint], scale: Scale, rows: int
) -> dict[int, tuple[int, str, Role]]:
    marks = {}
    for point in evals:
        loss, step = point.eval_loss, point.step
        if loss is not None and step is not None and math.isfinite(loss):
            row = rows - 1 - scale.y(loss) // 4
            marks[scale.x(step) // 2] = (row, EVAL_MARK, Role.WARN)
    return marks


def _label(scale: Scale, row: int, rows: int) -> str:
    if row == 0:
        return number(scale.high)
    if row == rows - 1 and rows > 1:
        return number(scale.low)
    if rows > 8 and row == rows // 2:  # noqa: PLR2004 - a tall chart has room for the middle
        return number((scale.low + scale.high) / 2)
    return ""


def _row(grid: Grid, marks: dict[int, tuple[int, str, Role]], row: int, label: str) -> Line:
    text = grid.text(row)
    spans: list[Span] = [
        (right(label, LABEL_COLUMNS), Role.DIM),
        (" ┤" if label else " │", Role.DIM),
    ]
    done = 0
    for column in sorted(column for column, mark in marks.items() if mark[0] == row):
        spans.append((text[done:column], Role.ACCENT))
        spans.append(marks[column][1:])
        done = column + 1
    spans.append((text[done:], Role.ACCENT))
    return tuple(spans)


def _axis(scale: Scale, columns: int) -> Line:
    first, last = str(scale.start), str(scale.end)
    between = "─" * max(columns - len(first) - len(last) - 2, 0)
    steps = cut(f"{first} {between} {last}", columns)
    return ((" " * LABEL_COLUMNS + " └" + steps, Role.DIM),)


def latest_values(
    loss: float | None,
    step: int | None,
    eval_loss: float | None,
    language: Language,
) -> Line:
    """Return the note at the right end of the chart's rule; empty where nothing was logged."""
    line: Line = ()
    if eval_loss is not None:
        text = say(words.LAST_EVAL, language, loss=number(eval_loss))
        line = ((f"{EVAL_MARK} ", Role.WARN), (f"{text}  ", Role.TEXT))
    if loss is not None and step is not None:
        text = say(words.LAST_LOSS, language, loss=number(loss), step=step)
        line = (*line, (text, Role.STRONG if math.isfinite(loss) else Role.BAD))
    return line
