"""Owns what the commands put out: a report on stdout, remarks on stderr, an exit code's meaning."""

import os
import sys

from diagnostics.errors import LlamavetError
from diagnostics.findings import Severity
from diagnostics.report.clean import shown

NEVER = "never"


def put_out(text: str) -> None:
    """Write a report to stdout; what a terminal's character set lacks is replaced."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_stdout()
        raise LlamavetError(f"the report cannot be written: {error.strerror or error}") from error


def discard_stdout() -> None:
    """Let nothing of what stdout still holds be written at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def remark(line: str) -> None:
    """Say a line beside the report, free of what steers a terminal."""
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(errors="backslashreplace")
    sys.stderr.write(f"llamavet: {shown(line)}\n")


def passes(worst: int, fail_on: str) -> bool:
    """Tell whether the worst severity that was found is below what --fail-on names."""
    return fail_on == NEVER or worst < Severity[fail_on.upper()]
