"""Owns the signals of a run's course and end: its phase, its step, its exit code, its ranks."""

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from statistics import median

from diagnostics.causes import Chain, Nature, failures, is_launchers, nature, root_exit
from diagnostics.findings import Evidence
from diagnostics.history import Snapshot
from diagnostics.observations import Missing, Phase, RankExit
from diagnostics.signals.context import Context, Reader, Signal, Value, plain
from diagnostics.signals.errors import error_evidence


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


def _killed_by(context: Context) -> Signal | None:
    """Return the signal that ended the first rank to end, or the process itself.

    Python counts a death by signal n as -n, shells and containers as 128 + n.
    """
    for end in (_rank_exit(lambda one: one.exit_code)(context), _exit_code(context)):
        if end is None or not isinstance(end.value, int):
            continue
        number = -end.value if end.value < 0 else end.value - 128
        if number in _SIGNALS:
            return Signal(number, end.evidence)
    return None


_SIGNALS = frozenset({1, 2, 3, 4, 6, 7, 8, 9, 11, 13, 15})
"""HUP, INT, QUIT, ILL, ABRT, BUS, FPE, KILL, SEGV, PIPE, TERM."""


def _world_size(context: Context) -> Value | None:
    """Return how many ranks the run has, or at the least those that left a word."""
    snapshot = context.snapshot
    world = snapshot.facts.get("world_size")
    if isinstance(world, int):
        return world
    ranks = {end.rank for end in snapshot.rank_exits}
    ranks |= {one.rank for one in snapshot.tracebacks if one.rank is not None}
    ranks |= {one.rank for one in snapshot.log if one.rank is not None}
    return max(ranks) + 1 if ranks else None


def _silent_seconds(context: Context) -> Signal | None:
    """Return for how long a live training has shown no sign of a step."""
    snapshot = context.snapshot
    process = snapshot.process
    if process is None or not process.alive or process.stopped or snapshot.ended is not None:
        return None
    signs = [one.at for one in (snapshot.progress, snapshot.activity) if one is not None]
    signs += [one.at for one in snapshot.steps[-1:]]
    signs += [one.at for one in snapshot.evals[-1:]]
    signs += [one.at for one in snapshot.log[-1:]]
    if not signs:
        return None
    step = snapshot.step
    shown = "no step was seen yet" if step is None else f"the last step seen is {step}"
    source = snapshot.log[-1].source if snapshot.log else "process"
    return Signal(max(0.0, snapshot.at - max(signs)), (Evidence(source, None, shown),))


def _silent_intervals(context: Context) -> Signal | None:
    """Return a live training's silence in units of its own time between two signs of a step."""
    silence = _silent_seconds(context)
    usual = _usual_seconds(context.snapshot)
    if silence is None or not isinstance(silence.value, float) or usual is None:
        return None
    return Signal(silence.value / usual, silence.evidence)


def _usual_seconds(snapshot: Snapshot) -> float | None:
    """Return the time between two signs of progress; None before any pace is known.

    Points read at once, as from a log that was there before, tell no pace.
    """
    bar = snapshot.progress.seconds_per_item if snapshot.progress is not None else None
    points = snapshot.steps[-_PACE_POINTS:]
    gaps = [after.at - before.at for before, after in pairwise(points) if after.at > before.at]
    known = [seconds for seconds in (bar, median(gaps) if gaps else None) if seconds]
    return max(known) if known else None


_PACE_POINTS = 20


def _stuck_at_start(context: Context) -> Signal | None:
    """Whether every rank that somebody ended before the first step stood in a collective."""
    snapshot = context.snapshot
    chains = [one.chain for one in failures(snapshot) if not is_launchers(one.chain)]
    ended = [chain for chain in chains if not _of_launcher(chain)]
    if not ended or snapshot.step:
        return None
    waiting = [
        any(_COLLECTIVE.search(frame) for frame in chain[-1].frames[-_INNERMOST:])
        for chain in ended
        if nature(chain) is Nature.STOPPED
    ]
    shown = tuple(error_evidence(chain[-1]) for chain in ended)
    return Signal(len(waiting) == len(ended) and all(waiting), shown)


def _of_launcher(chain: Chain) -> bool:
    frames = chain[-1].frames
    trains = any(_TRAINS.search(frame) for frame in frames)
    return not trains and any(_LAUNCHES.search(frame) for frame in frames)


_TRAINS = re.compile(
    r"train/tuner\.py:|src/train(?:_bash)?\.py:|/torch/distributed/distributed_c10d"
)
_LAUNCHES = re.compile(r"launcher\.py:launch$|torch/distributed/run\.py:|accelerate/commands/")
_COLLECTIVE = re.compile(r"torch/distributed/|torch/nn/parallel/distributed\.py|deepspeed/comm/")
_INNERMOST = 3
"""How many frames from the innermost tell what a process stood in."""


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


def _silent_start(context: Context) -> Signal | None:
    """Whether the log stops before training: no error, no end, and no bar that is on its way."""
    snapshot = context.snapshot
    if not context.closed or not snapshot.log:
        return None
    done = snapshot.phase is Phase.FINISHED or snapshot.progress is not None or snapshot.steps
    failed = snapshot.tracebacks or snapshot.rank_exits or snapshot.ooms
    bar = snapshot.activity
    under_way = bar is not None and bar.done < bar.total
    last = snapshot.log[-1]
    evidence = (Evidence(last.source, last.line, last.text),)
    return Signal(not (done or failed or under_way), evidence)


def _last_line(context: Context) -> Signal | None:
    log = context.snapshot.log
    if not log:
        return None
    return Signal(log[-1].text, (Evidence(log[-1].source, log[-1].line, log[-1].text),))


SIGNALS: Mapping[str, Reader] = {
    "run.exit_code": _exit_code,
    "run.killed_by": _killed_by,
    "run.world_size": plain(_world_size),
    "run.silent_seconds": _silent_seconds,
    "run.silent_intervals": _silent_intervals,
    "run.stuck_at_start": _stuck_at_start,
    "run.silent_start": _silent_start,
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
