import os
import subprocess
import sys
from dataclasses import replace

from diagnostics.runs.processes import ProcessId, identify, is_alive, open_process

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_live_process_is_identified_by_pid_and_start_time():
    own = identify(os.getpid())
    assert own is not None
    assert own.pid == os.getpid()
    assert own.started_ticks > 0
    assert identify(os.getpid()) == own


def test_a_reused_pid_is_not_the_same_process():
    own = identify(os.getpid())
    assert own is not None
    earlier = replace(own, started_ticks=own.started_ticks - 1)
    assert is_alive(own)
    assert not is_alive(earlier)
    assert open_process(earlier) is None


def test_numbers_that_are_no_pid_identify_nothing():
    for pid in (0, -1, 2**31, 2**70):
        assert identify(pid) is None
        assert not is_alive(ProcessId(pid, 1))


def test_a_zombie_counts_as_gone():
    process = subprocess.Popen(SLEEP)
    try:
        known = identify(process.pid)
        assert known is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, but not reaped
        assert identify(process.pid) is None
        assert not is_alive(known)
        assert open_process(known) is None
    finally:
        process.kill()
        process.wait()


def test_a_name_with_blanks_and_parentheses_does_not_hide_the_start_time(tmp_path):
    script = tmp_path / "a) R 1 (b"
    script.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(script), "60"])
    try:
        known = identify(process.pid)
        own = identify(os.getpid())
        assert known is not None
        assert own is not None
        assert known.started_ticks >= own.started_ticks
    finally:
        process.kill()
        process.wait()


def test_an_opened_process_is_the_one_that_was_meant():
    own = identify(os.getpid())
    assert own is not None
    handle = open_process(own)
    assert handle is not None
    assert handle.pid == os.getpid()
