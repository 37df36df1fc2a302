"""Owns running the exact prediction: `memory/simulate.py` by the training's own Python.

It runs at the lowest priority, without a GPU and without the network, within limits of time and
memory, and what it answers is checked like any other foreign text.
"""

import contextlib
import json
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from diagnostics.errors import RunError
from diagnostics.memory.workload import Workload
from diagnostics.parsing.lines import clean
from diagnostics.runs.other_python import quiet, running

SCRIPT = Path(__file__).parents[1] / "memory" / "simulate.py"
TIMEOUT_SECONDS = 180.0
MAX_RSS_BYTES = 4 * 2**30
MAX_ANSWER_BYTES = 2**20
MAX_GIB = 2.0**20
MAX_COUNT = 2**53
PHASES = ("forward", "loss", "backward", "optimizer")
_POLL_SECONDS = 0.1
_MAX_TEXT = 300
_MAX_NOTES = 20
_CLOSED_FORM = "leave --exact out: the closed form needs no packages"
_ALONE = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Simulated:
    """What one steady training step needs, found by running it without data."""

    allocated_gib: float
    reserved_gib: float
    """Without a card's limit: before it runs out, torch gives back what it only keeps."""
    phases_gib: Mapping[str, float]
    """At rest, and the ends and peaks of forward, backward and update."""
    phase: str
    trainable_params: int
    total_params: int
    versions: Mapping[str, str]
    notes: tuple[str, ...]
    seconds: float


def simulate(
    python: Path,
    config: Mapping[str, object],
    work: Workload,
    environ: Mapping[str, str],
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    max_rss_bytes: int = MAX_RSS_BYTES,
) -> Simulated:
    """Run the simulation of a model's config.json, or of {"model_path": its folder}.

    Raises:
        RunError: it cannot be simulated; says why and what to do.
    """
    started = time.monotonic()
    request = json.dumps({"config": dict(config), "workload": _asked(work)}, default=str).encode()
    data = _run(python, request, environ, started + timeout_seconds, max_rss_bytes)
    return read_answer(data, time.monotonic() - started)


def _asked(work: Workload) -> dict[str, object]:
    fields = asdict(work)
    del fields["assumptions"]
    return fields


def _run(
    python: Path, request: bytes, environ: Mapping[str, str], deadline: float, max_rss_bytes: int
) -> bytes:
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as answer:
        asked.write(request)
        asked.seek(0)
        own = {name: text for name, text in quiet(environ).items() if name != "PYTHONHOME"}
        argv = (os.fspath(python), os.fspath(SCRIPT))
        try:
            with running(argv, own | _ALONE, stdin=asked, stdout=answer) as child:
                with contextlib.suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, child.pid, 19)
                reason = _watch(child, answer, deadline, max_rss_bytes)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise RunError(
                f"{python} cannot be run: {why}",
                remedy="--python names the Python that LLaMA-Factory is installed in",
            ) from error
        if reason:
            raise RunError(reason, remedy=_CLOSED_FORM)
        answer.seek(0)
        return answer.read(MAX_ANSWER_BYTES)


def _watch(
    child: subprocess.Popen[bytes], answer: IO[bytes], deadline: float, max_rss_bytes: int
) -> str:
    """Wait for the end; return why it was not waited for, empty where it came."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_SECONDS)
            return ""
        if time.monotonic() > deadline:
            return "the simulation did not end in time"
        if os.fstat(answer.fileno()).st_size > MAX_ANSWER_BYTES:
            return "the simulation's answer is too long"
        with contextlib.suppress(psutil.Error):
            if psutil.Process(child.pid).memory_info().rss > max_rss_bytes:
                return f"the simulation needed more than {max_rss_bytes / 2**30:.0f} GiB of memory"


def read_answer(data: bytes, seconds: float = 0.0) -> Simulated:
    """Return what an answer says; lines of others before it are passed over.

    Raises:
        RunError: it is an error, or no answer.
    """
    answer = _answer(data)
    if "error" in answer:
        remedy = _text(answer.get("remedy"))
        raise RunError(_text(answer["error"]) or "the simulation failed", remedy=remedy)
    phases = {
        _text(name): _gib(size) for name, size in list(_mapping(answer.get("phases_gib")).items())
    }
    phase = _text(answer.get("phase"))
    if phase not in PHASES:
        raise _malformed()
    notes = answer.get("notes")
    versions = _mapping(answer.get("versions"))
    return Simulated(
        allocated_gib=_gib(answer.get("allocated_gib")),
        reserved_gib=_gib(answer.get("reserved_gib")),
        phases_gib=phases,
        phase=phase,
        trainable_params=_count(answer.get("trainable_params")),
        total_params=_count(answer.get("total_params")),
        versions={_text(name): _text(text) for name, text in list(versions.items())[:_MAX_NOTES]},
        notes=tuple(_text(one) for one in notes[:_MAX_NOTES]) if isinstance(notes, list) else (),
        seconds=seconds,
    )


def _answer(data: bytes) -> Mapping[str, object]:
    for line in reversed(data.splitlines()):
        if line.startswith(b"{"):
            with contextlib.suppress(ValueError, RecursionError):
                return _mapping(json.loads(line))
    raise RunError("the simulation gave no answer", remedy=_CLOSED_FORM)


def _malformed() -> RunError:
    return RunError("the simulation's answer is malformed", remedy=_CLOSED_FORM)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return " ".join(clean(value[:_MAX_TEXT].encode(errors="replace")).split())


def _gib(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _malformed()
    if isinstance(value, float) and not math.isfinite(value):
        raise _malformed()
    if not 0 <= value < MAX_GIB:
        raise _malformed()
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_COUNT:
        raise _malformed()
    return value
