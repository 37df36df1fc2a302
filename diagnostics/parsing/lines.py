"""Owns splitting a byte stream into lines, in bounded memory, free of control characters.

It knows nothing of what the lines say.
"""

import re
from typing import NamedTuple

MAX_LINE_BYTES = 64 * 1024
_NEWLINE = 0x0A
_BREAK = re.compile(rb"[\r\n](?:(?<=\r)\r*\n?)?")  # a class first: it is searched for faster
_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # device control strings
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|\x1b[ -/]*[0-~]?"  # other escapes
)
# Line and paragraph separators, byte order marks and bidirectional overrides steer a screen, too.
_CONTROL = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


class RawLine(NamedTuple):
    """One piece of text between line breaks; `line` counts physical lines from 1."""

    text: str
    line: int
    redrawn: bool
    """True where it ended in a carriage return: what follows is drawn over it."""
    cut: bool = False
    """True where the piece was longer than the limit: only its beginning is here."""


class LineSplitter:
    """Splits on newlines and carriage returns, the same however the bytes arrive.

    Carriage returns right before a newline are part of that line break, and a run of them is one
    break. NULs are dropped: a log
    that was cut while its writer goes on is a sparse file and begins with thousands.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES, first_line: int = 1) -> None:
        self._max = max_line_bytes
        self._line = first_line
        self._rest = bytearray()
        self._returns = False  # whether it ends in a carriage return: a newline may still come
        self._cut = False

    @property
    def line(self) -> int:
        """The number of the line that comes next, or has begun."""
        return self._line

    @property
    def pending(self) -> str:
        """The text of a line that has begun and not ended."""
        return "" if self._cut else clean(bytes(self._rest))

    def feed(self, data: bytes) -> list[RawLine]:
        """Take bytes in; return the lines that are whole now."""
        data = data.replace(b"\0", b"")
        if not data:
            return []
        if self._returns:
            data = b"\r" + data
        found: list[RawLine] = []
        start = 0
        end = len(data.rstrip(b"\r"))
        self._returns = end < len(data)
        for match in _BREAK.finditer(data, 0, end):
            stop, after = match.span()
            if self._rest:
                self._keep(data, start, stop)
                raw = bytes(self._rest)
                self._rest.clear()
            else:
                self._cut = stop - start > self._max
                raw = data[start : min(stop, start + self._max)] if self._cut else data[start:stop]
            redrawn = data[after - 1] != _NEWLINE
            found.append(RawLine(clean(raw), self._line, redrawn, self._cut))
            self._cut = False
            self._line += not redrawn
            start = after
        self._keep(data, start, end)
        return found

    def flush(self) -> list[RawLine]:
        """Return what is left as a last line."""
        self._returns = False
        if not self._rest:
            return []
        raw, cut = bytes(self._rest), self._cut
        self._rest.clear()
        self._cut = False
        return [RawLine(clean(raw), self._line, redrawn=False, cut=cut)]

    def jump(self, line: int) -> None:
        """Go on at another place of the file, where line `line` begins; what is pending is lost."""
        self._returns = False
        self._rest.clear()
        self._cut = False
        self._line = line

    def _keep(self, data: bytes, start: int, end: int) -> None:
        room = self._max - len(self._rest)
        self._cut = self._cut or end - start > room
        self._rest += data[start : min(end, start + room)]


def clean(raw: bytes) -> str:
    """Return bytes as text without escape codes and control characters."""
    if raw.isspace():
        return ""
    text = str(raw, "utf-8", "replace")
    if not text.isprintable():
        if "\x1b" in text or "\x9b" in text:
            text = _ESCAPES.sub("", text)
        text = _CONTROL.sub("", text)
    return text.rstrip()
