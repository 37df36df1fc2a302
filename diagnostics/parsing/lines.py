"""Owns splitting a byte stream into lines, in bounded memory, free of control characters."""

import codecs
import re
from dataclasses import dataclass

MAX_LINE_BYTES = 64 * 1024
_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b[PX^_].*?(?:\x1b\\|$)"  # device control strings
    r"|\x1b\[[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|\x1b[ -/]*[0-~]?"  # other escapes
    r"|\x9b[0-?]*[ -/]*[@-~]?"
)
_CONTROL = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
_BREAK = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class RawLine:
    """One piece of text between line breaks; `line` counts physical lines from 1."""

    text: str
    line: int
    redrawn: bool
    """True where it ended in a carriage return: what follows is drawn over it."""
    cut: bool = False


class LineSplitter:
    """Splits on newline and carriage return, however the bytes arrive."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES, first_line: int = 1) -> None:
        self._max = max_line_bytes
        self._line = first_line
        self._rest = bytearray()
        self._cut = False

    def feed(self, data: bytes) -> list[RawLine]:
        """Take bytes in; return the lines that are whole now."""
        found: list[RawLine] = []
        buffer = bytes(self._rest) + data if self._rest else data
        self._rest.clear()
        start = 0
        for match in _BREAK.finditer(buffer):
            if match.end() == len(buffer) and match.group() == b"\r":
                break  # its newline may come with the next bytes
            found.append(self._made(buffer[start : match.start()], redrawn=match.group() == b"\r"))
            if match.group() != b"\r":
                self._line += 1
            start = match.end()
        self._keep(buffer[start:])
        return found

    def flush(self) -> list[RawLine]:
        """Return what is left as a last line."""
        rest = bytes(self._rest)
        self._rest.clear()
        if not rest.strip(b"\0\r"):
            self._cut = False
            return []
        return [self._made(rest.removesuffix(b"\r"), redrawn=rest.endswith(b"\r"))]

    def jump(self, line: int) -> None:
        """Go on at another place of the file, where line `line` begins; what is pending is lost."""
        self._rest.clear()
        self._cut = False
        self._line = line

    @property
    def pending(self) -> bool:
        """Whether a line has begun that has not ended."""
        return bool(self._rest)

    def _keep(self, rest: bytes) -> None:
        if len(rest) > self._max:
            rest = rest.lstrip(b"\0")
        ending = rest[-1:] if rest.endswith(b"\r") else b""  # half of "\r\n" perhaps
        if len(rest) - len(ending) > self._max:
            rest = rest[: self._max] + ending
            self._cut = True
        self._rest += rest

    def _made(self, raw: bytes, *, redrawn: bool) -> RawLine:
        raw = raw.lstrip(b"\0")
        cut = self._cut or len(raw) > self._max
        self._cut = False
        return RawLine(clean(raw[: self._max]), self._line, redrawn, cut)


def clean(raw: bytes) -> str:
    """Return bytes as text without escape codes and control characters."""
    text = codecs.decode(raw, "utf-8", "replace")
    if "\x1b" in text or "\x9b" in text:
        text = _ESCAPES.sub("", text)
    return _CONTROL.sub("", text).rstrip()
