"""Owns stopping a training: the right signal to the right process, and proof that all are gone.

A signal is sent only to a process whose identity, pid and start time, was just proven; it never
starts or edits anything. What is signalled first:

- a launcher that handles SIGTERM (torchrun, accelerate on several GPUs, deepspeed's launcher) gets
  it alone, and stops its ranks. Signalling llamafactory-cli instead would leave them running.
- ranks without such a launcher get it themselves: SIGTERM where there are several of them, or where
  the training handles it (it then saves a checkpoint first); else SIGINT, with which Python writes
  out what it holds of the log, unless the process was started with SIGINT ignored.

A training of LLaMA Board is stopped in the same way. Its own gentle way, SIGABRT to each rank,
ends as if the training were complete: a final model and no checkpoint, which is no state to resume
from and makes LLaMA-Factory refuse the same output_dir.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from diagnostics.errors import RunError
from diagnostics.runs.discover import RunGroup, groups_in, user_name
from diagnostics.runs.proc import ProcessInfo, read_signal_masks, read_table, read_uid
from diagnostics.runs.processes import ProcessId, identify, is_alive

POLL_S = 0.2
REPORT_S = 5.0
BYSTANDER_S = 5.0
"""How long processes that were not signalled may take to follow those that were."""
INTERRUPT_S = 15.0
"""How long a SIGINT may take; one that is stuck in a driver call never gets to it."""
KILL_S = 5.0


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal that was sent."""

    process: ProcessId
    number: signal.Signals


@dataclass(frozen=True, slots=True)
class StopOutcome:
    """What came of a stop."""

    survivors: tuple[ProcessId, ...]
    """What is still alive; empty means that every process of the run is gone."""
    signalled: tuple[Signalled, ...]
    """The signals sent, in order; without SIGCONT."""
    seconds: float


def stop_run(
    group: RunGroup,
    *,
    grace_s: float = 40.0,
    kill_after_grace: bool = False,
    on_progress: Callable[[str], None] = lambda _: None,
) -> StopOutcome:
    """Stop a training and wait until all of its processes are gone, new ones included.

    `grace_s` is how long that may take; the default is more than torchrun's own 30 s. SIGKILL is
    sent to what is left only with `kill_after_grace`.

    Raises:
        RunError: a process of it is another user's or may not be signalled.
    """
    for process in group.members:
        uid = read_uid(process.pid)
        if uid is not None and uid != os.getuid() and is_alive(process):
            raise RunError(
                f"pid {process.pid}: belongs to {user_name(uid)}, not to you; nothing was stopped",
                remedy=f"ask {user_name(uid)} to stop it",
            )
    pursuit = _Pursuit(group, on_progress)
    begun = time.monotonic()
    reported = begun
    while pursuit.look():
        now = time.monotonic()
        if now - begun >= grace_s:
            break
        pursuit.press(min(INTERRUPT_S, grace_s / 2), min(BYSTANDER_S, grace_s / 4))
        if now - reported >= REPORT_S:
            reported = now
            on_progress(f"waiting for {_pids(pursuit.alive)}")
        time.sleep(POLL_S)
    if pursuit.alive and kill_after_grace:
        pursuit.kill()
        until = time.monotonic() + KILL_S
        while pursuit.look() and time.monotonic() < until:
            time.sleep(POLL_S)
    return StopOutcome(
        survivors=tuple(pursuit.alive),
        signalled=tuple(pursuit.signalled),
        seconds=time.monotonic() - begun,
    )


def send_signal(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to this very process; False where it is gone, or its pid is another's now.

    Raises:
        RunError: it may not be signalled.
    """
    if process.pid <= 1:
        return False
    try:
        descriptor = _open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # What is proven after the descriptor was opened holds for the descriptor's process.
        if identify(process.pid) != process:
            return False
        if descriptor is None:
            os.kill(process.pid, number)
        else:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise RunError(
            f"pid {process.pid}: may not be signalled: {error.strerror}",
            remedy="stop it where it was started",
        ) from error
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def _open(pid: int) -> int | None:
    """Return a descriptor that stands for the process; None where the kernel gives none."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (OSError, AttributeError):
        return None  # before Linux 5.3, or in a sandbox that forbids it


def first_signals(group: RunGroup) -> Iterator[Signalled]:
    """Yield the signals that a stop begins with."""
    launcher = group.launcher
    if launcher is not None and (not group.ranks or _handles_term(launcher)):
        yield Signalled(launcher, signal.SIGTERM)
        return
    targets = group.ranks or (group.root,)
    for target in targets:
        gentle = len(targets) == 1 and _prefers_interrupt(target)
        yield Signalled(target, signal.SIGINT if gentle else signal.SIGTERM)


def _handles_term(process: ProcessId) -> bool:
    masks = read_signal_masks(process.pid)
    return masks is not None and masks.catches(signal.SIGTERM)


def _prefers_interrupt(process: ProcessId) -> bool:
    masks = read_signal_masks(process.pid)
    if masks is None:
        return False
    return masks.catches(signal.SIGINT) and not masks.catches(signal.SIGTERM)


class _Pursuit:
    """The processes of a run while it is being stopped, and what was sent to each."""

    def __init__(self, group: RunGroup, on_progress: Callable[[str], None]) -> None:
        self.alive: list[ProcessId] = []
        self.signalled: list[Signalled] = []
        self._group = group
        self._known: dict[ProcessId, None] = dict.fromkeys(group.members)
        self._bystanders: set[ProcessId] = set()
        self._sent_at: dict[ProcessId, float] = {}
        self._table: Mapping[int, ProcessInfo] = {}
        self._on_progress = on_progress

    def look(self) -> bool:
        """Find out what is alive, children and ranks that are new included; False for nothing."""
        self._table = read_table(os.getuid())
        grown = True
        while grown:
            alive = {process.pid for process in self._known if self._lives(process)}
            new = [
                info.process
                for info in self._table.values()
                if info.parent in alive and info.process not in self._known
            ]
            self._known.update(dict.fromkeys(new))
            grown = bool(new)
        self.alive = [process for process in self._known if self._lives(process)]
        return bool(self.alive)

    def press(self, interrupt_s: float, bystander_s: float) -> None:
        """Signal what has to be, each process once; go from SIGINT to SIGTERM after a while."""
        now = time.monotonic()
        found = groups_in(self._table)
        groups = [group for group in found if self._known.keys() & set(group.members)]
        for group in groups:
            self._known.update(dict.fromkeys(group.members))
        patient = bool(self.signalled) and now - min(self._sent_at.values()) < bystander_s
        targets = [item for group in groups for item in first_signals(group)]
        if not targets and not patient:  # workers that outlived their trainer
            targets = [Signalled(process, signal.SIGTERM) for process in self.alive]
        for target in targets:
            if target.process in self._sent_at or (patient and target.process in self._bystanders):
                continue
            self._send(target)
        for item in tuple(self.signalled):
            late = now - self._sent_at[item.process] >= interrupt_s
            if item.number == signal.SIGINT and late and self._lives(item.process):
                self._send(Signalled(item.process, signal.SIGTERM))
        self._bystanders.update(self._known.keys() - self._sent_at.keys())
        self._wake()

    def kill(self) -> None:
        """Send SIGKILL to what is left."""
        for process in self.alive:
            self._send(Signalled(process, signal.SIGKILL))

    def _wake(self) -> None:
        """Let stopped processes go on, or they never get to a signal that was sent to them."""
        for process in self.alive:
            if self._table[process.pid].state == "T":
                send_signal(process, signal.SIGCONT)

    def _lives(self, process: ProcessId) -> bool:
        info = self._table.get(process.pid)
        return info is not None and info.process == process

    def _send(self, item: Signalled) -> None:
        if item in self.signalled or not send_signal(item.process, item.number):
            return
        self.signalled.append(item)
        self._sent_at[item.process] = time.monotonic()
        self._on_progress(f"{item.number.name} to {self._role(item.process)}{item.process.pid}")

    def _role(self, process: ProcessId) -> str:
        if process == self._group.launcher:
            return "the launcher, pid "
        if process in self._group.ranks and len(self._group.ranks) > 1:
            return f"rank {self._group.ranks.index(process)}, pid "
        return "pid "


def _pids(processes: list[ProcessId]) -> str:
    shown = ", ".join(str(process.pid) for process in processes[:8])
    more = len(processes) - 8
    return f"pid {shown}" + (f" and {more} more" if more > 0 else "")
