"""`llamavet check` as a person and a CI job use it: real processes, exit codes, files written."""

import json
import os
from pathlib import Path

import jsonschema
import pytest

from tests.tui.command_line import llamavet

GOOD = (
    "model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct\nstage: sft\ndo_train: true\ntemplate: qwen\n"
)
GOOD += "dataset: notes\noutput_dir: out\nlearning_rate: 1.0e-4\nlogging_steps: 1\nsave_steps: 9\n"
GOOD += "per_device_train_batch_size: 1\n"
BAD = GOOD + "lr_scheduler_typ: cosine  # mine\nfinetuning_type: lorra\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    samples = [{"instruction": f"{n}?", "input": "", "output": f"{n} it is"} for n in range(120)]
    (data / "notes.json").write_text(json.dumps(samples))
    (data / "dataset_info.json").write_text('{"notes": {"file_name": "notes.json"}}')
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)
    return tmp_path


def test_a_clean_config_is_told_in_a_line_and_exits_0(project: Path):
    done = llamavet("check", "good.yaml", "--no-probe", cwd=project)

    assert done.returncode == 0
    out = done.stdout.decode()
    assert out.startswith("nothing found (")
    assert "10 keys looked at; not looked at: installed packages (--no-probe)" in out.replace(
        "\n", " "
    )
    assert done.stderr == b""


def test_each_finding_begins_with_its_place_and_has_a_diff(project: Path):
    done = llamavet("check", "bad.yaml", cwd=project)

    assert done.returncode == 1
    out = done.stdout.decode()
    assert "bad.yaml:11:1 critical args.unknown_key\n" in out
    assert "bad.yaml:12:1 critical args.invalid_value\n" in out
    assert "    -lr_scheduler_typ: cosine  # mine\n" in out
    assert "    +lr_scheduler_type: cosine\n" in out
    assert "    +finetuning_type: lora\n" in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_is_that_of_analyze_with_columns(project: Path):
    done = llamavet("check", "bad.yaml", "--format", "json", cwd=project)

    value = json.loads(done.stdout)
    assert value["schema"] == 1
    assert value["run"]["status"] == "unknown"
    assert value["run"]["config"] == "bad.yaml"
    assert [one["primary"] for one in value["findings"]] == [True, False]
    first = value["findings"][0]
    assert first["id"] == "args.unknown_key"
    assert first["evidence"][0]["source"] == "bad.yaml"
    assert (first["evidence"][0]["line"], first["evidence"][0]["column"]) == (11, 1)
    assert any(fix["changes"] for fix in first["fixes"])
    schema = {
        "type": "object",
        "required": ["schema", "run", "findings", "blind", "not_looked_at"],
        "properties": {"blind": {"type": "array", "items": {"required": ["id", "missing"]}}},
    }
    jsonschema.validate(value, schema)


def test_markdown_has_a_heading_for_each_finding(project: Path):
    out = llamavet("check", "bad.yaml", "--format", "md", cwd=project).stdout.decode()

    assert "#### CRITICAL: A config key is not known (`args.unknown_key`)" in out
    assert "```diff" in out


def test_chinese_is_spoken_where_it_is_asked_for(project: Path):
    out = llamavet("check", "bad.yaml", "--lang", "zh", cwd=project).stdout.decode()

    assert "bad.yaml:11:1 严重 args.unknown_key" in out
    assert "配置中有未知的键" in out


@pytest.mark.parametrize(
    ("line", "fail_on", "code"),
    [
        ("template: llama3", "warning", 1),
        ("template: llama3", "critical", 0),
        ("template: llama3", "never", 0),
        ("finetuning_type: lorra", "critical", 1),
        ("finetuning_type: lorra", "never", 0),
        ("logging_steps: 500", "note", 1),
        ("logging_steps: 500", "warning", 0),
    ],
)
def test_the_exit_code_tells_whether_a_finding_is_bad_enough(
    line: str, fail_on: str, code: int, project: Path
):
    word = line.replace(": ", "=")

    assert (
        llamavet("check", "good.yaml", word, "--fail-on", fail_on, cwd=project).returncode == code
    )


def test_an_override_wins_and_is_shown_as_of_the_command_line(project: Path):
    done = llamavet("check", "good.yaml", "finetuning_type=lorra", cwd=project)

    assert done.returncode == 1
    assert done.stdout.decode().startswith("command line critical args.invalid_value\n")
    assert "finetuning_type: lorra" in done.stdout.decode()


def test_standard_input_is_read(project: Path):
    done = llamavet("check", "-", "--format", "json", cwd=project, stdin=BAD.encode())

    assert done.returncode == 1
    assert json.loads(done.stdout)["findings"][0]["evidence"][0]["line"] == 11


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("stage: sft\ndo_train: [\n", 3, 1), ("stage: sft\na: 1\na: 2\n", 3, 1)],
)
def test_yaml_that_does_not_parse_is_a_finding_with_its_place(
    text: str, line: int, column: int, project: Path
):
    (project / "broken.yaml").write_text(text)

    done = llamavet("check", "broken.yaml", "--format", "json", cwd=project)

    assert done.returncode == 1
    finding = json.loads(done.stdout)["findings"][0]
    assert (finding["id"], finding["severity"]) == ("args.yaml_syntax", "critical")
    place = finding["evidence"][0]
    assert (place["source"], place["line"], place["column"]) == ("broken.yaml", line, column)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.yaml"], "none.yaml: cannot be read: No such file or directory"),
        (["good.yaml", "word"], "'word' is not of the form key=value"),
        (["good.yaml", "--python", "none"], "none: no such Python"),
        (["good.yaml", "--fix", "lr=1"], "put --fix last"),
        (["good.yaml", "--fix", "no_such_fix"], "no_such_fix: no finding has this fix"),
        (["-", "--apply"], "--apply cannot write to standard input"),
        (["other.yaml"], "has no key of a LLaMA-Factory training"),
        (["accelerate.yaml"], "is a config of accelerate"),
        (["v1.yaml"], "is a config of USE_V1=1"),
    ],
)
def test_what_cannot_be_checked_is_one_clear_line_and_exit_2(
    words: list[str], said: str, project: Path
):
    (project / "other.yaml").write_text("name: x\n")
    (project / "accelerate.yaml").write_text("distributed_type: FSDP\nnum_processes: 2\n")
    (project / "v1.yaml").write_text("model: a/b\ntrain_dataset: data/x.yaml\n")

    done = llamavet("check", *words, cwd=project, stdin=GOOD.encode())

    assert done.returncode == 2
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_fix_shows_what_it_would_change_and_writes_nothing(project: Path):
    done = llamavet("check", "bad.yaml", "--fix", "args_rename_keys", cwd=project)

    assert done.returncode == 1
    said = done.stderr.decode()
    assert "would take args_rename_keys" in said
    assert "+lr_scheduler_type: cosine" in said
    assert (project / "bad.yaml").read_text() == BAD


def test_only_safe_fixes_are_taken_by_themselves(project: Path):
    (project / "late.yaml").write_text(GOOD.replace("save_steps: 9", "save_steps: 5000"))

    done = llamavet("check", "late.yaml", "--fix", cwd=project)

    assert "would take ckpt_save_sooner: save_steps 5000 -> 0.25" in done.stderr.decode()
    assert (
        "args_rename_keys"
        not in llamavet("check", "bad.yaml", "--fix", cwd=project).stderr.decode()
    )


def test_apply_writes_and_undo_puts_the_text_back(project: Path):
    words = ("bad.yaml", "--unsafe-fixes", "--apply")
    done = llamavet("check", *words, cwd=project)

    assert done.returncode == 0, done.stdout.decode()
    assert done.stdout.decode().startswith("nothing found")
    written = (project / "bad.yaml").read_text()
    assert written.startswith(GOOD)
    assert "lr_scheduler_type: cosine" in written
    assert "finetuning_type: lora\n" in written
    undone = llamavet("undo", "bad.yaml", cwd=project)
    assert undone.returncode == 0, undone.stderr.decode()
    assert (project / "bad.yaml").read_text() == BAD


def test_a_file_that_may_not_be_written_is_left_alone(project: Path):
    path = project / "bad.yaml"
    path.chmod(0o444)
    if os.access(path, os.W_OK):
        pytest.skip("root may write everything")

    done = llamavet("check", "bad.yaml", "--unsafe-fixes", "--apply", cwd=project)

    assert done.returncode == 2
    assert path.read_text() == BAD


def test_a_name_that_steers_a_terminal_is_shown_and_not_obeyed(project: Path):
    name = "b\x1b[31mad.yaml"
    (project / name).write_text(BAD)

    done = llamavet("check", name, cwd=project)

    assert b"\x1b" not in done.stdout
    assert "b\ufffd[31mad.yaml:11:1 critical" in done.stdout.decode()


def test_a_value_without_end_does_not_flood_the_report(project: Path):
    (project / "long.yaml").write_text(
        f"{GOOD}finetuning_type: lorra\ndataset_dir: {'x' * 10**5}\n"
    )

    done = llamavet("check", "long.yaml", cwd=project)

    assert b"finetuning_type: lora" in done.stdout
    assert len(done.stdout) < 10_000


def test_a_config_comes_through_a_pipe_with_words_over_it(project: Path):
    done = llamavet("check", "/dev/stdin", "stage=stf", cwd=project, stdin=GOOD.encode())

    assert done.stdout.startswith(b"command line critical args.invalid_value\n")
    assert b"stage: stf\n" in done.stdout


def test_what_advise_left_to_be_filled_in_is_told_wherever_the_data_are(tmp_path: Path):
    text = GOOD.replace("dataset: notes", "dataset: FILL_IN_YOUR_DATASET")
    (tmp_path / "new.yaml").write_text(text)

    done = llamavet("check", "new.yaml", "--no-probe", cwd=tmp_path)

    assert done.returncode == 1
    assert b"new.yaml:5:1 critical data.undefined_dataset.check\n" in done.stdout
