"""Owns reading a log in both ways, skimmed and whole, and saying what each of them tells."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from diagnostics.engine import diagnose
from diagnostics.history import History, Snapshot
from diagnostics.observations import Observation
from diagnostics.parsing.console import ConsoleParser
from diagnostics.ruleset import load_rules
from diagnostics.signals import Context
from diagnostics.sources.backlog import Backlog, Ends
from diagnostics.sources.skim.scanning import HyperscanScanner, LineScanner, Query, Scanner
from diagnostics.sources.skim.skimmer import Limits

RULES = load_rules()
CAUGHT = r"(?i)watchdog (?!cat)\w+ (timeout|abort) \1"
PATTERNS = (
    *RULES.patterns[::8],
    "OVERFLOW! Rank",
    r"^Killed(?:\s|$)",
    CAUGHT,
    "显存不足",
    r"'loss': 0\.0,",
)
SMALL = Ends(whole_bytes=1024, head_bytes=400, tail_bytes=256)
TIGHT = Limits(
    block_bytes=1024,
    ahead_bytes=6 * 1024,
    failure_bytes=5 * 1024,
    message_bytes=1024,
    header_bytes=2048,
    before_bytes=16 * 1024,
)
Make = Callable[[Sequence[Query]], Scanner]
SCANNERS: list[Make] = [HyperscanScanner, LineScanner]


def whole(data: bytes, patterns: Sequence[str] = PATTERNS) -> Snapshot:
    history = History(patterns)
    parser = ConsoleParser("log")
    return taken(history, (*parser.feed(data, 1.0), *parser.finish(1.0)))


def skimmed(
    data: bytes,
    make: Make = HyperscanScanner,
    *,
    piece: int = 700,
    ends: Ends = SMALL,
    limits: Limits = TIGHT,
    patterns: Sequence[str] = PATTERNS,
) -> Snapshot:
    history = History(patterns)
    parser = ConsoleParser("log")
    backlog = Backlog(parser, patterns, ends=ends, limits=limits, make=make)
    for start in range(0, len(data), piece):
        taken(history, backlog.feed(data[start : start + piece], 1.0))
    return taken(history, (*backlog.close(1.0), *parser.finish(1.0)))


def taken(history: History, seen: Sequence[Observation]) -> Snapshot:
    for one in seen:
        history.add(one)
    return history.snapshot()


def findings(snapshot: Snapshot) -> list[str]:
    found = diagnose(RULES.rules, Context(snapshot, closed=True))
    return [finding.id for finding in found.findings]


def told(snapshot: Snapshot) -> dict[str, str]:
    """Return what a snapshot tells as text, for nan is not equal to itself."""
    progress = snapshot.progress
    return {
        "steps": repr([replace(step, extra=dict(step.extra)) for step in snapshot.steps]),
        "evals": repr([replace(one, extra=dict(one.extra)) for one in snapshot.evals]),
        "ooms": repr(snapshot.ooms),
        "tracebacks": repr(snapshot.tracebacks),
        "exits": repr(snapshot.rank_exits),
        "facts": repr(sorted(snapshot.facts.items())),
        "hits": repr(sorted(snapshot.hits.items())),
        "phase": snapshot.phase,
        "progress": repr(progress and (progress.done, progress.total)),
    }
