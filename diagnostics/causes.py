"""Owns which error ended a run: the first cause told apart from what only followed it. Pure.

Of several ranks one fails first; its peers then lose the connection, and the launchers report the
end. torchrun names the first observed failure; without its word the order of the log decides.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from diagnostics.history import Snapshot
from diagnostics.observations import Phase, RankExit, Traceback

Chain: TypeAlias = tuple[Traceback, ...]
"""Tracebacks that Python printed as one: the first raised comes first."""


class Role(StrEnum):
    """What part an error had in the end of a run."""

    ROOT = "root"
    CASCADE = "cascade"  # a peer that lost the rank which failed first
    TEARDOWN = "teardown"  # a launcher's report of the end


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


_LAUNCHERS = frozenset(
    {
        "subprocess.CalledProcessError",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError",
        "torch.distributed.elastic.multiprocessing.api.SignalException",
    }
)
_LOST_PEER = re.compile(
    r"Connection (?:reset|closed|was likely closed|refused) ?(?:by (?:remote )?peer)?"
    r"|Broken pipe|Socket Timeout|recvValue failed|ncclRemoteError|remote process exited"
    r"|NCCL communicator was aborted|gloo/transport/.*(?:Read|Write) error"
    r"|failed to (?:recv|send), got 0 bytes|store->get|Some NCCL operations have failed",
)
_CHAIN_GAP = 4
"""Lines from a traceback's last to the next one's first, where Python chained them."""


def failures(snapshot: Snapshot) -> tuple[Failure, ...]:
    """Return the errors that belong to the run's end, each with its part, in the log's order."""
    chains = [chain for chain in _chains(snapshot.tracebacks) if _counts(chain, snapshot)]
    root = _root(chains, snapshot)
    return tuple(Failure(_role(chain, root), chain) for chain in chains)


def root_chain(snapshot: Snapshot) -> Chain:
    """Return the tracebacks of the first cause, the first raised first; () where none is there."""
    for failure in failures(snapshot):
        if failure.role is Role.ROOT:
            return failure.chain
    return ()


def root_exit(snapshot: Snapshot) -> RankExit | None:
    """Return the rank whose end came first as its launcher tells it."""
    return next((end for end in snapshot.rank_exits if end.root_cause), None)


def _chains(tracebacks: Sequence[Traceback]) -> list[Chain]:
    """Join what Python printed as one, rank by rank."""
    ranks = len({one.rank for one in tracebacks})
    open_ones: dict[tuple[str, int | None], list[Traceback]] = {}
    made: list[list[Traceback]] = []
    for one in sorted(tracebacks, key=lambda item: item.first_line):
        group = open_ones.get((one.source, one.rank))
        gap = one.first_line - group[-1].last_line if group else 0
        if group and 2 < gap <= _CHAIN_GAP * ranks + 1:  # noqa: PLR2004 - a blank line, the phrase, a blank line
            group.append(one)
        else:
            group = [one]
            made.append(group)
            open_ones[one.source, one.rank] = group
    return [tuple(group) for group in made]


def _counts(chain: Chain, snapshot: Snapshot) -> bool:
    """Whether an error can have ended the run: one from before its good end did not."""
    over = snapshot.phase is Phase.FINISHED
    return not (over and chain[-1].phase is not Phase.FINISHED)


def _root(chains: Sequence[Chain], snapshot: Snapshot) -> Chain | None:
    own = [chain for chain in chains if not _is_launchers(chain)]
    if not own:
        return chains[0] if chains else None
    marked = root_exit(snapshot)
    if marked is not None:
        of_rank = [chain for chain in own if chain[-1].rank == marked.rank]
        if of_rank:
            return of_rank[-1]
    last = {chain[-1].rank: chain for chain in own}  # a rank ends by the last error it raises
    fatal = sorted(last.values(), key=lambda chain: chain[0].first_line)
    if len(fatal) == 1 and _several_ranks(snapshot):
        fatal = [chain for chain in own if _ends_like(chain, own[-1])]
    sound = [chain for chain in fatal if not _is_cascade(chain)]
    return (sound or fatal)[0]


def _ends_like(chain: Chain, last: Chain) -> bool:
    """Whether two ranks without a prefix raised within one burst at the end of the log."""
    return last[-1].last_line - chain[-1].last_line <= _BURST_LINES


_BURST_LINES = 400


def _several_ranks(snapshot: Snapshot) -> bool:
    world = snapshot.facts.get("world_size")
    return (isinstance(world, int) and world > 1) or len(snapshot.rank_exits) > 1


def _role(chain: Chain, root: Chain | None) -> Role:
    if chain is root:
        return Role.ROOT
    return Role.TEARDOWN if _is_launchers(chain) else Role.CASCADE


def _is_launchers(chain: Chain) -> bool:
    return chain[-1].exception in _LAUNCHERS


def _is_cascade(chain: Chain) -> bool:
    return any(_LOST_PEER.search(message) for message in _messages(chain))


def _messages(chain: Chain) -> Iterable[str]:
    return (one.message for one in chain)
