"""How fast a console log is read and diagnosed, and what the command costs to start.

usage: python benchmarks/console.py [LOG]      (default: a recorded LoRA training, repeated)
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from diagnostics.engine import diagnose
from diagnostics.history import History
from diagnostics.parsing.console import ConsoleParser
from diagnostics.ruleset import load_rules
from diagnostics.signals import Context

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "tests" / "data" / "logs" / "lora_pipe.log"
BYTES = 16 * 1024 * 1024
CHUNK = 64 * 1024
REPEATS = 5


def read_rate(data: bytes) -> float:
    """Return MiB a second of bytes to a diagnosis."""
    rules = load_rules()
    history = History(rules.patterns)
    parser = ConsoleParser("log")
    begun = time.perf_counter()
    for start in range(0, len(data), CHUNK):
        for observation in parser.feed(data[start : start + CHUNK], 1.0):
            history.add(observation)
    diagnose(rules.rules, Context(history.snapshot(), closed=True))
    return len(data) / 2**20 / (time.perf_counter() - begun)


def tick_ms(data: bytes) -> float:
    """Return the milliseconds of a snapshot and a diagnosis after a long run."""
    rules = load_rules()
    history = History(rules.patterns)
    for observation in ConsoleParser("log").feed(data, 1.0):
        history.add(observation)
    begun = time.perf_counter()
    diagnose(rules.rules, Context(history.snapshot()))
    return 1000 * (time.perf_counter() - begun)


def start_ms() -> float:
    """Return the milliseconds of `llamavet --version`."""
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-P", "-m", "tui.cli", "--version"],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    return 1000 * (time.perf_counter() - begun)


def main() -> None:
    """Print medians."""
    log = Path(sys.argv[1]) if len(sys.argv) > 1 else RECORDED
    data = log.read_bytes()
    data *= max(1, BYTES // len(data))
    for name, measure in (
        ("read and diagnose, MiB/s", lambda: read_rate(data)),
        ("snapshot and diagnosis, ms", lambda: tick_ms(data)),
        ("start of the command, ms", start_ms),
    ):
        figures = [measure() for _ in range(REPEATS)]
        print(f"{name:28} median {statistics.median(figures):8.1f}  of {REPEATS}")


if __name__ == "__main__":
    main()
