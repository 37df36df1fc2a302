"""The examples in docs/writing-rules.md are what they claim to be."""

import re
from pathlib import Path

import yaml

from diagnostics.casebook import read_cases, run_case
from diagnostics.rule_reader import EDITS
from diagnostics.ruleset import bundled_rules, load_rules
from diagnostics.sources.dataset import look

TEXT = (Path(__file__).parent.parent / "docs" / "writing-rules.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n# ~/\.config/llamavet/rules/(\S+)\n(.*?)```", TEXT, re.DOTALL)


def test_the_example_rule_loads_and_its_cases_pass(tmp_path: Path):
    for name, text in BLOCKS:
        if name != "tuning.yaml":
            (tmp_path / name).write_text(text, encoding="utf-8")

    rules = load_rules([bundled_rules(), tmp_path])

    assert rules.faults == ()
    cases = read_cases(tmp_path / "site.quota.test.yaml")
    assert [run_case(case, rules, look) for case in cases] == [[], []]


def test_the_example_of_tuning_names_a_rule_and_a_threshold_that_exist(tmp_path: Path):
    text = dict(BLOCKS)["tuning.yaml"]
    (tmp_path / "tuning.yaml").write_text(text, encoding="utf-8")

    rules = load_rules([bundled_rules(), tmp_path])

    assert rules.faults == ()
    assert yaml.safe_load(text)["tune"] in {rule.id for rule in rules.rules}


def test_every_kind_of_edit_is_explained():
    assert [name for name in EDITS if f"`{name}: {{" not in TEXT] == []
