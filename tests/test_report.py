"""A report reads well in every form, and nothing that a log holds can break out of it."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.unset import UNSET
from diagnostics.findings import (
    Diagnosis,
    Evidence,
    Finding,
    Fix,
    KeyChange,
    Language,
    Safety,
    Severity,
    Text,
)
from diagnostics.history import Snapshot
from diagnostics.observations import (
    EvalPoint,
    MemoryDevice,
    MemoryPhase,
    OutOfMemory,
    TrainStep,
)
from diagnostics.report import Report, RunFacts, as_json, as_text
from diagnostics.report.charts import Line, line_chart
from diagnostics.report.html import page, section
from diagnostics.report.layout import columns, wrapped
from diagnostics.report.markdown import as_markdown
from diagnostics.report.remedy import best_fix, commands, work_out_remedy

GIB = 2**30
HOSTILE = "\x1b[2J</pre><script>alert(1)</script> ``` @someone #12 \u202e [x](http://e) & \ud800"


def fix(name: str, safety: Safety, *changes: KeyChange, caveat: str = "") -> Fix:
    return Fix(
        id=name,
        title=Text(f"do {name}", f"做 {name}"),
        why=Text(f"why {name}", f"为何 {name}"),
        price=Text(f"costs {name}", f"代价 {name}"),
        safety=safety,
        changes=changes,
        caveat=Text(caveat, caveat),
    )


HALVE = fix("halve", Safety.SAFE, KeyChange("per_device_train_batch_size", 4, 2))
SHORTER = fix("shorter", Safety.UNSAFE, KeyChange("cutoff_len", UNSET, 1024))
ADVICE = fix("advice", Safety.MANUAL)
CONFIG = EffectiveConfig(
    parse_document(b"stage: sft\nper_device_train_batch_size: 4  # mine\nlora_rank: 8\n")
)


def finding(*fixes: Fix, text: str = "the line", **parts: object) -> Finding:
    made = Finding(
        id="gpu_oom.train",
        severity=Severity.CRITICAL,
        title=Text("Out of memory", "显存不足"),
        cause=Text("It asked for too much.", "申请过多。"),
        evidence=(Evidence("stdout.log", 12, text),),
        fixes=fixes,
        primary=True,
    )
    return replace(made, **parts)  # type: ignore[arg-type]


def report(one: Finding | None, *, name: str = "runs/a", **parts: object) -> Report:
    diagnosis = Diagnosis((one,) if one is not None else ())
    best = best_fix(diagnosis)
    remedy = work_out_remedy(*best, CONFIG) if best is not None else None
    made = Report(
        run=RunFacts(config="a.yaml", status="failed", exit_code=1, step=3, total_steps=9),
        diagnosis=diagnosis,
        name=name,
        logs=("runs/a/stdout.log",),
        remedy=remedy,
        relaunch=commands(remedy, CONFIG, name=name),
    )
    return replace(made, **parts)  # type: ignore[arg-type]


def measured() -> Snapshot:
    steps = tuple(
        TrainStep(0.0, "log", n, n, loss=2.0 / n if n != 5 else math.nan, learning_rate=1e-4 / n)
        for n in range(1, 30)
    )
    return Snapshot(steps=steps, evals=(EvalPoint(0.0, "log", 1, 10, 1.25),))


# Text


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


# JSON


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


# Markdown


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


# HTML


class Page(HTMLParser):
    """What a browser would see of a page."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [
            f"{name}={value}"
            for name, value in attrs
            if name in {"src", "href", "srcset", "action"} or name.startswith("on")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


def whole(one: Report, language: Language = Language.EN) -> str:
    return page([section(one, language)], language)


def test_the_page_is_whole_loads_nothing_and_runs_nothing():
    seen = Page(whole(report(finding(HALVE), snapshot=measured())))

    assert seen.faults == []
    assert seen.open == []
    assert seen.links == []
    assert not {"script", "link", "img", "iframe", "object"} & set(seen.tags)
    assert seen.tags.count("svg") == 2


def test_the_page_forbids_the_browser_to_load_or_run_anything():
    text = whole(report(None))

    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert "url(" not in text
    assert "@import" not in text


def test_nothing_in_a_log_breaks_out_of_the_page():
    one = finding(HALVE, text=HOSTILE, title=Text(HOSTILE, ""), cause=Text(HOSTILE, ""))
    facts = RunFacts(config=HOSTILE, output_dir=HOSTILE, status="failed")

    text = whole(report(one, name=HOSTILE, logs=(HOSTILE,), run=facts, snapshot=measured()))

    seen = Page(text)
    assert "script" not in seen.tags
    assert seen.faults == []
    assert "\x1b" not in text
    assert "\ud800" not in text
    text.encode()


def test_the_page_is_light_and_dark_and_names_its_language():
    text = whole(report(None), Language.ZH)

    assert '<html lang="zh-CN">' in text
    assert "prefers-color-scheme: dark" in text
    assert "没有发现问题" in text


def test_the_page_over_several_runs_has_a_section_each():
    text = page([section(report(None, name=name), Language.EN) for name in ("a", "b")], Language.EN)

    assert Page(text).tags.count("section") == 2


def test_memory_is_shown_as_the_allocator_told_it():
    oom = OutOfMemory(
        at=0.0,
        source="log",
        line=1,
        device=MemoryDevice.GPU,
        phase=MemoryPhase.TRAIN,
        text="CUDA out of memory.",
        requested_bytes=2 * GIB,
        capacity_bytes=24 * GIB,
        free_bytes=1 * GIB,
        allocated_bytes=18 * GIB,
        reserved_bytes=20 * GIB,
    )

    text = whole(report(None, snapshot=Snapshot(ooms=(oom,))))

    for said in ("allocated 18.0 GiB", "reserved, unused 2.0 GiB", "other 3.0 GiB", "of 24.0 GiB"):
        assert said in text


def test_what_was_not_recorded_is_said_and_not_drawn():
    text = whole(report(None))

    assert "<svg" not in text
    assert "no loss was logged" in text
    assert "the files of this run tell no GPU memory" in text


# Charts


def drawn(points: list[tuple[float, float]], **parts: tuple[float, str]) -> str:
    return line_chart([Line("train", "train", points)], label="loss", format_y=str, **parts)


@pytest.mark.parametrize(
    "points",
    [
        [(1, 2.0)],
        [(1, 2.0), (2, 2.0)],
        [(0, 0.0), (1, 0.0)],
        [(1, -5.0), (2, 1e-300), (3, 5e-324)],
        [(1, 1e14), (2, 1e-14), (3, 1e-13)],
        [(1, math.nan), (2, 3.0), (3, math.inf)],
        [(2**53, 1.0), (2**53 + 2, 2.0)],
        [(step, 1.0 / (step + 1)) for step in range(50_000)],
        [(1, 0.1), (2, 0.11), (3, 0.1), (4, 9000.0)],
    ],
    ids=lambda points: str(points[:4])[:40],
)
def test_any_numbers_make_a_chart_within_its_frame(points: list[tuple[float, float]]):
    svg = ET.fromstring(drawn(points))  # noqa: S314 - it is our own

    places = [
        tuple(map(float, pair.split(",")))
        for line in svg.iter("{http://www.w3.org/2000/svg}polyline")
        for pair in line.attrib["points"].split()
    ]
    places += [
        (float(dot.attrib["cx"]), float(dot.attrib["cy"]))
        for dot in svg.iter("{http://www.w3.org/2000/svg}circle")
    ]
    assert places
    assert len(places) <= 500
    assert all(50 <= x <= 560 and 10 <= y <= 210 for x, y in places)
    assert 1 <= len(list(svg.iter("{http://www.w3.org/2000/svg}line"))) <= 12


def test_no_finite_number_makes_no_chart():
    assert drawn([]) == ""
    assert drawn([(1, math.nan), (2, math.inf)]) == ""


def test_a_spike_of_one_step_survives_in_a_long_chart():
    points = [(float(step), 1.0) for step in range(20_000)]
    points[7_777] = (7_777.0, 9.0)

    heights = re.findall(r"points=\"([^\"]*)\"", drawn(points))[0].split()

    assert len({pair.split(",")[1] for pair in heights}) == 2


def test_where_the_run_ended_is_marked():
    assert 'class="mark"' in drawn([(1, 1.0), (9, 2.0)], mark=(10, "ended"))
    assert 'class="mark"' not in drawn([(1, 1.0), (9, 2.0)], mark=(5_000, "ended"))


def test_what_to_look_at_to_be_sure_is_in_every_form_and_stays_text():
    sure = finding(to_be_sure=Text(f"look at {HOSTILE}", "查看 nvidia-smi"))
    run, diagnosis = RunFacts(status="failed"), Diagnosis((sure,))
    report = Report(run=run, diagnosis=diagnosis)

    assert "to be sure  look at" in as_text(report, Language.EN)
    assert "查看 nvidia-smi" in as_text(report, Language.ZH)
    assert as_json(report, Language.ZH)["findings"][0]["to_be_sure"] == "查看 nvidia-smi"
    assert "to be sure: look at" in as_markdown(report, Language.EN)
    html = section(report, Language.EN)
    assert "to be sure" in html
    assert "<script>" not in html
