"""Owns how a unified diff reads: each row keeps its sign, so that colour only adds to it. Pure."""

from collections.abc import Sequence

from tui.widgets.cells import Line, Role, inert, wrap


def diff_lines(diff: str, width: int) -> Sequence[Line]:
    """Return the rows of a unified diff; a long row goes on in the next, indented."""
    lines: list[Line] = []
    for row in diff.splitlines():
        role = _role(row)
        text = inert(row)
        pieces = [text[:1] + piece for piece in wrap(text[1:], width - 1)] if text else [""]
        lines += [((piece, role),) for piece in pieces or [text[:1]]]
    return lines


def _role(row: str) -> Role:
    if row.startswith(("---", "+++", "@@")):
        return Role.DIM
    if row.startswith("+"):
        return Role.ADDED
    return Role.REMOVED if row.startswith("-") else Role.TEXT
