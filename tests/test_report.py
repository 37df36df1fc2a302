"""A report reads well in every form, and nothing that a log holds can break out of it."""

import json
import re
from dataclasses import replace

import pytest

from diagnostics.config.document import parse_document
from diagnostics.config.unset import UNSET
from diagnostics.findings import (
    Diagnosis,
    KeyChange,
    Language,
    Safety,
    Severity,
    Text,
)
from diagnostics.report import as_json, as_text
from diagnostics.report.layout import columns, wrapped
from diagnostics.report.markdown import as_markdown
from diagnostics.report.remedy import best_fix, commands, work_out_remedy
from tests.report_samples import (
    ADVICE,
    CONFIG,
    HALVE,
    HOSTILE,
    SHORTER,
    finding,
    fix,
    measured,
    report,
)


def test_the_text_says_what_happened_why_where_and_what_mends_it():
    text = as_text(report(finding(HALVE, SHORTER)), Language.EN)

    assert text.splitlines() == [
        "Failed at step 3 of 9, exit code 1" + " " * 45 + "a",
        "config  a.yaml",
        "log     runs/a/stdout.log",
        "",
        "CRITICAL  Out of memory" + " " * 42 + "[gpu_oom.train]",
        "  It asked for too much.",
        "",
        "  stdout.log:12",
        "    the line",
        "",
        "  fix  do halve (safe: keeps the training recipe)",
        "",
        "    --- a/config.yaml",
        "    +++ b/config.yaml",
        "    @@ -1,3 +1,3 @@",
        "     stage: sft",
        "    -per_device_train_batch_size: 4  # mine",
        "    +per_device_train_batch_size: 2  # mine",
        "     lora_rank: 8",
        "",
        "  relaunch",
        "    llamavet analyze runs/a --write-config mended.yaml",
        "    llamafactory-cli train mended.yaml",
        "",
        "  other fixes",
        "    unsafe  do shorter: cutoff_len 1024",
    ]


@pytest.mark.parametrize("language", list(Language))
def test_no_line_of_the_text_is_wider_than_80_columns_but_a_command(language: Language):
    long = "显存不足 out of memory " * 40
    one = finding(
        HALVE,
        replace(SHORTER, title=Text(long, long)),
        text=long,
        title=Text(long, long),
        cause=Text(long, long),
    )
    consequence = finding(title=Text(long, long), id="nccl.timeout")
    made = report(replace(one, consequences=(consequence,)), name="x" * 200)

    lines = as_text(made, language).splitlines()

    assert [line for line in lines if columns(line) > 80 and "llamavet analyze" not in line] == []


def test_what_followed_stands_under_its_cause():
    after = finding(id="nccl.timeout", title=Text("Ranks waited", "等待"), primary=False)

    text = as_text(report(replace(finding(HALVE), consequences=(after,))), Language.EN)

    assert "  what followed from it\n    Ranks waited, stdout.log:12  [nccl.timeout]\n" in text


def test_advice_is_shown_with_its_reason_and_without_a_command():
    text = as_text(report(finding(ADVICE)), Language.EN)

    assert "  advice  do advice\n    why advice\n" in text
    assert "relaunch" not in text


def test_a_run_in_order_says_so_in_both_languages():
    assert "Nothing wrong was found." in as_text(report(None), Language.EN)
    assert "没有发现问题。" in as_text(report(None), Language.ZH)


def test_the_loss_is_told_from_its_beginning_to_its_end():
    text = as_text(report(None, snapshot=measured()), Language.EN)

    assert "loss    2 at step 1, 0.06897 at step 29; eval 1.25" in text


def test_a_safe_fix_is_shown_before_an_unsafe_one_and_a_certain_one_before_a_doubtful_one():
    doubtful = fix("doubtful", Safety.SAFE, KeyChange("x", UNSET, 1), caveat="needs liger_kernel")

    best = best_fix(Diagnosis((finding(ADVICE, SHORTER, doubtful, HALVE),)))

    assert best is not None
    assert best[1].id == "halve"


def test_a_note_is_no_reason_to_show_a_diff_and_to_relaunch():
    note = finding(HALVE, severity=Severity.NOTE, primary=False)

    text = as_text(report(note), Language.EN)

    assert "  fixes\n    safe  do halve: per_device_train_batch_size 4 -> 2\n" in text
    assert "relaunch" not in text


def test_a_run_that_llamavet_launched_is_relaunched_by_it():
    remedy = work_out_remedy(finding(HALVE), HALVE, CONFIG)

    words = commands(remedy, CONFIG, name="x", record="20260501-a")

    assert words == ("llamavet fix 20260501-a --fix halve --relaunch",)


def test_a_name_that_a_shell_would_read_is_quoted():
    remedy = work_out_remedy(finding(HALVE), HALVE, CONFIG)

    words = commands(remedy, CONFIG, name="my run; rm -rf x")

    assert words[0] == "llamavet analyze 'my run; rm -rf x' --write-config mended.yaml"


def test_an_environment_variable_goes_before_the_command():
    segments = replace(fix("env", Safety.SAFE), env={"PYTORCH_CUDA_ALLOC_CONF": "a b"})
    remedy = work_out_remedy(finding(segments), segments, CONFIG)

    words = commands(remedy, CONFIG, name="x")

    assert words == ("PYTORCH_CUDA_ALLOC_CONF='a b' llamafactory-cli train config.yaml",)


def test_lines_break_between_words_and_between_chinese_characters():
    assert wrapped("aaa bbb ccc", "  ", width=9) == ["  aaa bbb", "  ccc"]
    assert wrapped("显存不足了", width=6) == ["显存不", "足了"]
    assert wrapped("one two three four", width=9, most=2) == ["one two", "three..."]


def test_the_json_has_what_other_programs_depend_on():
    after = finding(id="nccl.timeout", primary=False)

    value = as_json(report(replace(finding(HALVE), consequences=(after,))), Language.EN)

    assert value["schema"] == 1
    assert value["run"]["status"] == "failed"
    assert value["findings"][0]["consequences"] == [
        {"id": "nccl.timeout", "title": "Out of memory"}
    ]
    assert value["findings"][0]["fixes"][0]["changes"] == [
        {"key": "per_device_train_batch_size", "from": 4, "to": 2}
    ]
    assert value["remedy"]["fix"] == "halve"
    assert "+per_device_train_batch_size: 2" in value["remedy"]["diff"]


def test_values_that_json_has_no_word_for_do_not_break_it():
    document = parse_document(b"a: 2026-05-01\nb: .nan\nc: [1, {d: .inf}]\n")
    changes = [KeyChange(key, value, UNSET) for key, value in document.values.items()]

    value = as_json(report(finding(fix("odd", Safety.SAFE, *changes))), Language.EN)

    text = json.dumps(value, allow_nan=False)
    assert '"from": "nan"' in text


def test_the_markdown_has_the_diff_as_a_diff_and_the_command_as_code():
    text = as_markdown(report(finding(HALVE)), Language.EN)

    assert "```diff\n--- a/config.yaml" in text
    assert "```sh\nllamavet analyze runs/a --write-config mended.yaml\n" in text
    assert text.startswith("### llamavet: failed at step 3 of 9, exit code 1\n")


def test_nothing_in_a_log_breaks_out_of_the_markdown():
    one = finding(HALVE, text=HOSTILE, title=Text(HOSTILE, ""), cause=Text(HOSTILE, ""))

    text = as_markdown(report(one, name=HOSTILE, logs=(HOSTILE,)), Language.EN)

    assert "\x1b" not in text
    assert "\u202e" not in text
    outside = re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$", "", text)
    outside = re.sub(r"(`+) .*? \1", "", outside)
    assert "<script>" not in outside.replace("\\<script>", "")
    assert "@someone" not in outside
    assert "#12" not in outside
    assert "[x](" not in outside.replace("\\[x\\](", "")
    assert re.search(r"(?m)^````text$", text)
