"""The command line as a person and a program use it: real processes, exit codes, one clear line."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tui.command_line import llamavet

OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
    "capacity of 23.65 GiB of which 1.20 GiB is free.\n"
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
    (tmp_path / "plain.log").write_text("all is well\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["analyze", "nosuch"], "nosuch: no such file, folder or run"),
        (["analyze", "nothing"], "nothing: no run in this folder"),
        (["analyze", "binary.log"], "binary.log: is a binary file"),
        (["analyze", "empty.log"], "empty.log: is empty"),
        (["analyze", "-"], "-: standard input is empty"),
        (["analyze", "*.nosuch"], "*.nosuch: nothing matches it"),
        (["analyze", "good.yaml"], "nothing that a run with this config left was found"),
        (["analyze", "broken.yaml"], "broken.yaml:2:"),
        (["analyze", "plain.log"], "plain.log: nothing in it is of a LLaMA-Factory training"),
        (["run", "nosuch.yaml"], "nosuch.yaml: cannot be read: No such file"),
        (["run", "broken.yaml"], "broken.yaml:2:"),
        (["run", "twice.yaml"], "twice.yaml:2:1:"),
        (["run", "good.yaml", "lora_rank"], "'lora_rank' is not of the form key=value"),
        (["run", "good.yaml"], "llamafactory-cli is not on the PATH"),
        (["run", "good.yaml", "--read-only"], "--read-only forbids launching"),
        (["estimate", "good.yaml", "lora_rank"], "'lora_rank' is not of the form key=value"),
        (["check", "good.yaml", "lora_rank"], "'lora_rank' is not of the form key=value"),
        (["check", "/dev/zero"], "/dev/zero: has more than the 4,194,304 bytes"),
        (["estimate", "no\x1b[31msuch.yaml"], "no\ufffd[31msuch.yaml: cannot be read"),
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
        "name", "logs",
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
        ("import tui.cli", ["textual", "pynvml", "torch", "psutil", "yaml"]),
        ("import tui.cli; sys.exit = print; tui.cli.main(['analyze', '-'])",
         ["textual", "pynvml", "psutil", "subprocess", "diagnostics.casebook",
          "diagnostics.demo", "diagnostics.runs.heal"]),
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


@pytest.fixture
def broken_run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "stdout.log").write_text(OOM)
    (folder / "train.yaml").write_text("model_name_or_path: m\nper_device_train_batch_size: 4\n")
    return tmp_path


@pytest.mark.parametrize(
    ("level", "code"), [("note", 1), ("warning", 1), ("critical", 1), ("never", 0)]
)
def test_fail_on_says_from_where_on_a_finding_is_a_failure(broken_run: Path, level: str, code: int):
    assert llamavet("analyze", "run", "--fail-on", level, cwd=broken_run).returncode == code


def test_a_run_in_order_exits_with_0(tmp_path: Path):
    row = '{"current_steps": 1, "total_steps": 1, "loss": 1.0, "percentage": 100.0}\n'
    (tmp_path / "trainer_log.jsonl").write_text(row)

    done = llamavet("analyze", ".", cwd=tmp_path)

    assert done.returncode == 0
    assert b"Nothing wrong was found." in done.stdout


def test_several_runs_make_a_section_each_and_a_list_in_json(broken_run: Path):
    (broken_run / "other.log").write_text(OOM)

    text = llamavet("analyze", "run", "other.log", cwd=broken_run).stdout.decode()
    value = json.loads(
        llamavet("analyze", "run", "other.log", "--format", "json", cwd=broken_run).stdout
    )

    assert text.count("CRITICAL") == 2
    assert text.count("\n" + "=" * 80 + "\n") == 1
    assert value["schema"] == 1
    assert [run["run"]["name"] for run in value["runs"]] == ["run", "other.log"]


def test_a_path_that_cannot_be_read_does_not_hide_the_others(broken_run: Path):
    done = llamavet("analyze", "nosuch", "run", cwd=broken_run)

    assert done.returncode == 2
    assert b"CRITICAL" in done.stdout
    assert done.stderr.startswith(b"llamavet: nosuch: no such file, folder or run")


def test_what_a_pattern_matches_besides_runs_is_passed_over(broken_run: Path):
    (broken_run / "install.log").write_text("ok\n")

    done = llamavet("analyze", "*/*.log", "*.log", cwd=broken_run)

    assert done.returncode == 1
    assert done.stdout.count(b"CRITICAL") == 1
    assert done.stderr == b""


def test_json_comes_out_even_where_nothing_is_recognised(tmp_path: Path):
    done = llamavet("analyze", "-", "--format", "json", cwd=tmp_path, stdin=b"hello\n")

    assert json.loads(done.stdout)["findings"] == []
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("form", "start"), [("md", b"### llamavet: "), ("html", b"<!doctype html>")]
)
def test_the_report_comes_as_markdown_and_as_a_page(broken_run: Path, form: str, start: bytes):
    done = llamavet("analyze", "run", "--format", form, cwd=broken_run)

    assert done.stdout.startswith(start)
    assert b"per_device_train_batch_size: 2" in done.stdout
    assert done.returncode == 1


def test_the_mended_config_is_written_and_says_what_was_changed(broken_run: Path):
    done = llamavet("analyze", "run", "--write-config", "mended.yaml", cwd=broken_run)

    assert (broken_run / "mended.yaml").read_text() == (
        "model_name_or_path: m\nper_device_train_batch_size: 2\ngradient_accumulation_steps: 2\n"
    )
    assert done.stderr.decode() == (
        "llamavet: mended.yaml: written with per_device_train_batch_size 4 -> 2,"
        " gradient_accumulation_steps 2; run/train.yaml is as it was\n"
    )
    assert b"\n    llamafactory-cli train mended.yaml\n" in done.stdout


def test_another_fix_can_be_chosen_and_written(broken_run: Path):
    words = ["analyze", "run", "--fix", "shorter_cutoff", "--write-config", "mended.yaml"]
    done = llamavet(*words, cwd=broken_run)

    assert "cutoff_len: 1024\n" in (broken_run / "mended.yaml").read_text()
    assert b"+cutoff_len: 1024" in done.stdout


def test_a_file_that_exists_is_overwritten_only_by_force_and_the_own_config_never(
    broken_run: Path,
):
    target = broken_run / "mended.yaml"
    target.write_text("mine\n")

    refused = llamavet("analyze", "run", "--write-config", "mended.yaml", cwd=broken_run)
    assert refused.returncode == 2
    assert refused.stderr == b"llamavet: mended.yaml: exists already; --force overwrites it\n"
    assert b"CRITICAL" in refused.stdout
    assert target.read_text() == "mine\n"

    forced = ["analyze", "run", "--write-config", "mended.yaml", "--force"]
    assert llamavet(*forced, cwd=broken_run).returncode == 1
    assert "per_device_train_batch_size: 2" in target.read_text()

    own = ["analyze", "run", "--write-config", "run/train.yaml", "--force"]
    done = llamavet(*own, cwd=broken_run)
    assert done.returncode == 2
    assert b"own config" in done.stderr
    assert "per_device_train_batch_size: 4" in (broken_run / "run" / "train.yaml").read_text()


def test_a_terminal_that_lacks_a_character_gets_a_question_mark_and_no_traceback(broken_run: Path):
    done = llamavet(
        "analyze", "run", "--lang", "zh", cwd=broken_run, PYTHONIOENCODING="ascii:strict"
    )

    assert done.returncode == 1
    assert b"?" in done.stdout
    assert b"Traceback" not in done.stderr


def test_a_name_that_is_no_utf_8_is_shown_and_not_stumbled_over(tmp_path: Path):
    name = b"caf\xe9.log"
    (tmp_path / os.fsdecode(name)).write_text(OOM)

    for form in ("text", "json", "md", "html"):
        done = llamavet("analyze", os.fsdecode(name), "--format", form, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr == b""
        done.stdout.decode()


def test_a_packed_log_that_is_torn_is_told_and_what_could_be_read_is_reported(tmp_path: Path):
    lines = "".join(f"INFO line {number} {number * 7919 % 9973}\n" for number in range(3000))
    text = lines + "ValueError: Undefined dataset x in dataset_info.json.\n" + lines
    torn = gzip.compress(text.encode())
    (tmp_path / "torn.log.gz").write_bytes(torn[: len(torn) * 3 // 4])

    done = llamavet("analyze", "torn.log.gz", "--format", "json", cwd=tmp_path)

    assert "torn.log.gz: ends before its content does; what could be read" in done.stderr.decode()
    assert json.loads(done.stdout)["findings"][0]["id"] == "data.undefined_dataset"
    assert done.returncode == 1


def test_a_report_that_cannot_be_written_is_one_clear_line(bad: Path):
    command = [sys.executable, "-P", "-m", "tui.cli", "check", "good.yaml", "--no-probe"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, cwd=bad, env=environ, stdout=full, stderr=subprocess.PIPE, check=False
        )

    assert done.returncode == 2
    assert done.stderr == b"llamavet: the report cannot be written: No space left on device\n"
