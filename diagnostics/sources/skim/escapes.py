"""Owns leaving away what a log's bytes hold beside text: NULs and escape sequences."""

import re

_ESCAPE = re.compile(rb"\[[0-?]{0,64}[ -/]{0,16}[@-~]|\][^\x07\x1b\r\n]{0,512}\x07|")
_MAX_ESCAPE = 64


class Unescaped:
    """Takes the bytes of a log in as they come; `open` is what may go on in the next ones."""

    def __init__(self) -> None:
        self.open = b""

    def feed(self, data: bytes) -> bytes:
        """Return the next bytes without what is no text."""
        if b"\0" in data:
            data = data.replace(b"\0", b"")
        if self.open:
            data, self.open = self.open + data, b""
        if b"\x1b" in data:
            place = data.find(b"\x1b", max(0, len(data) - _MAX_ESCAPE))
            if place >= 0:
                data, self.open = data[:place], data[place:]
            data = _without_escapes(data)
        return data


def _without_escapes(data: bytes) -> bytes:
    """Leave escape sequences away, unless there are only those that move up a line, as bars do."""
    place = data.find(b"\x1b")
    while place >= 0 and data[place + 1 : place + 3] == b"[A":
        place = data.find(b"\x1b", place + 3)
    if place < 0:
        return data
    first, *others = data.split(b"\x1b")
    return first + b"".join(_ESCAPE.sub(b"", part, count=1) for part in others)
