import difflib
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.config.document import ConfigDocument, parse_document
from diagnostics.config.edit import set_value, unified_diff, unset_value
from diagnostics.config.scalars import same_value
from diagnostics.errors import ConfigError

EXAMPLE = """\
### model
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct

### method
stage: sft
finetuning_type: lora
lora_rank: 8           # small
lora_target: all       # every layer

### dataset
dataset: identity,alpaca_en_demo
cutoff_len: 2048
report_to: none  # choices: [none, wandb, tensorboard]

### train
per_device_train_batch_size: 1
learning_rate: 1.0e-4
bf16: true
resume_from_checkpoint: null

### eval
# eval_dataset: alpaca_en_demo
"""


def document(text: str) -> ConfigDocument:
    return parse_document(text.encode(), Path("train.yaml"))


def edited(text: str, key: str, value: object, near: str | None = None) -> str:
    return set_value(document(text), key, value, near=near).text


def removed(text: str, key: str) -> str:
    return unset_value(document(text), key).text


@pytest.mark.parametrize(
    ("text", "key", "value", "after"),
    [
        ("a: 8\n", "a", 16, "a: 16\n"),
        ("a: 8", "a", 16, "a: 16"),
        ("a:  8  \nb: 1\n", "a", 16, "a:  16  \nb: 1\n"),
        ("\ufeffa: 8\r\nb: 1\r\n", "a", 4, "\ufeffa: 4\r\nb: 1\r\n"),
        ("a: 8    # c\n", "a", 1024, "a: 1024 # c\n"),
        ("a: 1024 # c\n", "a", 8, "a: 8    # c\n"),
        ("a: 8 # c\n", "a", 16, "a: 16 # c\n"),
        ("a: 8\t# c\n", "a", 16, "a: 16\t# c\n"),
        ("a: 'x'\n", "a", "y", "a: 'y'\n"),
        ('a: "x"\n', "a", "y", 'a: "y"\n'),
        ("a: '8'\n", "a", "16", "a: '16'\n"),
        ("a: '8'\n", "a", 16, "a: 16\n"),
        ("a: 'it''s'\n", "a", "we're", "a: 'we''re'\n"),
        ("'a': 8\n", "a", 16, "'a': 16\n"),
        ("a:\nb: 1\n", "a", 16, "a: 16\nb: 1\n"),
        ("a:     # none yet\nb: 1\n", "a", 16, "a: 16  # none yet\nb: 1\n"),
        ("a: null\n", "a", "x", "a: x\n"),
        ("a: ~\n", "a", True, "a: true\n"),
        ("a: 1\n", "a", None, "a: null\n"),
        ("a: &x 8\nb: 1\n", "a", 16, "a: &x 16\nb: 1\n"),
        ("a: &x\nb: 1\n", "a", 16, "a: &x 16\nb: 1\n"),
        ("a: !!int 8\n", "a", 16, "a: 16\n"),
        ("a: &x !!str 8\n", "a", 16, "a: &x 16\n"),
        ("a:\n  8\nb: 1\n", "a", 16, "a:\n  16\nb: 1\n"),
        ("a: x\n  y\nb: 1\n", "a", "z", "a: z\nb: 1\n"),
        ("a: [1, 2]  # c\n", "a", [3], "a: [3]     # c\n"),
        ("a: |\n  x\n  y\n\n# c\nb: 1\n", "a", "z", "a: z\n\n# c\nb: 1\n"),
        ("a: |+\n  x\n\nb: 1\n", "a", "z", "a: z\n\nb: 1\n"),
        ("a:  # c\n  - x\n  - y\n\n# d\nb: 1\n", "a", "z", "a: z # c\n\n# d\nb: 1\n"),
        ("a:\n- x\nb: 1\n", "a", ["x", "z"], "a: [x, z]\nb: 1\n"),
        ("a:\n  x: 1\n  y:\nb: 1\n", "a", {"x": 2}, "a: {x: 2}\nb: 1\n"),
        ("{a: 8, b: 1}\n", "a", 16, "{a: 16, b: 1}\n"),
        ("{a, b: 1}\n", "a", 16, "{a: 16, b: 1}\n"),
        ('{"a": "x", "b": 1}', "a", None, '{"a": null, "b": 1}'),
        ('{"a": 1}', "a", "x", '{"a": "x"}'),
        ("? a\n: 8\nb: 1\n", "a", 16, "? a\n: 16\nb: 1\n"),
    ],
)
def test_only_the_value_changes(text: str, key: str, value: object, after: str) -> None:
    assert edited(text, key, value) == after


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1e-5, "1.0e-05"),
        (2.5e-7, "2.5e-07"),
        (1e22, "1.0e+22"),
        (0.1, "0.1"),
        (3.0, "3.0"),
        (math.inf, ".inf"),
        (-math.inf, "-.inf"),
        (math.nan, ".nan"),
        (True, "true"),
        ("no", "'no'"),
        ("off", "'off'"),
        ("y", "'y'"),
        ("null", "'null'"),
        ("8", "'8'"),
        ("1e-5", "'1e-5'"),
        ("0o17", "'0o17'"),
        ("2020-01-01", "'2020-01-01'"),
        ("1:30", "'1:30'"),
        ("", "''"),
        ("a: b", "'a: b'"),
        ("a #b", "'a #b'"),
        ("#a", "'#a'"),
        ("- a", "'- a'"),
        ("it's", "'it''s'"),
        ("a\nb", '"a\\nb"'),
        ('say "hi"\x1b', '"say \\"hi\\"\\u001b"'),
        ("identity,alpaca_en_demo", "identity,alpaca_en_demo"),
        ("hf://org/name", "hf://org/name"),
        ("./saves/llama-3", "./saves/llama-3"),
        ("~/models", "'~/models'"),
        ("模型/千问", "模型/千问"),
        (["a", "no", 1], "[a, 'no', 1]"),
        (["a,b"], "['a,b']"),
        ({"x": 1, "on": None}, "{x: 1, 'on': null}"),
    ],
)
def test_values_are_written_so_that_every_reader_agrees(value: object, written: str) -> None:
    assert edited("k: 5\n", "k", value) == f"k: {written}\n"


def test_a_set_of_texts_reads_the_same_with_pyyaml() -> None:
    for text in ("no", "1e-5", "0o17", "2020-01-01", "y", "a: b", "=", "<<", "1_0", "0x1F", "~"):
        assert yaml.safe_load(edited("k: 5\n", "k", text)) == {"k": text}


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("", "k: 8\n"),
        ("\ufeff", "\ufeffk: 8\n"),
        ("# c", "# c\nk: 8\n"),
        ("# c\r\n", "# c\r\nk: 8\r\n"),
        ("---\n", "---\nk: 8\n"),
        ("---\n# c\n...\n", "---\nk: 8\n# c\n...\n"),
        ("null\n", "k: 8\n"),
        ("--- null\n", "--- \nk: 8\n"),
        ("a: 1", "a: 1\nk: 8\n"),
        ("a: 1\n", "a: 1\nk: 8\n"),
        ("a: 1\r\nb: 2", "a: 1\r\nb: 2\r\nk: 8\r\n"),
        ("a: 1  # c\n\n# end\n", "a: 1  # c\nk: 8\n\n# end\n"),
        ("---\na: 1\n...\n", "---\na: 1\nk: 8\n...\n"),
        ("a: 1\n--- # c\n", None),
        ("  a: 1\n  b: 2\n", "  a: 1\n  b: 2\n  k: 8\n"),
        ("a:\n", "a:\nk: 8\n"),
        ("a:\n  - x\n  # c\n\n", "a:\n  - x\nk: 8\n  # c\n\n"),
        ("a: |\n  x\n  y\n", "a: |\n  x\n  y\nk: 8\n"),
        ("a: |\n  x\n\n\n", "a: |\n  x\nk: 8\n\n\n"),
        ("a: |+\n  x\n\n\n", "a: |+\n  x\n\n\nk: 8\n"),
        ("a: |\n  x", "k: 8\na: |\n  x"),
        ("a: >-\n  x\n  y", "a: >-\n  x\n  y\nk: 8\n"),
        ("a: x\n  y\n", "a: x\n  y\nk: 8\n"),
        ("{}\n", "{k: 8}\n"),
        ("{a: 1}\n", "{a: 1, k: 8}\n"),
        ("{a: 1, }", "{a: 1, k: 8, }"),
        ("{a}", "{a, k: 8}"),
        ('{"a": 1}', '{"a": 1, "k": 8}'),
        ('{\n  "a": 1,\n  "b": [2]\n}\n', '{\n  "a": 1,\n  "b": [2],\n  "k": 8\n}\n'),
        ("b: &x {k: 1}\n<<: *x\n", "b: &x {k: 1}\n<<: *x\nk: 8\n"),
    ],
)
def test_a_new_key_gets_a_line_of_its_own_at_the_end(text: str, after: str | None) -> None:
    if after is None:
        with pytest.raises(ConfigError):
            edited(text, "k", 8)
    else:
        assert edited(text, "k", 8) == after


def test_a_new_key_follows_the_key_it_belongs_to() -> None:
    after = edited(EXAMPLE, "gradient_accumulation_steps", 8, near="per_device_train_batch_size")
    added = "per_device_train_batch_size: 1\ngradient_accumulation_steps: 8\n"
    assert after == EXAMPLE.replace("per_device_train_batch_size: 1\n", added)


def test_a_new_key_whose_neighbour_is_absent_goes_to_the_end() -> None:
    assert edited("a: 1\n", "k", 8, near="nowhere") == "a: 1\nk: 8\n"


def test_a_value_others_use_through_an_alias_changes_for_its_key_alone() -> None:
    text = "train: &size 8  # c\neval: *size\nother: *size\n"
    assert edited(text, "train", 16) == "train: 16       # c\neval: &size 8\nother: *size\n"
    assert removed(text, "train") == "eval: &size 8\nother: *size\n"


def test_an_alias_is_replaced_without_touching_its_anchor() -> None:
    text = "train: &size 8\neval: *size  # c\n"
    assert edited(text, "eval", 4) == "train: &size 8\neval: 4      # c\n"
    assert removed(text, "eval") == "train: &size 8\n"


def test_a_merged_key_gets_an_own_line_and_cannot_be_removed() -> None:
    text = "base: &b {k: 1}\n<<: *b\n"
    assert edited(text, "k", 2) == text + "k: 2\n"
    with pytest.raises(ConfigError, match="merge key"):
        removed(text, "k")


def test_an_anchored_block_that_others_use_is_refused_with_its_line() -> None:
    text = "x: 1\na: &list\n  - 1\n  - 2\nb: *list\n"
    with pytest.raises(ConfigError, match="anchor") as caught:
        edited(text, "a", 8)
    assert caught.value.line == 2
    with pytest.raises(ConfigError, match="anchor"):
        removed(text, "a")


def test_an_anchor_inside_a_value_that_others_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="anchor"):
        edited("a: [&x 1, 2]\nb: *x\n", "a", 8)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("k: 8\n", ""),
        ("k: 8", ""),
        ("a: 1\nk: 8", "a: 1\n"),
        ("# c\nk: 8  # d\nb: 1\n", "# c\nb: 1\n"),
        ("a: 1\r\nk: 8\r\nb: 1\r\n", "a: 1\r\nb: 1\r\n"),
        ("\ufeffk: 8\nb: 1\n", "\ufeffb: 1\n"),
        ("k:\nb: 1\n", "b: 1\n"),
        ("k:\n  - x\n  - y  # c\n\nb: 1\n", "\nb: 1\n"),
        ("k: |\n  x\n\nb: 1\n", "\nb: 1\n"),
        ("k: |+\n  x\n\nb: 1\n", "b: 1\n"),
        ("{k: 8}", "{}"),
        ("{a: 1, k: 8}", "{a: 1}"),
        ("{k: 8, b: 1}", "{b: 1}"),
        ("{a: 1, k: 8, b: 2}", "{a: 1, b: 2}"),
        ('{\n  "a": 1,\n  "k": 8\n}\n', '{\n  "a": 1\n}\n'),
        ("? k\n: 8\nb: 1\n", "b: 1\n"),
        ("a: 1\n", "a: 1\n"),
    ],
)
def test_a_removed_key_takes_its_line_and_nothing_else(text: str, after: str) -> None:
    assert removed(text, "k") == after


def test_the_same_value_in_another_spelling_is_left_alone() -> None:
    assert edited("lr: 1e-4 # c\n", "lr", 0.0001) == "lr: 1e-4 # c\n"
    assert edited("a: yes\n", "a", True) == "a: yes\n"


@pytest.mark.parametrize("value", [object(), b"x", {1, 2}, "\ud800"])
def test_what_no_yaml_can_hold_is_refused(value: object) -> None:
    with pytest.raises(ConfigError):
        edited("a: 1\n", "a", value)


def test_the_path_is_kept() -> None:
    assert set_value(document("a: 1\n"), "a", 2).path == Path("train.yaml")


def test_a_diff_shows_the_changed_lines_and_no_line_ends() -> None:
    before = "\ufeffa: 1\r\nb: 2\r\n"
    assert unified_diff(before, edited(before, "b", 3), "train.yaml") == (
        "--- a/train.yaml\n+++ b/train.yaml\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n"
    )


def test_a_missing_last_line_end_is_no_difference() -> None:
    assert unified_diff("a: 1", "a: 1\n", "x") == ""
    assert unified_diff("a: 1", "a: 1\nb: 2\n", "x").splitlines()[3:] == [" a: 1", "+b: 2"]


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=12)
    | st.sampled_from(["no", "8", "1e-4", "~", "a b", "x: y", "# x", "'", '"', "\\", "- x", "a\r"])
)
values = (
    scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text("abno1", max_size=3), scalars)
)
keys = st.sampled_from([*parse_document(EXAMPLE.encode()).values, "quantization_bit"])


@given(keys, values)
def test_an_edit_gives_the_value_and_leaves_every_other_line(key: str, value: object) -> None:
    before = document(EXAMPLE)
    after = set_value(before, key, value)
    assert same_value(dict(after.values), {**before.values, key: value})
    changed = [
        line
        for line in difflib.ndiff(EXAMPLE.split("\n"), after.text.split("\n"))
        if line[0] in "+-"
    ]
    assert all(line[2:].startswith(f"{key}:") for line in changed)
    assert len(changed) <= 2
    assert set_value(after, key, value).text == after.text


@given(keys, values)
def test_a_key_set_and_removed_leaves_the_other_lines(key: str, value: object) -> None:
    after = unset_value(set_value(document(EXAMPLE), key, value), key)
    assert after.text == "".join(
        line for line in EXAMPLE.splitlines(keepends=True) if not line.startswith(f"{key}:")
    )


lines = st.sampled_from(
    [
        "a: 8",
        "a: &x 8  # c",
        "b: *x",
        "c: [1, &y 2]",
        "d: *y",
        "e:",
        "e: # c",
        "f: |",
        "f: |+",
        "f: >-",
        "  text",
        "g:",
        "  - x",
        "  h: 1",
        "- x",
        "i: 'q'",
        'j: "q" # c',
        "<<: {a: 3, k: 4}",
        "? k",
        ": 5",
        "# c",
        "",
        "   ",
        "{a: 8, k}",
        "---",
        "...",
        "m: x",
    ]
)
breaks = st.sampled_from(["\n", "\n", "\r\n", "\r", ""])


@given(
    st.lists(st.tuples(lines, breaks), max_size=8),
    st.sampled_from("abcdefgijkm"),
    st.none() | st.sampled_from([16, "no", "x", [1], 2.5]),
    st.sampled_from(["set", "remove"]),
)
# A key that is set or removed; a refusal is an answer too, a wrong edit is not.
def test_any_document_is_edited_exactly_or_refused(
    parts: list[tuple[str, str]], key: str, value: object, action: str
) -> None:
    try:
        before = document("".join(line + end for line, end in parts))
        after = unset_value(before, key) if action == "remove" else set_value(before, key, value)
    except ConfigError:
        return
    wanted = {name: old for name, old in before.values.items() if name != key}
    assert same_value(dict(after.values), wanted if action == "remove" else {**wanted, key: value})
    again = unset_value(after, key) if action == "remove" else set_value(after, key, value)
    assert again.text == after.text
