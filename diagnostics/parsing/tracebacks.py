"""Owns Python tracebacks: collected line by line, each rank's apart, bounded."""

import re
from dataclasses import dataclass, field

MAX_FRAMES = 200
MAX_MESSAGE_LINES = 60
MAX_CHARS = 4096
"""Of one line of a message."""
MAX_FRAME_CHARS = 512
_FRAME = re.compile(r'^\s+File "(?P<file>[^"]*)", line \d+(?:, in (?P<function>.*))?$')
_EXCEPTION = re.compile(
    r"^(?P<name>(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*|[A-Z_]\w*)(?:: (?P<message>.*)|:?)$"
)
START = "Traceback (most recent call last):"
_CHAINS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
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
    frames: list[str] = field(default_factory=list)
    exception: str = ""
    message: list[str] = field(default_factory=list)
    exception_line: int = 0
    last_line: int = 0


class TracebackCollector:
    """Collects one rank's tracebacks. The message goes on while lines look like more of it."""

    def __init__(self) -> None:
        self._open: _Open | None = None
        self.just_raised = False
        """Whether the line taken last named the exception."""

    @property
    def complete(self) -> bool:
        """Whether the exception of the open traceback is known."""
        return self._open is not None and bool(self._open.exception)

    @property
    def raised(self) -> tuple[str, str, tuple[str, ...]]:
        """The open traceback's exception, the first line of its message, and its frames."""
        if self._open is None:
            return "", "", ()
        return self._open.exception, self._open.message[0], tuple(self._open.frames)

    def take(self, text: str, line: int) -> tuple[bool, RawTraceback | None]:
        """Take a line; return whether it belongs to a traceback, and one that it ends."""
        self.just_raised = False
        if text.startswith(START):
            ended = self.end()
            self._open = _Open(line, last_line=line)
            return True, ended
        if self._open is None:
            if _FRAME.match(text) is None:
                return False, None
            self._open = _Open(line, last_line=line)  # a log that begins within a traceback
        if not self._open.exception:
            return self._take_frame(self._open, text, line)
        if _continues(text, self._open):
            self._open.message.append(text[:MAX_CHARS])
            self._open.last_line = line
            return True, None
        return False, self.end()

    def end(self) -> RawTraceback | None:
        """End the traceback that is open; None where there is none, or it never got to its end."""
        found, self._open = self._open, None
        if found is None or not found.exception:
            return None
        return RawTraceback(
            found.first_line,
            found.last_line,
            found.exception,
            "\n".join(found.message).strip(),
            tuple(found.frames),
            found.exception_line,
        )

    def _take_frame(self, found: _Open, text: str, line: int) -> tuple[bool, RawTraceback | None]:
        found.last_line = line
        match = _FRAME.match(text)
        if match is not None:
            if len(found.frames) < MAX_FRAMES:
                found.frames.append(_frame(match["file"], match["function"] or ""))
            return True, None
        if not text or text[0].isspace():
            return True, None
        match = _EXCEPTION.match(text)
        if match is None:
            self._open = None  # not a traceback after all
            return False, None
        self.just_raised = True
        found.exception = match["name"][:MAX_FRAME_CHARS]
        found.exception_line = line
        found.message.append((match["message"] or "")[:MAX_CHARS])
        return True, None


def _frame(file: str, function: str) -> str:
    return f"{file[-MAX_FRAME_CHARS:]}:{function[:MAX_FRAME_CHARS]}"


def _continues(text: str, found: _Open) -> bool:
    """Whether a line is more of a message that has several lines."""
    if len(found.message) >= MAX_MESSAGE_LINES or not text or text in _CHAINS:
        return False
    if text[0] in "\t ":
        return "%|" not in text
    return text.startswith(("CUDA kernel errors", "For debugging", "Compile with", "To fix:"))
