import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diagnostics.errors import RunError
from diagnostics.memory.workload import Workload
from diagnostics.runs.exact import MAX_ANSWER_BYTES, read_answer, simulate

ANSWER = {
    "allocated_gib": 12.5,
    "reserved_gib": 14.0,
    "phases_gib": {"static": 8.0},
    "phase": "loss",
    "trainable_params": 10,
    "total_params": 100,
    "versions": {"torch": "2.13.0"},
    "notes": ["modelled"],
}
Interpreter = Callable[[str], Path]


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    """Make a program that stands in for the training's Python and does what it is told."""

    def make(body: str) -> Path:
        path = tmp_path / "python"
        path.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def said(**changes: object) -> bytes:
    return json.dumps({**ANSWER, **changes}).encode()


def test_an_answer_is_read() -> None:
    found = read_answer(said(), 3.0)

    assert (found.allocated_gib, found.reserved_gib, found.phase) == (12.5, 14.0, "loss")
    assert (found.trainable_params, found.total_params, found.seconds) == (10, 100, 3.0)
    assert found.versions == {"torch": "2.13.0"}
    assert found.notes == ("modelled",)


def test_lines_of_others_around_the_answer_are_passed_over() -> None:
    assert read_answer(b"warning: x\n{broken\n" + said() + b"\nbye\n").allocated_gib == 12.5


@pytest.mark.parametrize(
    "answer",
    [
        said(allocated_gib=float("nan")),
        said(allocated_gib=float("inf")),
        said(allocated_gib=-1),
        said(allocated_gib="12"),
        said(allocated_gib=True),
        said(reserved_gib=10**400),
        said(phases_gib={"static": None}),
        said(phase="lunch"),
        said(total_params=-5),
        said(total_params=2.5),
        b"{}",
        b"",
        b"[1]",
        b"{" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_a_malformed_answer_is_an_error_with_a_remedy(answer: bytes) -> None:
    with pytest.raises(RunError) as caught:
        read_answer(answer)
    assert caught.value.remedy


def test_texts_of_an_answer_are_short_and_without_control_characters() -> None:
    found = read_answer(said(notes=["\x1b[31mred\x00 \nline", 5, "x" * 10_000] * 50))

    assert found.notes[0] == "red line"
    assert len(found.notes) <= 20
    assert all(len(note) <= 300 for note in found.notes)


def test_an_error_is_told_with_its_remedy() -> None:
    with pytest.raises(RunError) as caught:
        read_answer(b'{"error": "this Python has no torch", "remedy": "name another"}')

    assert caught.value.message == "this Python has no torch"
    assert caught.value.remedy == "name another"


def test_the_request_has_the_models_config_and_the_workload(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    python = interpreter(
        f"asked = sys.stdin.read(); open({str(tmp_path / 'asked')!r}, 'w').write(asked)\n"
        f"print(json.dumps({ANSWER!r}))"
    )
    simulate(python, {"model_type": "llama"}, Workload(sequence=512), os.environ)

    asked = json.loads((tmp_path / "asked").read_text())
    assert asked["config"] == {"model_type": "llama"}
    assert asked["workload"]["method"] == "lora"
    assert asked["workload"]["sequence"] == 512
    assert asked["workload"]["optimizer"]["name"] == "adamw_torch_fused"


def test_it_runs_without_a_gpu_and_without_the_network(interpreter: Interpreter) -> None:
    python = interpreter(
        f"answer = {ANSWER!r}\n"
        "names = ('CUDA_VISIBLE_DEVICES', 'HF_HUB_OFFLINE')\n"
        "answer['notes'] = [name + '=' + os.environ[name] for name in names]\n"
        "print(json.dumps(answer))"
    )
    found = simulate(python, {}, Workload(), {**os.environ, "CUDA_VISIBLE_DEVICES": "0"})

    assert found.notes == ("CUDA_VISIBLE_DEVICES=", "HF_HUB_OFFLINE=1")


def test_a_simulation_that_takes_too_long_is_ended(interpreter: Interpreter) -> None:
    python = interpreter("time.sleep(600)")

    with pytest.raises(RunError, match="in time"):
        simulate(python, {}, Workload(), os.environ, timeout_seconds=0.3)


def test_a_simulation_that_takes_too_much_memory_is_ended(interpreter: Interpreter) -> None:
    python = interpreter("held = bytearray(200 * 2**20); time.sleep(600)")

    with pytest.raises(RunError, match="memory"):
        simulate(python, {}, Workload(), os.environ, max_rss_bytes=100 * 2**20)


def test_an_answer_without_end_is_ended(interpreter: Interpreter) -> None:
    python = interpreter(f"while True: sys.stdout.write('x' * {MAX_ANSWER_BYTES})")

    with pytest.raises(RunError, match="too long"):
        simulate(python, {}, Workload(), os.environ)


def test_a_python_that_says_nothing_is_told(interpreter: Interpreter) -> None:
    with pytest.raises(RunError, match="no answer"):
        simulate(interpreter("sys.exit(3)"), {}, Workload(), os.environ)


def test_a_python_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be run") as caught:
        simulate(tmp_path / "absent", {}, Workload(), os.environ)
    assert "--python" in caught.value.remedy


def test_a_python_without_torch_is_told_as_one() -> None:
    bare = Path(sys.executable)
    try:
        import torch  # type: ignore[import-not-found, unused-ignore]  # noqa: F401, PLC0415, TID251
    except ModuleNotFoundError:
        with pytest.raises(RunError, match="this Python has no"):
            simulate(bare, {"model_type": "llama"}, Workload(), os.environ)
    else:
        pytest.skip("this Python has torch")
