"""Owns finding trainings among the live processes of a user: one RunGroup for each training.

It reads and groups, and never signals. The same YAML stands on many command lines of one run, so
processes are told apart by ancestry, and where the launcher is gone by their rendezvous.
"""

import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diagnostics.errors import RunError
from diagnostics.runs.proc import (
    ProcessInfo,
    Sink,
    read_cwd,
    read_environ,
    read_leader,
    read_limits,
    read_process,
    read_sink,
    read_table,
    read_uid,
    started_at,
)
from diagnostics.runs.processes import ProcessId
from diagnostics.runs.programs import (
    is_demo,
    is_entrance,
    is_launcher,
    may_train,
    trainer_words,
    trains,
)

_RANK_NAMES = frozenset({"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"})
_LAUNCHER_NAMES = frozenset(
    {
        *_RANK_NAMES,
        "MASTER_ADDR",
        "LOCAL_WORLD_SIZE",
        "OMP_NUM_THREADS",
        "PYTORCH_CUDA_ALLOC_CONF",
        "TORCH_NCCL_AVOID_RECORD_STREAMS",
    }
)
"""What llamafactory-cli and torchrun set for ranks, over what a person may have set."""
_SINKS = (Sink.FILE, Sink.PIPE, Sink.TERMINAL, Sink.NULL)


@dataclass(frozen=True, slots=True)
class RunGroup:
    """One training that is alive, with all of its processes on this host."""

    root: ProcessId
    """The topmost process of it: llamafactory-cli, torchrun, ...; rank 0 where that is gone."""
    launcher: ProcessId | None
    """The torchrun, accelerate or deepspeed process nearest to the ranks."""
    ranks: tuple[ProcessId, ...]
    """The processes that train, by rank; one for a run without launcher, none before they start."""
    members: tuple[ProcessId, ...]
    """All of its processes: root, launcher, ranks and their workers and helpers."""
    argv: tuple[str, ...]
    """The root's command line: what a person typed, unless `orphaned`."""
    cwd: Path
    environ: Mapping[str, str] = field(repr=False)
    """The environment the root was started with; empty where it cannot be read."""
    log_paths: tuple[Path, ...]
    """The files behind standard output and error of the first rank."""
    log_sink: str
    """What these are: "file", "pipe", "terminal", "null" or "unknown"; a file may have no path
    any more."""
    board: bool
    """True where LLaMA Board started it."""
    board_dir: Path | None
    limits: Mapping[str, tuple[int, int]]
    """The root's soft and hard resource limits by name ("data", "as", ...), -1 for none."""
    simulated: bool
    """True for the demo's trainer."""
    started_at: float
    """Seconds since the epoch."""
    orphaned: bool
    """True where all above the ranks is gone: how the run was started is lost with it."""


@dataclass(frozen=True, slots=True)
class _Tree:
    """The processes of one training, not yet described."""

    root: ProcessInfo
    members: tuple[ProcessInfo, ...]
    launcher: ProcessInfo | None
    ranks: tuple[ProcessInfo, ...]
    orphaned: bool = False


def find_runs(*, uid: int | None = None) -> list[RunGroup]:
    """Return the live trainings of a user, oldest first; by default of the one who asks."""
    return groups_in(read_table(os.getuid() if uid is None else uid))


def groups_in(table: Mapping[int, ProcessInfo]) -> list[RunGroup]:
    """Return the trainings in a table of processes, oldest first."""
    groups = [_describe(tree) for tree in _trees(table)]
    return sorted(groups, key=lambda group: (group.root.started_ticks, group.root.pid))


def find_run(pid: int) -> RunGroup:
    """Return the training that a process belongs to, whichever of its processes it is.

    Raises:
        RunError: there is no such process, it is another user's, or it is of no training.
    """
    leader = read_leader(pid) or pid
    info = read_process(leader)
    if info is None:
        raise RunError(f"pid {pid}: no such process", remedy="`llamavet` lists the runs here")
    uid = read_uid(leader)
    if uid is not None and uid != os.getuid():
        raise RunError(
            f"pid {pid}: belongs to {user_name(uid)}, not to you",
            remedy=f"ask {user_name(uid)} to run llamavet",
        )
    table = read_table(os.getuid())
    trees = _trees(table)
    for tree in trees:
        if info.process in {member.process for member in tree.members}:
            return _describe(tree)
    below = [tree.root.process.pid for tree in trees if leader in _ancestors(tree.root, table)]
    if below:
        raise RunError(
            f"pid {pid}: is no training itself, but started one",
            remedy="name it: " + ", ".join(f"pid {number}" for number in sorted(below)),
        )
    raise RunError(
        f"pid {pid}: is not a LLaMA-Factory training", remedy="`llamavet` lists the runs here"
    )


def user_name(uid: int) -> str:
    """Return a user's name, or the number where it has none here."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"user {uid}"


def _trees(table: Mapping[int, ProcessInfo]) -> list[_Tree]:
    trainings = {pid: info for pid, info in table.items() if may_train(info.argv) and trains(info)}
    for info in [*trainings.values()]:
        for pid in _ancestors(info, table):
            if is_launcher(table[pid]):
                trainings[pid] = table[pid]  # whatever its command line looks like
    children: dict[int, list[ProcessInfo]] = {}
    for info in table.values():
        children.setdefault(info.parent, []).append(info)
    tops = [info for info in trainings.values() if not _ancestors(info, table) & trainings.keys()]
    roots = [info for info in tops if not info.forked]
    strays = [info for info in tops if info.forked]
    whole, parts = [], []
    for root in roots:
        members = _descendants(root, children)
        environ = read_environ(root.process.pid)
        if _is_rank(root, environ):
            parts.append((root, members, environ))
        else:
            whole.append(_tree(root, members, trainings, table))
    return _rejoined(whole, _without_launcher(parts, strays, children))


def _ancestors(info: ProcessInfo, table: Mapping[int, ProcessInfo]) -> set[int]:
    """Return the pids above a process, as far as they are in the table."""
    found: set[int] = set()
    while (above := table.get(info.parent)) is not None and info.parent not in found:
        if above.process.started_ticks > info.process.started_ticks:
            break  # the parent ended while the table was read, and its pid is another's now
        found.add(info.parent)
        info = above
    return found


def _descendants(
    root: ProcessInfo, children: Mapping[int, Sequence[ProcessInfo]]
) -> tuple[ProcessInfo, ...]:
    found = {root.process.pid: root}
    todo = [root]
    while todo:
        for child in children.get(todo.pop().process.pid, ()):
            if child.process.pid not in found:
                found[child.process.pid] = child
                todo.append(child)
    return tuple(found.values())


def _tree(
    root: ProcessInfo,
    members: tuple[ProcessInfo, ...],
    trainings: Mapping[int, ProcessInfo],
    table: Mapping[int, ProcessInfo],
) -> _Tree:
    """Tell launcher, ranks and helpers apart in what descends from a root."""
    launchers = {info.process.pid: info for info in members if is_launcher(info)}
    above = {info.process.pid: _ancestors(info, table) for info in members}
    programs = [
        info
        for info in members
        if info.process.pid in trainings and info.process.pid not in launchers and not info.forked
    ]
    below = [info for info in programs if above[info.process.pid] & launchers.keys()]
    pids = {info.process.pid for info in below}
    ranks = [info for info in below if not above[info.process.pid] & pids]
    if not launchers:  # the innermost, where a script starts llamafactory-cli
        outer = {pid for info in programs for pid in above[info.process.pid]}
        ranks = [info for info in programs if info.process.pid not in outer]
    nearest = max(launchers.values(), key=lambda info: len(above[info.process.pid]), default=None)
    return _Tree(root, members, nearest, _by_rank(ranks))


def _is_rank(root: ProcessInfo, environ: Mapping[str, str]) -> bool:
    """Tell whether a launcher started this process, by what launchers put in the environment."""
    if is_launcher(root) or is_entrance(root.argv):
        return False
    return "TORCHELASTIC_RUN_ID" in environ or environ.keys() >= _RANK_NAMES


def _without_launcher(
    parts: Sequence[tuple[ProcessInfo, tuple[ProcessInfo, ...], Mapping[str, str]]],
    strays: Sequence[ProcessInfo],
    children: Mapping[int, Sequence[ProcessInfo]],
) -> list[_Tree]:
    """Group ranks whose launcher is not above them, and the workers that other ranks left."""
    grouped: dict[object, list[tuple[ProcessInfo, tuple[ProcessInfo, ...]]]] = {}
    elastic: dict[object, bool] = {}
    for root, members, environ in parts:
        key = _rendezvous(root, environ)
        grouped.setdefault(key, []).append((root, members))
        elastic[key] = "TORCHELASTIC_RUN_ID" in environ or root.parent == 1
    left: dict[object, list[ProcessInfo]] = {}
    for stray in strays if grouped else ():
        key = _rendezvous(stray, read_environ(stray.process.pid))
        left.setdefault(key, []).extend(_descendants(stray, children))
    trees = []
    for key, group in grouped.items():
        ranks = _by_rank([root for root, _ in group])
        below = [info for _, members in group for info in members]
        whole = tuple(dict.fromkeys([*below, *left.get(key, ())]))
        trees.append(_Tree(ranks[0], whole, None, ranks, orphaned=elastic[key]))
    return trees


def _rejoined(whole: Sequence[_Tree], parts: Sequence[_Tree]) -> list[_Tree]:
    """Put orphaned ranks under the entrance that started them, where that is still alive.

    Killing torchrun cuts them off at once, but llamafactory-cli needs a second or two to end; it
    looks like a training by itself then, and stopping it alone would leave the ranks.
    """
    waiting = [
        tree
        for tree in whole
        if tree.launcher is None and tree.ranks == (tree.root,) and is_entrance(tree.root.argv)
    ]
    joined: dict[ProcessId, _Tree] = {}
    left = []
    for part in sorted(parts, key=lambda part: part.root.process.started_ticks):
        mine = [
            tree
            for tree in waiting
            if part.orphaned and tree.root.process not in joined and _started(tree.root, part.root)
        ]
        if len(mine) == 1:  # of several, none is guessed
            top = mine[0]
            members = (*top.members, *part.members)
            joined[top.root.process] = _Tree(top.root, members, None, part.ranks)
        else:
            left.append(part)
    return [*(joined.get(tree.root.process, tree) for tree in whole), *left]


def _started(entrance: ProcessInfo, rank: ProcessInfo) -> bool:
    """Tell whether a rank came from an entrance: the same words, folder and environment."""
    if entrance.process.started_ticks >= rank.process.started_ticks:
        return False
    words = trainer_words(entrance.argv)
    if words is None or words != trainer_words(rank.argv):
        return False
    above, below = (read_environ(info.process.pid) for info in (entrance, rank))
    if not above or read_cwd(entrance.process.pid) != read_cwd(rank.process.pid):
        return False
    return all(below.get(name) == above[name] for name in above.keys() - _LAUNCHER_NAMES)


def _rendezvous(info: ProcessInfo, environ: Mapping[str, str]) -> object:
    names = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")
    words = tuple(word for word in info.argv if not word.startswith("--local_rank"))
    return (*(environ.get(name) for name in names), words)


def _by_rank(ranks: Sequence[ProcessInfo]) -> tuple[ProcessInfo, ...]:
    def place(info: ProcessInfo) -> tuple[int, int, int]:
        text = read_environ(info.process.pid).get("RANK", "") if len(ranks) > 1 else ""
        number = int(text) if text.isdecimal() and len(text) < 10 else 0  # noqa: PLR2004 - bounded
        return number, info.process.started_ticks, info.process.pid

    return tuple(sorted(ranks, key=place))


def _describe(tree: _Tree) -> RunGroup:
    root = tree.root.process
    environ = read_environ(root.pid)
    cwd = read_cwd(root.pid)
    first = tree.ranks[0].process if tree.ranks else root
    streams = [read_sink(first.pid, descriptor) for descriptor in (1, 2)]
    sinks = {sink for sink, _ in streams}
    board_dir = environ.get("LLAMABOARD_WORKDIR")
    return RunGroup(
        root=root,
        launcher=tree.launcher.process if tree.launcher is not None else None,
        ranks=tuple(info.process for info in tree.ranks),
        members=tuple(info.process for info in tree.members),
        argv=tree.root.argv,
        cwd=cwd,
        environ=environ,
        log_paths=tuple(dict.fromkeys(path for _, path in streams if path is not None)),
        log_sink=next((sink for sink in _SINKS if sink in sinks), Sink.UNKNOWN).value,
        board=environ.get("LLAMABOARD_ENABLED", "0").lower() in {"true", "y", "1"},
        board_dir=cwd / board_dir if board_dir else None,
        limits=read_limits(root.pid),
        simulated=is_demo(tree.root.argv),
        started_at=started_at(root),
        orphaned=tree.orphaned,
    )
