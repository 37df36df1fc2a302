"""Owns reading the kernel's log for processes that it killed for memory, where it may be read."""

import contextlib
import os
import re
from collections.abc import Collection

from diagnostics.observations import LogLine

KMSG = "/dev/kmsg"
MAX_RECORDS = 100_000
RECORD_BYTES = 8192
_KILL = re.compile(r"(?:Memory cgroup out of memory|Out of memory): Killed process (\d+)\b.*")


def kernel_kills(pids: Collection[int], at: float, since_boot_s: float) -> list[LogLine]:
    """Return the kernel's lines on the killing of these processes; none where it keeps silent.

    Lines from before `since_boot_s`, seconds since boot, are of other processes with the same pid.
    """
    found: list[LogLine] = []
    with contextlib.suppress(OSError):
        descriptor = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            for number in range(1, MAX_RECORDS):
                line = _record(descriptor)
                match = _KILL.search(line)
                if match is None or int(match.group(1)) not in pids:
                    continue
                if _seconds(line) >= since_boot_s:
                    found.append(LogLine(at, "dmesg", number, match.group()))
        finally:
            os.close(descriptor)
    return found


def _seconds(record: str) -> float:
    """Return a record's time: its head is "priority,sequence,microseconds,flags;text"."""
    fields = record.partition(";")[0].split(",")
    return int(fields[2]) / 1e6 if len(fields) > 2 and fields[2].isdecimal() else 0.0  # noqa: PLR2004 - the third


def _record(descriptor: int) -> str:
    """Return the next record; BlockingIOError, an OSError, at the end."""
    while True:
        try:
            return os.read(descriptor, RECORD_BYTES).decode("utf-8", "replace")
        except BrokenPipeError:
            continue  # the record was overwritten meanwhile; the next one follows
