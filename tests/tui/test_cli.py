"""The command line as a person and a program use it: real processes, exit codes, one clear line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
    "capacity of 23.65 GiB of which 1.20 GiB is free.\n"
)


def llamavet(
    *words: str, cwd: Path, stdin: bytes | None = None, **environ: str
) -> subprocess.CompletedProcess[bytes]:
    environment = {
        **os.environ,
        "LLAMAVET_STATE_DIR": str(cwd / "state"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        **environ,
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "tui.cli", *words],
        cwd=cwd,
        env=environment,
        input=stdin if stdin is not None else b"",
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_the_demo_without_a_terminal_heals_itself_and_exits_0(tmp_path: Path):
    done = llamavet("demo", "--folder", "demo", cwd=tmp_path, LLAMAVET_DEMO_SPEED="10")

    out = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert out.startswith("SIMULATED run demo")
    assert "critical: GPU out of memory in a training step [gpu_oom.train]" in out
    assert "-per_device_train_batch_size: 8" in out
    assert "+per_device_train_batch_size: 4" in out
    assert "finished at step 60: cured" in out
    config = (tmp_path / "demo" / "demo.yaml").read_text()
    assert "gradient_accumulation_steps: 4  #" in config


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "binary.log").write_bytes(bytes(range(256)) * 64)
    (tmp_path / "empty.log").write_bytes(b"")
    (tmp_path / "broken.yaml").write_text("a: [1\nb: 2\n")
    (tmp_path / "twice.yaml").write_text("a: 1\na: 2\n")
    (tmp_path / "good.yaml").write_text("output_dir: out\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["analyze", "nosuch"], "nosuch: no such file, folder or run"),
        (["analyze", "nothing"], "nothing: no run in this folder"),
        (["analyze", "binary.log"], "binary.log: is a binary file"),
        (["analyze", "empty.log"], "empty.log: is empty"),
        (["analyze", "-"], "-: standard input is empty"),
        (["run", "nosuch.yaml"], "nosuch.yaml: cannot be read: No such file"),
        (["run", "broken.yaml"], "broken.yaml:2:"),
        (["run", "twice.yaml"], "twice.yaml:2:1:"),
        (["run", "good.yaml", "lora_rank"], "'lora_rank' is not of the form key=value"),
        (["run", "good.yaml"], "llamafactory-cli is not on the PATH"),
        (["run", "good.yaml", "--read-only"], "--read-only forbids launching"),
        (["watch", "1"], "pid 1: "),
        (["watch", "4194304"], "pid 4194304: no such process"),
        (["watch"], "the dashboard needs a terminal"),
        (["stop", "nothing"], "nothing: no run in this folder"),
        (["undo"], "no change of llamavet's is recorded"),
        (["rules", "show", "nosuch"], "nosuch: no such rule"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_clear_line_on_stderr_and_exit_code_2(
    bad: Path, words: list[str], said: str
):
    done = llamavet(*words, cwd=bad)

    assert done.returncode == 2
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("llamavet: ")
    assert said in lines[0]


def test_state_that_cannot_be_written_is_one_clear_line_and_nothing_is_launched(tmp_path: Path):
    done = llamavet("demo", "--folder", "demo", cwd=tmp_path, LLAMAVET_STATE_DIR="/proc/nowhere")

    assert done.returncode == 2
    assert b"set LLAMAVET_STATE_DIR" in done.stderr
    assert not (tmp_path / "demo" / "saves").exists()


def test_analyze_prints_only_its_json_and_exits_1_for_a_critical_finding(tmp_path: Path):
    (tmp_path / "stdout.log").write_text(OOM)
    (tmp_path / "config.yaml").write_text("model_name_or_path: m\nper_device_train_batch_size: 4\n")

    done = llamavet("analyze", ".", "--format", "json", cwd=tmp_path)

    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["schema"] == 1
    assert set(report["run"]) == {
        "config", "output_dir", "llamafactory", "status", "exit_code", "step", "total_steps",
    }  # fmt: skip
    finding = report["findings"][0]
    assert (finding["id"], finding["primary"], finding["severity"]) == ("gpu_oom", True, "critical")
    assert finding["evidence"][0]["source"] == "stdout.log"
    assert finding["evidence"][0]["line"] == 1
    assert finding["fixes"][0]["changes"] == [
        {"key": "per_device_train_batch_size", "from": 4, "to": 2},
        {"key": "gradient_accumulation_steps", "from": None, "to": 2},
    ]
    assert done.stderr == b""


def test_a_log_comes_through_standard_input_too_and_speaks_chinese(tmp_path: Path):
    done = llamavet("analyze", "-", "--lang", "zh", cwd=tmp_path, stdin=OOM.encode())

    assert done.returncode == 1
    assert "显存不足" in done.stdout.decode()


def test_escape_codes_and_markup_of_a_log_reach_the_report_inert(tmp_path: Path):
    hostile = OOM.replace("CUDA out", "\x1b]0;owned\x07\x1b[2J[bold]CUDA out")
    done = llamavet("analyze", "-", cwd=tmp_path, stdin=hostile.encode())

    assert b"\x1b" not in done.stdout
    assert b"[bold]CUDA out of memory" in done.stdout


@pytest.mark.parametrize(
    ("code", "banned"),
    [
        ("import tui.cli", ["textual", "pynvml", "torch"]),
        ("import diagnostics.engine, diagnostics.casebook, diagnostics.report",
         ["psutil", "subprocess", "threading", "textual", "pynvml"]),
    ],
)  # fmt: skip
def test_imports_stay_within_their_room(code: str, banned: list[str], tmp_path: Path):
    script = f"import sys; {code}; print([n for n in {banned!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"
