"""Owns Python tracebacks: collected line by line, bounded; one collector for each rank.

What an exception means is not known here.
"""

import re
from collections import deque
from dataclasses import dataclass, field

START = "Traceback (most recent call last):"
_STARTS = (START, "Original Traceback (most recent call last):")
_MAX_FRAMES = 200
_MAX_MESSAGE_LINES = 60
_MAX_FOREIGN_LINES = 40
_MAX_LINE = 4096
_FRAME = re.compile(r'\s+File "(?P<file>[^"]*)", line \d+(?:, in (?P<function>.*))?$')
_EXCEPTION = re.compile(r"(?P<name>[A-Za-z_][\w.<>]{0,200}): ?(?P<message>.*)$")
_BARE = re.compile(
    r"(?P<name>(?:\w+\.){0,12}\w*(?:Error|Exception|Interrupt|Exit|Iteration|Warning|Group|Timeout))"
    r":?$"
)
_CHAINS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_NOT_A_MESSAGE = re.compile(
    r"={20,}$|-{20,}$|\"{3}$|\{'|\S+[:：] ?(?:line \d+|行 ?\d+|第 ?\d+ ?行)[:：] +\d+ "
)


@dataclass(frozen=True, slots=True)
class RawTraceback:
    """A traceback as printed: frames are "path/file.py:function", outermost first."""

    first_line: int
    last_line: int
    exception: str
    message: str
    frames: tuple[str, ...]
    exception_line: int


@dataclass(slots=True)
class _Open:
    first_line: int
    last_line: int
    first_frames: list[str] = field(default_factory=list)
    last_frames: deque[str] = field(default_factory=lambda: deque(maxlen=_MAX_FRAMES // 2))
    exception: str = ""
    exception_line: int = 0
    message: list[str] = field(default_factory=list)
    foreign: int = 0

    @property
    def frames(self) -> tuple[str, ...]:
        return (*self.first_frames, *self.last_frames)


class TracebackCollector:
    """Collects the tracebacks of one rank, one after the other.

    Output of others may come between its lines; it is left alone.
    """

    def __init__(self) -> None:
        self._open: _Open | None = None
        self.orphans: tuple[str, ...] = ()
        """The frames of the last traceback that never got to its exception."""

    @property
    def collecting(self) -> bool:
        """Whether a traceback is open."""
        return self._open is not None

    @property
    def complete(self) -> bool:
        """Whether the exception of the open traceback is known."""
        return self._open is not None and bool(self._open.exception)

    @property
    def open(self) -> RawTraceback | None:
        """The open traceback as far as it has come; None before its exception is known."""
        return _made(self._open) if self._open is not None and self.complete else None

    def take(self, text: str, line: int, *, foreign: bool) -> tuple[bool, RawTraceback | None]:
        """Take a line; return whether it is of a traceback, and the one that it ends.

        A `foreign` line is known to be no part of a traceback, as a log record is.
        """
        if text.startswith(_STARTS):
            ended = self.end()
            self._open = _Open(line, line)
            return True, ended
        if self._open is None:
            if foreign or _FRAME.match(text) is None:
                return False, None
            self._open = _Open(line, line)  # a log that begins within a traceback
        found = self._open
        if found.exception:
            if foreign or not _continues(text, found):
                return False, self.end()
            found.message.append(text[:_MAX_LINE])
            found.last_line = line
            return True, None
        if foreign or not _take_frame(found, text, line):
            found.foreign += 1
            if found.foreign > _MAX_FOREIGN_LINES:
                self.end()
            return False, None
        return True, None

    def end(self) -> RawTraceback | None:
        """End the traceback that is open; None where there is none, or it never got to its end."""
        found, self._open = self._open, None
        if found is None:
            return None
        if not found.exception:
            self.orphans = found.frames
            return None
        return _made(found)


def read_exception(text: str) -> tuple[str, str] | None:
    """Return the class and the message of a line that names an exception, or None."""
    match = _EXCEPTION.match(text)
    if match is not None and _is_class(match["name"]):
        return match["name"], match["message"]
    bare = _BARE.match(text)
    return (bare["name"], "") if bare is not None else None


def _is_class(name: str) -> bool:
    if "." in name:
        return not name.endswith(".py")
    capitals = sum(char.isupper() for char in name)
    return _BARE.match(name) is not None or (capitals > 1 and not name.isupper())


def _made(found: _Open) -> RawTraceback:
    return RawTraceback(
        found.first_line,
        found.last_line,
        found.exception,
        "\n".join(found.message).strip(),
        found.frames,
        found.exception_line,
    )


def _take_frame(found: _Open, text: str, line: int) -> bool:
    match = _FRAME.match(text)
    if match is not None:
        path = match["file"].replace("\\", "/")
        frame = f"{path}:{match['function'] or ''}"[:_MAX_LINE]
        if len(found.first_frames) < _MAX_FRAMES // 2:
            found.first_frames.append(frame)
        else:
            found.last_frames.append(frame)
    elif text[:1].isspace():
        pass  # the source of a frame, or the carets under it
    elif (named := read_exception(text)) is not None:
        found.exception, message = named
        found.exception_line = line
        found.message.append(message[:_MAX_LINE])
    else:
        return False
    found.last_line = line
    return True


def _continues(text: str, found: _Open) -> bool:
    """Whether a line is more of a message that has several lines."""
    if len(found.message) >= _MAX_MESSAGE_LINES or text in _CHAINS:
        return False
    if text.startswith(f"{found.exception}: "):
        return False  # another rank's, where ranks have no prefix
    return _NOT_A_MESSAGE.match(text) is None
