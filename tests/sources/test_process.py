"""The process source over real processes: their end, their memory, their children, a stop."""

import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import psutil
import pytest

from diagnostics.observations import Missing, ProcessState
from diagnostics.runs.processes import ProcessId, identify
from diagnostics.sources.process import FAMILY_SECONDS, Processes

MIB = 1024**2
PATIENCE_S = 30.0
READY = "ready"

SLEEPS = f"print('{READY}', flush=True); import time; time.sleep(60)"
HOLDS_PRIVATE = f"""
import time
held = bytearray(b"x") * (100 * {MIB})
print("{READY}", flush=True)
time.sleep(60)
"""
SHARES = f"""
import mmap, os, time
held = mmap.mmap(-1, 100 * {MIB})
for page in range(0, len(held), {mmap.PAGESIZE}):
    held[page] = 1
if os.fork() == 0:
    for page in range(0, len(held), {mmap.PAGESIZE}):
        held[page] = 2
    print("{READY}", flush=True)
time.sleep(60)
"""
STARTS_A_CHILD_WHEN_TOLD = f"""
import subprocess, sys, time
print("{READY}", flush=True)
sys.stdin.readline()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program until the block ends, and whatever it has started with it."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline().strip() == READY
        yield process
    finally:
        with suppress(ProcessLookupError):  # the test may have ended it all
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()


def member(pid: int) -> ProcessId:
    found = identify(pid)
    assert found is not None
    return found


def state(source: Processes, now: float = 0.0) -> ProcessState:
    (seen,) = source.poll(now)
    assert isinstance(seen, ProcessState)
    return seen


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it has not come to that"
        time.sleep(0.02)


def test_a_live_process_is_alive_with_its_pid_and_memory():
    with running(SLEEPS) as process:
        seen = state(Processes([member(process.pid)], "node1"), 12.5)
    assert (seen.at, seen.host, seen.alive) == (12.5, "node1", True)
    assert seen.pids == (process.pid,)
    assert isinstance(seen.rss_bytes, int)
    assert seen.rss_bytes > MIB
    assert not seen.stopped


def test_a_process_that_was_killed_is_not_alive_and_has_no_memory():
    with running(SLEEPS) as process:
        source = Processes([member(process.pid)])
        assert state(source).alive
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, but not reaped
        seen = state(source, 1.0)
    assert not seen.alive
    assert seen.pids == ()
    assert seen.rss_bytes == Missing("no process")


def test_another_process_under_the_same_pid_is_not_taken_for_it():
    with running(SLEEPS) as process:
        known = member(process.pid)
        earlier = replace(known, started_ticks=known.started_ticks - 1)
        assert not state(Processes([earlier])).alive


def test_it_is_alive_while_one_of_several_lives():
    with running(SLEEPS) as first, running(SLEEPS) as second:
        source = Processes([member(first.pid), member(second.pid)])
        assert set(state(source).pids) == {first.pid, second.pid}
        first.kill()
        first.wait()
        seen = state(source, 1.0)
        assert seen.alive
        assert seen.pids == (second.pid,)


def test_memory_of_its_own_counts_for_each_process():
    with running(HOLDS_PRIVATE) as first, running(HOLDS_PRIVATE) as second:
        alone = state(Processes([member(first.pid)])).rss_bytes
        both = state(Processes([member(first.pid), member(second.pid)])).rss_bytes
    assert isinstance(alone, int)
    assert isinstance(both, int)
    assert alone > 100 * MIB
    assert both > 200 * MIB


def test_memory_that_processes_share_counts_once():
    with running(SHARES) as process:
        (worker,) = psutil.Process(process.pid).children()
        single = [state(Processes([member(pid)])).rss_bytes for pid in (process.pid, worker.pid)]
        together = state(Processes([member(process.pid), member(worker.pid)])).rss_bytes
    assert all(isinstance(size, int) and size > 100 * MIB for size in single)
    assert isinstance(together, int)
    assert 100 * MIB < together < 200 * MIB


def test_a_stopped_process_is_told_and_so_is_that_it_goes_on():
    with running(SLEEPS) as process:
        source = Processes([member(process.pid)])
        handle = psutil.Process(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        wait_for(lambda: handle.status() == psutil.STATUS_STOPPED)
        assert state(source).stopped
        os.kill(process.pid, signal.SIGCONT)
        wait_for(lambda: handle.status() != psutil.STATUS_STOPPED)
        assert not state(source).stopped


def test_a_child_started_later_is_found_after_a_while_but_keeps_nothing_alive():
    with running(STARTS_A_CHILD_WHEN_TOLD) as process:
        source = Processes([member(process.pid)])
        assert state(source, 0.0).pids == (process.pid,)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        assert set(state(source, FAMILY_SECONDS).pids) == {process.pid, child}
        process.kill()
        process.wait()
        assert identify(child) is not None
        seen = state(source, FAMILY_SECONDS + 1.0)
        assert not seen.alive
        assert seen.pids == ()


def test_children_that_end_are_forgotten():
    with running(STARTS_A_CHILD_WHEN_TOLD) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        source = Processes([member(process.pid)])
        assert set(state(source, 0.0).pids) == {process.pid, child}
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: identify(child) is None)
        assert state(source, 0.5).pids == (process.pid,)


def test_no_members_are_no_observation():
    assert Processes([]).poll(0.0) == ()


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**70])
def test_numbers_that_are_no_pid_are_processes_that_are_gone(pid):
    source = Processes([ProcessId(pid, 1)])
    assert not state(source).alive
    source.close()
