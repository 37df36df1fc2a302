"""The page of a rule tells what it looks for and what each fix does."""

import subprocess
import sys
from pathlib import Path

import pytest

from diagnostics.edits import (
    EditRule,
    HalveKey,
    RenameNearest,
    ScaleKey,
    SetKey,
    SetNearest,
    SplitBatch,
    UnsetKey,
)
from diagnostics.rule_pages import describe_edit, index, page
from diagnostics.ruleset import load_rules

RULES = {rule.id: rule for rule in load_rules().rules}
ROOT = Path(__file__).parent.parent


def test_a_page_tells_condition_thresholds_fixes_and_both_languages():
    text = page(RULES["gpu_oom.fragmentation"])

    assert text.startswith("# gpu_oom.fragmentation\n")
    assert "signal `oom.cached_pct` is at least `` 15 ``" in text
    assert "`cached_pct` 15" in text
    assert "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True" in text
    assert "显存" in text


def test_the_index_has_every_rule_once_and_in_its_family():
    text = index(RULES.values())

    for rule_id in RULES:
        assert text.count(f"| [{rule_id}]({rule_id}.md) |") == 1
    assert text.index("## gpu_oom") < text.index("| [gpu_oom.eval]") < text.index("## host_oom")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (SetKey("bf16", True), "set `bf16` to `true`"),
        (SetKey("fp16", None), "set `fp16` to `null`"),
        (UnsetKey("fp16"), "remove `fp16`"),
        (HalveKey("cutoff_len", 512), "halve `cutoff_len`, not below 512"),
        (
            ScaleKey("learning_rate", 0.1, at_least=1e-6),
            "multiply `learning_rate` by 0.1, not below 1e-06",
        ),
        (SplitBatch("a", "b"), "halve `a` and raise `b`, their product kept"),
        (RenameNearest("$keys"), "rename each of `$keys` to the known key it most likely means"),
        (SetNearest("optim"), "set `optim` to the accepted value it most likely means"),
    ],
)
def test_an_edit_is_told_in_words(edit: EditRule, words: str):
    assert describe_edit(edit) == words


def test_the_pages_in_the_docs_are_those_of_the_rules():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "rule-pages", "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert (done.returncode, done.stderr) == (0, "")
