"""Owns the one widget everything is shown in: rows of spans, of which only changed cells are sent.

It knows no run and no finding: a function of width and height gives it its rows.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from tui.widgets.cells import Line, Role

Draw = Callable[[int, int], Sequence[Line]]
"""From (width, height) in cells to rows; where the height follows the rows, height is 0."""


def nothing(_width: int, _height: int) -> Sequence[Line]:
    """Draw no rows."""
    return ()


class Panel(Widget):
    """Rows of text on Textual's Line API.

    Args:
        draw: what to show; replaced by `show`.
        tail: keep the last rows in view where there are more than fit.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"panel--{role}" for role in Role}
    DEFAULT_CSS = "Panel { height: auto; width: 1fr; }"

    def __init__(
        self,
        draw: Draw = nothing,
        *,
        tail: bool = False,
        id: str | None = None,  # noqa: A002 - Textual's own name for it
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._draw = draw
        self._tail = tail
        self._rows: tuple[Line, ...] = ()
        self._drawn_for = Size(0, 0)

    @property
    def text(self) -> str:
        """All rows as plain text, without padding."""
        return "\n".join("".join(text for text, _ in row).rstrip() for row in self._rows)

    def show(self, draw: Draw) -> None:
        """Draw anew and repaint what differs."""
        self._draw = draw
        self.redraw()

    def redraw(self) -> None:
        """Call the drawing function again and repaint what differs."""
        if not self.is_mounted:
            return
        width, height = self.content_size
        automatic = self.styles.is_auto_height
        rows = tuple(self._draw(width or self.screen.size.width, 0 if automatic else height))
        if automatic and len(rows) != len(self._rows):
            self._rows = rows
            self.refresh(layout=True)
            return
        before, self._rows = self._visible(height), rows
        self._refresh_changed(before, self._visible(height))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return how many rows there are at a width."""
        del container, viewport
        self._rows = tuple(self._draw(width, 0))
        return len(self._rows)

    def on_resize(self) -> None:
        """Draw for the new size."""
        if self.content_size != self._drawn_for:
            self._drawn_for = self.content_size
            width, height = self.content_size
            self._rows = tuple(self._draw(width, 0 if self.styles.is_auto_height else height))
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one row, padded to the width."""
        width = self.size.width
        base = self.rich_style
        rows = self._visible(self.size.height)
        if y >= len(rows):
            return Strip.blank(width, base)
        segments = [Segment(text, base + self._style(role)) for text, role in rows[y] if text]
        return Strip(segments).adjust_cell_length(width, base)

    def _visible(self, height: int) -> tuple[Line, ...]:
        return self._rows[-height:] if self._tail and height else self._rows

    def _style(self, role: Role) -> Style:
        return self.get_component_rich_style(f"panel--{role}", partial=True)

    def _refresh_changed(self, before: Sequence[Line], after: Sequence[Line]) -> None:
        regions = []
        for y in range(max(len(before), len(after))):
            old = before[y] if y < len(before) else ()
            new = after[y] if y < len(after) else ()
            if old != new:
                start, end = changed_cells(old, new)
                regions.append(Region(start, y, end - start, 1))
        if regions:
            self.refresh(*regions)


def changed_cells(old: Line, new: Line) -> tuple[int, int]:
    """Return the columns from the first to past the last cell in which two rows differ."""
    before, after = _characters(old), _characters(new)
    prefix = 0
    for one, other in zip(before, after, strict=False):
        if one != other:
            break
        prefix += 1
    start = sum(cell_len(character) for character, _ in after[:prefix])
    width_before = sum(cell_len(character) for character, _ in before)
    width_after = sum(cell_len(character) for character, _ in after)
    if width_before != width_after:
        return start, max(width_before, width_after)
    suffix = 0
    for one, other in zip(reversed(before[prefix:]), reversed(after[prefix:]), strict=False):
        if one != other:
            break
        suffix += 1
    kept = sum(cell_len(character) for character, _ in after[len(after) - suffix :])
    return start, max(width_after - kept, start + 1)


def _characters(line: Line) -> list[tuple[str, Role]]:
    return [(character, role) for text, role in line for character in text]
