"""Owns text as terminal cells: making it inert, measuring, cutting and wrapping it, drawing bars.

Pure. Text from outside becomes cells only through `inert`, so no escape code or markup is obeyed.
"""

import re
from enum import StrEnum
from typing import TypeAlias

from rich.cells import cell_len, chop_cells, set_cell_size


class Role(StrEnum):
    """What a piece of text is; how that looks is the stylesheet's."""

    TEXT = "text"
    DIM = "dim"
    STRONG = "strong"
    ACCENT = "accent"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    ADDED = "added"
    REMOVED = "removed"
    BADGE = "badge"
    BADGE_WARN = "badge-warn"


Span: TypeAlias = tuple[str, Role]
Line: TypeAlias = tuple[Span, ...]

MAX_CHARS = 4_000
"""Longer text is cut before it is measured; no screen shows more of one line."""

# C0 and C1 controls, zero-width and direction marks, variation selectors, lone surrogates.
_UNSAFE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u00ad\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufe00-\\ufe0f"
    "\\ufeff\\ud800-\\udfff\\U000e0000-\\U000e0fff]"
)
_NEVER_FIRST = "，。；：！？、）》”’"
_TOKEN = re.compile(rf"\s+|(?:[\u2e80-\uffef]|[^\s\u2e80-\uffef]+)[{_NEVER_FIRST}]*")


def inert(text: str) -> str:
    """Return one line of text without anything that a terminal could obey."""
    return _UNSAFE.sub("", text[:MAX_CHARS].replace("\t", "    ").replace("\n", " "))


def width_of(line: Line) -> int:
    """Return how many columns a line takes."""
    return sum(cell_len(text) for text, _ in line)


def cut(text: str, width: int) -> str:
    """Return the text in at most `width` columns, ending in an ellipsis where it was longer."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…"


def fit(text: str, width: int) -> str:
    """Return the text in exactly `width` columns."""
    return set_cell_size(cut(text, width), max(width, 0))


def right(text: str, width: int) -> str:
    """Return the text set to the right in exactly `width` columns."""
    short = cut(text, width)
    return " " * (width - cell_len(short)) + short


def cut_line(line: Line, width: int) -> Line:
    """Return the spans that fit in `width` columns; the last one may end in an ellipsis."""
    if width_of(line) <= width:
        return line
    spans: list[Span] = []
    left = width
    for text, role in line:
        columns = cell_len(text)
        if columns > left:
            spans.append((cut(text, left), role))
            break
        spans.append((text, role))
        left -= columns
    return tuple(spans)


def wrap(text: str, width: int, limit: int = 0) -> tuple[str, ...]:
    """Break inert text between words (Chinese: anywhere) into rows of `width` columns.

    `limit` is the number of rows at most, 0 for all; a row cut off ends in an ellipsis.
    """
    if width <= 0:
        return ()
    rows: list[str] = []
    row, used = "", 0
    for token in _TOKEN.findall(text):
        pieces = chop_cells(token, width) if cell_len(token) > width else [token]
        for piece in pieces:
            columns = cell_len(piece)
            if used + columns > width:
                rows.append(row.rstrip())
                row, used = "", 0
                if piece.isspace():
                    continue
            row += piece
            used += columns
    if row.strip():
        rows.append(row.rstrip())
    if limit and len(rows) > limit:
        last = rows[limit - 1]
        return (
            *rows[: limit - 1],
            cut(last + "…", width) if cell_len(last) >= width else last + "…",
        )
    return tuple(rows)


def bar(share: float, width: int, role: Role) -> Line:
    """Return a bar filled to a share from 0 to 1; full and empty differ without colour too."""
    filled = round(min(max(share, 0.0), 1.0) * width)
    return (("━" * filled, role), ("╌" * (width - filled), Role.DIM))


def rule(title: str, width: int, note: Line = ()) -> Line:
    """Return a section's first row: its name in a thin line, a note at the right end."""
    head: Line = (("─ ", Role.DIM), (title, Role.STRONG), (" ", Role.DIM))
    tail: Line = ((" ", Role.DIM), *note, (" ─", Role.DIM)) if note else ()
    left = width - width_of(head) - width_of(tail)
    if left < 1:
        return cut_line((*head, *tail), width)
    return (*head, ("─" * left, Role.DIM), *tail)
