"""Rules of a user: added, overriding, tuned, switched off; and told where they are wrong."""

from pathlib import Path

import pytest

from diagnostics.errors import LlamavetError
from diagnostics.findings import Severity
from diagnostics.ruleset import bundled_rules, load_rules, rule_roots, user_rules

RULE = """\
id: site.quota
status: stable
severity: warning
title: {en: "The quota is used up", zh: "配额已用完"}
needs: [log]
when: {log: 'quota: (?P<used>\\d+) %'}
cause:
  - {en: "It stands at {match.used} %.", zh: "已用 {match.used} %。"}
why: {en: "Our cluster stops writes at 100 %.", zh: "集群在 100 % 时停止写入。"}
fixes:
  - id: ask_for_more
    title: {en: "ask for more", zh: "申请更多"}
    why: {en: "Write to the desk.", zh: "联系管理员。"}
    price: {en: "none", zh: "无"}
    safety: manual
"""


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_rule_of_the_user_is_added_with_a_remedy_of_its_own(tmp_path: Path):
    write(tmp_path, "quota.yaml", RULE)

    rules = load_rules([bundled_rules(), tmp_path])

    assert rules.faults == ()
    added = next(rule for rule in rules.rules if rule.id == "site.quota")
    assert [fix.id for fix in added.fixes] == ["ask_for_more"]


def test_a_rule_with_the_id_of_one_that_ships_takes_its_place(tmp_path: Path):
    write(tmp_path, "mine.yaml", RULE.replace("site.quota", "run.killed"))

    rules = load_rules([bundled_rules(), tmp_path])

    assert rules.faults == ()
    assert [rule.title.en for rule in rules.rules if rule.id == "run.killed"] == [
        "The quota is used up"
    ]


def test_a_file_that_tunes_a_rule_changes_its_threshold_and_its_severity(tmp_path: Path):
    write(
        tmp_path,
        "tune.yaml",
        "tune: gpu_oom.fragmentation\nseverity: note\nthresholds: {cached_pct: 77}\n",
    )

    rules = load_rules([bundled_rules(), tmp_path])

    assert rules.faults == ()
    tuned = next(rule for rule in rules.rules if rule.id == "gpu_oom.fragmentation")
    assert tuned.thresholds["cached_pct"] == 77
    assert tuned.severity is Severity.NOTE


def test_a_rule_can_be_switched_off(tmp_path: Path):
    write(tmp_path, "off.yaml", "tune: run.killed\nenabled: false\n")

    rules = load_rules([bundled_rules(), tmp_path])

    assert rules.faults == ()
    assert "run.killed" not in [rule.id for rule in rules.rules]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id: x\n  when: [\n", r"bad.yaml:2:"),
        (RULE.replace("severity: warning", "severity: bad"), "bad.yaml:3:11: severity must be"),
        (RULE.replace("{match.used} %.", "{oom.nothing}."), "no value {oom.nothing} to put in"),
        (RULE.replace("'quota: (?P<used>\\d+) %'", "'('"), "bad.yaml:6:13: not a regular"),
        (RULE.replace("[log]", "[lgo]"), "bad.yaml:5:9: needs is one of"),
        (RULE + "titel: x\n", "bad.yaml:16:8: titel is not known here"),
        ("tune: no.such\n", "bad.yaml:1:1: no rule 'no.such' to tune"),
        (
            "tune: gpu_oom.fragmentation\nthresholds: {cached: 1}\n",
            "bad.yaml:1:1: gpu_oom.fragmentation has no threshold 'cached'",
        ),
        ("- a\n- b\n", "id is missing"),
        ("", "id is missing"),
        ("id: [1]\n", "a single value is needed here"),
    ],
)
def test_a_fault_is_told_with_file_line_and_column_and_the_others_work_on(
    tmp_path: Path, text: str, told: str
):
    write(tmp_path, "bad.yaml", text)
    write(tmp_path, "good.yaml", RULE)

    rules = load_rules([bundled_rules(), tmp_path])

    assert [told in str(fault) for fault in rules.faults] == [True]
    assert "site.quota" in [rule.id for rule in rules.rules] or "site.quota" in text
    assert len(rules.rules) >= len(load_rules().rules)


def test_two_rules_of_one_folder_with_the_same_id_are_a_fault(tmp_path: Path):
    write(tmp_path, "a.yaml", RULE)
    write(tmp_path, "b.yaml", RULE)

    faults = load_rules([tmp_path]).faults

    assert [str(fault) for fault in faults] == [
        f"{tmp_path}/b.yaml:1:1: site.quota is also in a.yaml"
    ]


def test_the_folders_are_ours_then_the_user_s_then_those_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    named = tmp_path / "named"
    named.mkdir()

    assert rule_roots([named]) == (bundled_rules(), named)
    user_rules().mkdir(parents=True)
    assert rule_roots([named]) == (bundled_rules(), user_rules(), named)
    with pytest.raises(LlamavetError, match="no such folder of rules"):
        rule_roots([tmp_path / "not there"])
