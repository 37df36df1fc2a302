"""The HTML page of a report and its charts: whole, quiet, and proof against what a log holds."""

import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from diagnostics.findings import (
    Diagnosis,
    Language,
    Text,
)
from diagnostics.history import Snapshot
from diagnostics.observations import (
    MemoryDevice,
    MemoryPhase,
    OutOfMemory,
)
from diagnostics.report import Report, RunFacts, as_json, as_text
from diagnostics.report.charts import Line, line_chart
from diagnostics.report.html import page, section
from diagnostics.report.markdown import as_markdown
from tests.report_samples import (
    GIB,
    HALVE,
    HOSTILE,
    finding,
    measured,
    report,
)


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


def drawn(points: list[tuple[float, float]], **parts: tuple[float, str]) -> str:
    return line_chart([Line("train", "train", points)], label="loss", format_y=str, **parts)


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
