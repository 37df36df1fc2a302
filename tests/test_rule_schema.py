"""The JSON Schema of rule files agrees with what the reader takes and refuses."""

import shutil
from pathlib import Path

import jsonschema
import pytest
import yaml

from diagnostics.rule_schema import rule_schema
from diagnostics.ruleset import bundled_rules, load_rules

FILES = [path for path in bundled_rules().rglob("*.yaml") if not path.name.endswith(".test.yaml")]
VALIDATOR = jsonschema.Draft202012Validator(rule_schema())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_that_ships_is_valid_by_the_schema(path: Path):
    value = yaml.safe_load(path.read_text(encoding="utf-8"))

    assert [error.message for error in VALIDATOR.iter_errors(value)] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("severity: critical", "severity: grave"),
        ("title:", "titel:"),
        ("signal: run.exit_code", "signal: run.exitcode"),
        ("needs: [log]", "needs: [lgo]"),
        ("in: [-9", "equals: [-9"),
    ],
)
def test_what_the_reader_refuses_the_schema_refuses(tmp_path: Path, old: str, new: str):
    text = (bundled_rules() / "run" / "run.killed.yaml").read_text(encoding="utf-8")
    assert old in text
    wrong = text.replace(old, new, 1)
    shutil.copytree(bundled_rules() / "fixes", tmp_path / "fixes")
    rule = tmp_path / "rule.yaml"
    rule.write_text(text, encoding="utf-8")
    assert load_rules([tmp_path]).faults == ()
    rule.write_text(wrong, encoding="utf-8")

    assert load_rules([tmp_path]).faults
    assert not VALIDATOR.is_valid(yaml.safe_load(wrong))


def test_a_tuning_is_valid():
    assert VALIDATOR.is_valid({"tune": "run.killed", "enabled": False, "thresholds": {"a": 1}})
    assert not VALIDATOR.is_valid({"tune": "run.killed", "enable": False})
