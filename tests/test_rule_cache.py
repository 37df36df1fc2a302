"""The compiled rules are those of the YAML files, or they are not taken."""

import json
from pathlib import Path

import pytest

from diagnostics.rule_cache import cache_file
from diagnostics.ruleset import bundled_rules, load_rules

RULE = (bundled_rules() / "run" / "run.killed.yaml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_all_that_ships_is_the_same_read_from_the_cache():
    first = load_rules()
    assert cache_file().is_file()

    again = load_rules()

    assert again == first
    assert len(again.rules) >= 150


def test_a_changed_rule_file_is_read_anew(tmp_path: Path):
    fixes = tmp_path / "rules" / "fixes"
    fixes.mkdir(parents=True)
    for path in (bundled_rules() / "fixes").glob("*.yaml"):
        (fixes / path.name).write_bytes(path.read_bytes())
    rule = tmp_path / "rules" / "run.killed.yaml"
    rule.write_text(RULE, encoding="utf-8")
    load_rules([tmp_path / "rules"])

    rule.write_text(RULE.replace("severity: critical", "severity: note"), encoding="utf-8")

    assert [one.severity.label for one in load_rules([tmp_path / "rules"]).rules] == ["note"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[]",
        lambda text: json.dumps({**json.loads(text), "rules": [["Leaf", 1]]}),
        lambda text: json.dumps({**json.loads(text), "rules": [["Path", "/etc"]]}),
        lambda text: json.dumps({**json.loads(text), "rules": [["os.system", "true"]]}),
        lambda text: json.dumps({**json.loads(text), "rules": "[" * 100_000}),
    ],
)
def test_a_damaged_cache_is_not_taken_and_is_written_anew(damage):
    wanted = load_rules()
    path = cache_file()
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")

    assert load_rules() == wanted
    assert json.loads(path.read_text(encoding="utf-8"))["rules"]


def test_a_cache_that_others_may_write_is_not_taken():
    load_rules()
    text = cache_file().read_text(encoding="utf-8").replace('"critical"', '"critical"')
    changed = json.loads(text)
    changed["rules"] = []
    cache_file().write_text(json.dumps(changed), encoding="utf-8")
    cache_file().chmod(0o666)

    assert load_rules().rules


def test_rules_with_a_fault_are_not_kept(tmp_path: Path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "bad.yaml").write_text("id: [", encoding="utf-8")

    assert load_rules([tmp_path / "rules"]).faults
    assert not cache_file().exists()


def test_a_cache_folder_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert load_rules().rules
