"""Owns the ends of ranks as their launchers tell them: torchrun's failure block, deepspeed's."""

import re
from dataclasses import dataclass

_ROOT = "Root Cause (first observed failure):"
_WORDS = ("Failures:", "Root Cause", "rank ", "exitcode", "exits with return")
_RANK = re.compile(r"\s+rank\s*: (\d{1,6}) \(local_rank: \d{1,6}\)")
_EXIT = re.compile(r"\s+exitcode\s*: (-?\d{1,6}) \(pid: (\d{1,9})\)")
_FAILED = re.compile(r"failed \(exitcode: (-?\d{1,6})\) local_rank: (\d{1,6}) \(pid: (\d{1,9})\)")
_DEEPSPEED = re.compile(r"exits with return code = (-?\d{1,6})\b")
_LOCAL_RANK = re.compile(r"--local[_-]rank=(\d{1,6})")


@dataclass(frozen=True, slots=True)
class RawExit:
    """One rank's end."""

    rank: int
    exit_code: int
    pid: int | None
    root_cause: bool


class ExitCollector:
    """Reads the launchers' lines in order.

    torchrun tells the first failure twice: at once in a log line, and in the block after it, which
    alone says what the root cause was.
    """

    def __init__(self) -> None:
        self._rank: int | None = None
        self._root = False

    def take(self, text: str) -> RawExit | None:
        """Take a line; return the rank's end that it completes."""
        if not any(word in text for word in _WORDS):
            return None
        if text.startswith("Failures:"):
            self._root = False
        elif text.startswith(_ROOT):
            self._root = True
        elif (match := _RANK.match(text)) is not None:
            self._rank = int(match.group(1))
        elif (match := _EXIT.match(text)) is not None and self._rank is not None:
            rank, self._rank = self._rank, None
            return RawExit(rank, int(match.group(1)), int(match.group(2)), self._root)
        elif (match := _FAILED.search(text)) is not None:
            code, rank, pid = (int(digits) for digits in match.groups())
            return RawExit(rank, code, pid, root_cause=False)
        elif (match := _DEEPSPEED.search(text)) is not None:
            local = _LOCAL_RANK.search(text)
            rank = int(local.group(1)) if local else 0
            return RawExit(rank, int(match.group(1)), None, root_cause=True)
        return None
