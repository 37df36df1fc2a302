"""The cases beside the rules, each a test; and what every rule must have."""

import re
from pathlib import Path

import pytest

from diagnostics.casebook import Case, case_files, read_cases, run_case
from diagnostics.rule_reader import Rule
from diagnostics.ruleset import bundled_rules, load_rules
from diagnostics.sources.dataset import look

RULES = load_rules()
CASES = [case for path in case_files((bundled_rules(),)) for case in read_cases(path)]


def test_every_bundled_rule_can_be_read():
    assert RULES.faults == ()
    assert len(RULES.rules) >= 15


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.path.stem}: {case.name}")
def test_case(case: Case):
    assert run_case(case, RULES, look) == []


@pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.id)
def test_a_rule_has_a_case_that_fires_and_one_that_stays_silent(rule: Rule):
    path = rule.path.with_name(f"{rule.id}.test.yaml")
    cases = read_cases(path)

    assert any(rule.id in case.expect for case in cases)
    assert any({rule.id, "*"} & set(case.silent) for case in cases)


@pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.id)
def test_a_rule_speaks_both_languages(rule: Rule):
    texts = [rule.title, rule.why, rule.to_be_sure, *rule.cause]
    texts += [text for fix in rule.fixes for text in (fix.title, fix.why, fix.price)]

    assert all(text.en for text in texts)
    assert all(re.search(r"[\u4e00-\u9fff]", text.zh) for text in texts)


def test_a_fault_in_a_rule_is_told_with_its_file_and_line_and_the_others_work_on(tmp_path: Path):
    good = bundled_rules() / "host_shm" / "host_shm.bus_error.yaml"
    (tmp_path / "fixes").mkdir()
    for path in (bundled_rules() / "fixes").glob("*.yaml"):
        (tmp_path / "fixes" / path.name).write_text(path.read_text())
    (tmp_path / "good.yaml").write_text(good.read_text())
    (tmp_path / "typo.yaml").write_text(good.read_text().replace("severity:", "sevrity:"))
    (tmp_path / "signal.yaml").write_text(
        good.read_text().replace("rank.exit_code", "rank.exitcode").replace("bus_error", "other")
    )
    (tmp_path / "broken.yaml").write_text("id: [\n")

    rules = load_rules([tmp_path])

    assert [rule.id for rule in rules.rules] == ["host_shm.bus_error"]
    messages = sorted(str(fault) for fault in rules.faults)
    assert len(messages) == 3
    assert re.search(r"broken\.yaml:2:1: ", messages[0])
    assert re.search(r"signal\.yaml:\d+:\d+: no signal 'rank\.exitcode'", messages[1])
    assert re.search(r"typo\.yaml:1:1: severity is missing", messages[2])


def test_a_threshold_can_be_overridden():
    quiet = load_rules(thresholds={"gpu_oom.fragmentation": {"cached_pct": 60}})
    path = bundled_rules() / "gpu_oom" / "gpu_oom.fragmentation.test.yaml"
    firing = next(case for case in read_cases(path) if case.expect)

    assert run_case(firing, RULES, look) == []
    assert "gpu_oom.fragmentation is not reported" in run_case(firing, quiet, look)


@pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.id)
def test_a_rules_chinese_has_the_marks_of_chinese(rule: Rule):
    texts = [rule.title, rule.why, rule.to_be_sure, *rule.cause]
    texts += [text for fix in rule.fixes for text in (fix.title, fix.why, fix.price)]
    half = [text.zh for text in texts if re.search(r"[\u4e00-\u9fff][,:;(]", text.zh)]

    assert half == []
