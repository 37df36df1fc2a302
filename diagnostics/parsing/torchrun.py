"""Owns the ends of ranks as their launchers tell them: torchrun's failure block, deepspeed's."""

import re
from dataclasses import dataclass

_ROOT = "Root Cause (first observed failure):"
_RANK = re.compile(r"^\s+rank\s*: (\d{1,9}) \(local_rank: \d+\)")
_EXIT = re.compile(r"^\s+exitcode\s*: (-?\d{1,9})\s+\(pid: (\d{1,18})\)")
_FAILED = re.compile(r"failed \(exitcode: (-?\d{1,9})\) local_rank: (\d{1,9}) \(pid: (\d{1,18})\)")
_DEEPSPEED = re.compile(r"exits with return code = (-?\d{1,9})\b")

_LOCAL_RANK = re.compile(r"--local[_-]rank=(\d{1,9})\b")


@dataclass(frozen=True, slots=True)
class RawExit:
    """One rank's end."""

    rank: int
    exit_code: int
    pid: int | None
    root_cause: bool


class ExitCollector:
    """Reads the launchers' lines in order."""

    def __init__(self) -> None:
        self._rank: int | None = None
        self._root = False

    def take(self, text: str) -> RawExit | None:
        """Take a line; return the rank's end that it completes."""
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
            return RawExit(int(match.group(2)), int(match.group(1)), int(match.group(3)), False)
        elif (match := _DEEPSPEED.search(text)) is not None:
            local = _LOCAL_RANK.search(text)
            return RawExit(int(local.group(1)) if local else 0, int(match.group(1)), None, True)
        return None
