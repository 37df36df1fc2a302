"""Owns the signals of the error that ended a run: its class, its words, where it was raised."""

from collections.abc import Callable, Iterable, Mapping

from diagnostics.causes import Chain, ended_by, failures, nature, root_chain
from diagnostics.findings import Evidence
from diagnostics.observations import LogLine, Traceback
from diagnostics.parsing.tracebacks import read_exception
from diagnostics.signals.context import Context, Reader, Signal, Value, plain


def error_chain(context: Context) -> Chain:
    """Return the tracebacks of the first cause, the first raised first."""
    return context.once("error chain", lambda one: root_chain(one.snapshot))


def error_text(one: Traceback) -> str:
    """Return an exception as Python prints it: "ValueError: Undefined dataset x ..."."""
    return f"{one.exception}: {one.message}" if one.message else one.exception


def error_evidence(one: Traceback) -> Evidence:
    """Return the line that names the exception."""
    line = one.last_line - one.message.count("\n")
    return Evidence(one.source, line, error_text(one).partition("\n")[0])


def lone_errors(context: Context, lines: Iterable[LogLine]) -> tuple[LogLine, ...]:
    """Return those of the lines that name an exception which may have ended the run.

    They stand in for tracebacks in a log that has none, as a pasted one may.
    """
    return tuple(
        line
        for line in lines
        if read_exception(line.text) is not None and ended_by(context.snapshot, line)
    )


def _nature(context: Context) -> Signal | None:
    chain = error_chain(context)
    return Signal(nature(chain).name.lower(), (error_evidence(chain[-1]),)) if chain else None


def _error(read: Callable[[Traceback], Value | None]) -> Reader:
    def reader(context: Context) -> Signal | None:
        chain = error_chain(context)
        if not chain:
            return None
        value = read(chain[-1])
        return None if value is None else Signal(value, (error_evidence(chain[-1]),))

    return reader


SIGNALS: Mapping[str, Reader] = {
    "error.class": _error(lambda one: one.exception),
    "error.message": _error(lambda one: one.message.partition("\n")[0] or None),
    "error.frame": _error(lambda one: one.frames[-1] if one.frames else None),
    "error.rank": _error(lambda one: one.rank),
    "error.phase": _error(lambda one: one.phase.value),
    "error.nature": _nature,
    "error.count": plain(lambda context: len(failures(context.snapshot)) or None),
}
