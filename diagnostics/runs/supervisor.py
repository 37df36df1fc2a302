"""Owns the small process between llamavet and a training: it outlives the dashboard.

Run as `python -P -m diagnostics.runs.supervisor FOLDER`, it reads FOLDER/launch.json, becomes a
daemon, starts the training in a session of its own, writes both of its streams in real order to
FOLDER/output.log, and records how it ended in FOLDER/exit.json. It uses the standard library
only. It never signals the training.

The log passes through a pipe, so that a full disk costs log lines and not the training. Two
processes hold the pipe's reading end, this one and its log writer: if either is killed, the
other keeps the training's writes from failing.
"""

import contextlib
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from diagnostics.errors import StoreError
from diagnostics.runs.files import PRIVATE_FILE, read_json, write_atomic, write_json

LAUNCH, CHILD, EXIT, LOG = "launch.json", "child.json", "exit.json", "output.log"
RESERVE, RESERVE_BYTES = ".reserve", 4096
"""A file that is given up at the end, so that exit.json has room where the log filled the disk."""
CHUNK_BYTES = 64 * 1024
HELD_BYTES = 1024 * 1024
"""How much of the log is held back while the disk is full; what comes after it is counted only."""
SAMPLE_SECONDS = 1.0
DRAIN_SECONDS = 3.0
RETRY_SECONDS = 600.0
LIMITS = {
    "as": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "memlock": resource.RLIMIT_MEMLOCK,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "stack": resource.RLIMIT_STACK,
}


def main(folder: Path) -> int:
    """Supervise the training of one attempt's folder to its end."""
    launch = read_json(folder / LAUNCH)
    if launch is None:
        print(f"{folder / LAUNCH}: cannot be read", file=sys.stderr)
        return 2
    if os.fork():
        return 0  # the caller need not wait for, nor reap, what follows
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    reading, writing = os.pipe()
    kills_before = _cgroup_oom_kills()
    started_at = time.time()
    try:
        # Where no room is left for these, nothing is started.
        write_json(folder / CHILD, {})
        write_atomic(folder / RESERVE, b"\0" * RESERVE_BYTES)
        child = _start(launch, writing)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        write_json(folder / EXIT, {"error": str(error), "ended_at": time.time()})
        return 1
    os.close(writing)
    with contextlib.suppress(StoreError):  # the training runs: it needs its log read all the same
        write_json(
            folder / CHILD,
            {
                "pid": child.pid,
                "started_ticks": _started_ticks(child.pid),
                "started_at": started_at,
                "supervisor_pid": os.getpid(),
                "supervisor_ticks": _started_ticks(os.getpid()),
                "boot_id": boot_id(),
            },
        )
    peak_bytes, writer = _watch(child, folder / LOG, reading)
    ended: dict[str, Any] = {
        "exit_code": child.returncode,
        "started_at": started_at,
        "ended_at": time.time(),
        "peak_host_bytes": peak_bytes,
        "cgroup_oom_kills": max(0, _cgroup_oom_kills() - kills_before),
    }
    _drain(writer)
    _record(folder / EXIT, ended)
    return 0


def _start(launch: dict[str, Any], writing: int) -> subprocess.Popen[bytes]:
    def prepare() -> None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for name, (soft, _) in launch.get("limits", {}).items():
            _restore_limit(name, int(soft))

    environ = {str(name): str(value) for name, value in launch["environ"].items()}
    argv = [str(word) for word in launch["argv"]]
    return subprocess.Popen(
        argv,
        cwd=launch["cwd"],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 - this process has one thread
    )


def _restore_limit(name: str, soft: int) -> None:
    """Give the training the soft limit of the attempt before; never raise a hard one."""
    kind = LIMITS.get(name)
    if kind is None:
        return
    _, hard = resource.getrlimit(kind)
    wanted = resource.RLIM_INFINITY if soft < 0 else soft
    if hard != resource.RLIM_INFINITY and (wanted == resource.RLIM_INFINITY or wanted > hard):
        wanted = hard
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (wanted, hard))


def _watch(child: subprocess.Popen[bytes], log: Path, reading: int) -> tuple[int, int]:
    """Wait for the child's end; return the peak of host memory in bytes and the writer's pid."""
    peak_bytes = 0
    writer = _fork_writer(log, reading)
    while child.poll() is None:
        peak_bytes = max(peak_bytes, tree_bytes(child.pid))
        signal.sigtimedwait({signal.SIGCHLD}, SAMPLE_SECONDS)
        if _reaped(writer) and child.poll() is None:
            writer = _fork_writer(log, reading)
    # What rose and fell between two samples: the kernel keeps the largest single process' peak.
    largest_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return max(peak_bytes, largest_bytes), writer


def _reaped(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return True


def _drain(writer: int) -> None:
    """Let the writer finish the log; descendants that outlive the training may keep it longer."""
    until = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < until and not _reaped(writer):
        time.sleep(0.02)


def _record(path: Path, ended: dict[str, Any]) -> None:
    """Write how it ended, again and again while the disk is full."""
    until = time.monotonic() + RETRY_SECONDS
    with contextlib.suppress(OSError):
        path.with_name(RESERVE).unlink(missing_ok=True)
    while True:
        try:
            write_json(path, ended)
        except StoreError as error:
            print(json.dumps(ended), error, file=sys.stderr, flush=True)
        else:
            return
        if time.monotonic() > until:
            return
        time.sleep(1.0)


def _fork_writer(log: Path, reading: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        LogWriter(log).copy(reading)
    finally:
        os._exit(0)


class LogWriter:
    """Copies a pipe to a log and never stops reading, whatever the disk says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = bytearray()
        self._lost_bytes = 0
        self._descriptor: int | None = None

    def copy(self, reading: int) -> None:
        """Read until every writer of the pipe is gone."""
        while True:
            try:
                data = os.read(reading, CHUNK_BYTES)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                return
            if not data:
                break
            self.write(data)
        self.write(b"")

    def write(self, data: bytes) -> None:
        """Append to the log, or hold what it cannot take now."""
        room = HELD_BYTES - len(self._held)
        self._held += data[:room]
        self._lost_bytes += max(0, len(data) - room)
        try:
            descriptor = self._open()
            while self._held:
                del self._held[: os.write(descriptor, self._held)]
            if self._lost_bytes:
                note = f"\n[llamavet] {self._lost_bytes} bytes of this log were lost: disk full\n"
                os.write(descriptor, note.encode())
                self._lost_bytes = 0
        except OSError:
            return

    def _open(self) -> int:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, PRIVATE_FILE)
        return self._descriptor


def tree_bytes(root: int) -> int:
    """Return the memory of a process and its descendants, pages they share counted once."""
    page = os.sysconf("SC_PAGESIZE")
    private, shared_most = 0, 0
    for pid in descendants(root):
        try:
            fields = Path(f"/proc/{pid}/statm").read_text().split()
        except OSError:
            continue
        resident, shared = int(fields[1]), int(fields[2])
        private += resident - shared
        shared_most = max(shared_most, shared)
    return (private + shared_most) * page


def descendants(root: int) -> list[int]:
    """Return a process and its descendants, through /proc/PID/task/TID/children."""
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    text = (task / "children").read_text()
                    todo.extend(int(word) for word in text.split())
    return found


def boot_id() -> str:
    """Return this boot's id: pids and start times mean nothing after another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started_ticks(pid: int) -> int:
    raw = Path(f"/proc/{pid}/stat").read_bytes().decode("utf-8", "replace")
    return int(raw[raw.rfind(")") + 2 :].split()[19])


def _cgroup_oom_kills() -> int:
    """Return how many processes of this cgroup the kernel has killed for memory; 0 if unknown."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            events = Path("/sys/fs/cgroup" + path) / "memory.events"
        elif "memory" in controllers.split(","):
            events = Path("/sys/fs/cgroup/memory" + path) / "memory.oom_control"
        else:
            continue
        with contextlib.suppress(OSError, ValueError):
            for entry in events.read_text().splitlines():
                name, _, count = entry.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
