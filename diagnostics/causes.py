"""Owns which error ended a run: the first cause told apart from what only followed it. Pure.

Of several ranks one fails first; its peers then lose the connection, and the launchers report the
end. A traceback that was caught and printed ended nothing: Python begins it where it was caught,
and one that ended its process at the module's own code.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TypeAlias

from diagnostics.history import Snapshot
from diagnostics.observations import LogLine, Phase, RankExit, Traceback
from diagnostics.parsing.tracebacks import read_exception

Chain: TypeAlias = tuple[Traceback, ...]
"""Tracebacks that Python printed as one: the first raised comes first."""
_Place: TypeAlias = tuple[str, int | None, int]


class Role(StrEnum):
    """What part an error had in the end of a run."""

    ROOT = "root"
    CASCADE = "cascade"  # a peer that lost the rank which failed first, or failed alike
    TEARDOWN = "teardown"  # a launcher's report of the end, or raised while a process ended


@dataclass(frozen=True, slots=True)
class Failure:
    """One error of a run, as Python printed it, and its part."""

    role: Role
    chain: Chain

    @property
    def rank(self) -> int | None:
        """The rank that raised it; None where the log does not say."""
        return self.chain[-1].rank

    @property
    def first_line(self) -> int:
        """Where it begins in the log."""
        return self.chain[0].first_line


class Nature(IntEnum):
    """What an error tells of by itself, the likeliest first cause first."""

    OWN = 0
    LOST_PEER = 1
    """The loss of another rank, or of the connection to it: why is told elsewhere, if at all."""
    STOPPED = 2
    """Somebody ended the process."""


def failures(snapshot: Snapshot) -> tuple[Failure, ...]:
    """Return the errors that belong to the run's end, each with its part, in the log's order."""
    if not snapshot.tracebacks or (snapshot.ended is not None and snapshot.ended.exit_code == 0):
        return ()
    signs = _signs(snapshot)
    chains = _chains(snapshot, signs)
    began = _began(chains, snapshot, signs)
    present = [one for one in chains if one[0].first_line > began.get(one[0].source, 0)]
    fatal = _fatal(present, snapshot, signs)
    if not fatal and not any(map(is_launchers, present)):
        return ()
    root = _root(fatal, snapshot)
    start = root[0].first_line if root is not None else 0
    ended = {id(one) for one in fatal}
    after = [one for one in present if id(one) in ended or one[0].first_line > start]
    return tuple(Failure(_role(one, root, ended), one) for one in after)


def root_chain(snapshot: Snapshot) -> Chain:
    """Return the tracebacks of the first cause, the first raised first; () where none is there."""
    found = (failure.chain for failure in failures(snapshot) if failure.role is Role.ROOT)
    return next(found, ())


def root_exit(snapshot: Snapshot) -> RankExit | None:
    """Return the rank whose end came first, as its launcher tells it, in the last attempt."""
    if not snapshot.rank_exits:
        return None
    signs = _signs(snapshot)
    began = _began(_chains(snapshot, signs), snapshot, signs)
    ends = [end for end in snapshot.rank_exits if end.line > began.get(end.source, 0)]
    marked = [end for end in ends if end.root_cause]
    told = marked or [end for end in ends if end.exit_code != _TERMINATED]
    return told[0] if told else None


def nature(chain: Chain) -> Nature:
    """Return what an error tells of by itself: of a chain, what was raised first does."""
    if _nature_of(chain[-1].exception, chain[-1].message) is Nature.STOPPED:
        return Nature.STOPPED
    first = chain[0]
    if _TORCH_CLASS.search(first.exception) and _WAITED_ON_NPU.search(first.message):
        return Nature.LOST_PEER
    return min(_nature_of(name, text) for name, text in _exceptions(first))


def is_launchers(chain: Chain) -> bool:
    """Whether a launcher reports with it how its processes ended."""
    last = chain[-1]
    if last.exception in _REPORTS:
        return True
    if not last.exception.endswith("CalledProcessError"):
        return False
    raised = any(_LAUNCHER_FRAME.search(frame) for frame in last.frames[-2:])
    return raised or _LAUNCHED.match(last.message) is not None


def ended_by(snapshot: Snapshot, line: LogLine) -> bool:
    """Whether an exception line that stands alone may be of the error that ended the run.

    One within a whole traceback is not alone, and one that scrolled away ended nothing.
    """
    if snapshot.phase is Phase.FINISHED:
        return False
    if snapshot.ended is not None and snapshot.ended.exit_code == 0:
        return False
    seen_from = next((one.line for one in snapshot.log if one.source == line.source), 0)
    within = any(
        one.source == line.source and one.first_line <= line.line <= one.last_line
        for one in snapshot.tracebacks
    )
    if within or line.line < seen_from:
        return False
    return not any(
        one.line > line.line and one.source == line.source and _shows_going_on(one.text)
        for one in snapshot.log
    )


def _shows_going_on(text: str) -> bool:
    return _GOES_ON.search(text) is not None or _METRICS.search(text) is not None


_TERMINATED = -15
_REPORTS = frozenset(
    {
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError",
        "torch.distributed.elastic.multiprocessing.api.SignalException",
        "ChildFailedError",
        "SignalException",
    }
)
_LAUNCHER_FRAME = re.compile(
    r"(?:llamafactory|llmtuner)/(?:launcher|cli)\.py:(?:launch|main)$|accelerate/commands/"
    r"|deepspeed/launcher/|torch/distributed/run\.py:"
)
_LAUNCHED = re.compile(r"Command '?\[?'?(?:\S*/)?(?:torchrun|accelerate|deepspeed)\b")
_STOPPED = frozenset({"KeyboardInterrupt", "SystemExit", "GeneratorExit"})
_TORCH_CLASS = re.compile(
    r"(?:RuntimeError|(?:torch\.distributed\.|c10d?::)?Dist(?:Backend|Network|Store)?Error)$"
)
_LOST_PEER = re.compile(
    r"(?i)connection (?:reset|closed|was likely closed|refused)|broken pipe|socket timeout"
    r"|wait timeout after \d+|recvvalue failed|sendbytes failed|remote process exited"
    r"|communicator was aborted|gloo/transport/.*(?:read|write) error|timed out waiting \d+ms for"
    r"|application timeout caused pair closure|failed to (?:recv|send), got (?:0 bytes|error)"
    r"|store->get|some nccl operations have failed|collective operation timeout"
    r"|nccl error in.*system error|mismatch between collectives|timed out in monitoredbarrier"
)
_WAITED_ON_NPU = re.compile(r"\bEI000[26]: .{0,200}times out")
"""Ascend's HCCL tells only in the lines after the first that it waited for another rank."""
_NEVER = re.compile(
    r"(?:^|/)(?:threading\.py:(?:_bootstrap\w*|run)|weakref\.py:\w+|atexit\.py:\w+"
    r"|logging/__init__\.py:emit|(?:multiprocess|multiprocessing)/(?:resource_tracker\.py:\w+"
    r"|util\.py:_(?:exit_function|run_finalizers)|queues\.py:_feed|process\.py:_bootstrap))$"
    r"|:__del__$|asyncio/events\.py:_run$"
)
"""Where a traceback begins that no process ended by: a thread's, a finalizer's, a child's."""
_ANNOUNCED = re.compile(
    r"Exception ignored |Exception in (?:thread|callback|user code)|Error in atexit\._run_exitfuncs"
    r"|Error in sys\.excepthook|--- Logging error ---|Task exception was never retrieved"
    r"|Process \w*Process-\d+|Process \w*PoolWorker-\d+"
)
_TRAINED_IN_THREAD = re.compile(r"(?:^|[/\\])llmtuner[/\\](?:\w+[/\\])*tun(?:er|e)\.py:run_exp$")
"""LLaMA Board before 0.7.1 trained in a thread of its own: its error ended the training."""
_MODULE = re.compile(r":(?:<module>|_run_module_as_main)$")
_CHAINED = re.compile(
    r"(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):$"
)
_CAUGHT_IN_WORKER = re.compile(r"Caught \w+ in (?:DataLoader worker|replica|pin memory thread)")
_NEW_LAUNCH = "distributed tasks at: "
_RANK_ZERO = re.compile(r"Process rank: 0,")
_GOES_ON = re.compile(
    r"\[[A-Z]+\|(?:[^|\]]*/)?trainer\.py:\d+\]|\*{5} Running |\*{5} \w+ metrics \*{5}"
    r"|Saving model checkpoint to |Training completed\."
)
_METRICS = re.compile(r"\{'(?:loss|eval_\w+|train_runtime)': ")
_CHAIN_GAP = 4
"""Lines from a traceback's last to the next one's first, where Python chained them."""
_BURST_LINES = 400
"""Within how many lines of the log's last error ranks without a prefix failed together."""


def _exceptions(one: Traceback) -> Iterable[tuple[str, str]]:
    """Return a traceback's exceptions: more than one where another rank's line got into it."""
    first, *more = one.message.split("\n")
    yield one.exception, first
    for line in more:
        named = read_exception(line)
        if named is not None and (named[0][0].isupper() or "." in named[0]):
            yield named  # NCCL's own functions, "socketProgressOpt: ...", are no classes


def _nature_of(exception: str, message: str) -> Nature:
    if exception in _STOPPED or exception in _REPORTS:
        return Nature.STOPPED
    lost = _TORCH_CLASS.search(exception) and _LOST_PEER.search(message)
    return Nature.LOST_PEER if lost else Nature.OWN


@dataclass(frozen=True, slots=True)
class _Signs:
    """What the lines of a log tell of its tracebacks, read once; places are source, rank, line."""

    chained: frozenset[_Place]
    announced: frozenset[_Place]
    starts: tuple[LogLine, ...]
    """Where a launcher or rank 0 begins."""
    went_on: Mapping[str, int]
    """By source: the last line that only a run which goes on prints."""
    measured: Mapping[str, int]
    """By source: the last line of metrics, which a buffer may hold back to the process' end."""
    seen_from: int


def _signs(snapshot: Snapshot) -> _Signs:
    chained: set[_Place] = set()
    announced: set[_Place] = set()
    starts: list[LogLine] = []
    went_on: dict[str, int] = {}
    measured: dict[str, int] = {}
    for one in snapshot.log:
        place = (one.source, one.rank, one.line)
        if _CHAINED.match(one.text):
            chained.add(place)
        elif _ANNOUNCED.search(one.text):
            announced.add(place)
        elif _METRICS.search(one.text):
            measured[one.source] = one.line
        elif _NEW_LAUNCH in one.text or _RANK_ZERO.search(one.text):
            starts.append(one)
        if _GOES_ON.search(one.text):
            went_on[one.source] = one.line
    seen_from = min((one.line for one in snapshot.log), default=0)
    return _Signs(
        frozenset(chained), frozenset(announced), tuple(starts), went_on, measured, seen_from
    )


def _chains(snapshot: Snapshot, signs: _Signs) -> list[Chain]:
    """Join what Python printed as one, rank by rank."""
    ordered = sorted(snapshot.tracebacks, key=lambda item: item.first_line)
    ranks = len({one.rank for one in ordered})
    open_ones: dict[tuple[str, int | None], list[Traceback]] = {}
    made: list[list[Traceback]] = []
    for one in ordered:
        group = open_ones.get((one.source, one.rank))
        if group is not None and _continues(group[-1], one, signs, ranks):
            group.append(one)
        else:
            group = open_ones[one.source, one.rank] = [one]
            made.append(group)
    return [tuple(group) for group in made]


def _continues(before: Traceback, one: Traceback, signs: _Signs, ranks: int) -> bool:
    gap = one.first_line - before.last_line
    if gap <= ranks and _CAUGHT_IN_WORKER.match(before.message):
        return True
    if before.last_line >= signs.seen_from:
        between = range(before.last_line, one.first_line)[-_BURST_LINES:]
        return any((one.source, one.rank, line) in signs.chained for line in between)
    return 2 < gap <= _CHAIN_GAP * ranks + 1  # noqa: PLR2004 - a blank line, the phrase, a blank line


def _began(chains: Sequence[Chain], snapshot: Snapshot, signs: _Signs) -> Mapping[str, int]:
    """Return, by source, the line where the last attempt began; absent where it is the first."""
    began: dict[str, int] = {}
    started: set[str] = set()
    several = _several_ranks(chains, snapshot)
    events: list[tuple[int, str, Chain | LogLine]] = [
        (one[-1].last_line, one[-1].source, one) for one in chains
    ]
    events += [(line.line, line.source, line) for line in signs.starts]
    failed: dict[str, list[Chain]] = {}
    for number, source, event in sorted(events, key=lambda item: item[:2]):
        before = failed.setdefault(source, [])
        if isinstance(event, tuple):
            if not is_uncaught(event):
                continue
            report = next((one for one in reversed(before) if is_launchers(one)), None)
            if report is not None and not is_launchers(event) and _same_ranks(before, event):
                began[source] = report[-1].last_line
                before.clear()
            before.append(event)
            continue
        launched = _NEW_LAUNCH in event.text
        over = before and (
            source in started or not several or any(is_launchers(one) for one in before)
        )
        if launched or over:
            began[source] = number
            before.clear()
        if not launched:
            started.add(source)
    return began


def _same_ranks(before: Sequence[Chain], event: Chain) -> bool:
    ranks = {one[-1].rank for one in before if not is_launchers(one)}
    return event[-1].rank is None or not ranks or event[-1].rank in ranks


def _fatal(present: Sequence[Chain], snapshot: Snapshot, signs: _Signs) -> list[Chain]:
    """Return the errors that ended a process of the training, in the log's order."""
    own = [
        one
        for one in present
        if not is_launchers(one) and not _is_aside(one, signs) and not _is_over(one, snapshot)
    ]
    several = _several_ranks(present, snapshot)
    uncaught = [one for one in own if is_uncaught(one)]
    if not several:
        uncaught = [one for one in uncaught if not _is_before(one, signs.went_on)]
    ended = uncaught or _untold(own, present, snapshot, signs)
    by_rank: dict[int | None, list[Chain]] = {}
    for one in ended:
        by_rank.setdefault(one[-1].rank, []).append(one)
    found: list[Chain] = []
    for rank, raised in by_rank.items():
        if rank is None and several:
            last = raised[-1][-1].last_line
            found += [one for one in raised if last - one[-1].last_line <= _BURST_LINES]
        else:
            found.append(raised[-1])
    return sorted(found, key=lambda one: one[0].first_line)


def _untold(
    own: Sequence[Chain], present: Sequence[Chain], snapshot: Snapshot, signs: _Signs
) -> Sequence[Chain]:
    """Return the errors that may have ended the run where none says so: a log may be abridged."""
    if snapshot.ended is None and snapshot.process is not None and snapshot.process.alive:
        return ()
    failed = snapshot.ended is not None or snapshot.rank_exits or any(map(is_launchers, present))
    return [
        one
        for one in own
        if (failed or one[-1].phase is snapshot.phase)
        and not _is_before(one, signs.went_on)
        and not _is_before(one, signs.measured)
    ]


def is_uncaught(chain: Chain) -> bool:
    """Whether nothing caught an error: its traceback begins at a module's own code."""
    begun = (one for one in chain if one.frames)
    return any(_MODULE.search(one.frames[0]) for one in begun) or _of_training_thread(chain)


def _of_training_thread(chain: Chain) -> bool:
    return any(_TRAINED_IN_THREAD.search(frame) for frame in chain[-1].frames[:4])


def _is_aside(chain: Chain, signs: _Signs) -> bool:
    """Whether an error was of a thread, a finalizer or a logger: it ends no process."""
    last, first = chain[-1], chain[0]
    if _of_training_thread(chain):
        return False
    if last.frames and _NEVER.search(last.frames[0]):
        return True
    before = ((first.source, first.rank, first.first_line - gap) for gap in (1, 2))
    return any(place in signs.announced for place in before)


def _is_over(chain: Chain, snapshot: Snapshot) -> bool:
    """Whether the run came to its good end after an error."""
    return snapshot.phase is Phase.FINISHED and chain[-1].phase is not Phase.FINISHED


def _is_before(chain: Chain, signs: Mapping[str, int]) -> bool:
    """Whether a sign that the run went on comes after an error."""
    return signs.get(chain[-1].source, 0) > chain[-1].last_line


def _root(fatal: Sequence[Chain], snapshot: Snapshot) -> Chain | None:
    marked = root_exit(snapshot)
    found = list(fatal)
    if marked is not None and marked.exit_code < 0 and marked.exit_code != _TERMINATED:
        # It was killed; what it raised before, if anything, is its own.
        found = [one for one in found if one[-1].rank == marked.rank or nature(one) is Nature.OWN]

    def order(chain: Chain) -> tuple[int, bool, int]:
        first = marked is not None and chain[-1].rank == marked.rank
        return (nature(chain), not first, chain[0].first_line)

    return min(found, key=order, default=None)


def _several_ranks(chains: Sequence[Chain], snapshot: Snapshot) -> bool:
    world = snapshot.facts.get("world_size")
    if isinstance(world, int):
        return world > 1
    ranks = {one[-1].rank for one in chains if one[-1].rank is not None}
    return len(ranks) > 1 or bool(snapshot.rank_exits) or any(map(is_launchers, chains))


def _role(chain: Chain, root: Chain | None, fatal: Collection[int]) -> Role:
    if chain is root:
        return Role.ROOT
    return Role.CASCADE if id(chain) in fatal else Role.TEARDOWN
