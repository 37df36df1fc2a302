"""Owns the signals of a run's course and end: its phase, its step, its exit code, its ranks."""

from collections.abc import Callable, Mapping

from diagnostics.causes import root_exit
from diagnostics.findings import Evidence
from diagnostics.observations import Missing, Phase, RankExit
from diagnostics.signals.context import Context, Reader, Signal, Value, plain


def _exit_code(context: Context) -> Signal | None:
    ended = context.snapshot.ended
    if ended is None:
        return None
    if isinstance(ended.exit_code, Missing):
        return Signal(ended.exit_code)
    return Signal(ended.exit_code, (Evidence("supervisor", None, f"exit code {ended.exit_code}"),))


def _rank_exit(read: Callable[[RankExit], Value | None]) -> Reader:
    def reader(context: Context) -> Signal | None:
        end = root_exit(context.snapshot)
        if end is None:
            return None
        value = read(end)
        if value is None:
            return None
        text = f"rank {end.rank} ended with exit code {end.exit_code}"
        return Signal(value, (Evidence(end.source, end.line, text),))

    return reader


def _cut_off(context: Context) -> Signal | None:
    """Whether the log stops in mid-training: no error, no end, nothing after the last bar."""
    snapshot = context.snapshot
    if not context.closed or snapshot.progress is None:
        return None
    finished = snapshot.phase is Phase.FINISHED or "train_loss" in snapshot.facts
    failed = bool(snapshot.tracebacks or snapshot.rank_exits or snapshot.ooms)
    where = f"last seen at step {snapshot.progress.done} of {snapshot.progress.total}"
    evidence = (Evidence(snapshot.progress.source, None, where),)
    return Signal(
        not finished and not failed and snapshot.progress.done < snapshot.progress.total, evidence
    )


def _last_line(context: Context) -> Signal | None:
    log = context.snapshot.log
    if not log:
        return None
    return Signal(log[-1].text, (Evidence(log[-1].source, log[-1].line, log[-1].text),))


SIGNALS: Mapping[str, Reader] = {
    "run.exit_code": _exit_code,
    "run.cut_off": _cut_off,
    "run.requested": plain(
        lambda c: None if c.snapshot.ended is None else c.snapshot.ended.requested
    ),
    "run.phase": plain(lambda c: c.snapshot.phase.value),
    "run.step": plain(lambda c: c.snapshot.step),
    "run.total_steps": plain(lambda c: c.snapshot.total_steps),
    "rank.rank": _rank_exit(lambda end: end.rank),
    "rank.exit_code": _rank_exit(lambda end: end.exit_code),
    "log.last_line": _last_line,
}
