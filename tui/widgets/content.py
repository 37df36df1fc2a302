"""Owns turning rows of spans into Textual content, for stock widgets. Pure; no markup is read."""

from collections.abc import Sequence

from textual.content import Content

from tui.widgets.cells import Line, Role

STYLES = {
    Role.TEXT: "",
    Role.DIM: "dim",
    Role.STRONG: "bold",
    Role.ACCENT: "$text-accent",
    Role.GOOD: "$text-success",
    Role.WARN: "$text-warning",
    Role.BAD: "$text-error",
    Role.ADDED: "$text-success",
    Role.REMOVED: "$text-error",
    Role.BADGE: "reverse",
    Role.BADGE_WARN: "bold reverse",
}


def to_content(lines: Sequence[Line]) -> Content:
    """Return rows as one content with a line for each."""
    rows = [
        Content.assemble(*(Content.styled(text, STYLES[role]) for text, role in line))
        for line in lines
    ]
    return Content("\n").join(rows)
