"""What a check tells of installed versions, and of what only some of them take."""

import json
from pathlib import Path

import pytest

from diagnostics.config.argv import parse_launch
from diagnostics.config.document import parse_document
from diagnostics.config.edit import unified_diff
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.environment_facts import Environment
from diagnostics.findings import Finding, Severity
from diagnostics.fixes import plan
from diagnostics.precheck.judge import foresee, judge
from diagnostics.ruleset import load_rules
from diagnostics.runs.surroundings import look_around

RULES = load_rules().rules
NEW = Environment(
    None, {"llamafactory": "0.9.5", "transformers": "5.6.0", "trl": "0.24.0", "torch": "2.9.0"}
)
OLD = Environment(
    None, {"llamafactory": "0.9.1", "transformers": "4.46.1", "trl": "0.9.6", "torch": "2.4.0"}
)
SOUND = """\
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
stage: sft
do_train: true
finetuning_type: lora
dataset: notes
template: qwen
output_dir: saves/notes
logging_steps: 5
save_steps: 20
report_to: none
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a folder with 200 samples."""
    samples = [{"instruction": f"{n}?", "input": "", "output": f"{n} is it."} for n in range(200)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.json").write_text(json.dumps(samples))
    (tmp_path / "data" / "dataset_info.json").write_text('{"notes": {"file_name": "notes.json"}}')
    return tmp_path


def told(
    text: str,
    cwd: Path,
    environment: Environment | None,
    *words: str,
    name: str = "train.yaml",
) -> tuple[EffectiveConfig, list[Finding]]:
    launch = parse_launch(("llamafactory-cli", "train", name, *words))
    config = EffectiveConfig(parse_document(text.encode(), Path(name)), launch)
    around = look_around(config, cwd, {}, environment)
    found = judge(RULES, config, around, foresee(config, around)).findings
    return config, [one for one in found if one.severity > Severity.NOTE]


def ids(text: str, cwd: Path, environment: Environment | None) -> list[tuple[str, str]]:
    return [(one.id, one.severity.label) for one in told(text, cwd, environment)[1]]


def with_lines(*lines: str) -> str:
    keys = {line.partition(":")[0] for line in lines}
    kept = [line for line in SOUND.splitlines() if line.partition(":")[0] not in keys]
    return "\n".join((*kept, *lines)) + "\n"


@pytest.mark.parametrize(
    ("lines", "rule_id", "severity"),
    [
        (("shift_attn: true",), "version.transformers_range", "warning"),
        (("report_to:",), "args.invalid_value", "critical"),
        (
            ("streaming: true", "max_steps: 50", "dataloader_num_workers: 0"),
            "data.streaming",
            "critical",
        ),
    ],
)
def test_what_a_newer_library_no_longer_takes_is_told_where_it_is_installed(
    lines: tuple[str, ...], rule_id: str, severity: str, project: Path
) -> None:
    text = with_lines(*lines)

    assert ids(text, project, NEW) == [(rule_id, severity)]
    assert ids(text, project, OLD) == []
    assert ids(text, project, None) == []


def test_ppo_is_refused_where_trl_is_newer_than_what_it_is_written_for(project: Path) -> None:
    text = with_lines("stage: ppo", "reward_model: someone/reward")

    assert ids(text, project, NEW) == [("version.transformers_range", "critical")]
    assert ids(text, project, OLD) == []


@pytest.mark.parametrize("loss", ["hinge", "ipo", "kto_pair"])
def test_a_loss_that_trl_is_not_told_of_is_a_warning(loss: str, tmp_path: Path) -> None:
    text = with_lines("stage: dpo", "dataset: someone/pairs", f"pref_loss: {loss}")

    assert ids(text, tmp_path, NEW) == [("version.transformers_range", "warning")]
    assert ids(text, tmp_path, OLD) == []


def test_a_json_config_is_refused_by_the_version_that_cannot_read_one(project: Path) -> None:
    values = dict(parse_document(SOUND.encode(), None).values)
    text = json.dumps(values)

    assert [one.id for one in told(text, project, NEW, name="a.json")[1]] == ["args.yaml_syntax"]
    assert told(text, project, OLD, name="a.json")[1] == []
    assert told(text, project, NEW, name="a.yaml")[1] == []


def test_a_config_of_chat_or_export_is_not_told_to_train_on_the_cpu(tmp_path: Path) -> None:
    bare = Environment(None, {"torch": "2.9.0+cpu"})
    text = "model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct\ntemplate: qwen\nexport_dir: out\n"

    assert ids(text, tmp_path, bare) == []


def test_a_key_with_dashes_on_the_command_line_becomes_the_key_and_keeps_its_value(
    project: Path,
) -> None:
    config, found = told(with_lines("lora_rank: 8"), project, None, "--lora_rank=16")
    fix = next(one for one in found[0].fixes if one.id == "args_rename_keys")

    after = plan(fix, config).after

    assert after.value("lora_rank") == 16
    assert not after.is_set("--lora_rank")


def test_dropping_a_key_that_is_not_known_leaves_its_namesake_alone(project: Path) -> None:
    config, found = told(with_lines("lora_rank: 8"), project, None, "--lora_rank=16")
    fix = next(one for one in found[0].fixes if one.id == "args_drop_keys")

    after = plan(fix, config).after

    assert (after.value("lora_rank"), after.is_set("--lora_rank")) == (8, False)


def test_a_key_that_is_written_with_a_dash_is_renamed(project: Path) -> None:
    config, found = told(with_lines("learning-rate: 1.0e-4"), project, None)
    fix = next(one for one in found[0].fixes if one.id == "args_rename_keys")
    after = plan(fix, config).after
    assert config.document is not None
    assert after.document is not None

    diff = unified_diff(config.document.text, after.document.text, "a")

    assert "-learning-rate: 1.0e-4" in diff
    assert "+learning_rate: 0.0001" in diff


def test_a_val_size_of_all_is_told_and_of_one_sample_is_not(project: Path) -> None:
    assert ids(with_lines("val_size: 1.0"), project, None) == [("data.val_size", "critical")]
    assert ids(with_lines("val_size: 1"), project, None) == []
