"""Owns asking the training's own Python what it has: packages, arguments, GPUs.

A small script of ours runs there, at the lowest priority, within a time limit, without the network
and without opening a GPU. Nothing of that environment is imported into our process, and what it
answers is checked like any other foreign text. Answers are kept until the environment changes; the
GPUs are asked each time.
"""

import contextlib
import hashlib
import json
import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from diagnostics.config.environment_facts import Environment, Gpu
from diagnostics.config.schema import read_keys
from diagnostics.errors import LlamavetError
from diagnostics.runs.environment import TrainingEnvironment, find_python, probe_environment
from diagnostics.runs.files import make_private_folder, read_json, write_json
from diagnostics.runs.other_python import quiet, running

TIMEOUT_SECONDS = 30.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
_FORM = 1
"""Raised whenever the script answers in another way."""
_SCRIPT = Path(__file__).with_name("environment_script.py")
_CLI = "llamafactory-cli"
_MAX_TEXT = 200
_MAX_PACKAGES = 500
_MAX_GPUS = 64
_MAX_BYTES = 2**60

Answers = dict[str, object]


def probe(
    python: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Environment:
    """Return what the training's environment has; never fails, but says why it knows nothing.

    `python` is what the user named; else it is the one of the llamafactory-cli on the PATH, or of
    the virtual environment that is active. `environ` and `cwd` are the training's.
    """
    if python is not None:
        named = {**environ, "PATH": ""}  # no other one in its stead
        found = find_python((str(cwd / python),), named, cwd)
        if found is None or not os.access(found, os.X_OK):
            return Environment(python, reason=f"{python} is no Python that can be run")
        return _ask(found, environ, cwd, timeout_seconds)
    last: Environment | None = None
    for candidate in _candidates(environ, cwd):
        last = _ask(candidate, environ, cwd, timeout_seconds)
        if last.has("llamafactory"):
            return last
    if last is not None and not last.versions:
        return last
    return Environment(None, reason="no Python with LLaMA-Factory was found; --python names one")


def _candidates(environ: Mapping[str, str], cwd: Path) -> Iterator[Path]:
    found = find_python((_CLI,), environ, cwd)
    if found is not None:
        yield found
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = environ.get(name)
        if prefix and "\0" not in prefix:
            python = find_python((str(cwd / prefix / "bin" / "python"),), environ, cwd)
            if python is not None and python != found:
                yield python


def _ask(
    python: Path, environ: Mapping[str, str], cwd: Path, timeout_seconds: float
) -> Environment:
    seen = probe_environment((str(python),), environ, cwd)
    stamp = _stamp(python, environ, seen)
    kept = _kept(python)
    if kept is not None and kept.get("stamp") == stamp:
        answers: Answers = dict(kept)
        gpus, reason = _run(python, ("--only-gpus",), environ, cwd, timeout_seconds)
        answers["gpus"] = gpus.get("gpus")
    else:
        answers, reason = _run(python, (), environ, cwd, timeout_seconds)
        if reason is None and "packages" in answers:
            _keep(python, {**answers, "stamp": stamp})
    environment = read_answers(python, answers, environ)
    return replace(environment, reason=reason) if reason is not None else environment


def read_answers(
    python: Path, answers: Mapping[str, object], environ: Mapping[str, str]
) -> Environment:
    """Return the environment that a script's answers tell of; what is malformed is left out."""
    packages = _mapping(answers.get("packages"))
    raw = list(_mapping(packages.get("versions")).items())[:_MAX_PACKAGES]
    versions = {
        name: _text(value)
        for name, value in raw
        if len(name) <= _MAX_TEXT and (value is None or _text(value) is not None)
    }
    keys = read_keys(answers.get("keys"))
    error = _text(answers.get("keys_error"))
    reason = f"its arguments could not be read: {error}" if error is not None else None
    told = _mapping(answers.get("gpus"))
    source = _text(told.get("source"))
    gpus = tuple(_gpus(told.get("list"))) if source is not None else ()
    visible = _visible(gpus, environ)
    return Environment(
        python=python,
        versions=versions,
        gpus=visible or (),
        gpu_source=source if visible is not None else None,
        cuda=_text(packages.get("cuda")),
        python_version=_text(packages.get("python")),
        keys=keys or None,
        reason=reason if packages else reason or "it did not answer",
    )


def _gpus(raw: object) -> Iterator[Gpu]:
    for one in raw[:_MAX_GPUS] if isinstance(raw, list) else ():
        entry = _mapping(one)
        name, total, level = (
            _text(entry.get("name")),
            entry.get("total_bytes"),
            entry.get("capability"),
        )
        is_size = isinstance(total, int) and not isinstance(total, bool) and 0 < total < _MAX_BYTES
        yield Gpu(
            name or "GPU",
            total if isinstance(total, int) and is_size else None,
            _capability(level),
        )


def _capability(raw: object) -> tuple[int, int] | None:
    match raw:
        case [int(major), int(minor)] if 0 < major < 100 and 0 <= minor < 100:  # noqa: PLR2004
            return major, minor
    return None


def _visible(gpus: tuple[Gpu, ...], environ: Mapping[str, str]) -> tuple[Gpu, ...] | None:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves; None where that cannot be told.

    CUDA numbers them by speed unless told to go by the bus, as the driver does.
    """
    asked = environ.get("CUDA_VISIBLE_DEVICES")
    if asked is None or not gpus:
        return gpus
    words = [word.strip() for word in asked.split(",") if word.strip()]
    if not words or words[0] == "-1":
        return ()
    if len(set(gpus)) == 1:
        return gpus[: len(words)]
    if environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" or not all(w.isdecimal() for w in words):
        return None
    return tuple(gpus[int(word)] for word in words if len(word) < 4 and int(word) < len(gpus))  # noqa: PLR2004


def _run(
    python: Path,
    options: Sequence[str],
    environ: Mapping[str, str],
    cwd: Path,
    timeout_seconds: float,
) -> tuple[Answers, str | None]:
    """Run the script; return its answers, and why there are no more of them."""
    argv = [os.fspath(python), "-B", os.fspath(_SCRIPT), *options]
    try:
        with running(
            argv, _environ(environ, cwd), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as child:
            data, reason = _read(child.stdout, timeout_seconds)
    except (OSError, ValueError) as error:
        return {}, f"{python} cannot be run: {getattr(error, 'strerror', None) or error}"
    answers = _answers(data)
    if reason is None and not answers:
        reason = f"{python} gave no answer"
    return answers, reason


def _read(stdout: IO[bytes] | None, timeout_seconds: float) -> tuple[bytes, str | None]:
    if stdout is None:
        return b"", "it cannot be read"
    deadline = time.monotonic() + timeout_seconds
    data = bytearray()
    with stdout, selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while len(data) <= MAX_ANSWER_BYTES:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                return bytes(data), f"it did not answer within {timeout_seconds:g} s"
            piece = os.read(stdout.fileno(), 65536)
            if not piece:
                return bytes(data), None
            data += piece
    return b"", "its answer is too long"


def _answers(data: bytes) -> Answers:
    """Return what the lines say; lines of others, such as a .pth file's, are passed over."""
    found: Answers = {}
    for line in data.splitlines():
        if line.startswith(b"{"):
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(line)
                if isinstance(value, dict):
                    found.update(value)
    return found


def _environ(environ: Mapping[str, str], cwd: Path) -> dict[str, str]:
    """Return the training's environment, quiet; relative parts of a path mean its own folder."""
    own = quiet(environ)
    if own.get("PYTHONPATH"):
        parts = own["PYTHONPATH"].split(os.pathsep)
        own["PYTHONPATH"] = os.pathsep.join(str(cwd / part) for part in parts if part)
    return own


def _stamp(python: Path, environ: Mapping[str, str], seen: TrainingEnvironment) -> str:
    """Return what changes with every package that is installed, removed or edited."""
    places = [python, *seen.site_packages]
    if seen.llamafactory_dir is not None:
        own = seen.llamafactory_dir
        places += [own / "extras" / "env.py", own / "hparams"]
        with contextlib.suppress(OSError):
            places += sorted((own / "hparams").glob("*.py"))[:50]
    lines = [str(_FORM), environ.get("PYTHONPATH", "")]
    for place in places:
        with contextlib.suppress(OSError, ValueError):
            lines.append(f"{place} {place.stat().st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _cache_file(python: Path) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    name = hashlib.sha256(os.fsencode(python)).hexdigest()[:32]
    return Path(base).expanduser() / "llamavet" / "environments" / f"{name}.json"


def _kept(python: Path) -> Answers | None:
    path = _cache_file(python)
    try:
        if path.is_symlink() or path.stat().st_uid != os.geteuid():
            return None
    except (OSError, ValueError):
        return None
    return read_json(path)


def _keep(python: Path, answers: Mapping[str, object]) -> None:
    path = _cache_file(python)
    told = {name: answers.get(name) for name in ("packages", "keys", "keys_error", "stamp")}
    with contextlib.suppress(LlamavetError):  # without a cache it is asked each time
        make_private_folder(path.parent)
        write_json(path, told)


def _mapping(raw: object) -> Mapping[str, object]:
    return {str(k): v for k, v in raw.items()} if isinstance(raw, dict) else {}


def _text(raw: object) -> str | None:
    """Return a short printable text, None for everything else."""
    if not isinstance(raw, str) or len(raw) > 2 * _MAX_TEXT or not raw.isprintable():
        return None
    return raw
