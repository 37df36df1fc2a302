"""The journey by keys in a real terminal, and what the training survives."""

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.laboratory import DATA_LIMIT_KIB, Lab, wait_for

pytestmark = pytest.mark.e2e


class Terminal:
    """A tmux session of 80x24 in a lab's folder."""

    def __init__(self, lab: Lab, socket: Path) -> None:
        self._tmux = ["tmux", "-f", "/dev/null", "-S", str(socket)]
        self._environ = {**lab.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        self._call("new-session", "-d", "-x", "80", "-y", "24", "-c", str(lab.folder), "bash")

    def _call(self, *words: str) -> str:
        done = subprocess.run(
            [*self._tmux, *words], env=self._environ, capture_output=True, text=True, check=True
        )
        return done.stdout

    def type(self, line: str) -> None:
        self._call("send-keys", "-l", line)
        self._call("send-keys", "Enter")

    def press(self, key: str) -> None:
        self._call("send-keys", key)

    def screen(self) -> str:
        return self._call("capture-pane", "-p")

    def shell_pid(self) -> int:
        return int(self._call("display-message", "-p", "#{pane_pid}"))

    def server_pid(self) -> int:
        return int(self._call("display-message", "-p", "#{pid}"))

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def terminal(lab: Lab, tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(lab, tmp_path / "tmux")
    yield opened
    opened.close()


def see(terminal: Terminal, text: str, seconds: float) -> None:
    wait_for(lambda: text in terminal.screen(), seconds, f"{text!r} on:\n{terminal.screen()}")


def newest(lab: Lab, pattern: str) -> Path:
    return max((lab.folder.parent / "state").rglob(pattern), key=lambda path: path.stat().st_mtime)


def test_by_keys_an_out_of_memory_is_seen_in_two_seconds_and_cured_by_f_and_y(
    lab: Lab, terminal: Terminal, record_property: Callable[[str, object], None]
):
    config = lab.config(batch=32)
    terminal.type(f"ulimit -d {DATA_LIMIT_KIB}; {shlex.quote(str(lab.llamavet))} run train.yaml")

    def failed() -> bool:
        logs = list((lab.folder.parent / "state").rglob("output.log"))
        return bool(logs) and b"DefaultCPUAllocator" in logs[0].read_bytes()

    wait_for(failed, 120, "the allocator's failure in the log")
    in_log = time.monotonic()
    see(terminal, "CRITICAL", 10)
    seen_after_s = time.monotonic() - in_log
    wait_for(lambda: not lab.trainings(), 30, "the end of the old process")
    terminal.press("f")
    see(terminal, "per_device_train_batch_size: 16", 10)
    assert "starts from step 0" in terminal.screen()
    pressed = time.monotonic()
    terminal.press("y")
    wait_for(lab.trainings, 20, "the new process")
    started_after_s = time.monotonic() - pressed
    see(terminal, "cured", 120)
    see(terminal, "exit code 0", 120)
    terminal.press("q")

    assert "per_device_train_batch_size: 16  #" in config.read_text()
    outcome = json.loads(newest(lab, "attempt-2/outcome.json").read_text())
    assert (outcome["outcome"], outcome["status"]) == ("cured", "finished")
    record_property("seen_after_s", round(seen_after_s, 2))
    record_property("started_after_s", round(started_after_s, 2))
    print(
        f"finding on screen after {seen_after_s:.2f} s, new process after {started_after_s:.2f} s"
    )


def test_killing_dashboard_and_terminal_leaves_the_training_alive_with_its_whole_record(
    lab: Lab, terminal: Terminal
):
    lab.config(batch=2, dataset="short", samples=200, epochs=2)
    terminal.type(f"{shlex.quote(str(lab.llamavet))} run train.yaml")
    wait_for((lab.folder / "out" / "trainer_log.jsonl").exists, 120, "the first steps")
    dashboard = next(
        child
        for child in psutil.Process(terminal.shell_pid()).children()
        if "llamavet" in " ".join(child.cmdline())
    )
    server = terminal.server_pid()
    dashboard.kill()
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(server), 10, "the end of the terminal")

    assert lab.trainings()
    done = lab.run("watch", str(lab.folder / "out"), "--plain")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished at step 200, exit code 0" in done.stdout
    rows = (lab.folder / "out" / "trainer_log.jsonl").read_text().splitlines()
    assert len([row for row in rows if '"loss"' in row]) == 200
    log = newest(lab, "attempt-1/output.log").read_text()
    assert "Training completed" in log
    assert log.count("'loss':") == 200
