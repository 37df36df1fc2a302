"""Owns the errors a person sees: one clear line with its place and its remedy."""

from pathlib import Path


class LlamavetError(Exception):
    """A failure to show as one line; `remedy` says what to do about it."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class ConfigError(LlamavetError):
    """A config file that cannot be read or edited; `line` and `column` are 1-based."""

    def __init__(
        self,
        message: str,
        *,
        path: Path | None = None,
        line: int | None = None,
        column: int | None = None,
        remedy: str = "",
    ) -> None:
        place = ":".join(str(part) for part in (path, line, column) if part is not None)
        super().__init__(f"{place}: {message}" if place else message, remedy=remedy)
        self.path = path
        self.line = line
        self.column = column


class RunError(LlamavetError):
    """A run that cannot be found, read, started or stopped."""


class StoreError(LlamavetError):
    """State that cannot be written or read."""
