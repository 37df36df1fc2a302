"""The supervisor and the launcher, on real processes that print, spend memory and are killed."""

import json
import os
import resource
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from diagnostics.errors import RunError, StoreError
from diagnostics.runs.files import read_json
from diagnostics.runs.launcher import LocalLauncher, RunHandle, read_handle
from diagnostics.runs.model import Launch
from diagnostics.runs.proc import read_environ, read_table
from diagnostics.runs.processes import identify, is_alive
from diagnostics.runs.supervisor import descendants
from tests.runs.standins import MARK, kill, wait_until

MIB = 1024 * 1024
TALK = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
print("first", flush=True)
while not (folder / "go").exists():
    time.sleep(0.01)
for number in range(50):
    print("line", number, flush=True)
"""
"""Prints a line, waits for the test's word, prints fifty more and ends with 0."""
FLOOD = """
import pathlib, sys, time
done = pathlib.Path(sys.argv[1])
for number in range(60_000):
    print("line", number, "of a long log that does not fit")
sys.stdout.flush()
done.touch()
while not done.with_name("go").exists():
    time.sleep(0.01)
print("the end", flush=True)
"""
"""Prints some 2.5 MB and ends with 0 at the test's word."""


@dataclass
class Lab:
    """One attempt's folder, and the means to start a training in it."""

    folder: Path
    launcher: LocalLauncher = field(default_factory=LocalLauncher)

    def start(self, code: str, *words: str, **options) -> RunHandle:
        return self.launcher.start(self.launch(code, *words, **options), self.folder)

    def launch(self, code: str, *words: str, environ=None, limits=None) -> Launch:
        argv = (sys.executable, "-c", code, *words)
        more = {**os.environ, **(environ or {})}
        return Launch(argv, self.folder, more, limits or {})

    def ended(self) -> dict[str, object]:
        wait_until(lambda: read_json(self.folder / "exit.json") is not None)
        record = read_json(self.folder / "exit.json")
        assert record is not None
        return record

    @property
    def log(self) -> str:
        path = self.folder / "output.log"
        return path.read_text() if path.exists() else ""


def marked(mark: str) -> list[int]:
    return [pid for pid in read_table(os.getuid()) if read_environ(pid).get(MARK) == mark]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    folder = tmp_path / "attempt-1"
    folder.mkdir()
    yield Lab(folder)

    def gone() -> bool:
        pids = marked(mark)
        for pid in pids:
            kill(pid, signal.SIGKILL)
        return not pids

    wait_until(gone)


@pytest.fixture
def small_disk(lab: Lab) -> Iterator[Lab]:
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(lab.folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    yield lab
    subprocess.run(["umount", "--lazy", str(lab.folder)], check=True)


def test_both_streams_are_in_the_log_in_the_order_they_were_written(lab):
    lab.start(
        "import os\nfor number in range(200):\n    os.write(1 + number % 2, b'%d\\n' % number)\n"
    )
    assert lab.ended()["exit_code"] == 0
    assert lab.log.splitlines() == [str(number) for number in range(200)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ],
)
def test_an_exit_code_or_the_signal_is_recorded(lab, code, expected):
    lab.start(code)
    assert lab.ended()["exit_code"] == expected


def test_the_peak_of_a_training_too_short_to_be_sampled_is_recorded(lab):
    lab.start(f"b'x' * {150 * MIB}")
    peak = lab.ended()["peak_host_bytes"]
    assert isinstance(peak, int)
    assert 150 * MIB < peak < 600 * MIB


def test_the_memory_of_children_counts_in_the_peak(lab):
    child = f"x = b'x' * {60 * MIB}; import time; time.sleep(3)"
    lab.start(
        "import subprocess, sys\n"
        f"both = [subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in range(2)]\n"
        "[one.wait() for one in both]\n"
    )
    peak = lab.ended()["peak_host_bytes"]
    assert isinstance(peak, int)
    assert peak > 120 * MIB


def test_a_killed_supervisor_leaves_the_training_alive_and_its_log_whole(lab):
    handle = lab.start(TALK, str(lab.folder))
    wait_until(lambda: "first" in lab.log)
    os.kill(handle.supervisor.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(handle.supervisor))
    assert is_alive(handle.process)
    (lab.folder / "go").touch()
    wait_until(lambda: not is_alive(handle.process))
    wait_until(lambda: lab.log.endswith("line 49\n"), lambda: lab.log)
    assert lab.log.splitlines() == ["first", *(f"line {number}" for number in range(50))]


def test_a_killed_log_writer_is_replaced_and_the_log_is_whole(lab):
    handle = lab.start(TALK, str(lab.folder))
    wait_until(lambda: "first" in lab.log)
    family = descendants(handle.supervisor.pid)
    (writer,) = set(family) - {handle.supervisor.pid, handle.process.pid}
    os.kill(writer, signal.SIGKILL)
    wait_until(lambda: identify(writer) is None)
    (lab.folder / "go").touch()
    assert lab.ended()["exit_code"] == 0
    assert lab.log.splitlines() == ["first", *(f"line {number}" for number in range(50))]


def test_a_killed_launching_process_leaves_the_training_alive(lab):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from diagnostics.runs.launcher import LocalLauncher\n"
        "from diagnostics.runs.model import Launch\n"
        "folder = Path(sys.argv[1])\n"
        "argv = (sys.executable, '-c', sys.argv[2], sys.argv[1])\n"
        "LocalLauncher().start(Launch(argv, folder, dict(os.environ)), folder)\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(lab.folder), TALK],
        cwd=root,
        start_new_session=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    handle = read_handle(lab.folder)
    assert handle is not None
    assert is_alive(handle.process)
    assert os.getsid(handle.process.pid) == handle.process.pid
    (lab.folder / "go").touch()
    assert lab.ended()["exit_code"] == 0


def test_signals_of_a_closed_terminal_do_not_end_the_supervisor(lab):
    handle = lab.start(TALK, str(lab.folder))
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(handle.supervisor.pid, number)
    (lab.folder / "go").touch()
    assert lab.ended()["exit_code"] == 0


def test_the_training_has_the_default_signals_and_no_input(lab):
    lab.start(
        "import signal, sys\n"
        "print([signal.getsignal(n) == signal.SIG_DFL for n in (signal.SIGTERM, signal.SIGHUP)])\n"
        "print(signal.getsignal(signal.SIGINT) == signal.default_int_handler)\n"
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "print(repr(sys.stdin.read()))\n"
    )
    lab.ended()
    assert lab.log.splitlines() == ["[True, True]", "True", "set()", "''"]


def test_a_program_that_does_not_exist_is_one_clear_error(lab):
    launch = Launch(("/nowhere/llamafactory-cli", "train"), lab.folder, {"PATH": "/bin"})
    with pytest.raises(RunError) as caught:
        lab.launcher.start(launch, lab.folder)
    message = str(caught.value)
    assert message.startswith("/nowhere/llamafactory-cli could not be started: ")
    assert "No such file" in message
    assert "\n" not in message
    assert read_handle(lab.folder) is None


def test_a_folder_that_is_gone_is_one_clear_error(lab):
    launch = Launch((sys.executable, "-c", ""), lab.folder / "gone", dict(os.environ))
    with pytest.raises(RunError, match="No such file or directory"):
        lab.launcher.start(launch, lab.folder)


def test_an_attempt_folder_that_is_gone_is_one_clear_error(lab):
    launch = lab.launch("")
    with pytest.raises(StoreError, match=r"launch\.json: cannot be written"):
        lab.launcher.start(launch, lab.folder / "gone")


def test_the_soft_limit_of_the_attempt_before_is_restored(lab):
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = {"data": (3 * 1024 * MIB, hard), "core": (0, -1), "of another kernel": (1, 1)}
    lab.start(
        "import resource as r; print(r.getrlimit(r.RLIMIT_DATA), r.getrlimit(r.RLIMIT_CORE)[0])",
        limits=limits,
    )
    lab.ended()
    assert lab.log == f"({3 * 1024 * MIB}, {hard}) 0\n"


def test_an_environment_that_is_not_utf_8_reaches_the_training_unchanged(lab):
    odd = os.fsdecode(b"\xd6\xd0\xce\xc4")
    lab.start("import os; print(os.environb[b'ODD'])", environ={"ODD": odd})
    lab.ended()
    assert lab.log == f"{os.fsencode(odd)!r}\n"


def test_how_it_was_launched_is_private(lab):
    lab.start("print('x')")
    lab.ended()
    for name in ("launch.json", "child.json", "exit.json", "output.log"):
        assert (lab.folder / name).stat().st_mode & 0o777 == 0o600


def test_processes_of_another_boot_are_none(lab):
    handle = lab.start(TALK, str(lab.folder))
    assert read_handle(lab.folder) == handle
    child = json.loads((lab.folder / "child.json").read_text())
    (lab.folder / "child.json").write_text(json.dumps({**child, "boot_id": "another"}))
    assert read_handle(lab.folder) is None


def test_a_full_disk_costs_log_lines_and_not_the_training_nor_its_exit_code(small_disk):
    lab = small_disk
    done = lab.folder.parent / "done"
    handle = lab.start(FLOOD, str(done))
    wait_until(done.exists)
    assert is_alive(handle.process)
    (lab.folder.parent / "go").touch()
    assert lab.ended()["exit_code"] == 0
    assert 0 < len(lab.log) < 128 * 1024
    assert lab.log.startswith("line 0 of a long log")


def test_a_disk_with_room_again_gets_what_was_held_and_a_word_on_what_was_lost(small_disk):
    lab = small_disk
    done = lab.folder.parent / "done"
    lab.start(FLOOD, str(done))
    wait_until(done.exists)
    larger = ["mount", "-o", "remount,size=8m", str(lab.folder)]
    subprocess.run(larger, check=True, capture_output=True)
    (lab.folder.parent / "go").touch()
    assert lab.ended()["exit_code"] == 0
    assert len(lab.log) > MIB
    assert "bytes of this log were lost: disk full" in lab.log
