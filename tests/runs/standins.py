"""Owns stand-ins for LLaMA-Factory's programs: real processes with the real command lines.

They start what the real ones start, in sessions of their own where the real ones do that, and
then sleep. Every process of a test carries a mark in its environment, by which it is ended.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from diagnostics.runs.discover import RunGroup, find_runs
from diagnostics.runs.proc import read_environ, read_table

MARK = "LLAMAVET_TEST_MARK"
LIFE_S = 120
PATIENCE_S = 30.0

TRAIN = f"""
import os, pathlib, signal, subprocess, sys, time

def leave_child(number, frame):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep({LIFE_S})"])
    time.sleep(2)
    os._exit(0)

if os.environ.get("STANDIN_SWALLOWS_INT"):
    signal.signal(signal.SIGINT, lambda number, frame: None)
if os.environ.get("STANDIN_SAVES_ON_TERM"):
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(7))
if os.environ.get("STANDIN_LEAVES_CHILD"):
    signal.signal(signal.SIGTERM, leave_child)
if os.environ.get("STANDIN_IGNORES"):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(int(os.environ.get("STANDIN_WORKERS", "0"))):
    if os.fork() == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        time.sleep({LIFE_S})
        os._exit(0)
print("training", flush=True)
pathlib.Path(os.environ["STANDIN_READY"], str(os.getpid())).touch()
until = time.monotonic() + {LIFE_S}
while time.monotonic() < until:
    time.sleep(0.05)
"""

CLI = """
import os, pathlib, runpy, subprocess, sys, time

here = pathlib.Path(__file__).parent
if sys.argv[1] == "webui":
    board = {"LLAMABOARD_ENABLED": "1", "LLAMABOARD_WORKDIR": "saves/board"}
    argv = ["llamafactory-cli", "train", "saves/board/training_args.yaml"]
    subprocess.Popen(argv, env={**os.environ, **board}).wait()
elif os.environ.get("FORCE_TORCHRUN"):
    command = ["torchrun", "--nnodes", "1", "--node_rank", "0", "--nproc_per_node"]
    command += [os.environ.get("NPROC_PER_NODE", "2"), "--master_addr", "127.0.0.1"]
    command += ["--master_port", str(os.getpid()), str(here.parent / "llamafactory/launcher.py")]
    try:
        subprocess.run([*command, *sys.argv[2:]], env=os.environ, check=True)
    finally:
        if os.environ.get("STANDIN_OUTLIVES"):
            time.sleep(120)  # the real one is seconds about ending
else:
    runpy.run_path(str(here.parent / "llamafactory/launcher.py"))
"""

LAUNCH = """
import os, signal, subprocess, sys

words = sys.argv[1:]
place = next(i for i, word in enumerate(words) if word.endswith(".py"))
options = dict(zip(words[:place:2], words[1:place:2]))
count = int(options.get("--nproc_per_node", "2"))
ranks = []

def end(number, frame):
    raise SystemExit(1)

signal.signal(signal.SIGTERM, end)
for number in range(count):
    environ = {
        **os.environ,
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": options.get("--master_port", "29500"),
        **ELASTIC,
    }
    command = [sys.executable, "-u", words[place], *LOCAL(number), *words[place + 1 :]]
    ranks.append(subprocess.Popen(command, env=environ, start_new_session=bool(ELASTIC)))
try:
    for rank in ranks:
        rank.wait()
finally:
    for rank in ranks:
        rank.terminate()
    for rank in ranks:
        rank.wait()
"""
TORCHRUN = 'ELASTIC = {"TORCHELASTIC_RUN_ID": "none"}\nLOCAL = lambda number: []\n' + LAUNCH
DEEPSPEED = 'ELASTIC = {}\nLOCAL = lambda number: [f"--local_rank={number}"]\n' + LAUNCH

# On one GPU accelerate only waits for its child, and passes no signal on.
ACCELERATE = """
import subprocess, sys

place = next(i for i, word in enumerate(sys.argv) if word.endswith(".py"))
sys.exit(subprocess.Popen([sys.executable, *sys.argv[place:]]).wait())
"""
# The deepspeed command does the same with its own launcher.
DEEPSPEED_RUNNER = """
import subprocess, sys

words = sys.argv[1:]
command = [sys.executable, "-u", "-m", "deepspeed.launcher.launch", "--world_info=e30="]
sys.exit(subprocess.Popen([*command, *words]).wait())
"""


class Standins:
    """The stand-ins of one test, in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.mark = uuid.uuid4().hex
        self.bin = self.folder / "bin"
        self.train_script = self.folder / "LLaMA-Factory" / "src" / "train.py"
        self.ready = self.folder / "ready"
        self.ready.mkdir()
        self._started: list[subprocess.Popen[bytes]] = []
        shebang = f"#!{sys.executable}\n"
        for path, text in {
            self.bin / "llamafactory-cli": shebang + CLI,
            self.bin / "torchrun": shebang + TORCHRUN,
            self.bin / "accelerate": shebang + ACCELERATE,
            self.bin / "deepspeed": shebang + DEEPSPEED_RUNNER,
            self.folder / "llamafactory" / "launcher.py": TRAIN,
            self.folder / "deepspeed" / "launcher" / "launch.py": DEEPSPEED,
            self.train_script: "if False:\n    from llamafactory.train.tuner import run_exp\n"
            + TRAIN,
        }.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        (self.folder / "train.yaml").write_text("stage: sft\ndo_train: true\n")

    def start(
        self,
        *argv: str,
        environ: Mapping[str, str] | None = None,
        ignore_interrupt: bool = False,
        **options: object,
    ) -> subprocess.Popen[bytes]:
        """Start a command in the test's folder, its bin/ first on the PATH, output to a file."""
        log = self.folder / "train.log"
        with log.open("ab") as file:
            settings: dict[str, object] = {
                "stdin": subprocess.DEVNULL,
                "stdout": file,
                "stderr": file,
                "start_new_session": True,
                **options,
            }
            before = signal.getsignal(signal.SIGINT)
            if ignore_interrupt:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                process = subprocess.Popen(  # type: ignore[call-overload]
                    [self._found(argv[0]), *argv[1:]],
                    cwd=self.folder,
                    env=self.environ(environ or {}),
                    **settings,
                )
            finally:
                signal.signal(signal.SIGINT, before)
        self._started.append(process)
        assert isinstance(process, subprocess.Popen)
        return process

    def environ(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment that the stand-ins are started with."""
        plain = {
            "PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(self.folder),
            "STANDIN_READY": str(self.ready),
            MARK: self.mark,
        }
        return {**plain, **more}

    def runs(self) -> list[RunGroup]:
        """Return the runs of this test alone: others may train on this machine."""
        return [group for group in find_runs() if group.environ.get(MARK) == self.mark]

    def one_run(self, *, ranks: int = 1, members: int | None = None) -> RunGroup:
        """Wait until exactly one run is there, its ranks ready, and return it."""

        def settled() -> bool:
            found = self.runs()
            return (
                len(found) == 1
                and len(found[0].ranks) == ranks
                and all((self.ready / str(rank.pid)).exists() for rank in found[0].ranks)
                and (members is None or len(found[0].members) == members)
            )

        wait_until(settled, lambda: f"runs: {self.runs()}")
        return self.runs()[0]

    def living(self) -> list[int]:
        """Return the pids of every live process of this test."""
        table = read_table(os.getuid())
        return [pid for pid in table if read_environ(pid).get(MARK) == self.mark]

    def reap(self) -> None:
        """Take the exit codes of what has ended, as a shell would."""
        for process in self._started:
            process.poll()

    def close(self) -> None:
        """End every process of this test."""
        until = time.monotonic() + PATIENCE_S
        while (pids := self.living()) and time.monotonic() < until:
            for pid in pids:
                kill(pid, signal.SIGKILL)
            self.reap()
            time.sleep(0.02)
        for process in self._started:
            process.wait(PATIENCE_S)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def _found(self, name: str) -> str:
        path = self.bin / name
        return str(path) if path.exists() else name


def kill(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone by now."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def wait_until(
    condition: Callable[[], bool], describe: Callable[[], str] = lambda: "it never came true"
) -> None:
    """Wait for a condition that processes bring about; fail with what was seen instead."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, describe()
        time.sleep(0.02)


def as_nobody(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a command as another user; only root can."""
    return subprocess.Popen(command, user=65534, group=65534, extra_groups=[], cwd="/")
