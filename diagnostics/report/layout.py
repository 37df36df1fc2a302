"""Owns laying text out in columns of a terminal, where a Chinese character takes two."""

from unicodedata import combining, east_asian_width

WIDTH = 80
_WIDE = frozenset("WF")
_NEVER_FIRST = frozenset("，。；：！？、）》”’,.;:!?)")


def columns(text: str) -> int:
    """Return how many columns a text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    if combining(char):
        return 0
    return 2 if east_asian_width(char) in _WIDE else 1


def wrapped(
    text: str, indent: str = "", *, width: int = WIDTH, most: int | None = None
) -> list[str]:
    """Break a text into lines; of more than `most` the last one ends in dots."""
    room = width - columns(indent)
    lines: list[str] = []
    rest = text.strip()
    while rest:
        if most is not None and len(lines) == most - 1:
            lines.append(cut(rest, room))
            break
        line, rest = _first_line(rest, room)
        lines.append(line)
    return [indent + line for line in lines]


def cut(text: str, room: int) -> str:
    """Return a text that fits, with dots where it was cut."""
    if columns(text) <= room:
        return text
    return text[: _fitting(text, room - 3)].rstrip() + "..."


def between(left: str, right: str, width: int = WIDTH) -> str:
    """Put two texts at the two ends of a line; the right one stays whole."""
    room = width - columns(right) - 2
    kept = cut(left, room)
    return kept + " " * (width - columns(kept) - columns(right)) + right if right else kept


def _fitting(text: str, room: int) -> int:
    """Return how many characters fit."""
    if text.isascii():
        return max(room, 0)
    used = 0
    for index, char in enumerate(text):
        used += _columns_of(char)
        if used > room:
            return index
    return len(text)


def _first_line(text: str, room: int) -> tuple[str, str]:
    end = max(_fitting(text, room), 1)
    if end >= len(text):
        return text, ""
    at = end
    while at > 0 and not _may_break(text, at):
        at -= 1
    at = at if at > end // 3 else end
    return text[:at].rstrip(), text[at:].lstrip()


def _may_break(text: str, at: int) -> bool:
    """Tell whether a line may end before this character."""
    before, after = text[at - 1], text[at]
    if before == " " or after == " ":
        return True
    if after in _NEVER_FIRST:
        return False
    return east_asian_width(before) in _WIDE or east_asian_width(after) in _WIDE
