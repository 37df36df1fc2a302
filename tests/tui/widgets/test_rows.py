from diagnostics.findings import Diagnosis, Language
from diagnostics.observations import BarKind, Phase, PhaseChange, Progress
from tests.tui.samples import START, finding, snapshot_of
from tui.widgets.amounts import duration, gib, number, seconds_each
from tui.widgets.cells import Role
from tui.widgets.difference import diff_lines
from tui.widgets.findings import findings_lines
from tui.widgets.pace import Pace
from tui.widgets.panel import changed_cells
from tui.widgets.progress import Speed, progress_line


def text_of(line) -> str:
    return "".join(text for text, _ in line)


def test_pace_is_measured_from_arrivals_and_begins_anew_after_a_step_back() -> None:
    pace = Pace()
    measured = []
    # Steps 50 and 60 come in one lump that was read at once: they tell no speed.
    for at, step in ((100.0, 50), (100.0, 60), (110.0, 55)):
        pace.saw(at, step)
        measured.append(pace.seconds_per_step)
    assert measured == [None, None, 2.0]
    assert pace.eta_s(110.0, 65) == 20.0
    assert pace.eta_s(115.0, 65) == 15.0
    assert pace.eta_s(115.0, None) is None
    pace.saw(200.0, 3)
    assert pace.seconds_per_step is None


def test_a_dataset_bar_is_named_while_data_is_prepared() -> None:
    snapshot = snapshot_of(
        PhaseChange(START, "log", 1, Phase.PREPROCESSING),
        Progress(START, "log", BarKind.DATASET, "Running tokenizer on dataset", 45, 100),
    )
    line = progress_line(snapshot, Speed(), 80, Language.EN, running=True)
    assert text_of(line).startswith("tokenizing dataset ")
    assert text_of(line).endswith(" 45 %  45/100")


def test_a_weights_bar_is_named_while_the_model_loads() -> None:
    snapshot = snapshot_of(
        PhaseChange(START, "log", 1, Phase.LOADING),
        Progress(START, "log", BarKind.WEIGHTS, "Loading weights", 1, 4),
    )
    line = progress_line(snapshot, Speed(), 80, Language.ZH, running=True)
    assert text_of(line).startswith("加载权重 ")


def test_a_phase_without_a_bar_is_a_word() -> None:
    snapshot = snapshot_of(PhaseChange(START, "log", 1, Phase.LOADING))
    assert text_of(progress_line(snapshot, Speed(), 80, Language.EN, running=True)) == (
        "loading the model"
    )
    ended = progress_line(snapshot, Speed(), 80, Language.EN, running=False)
    assert text_of(ended) == "no step seen"


def test_amounts_read_as_a_person_writes_them() -> None:
    assert [gib(size) for size in (0, 2**29, 2**30, 200 * 2**30)] == ["0.0", "0.50", "1.0", "200"]
    assert [duration(s) for s in (-3, 59, 185, 7800, 90000)] == [
        "0 s",
        "59 s",
        "3 min 05 s",
        "2 h 10 min",
        "1 d 01 h",
    ]
    assert [seconds_each(s) for s in (0.351, 12.44, 125)] == ["0.35 s", "12.4 s", "2 min 05 s"]
    assert [number(n) for n in (1.23456, float("nan"), 1e9)] == ["1.235", "nan", "1e+09"]


def test_only_the_cells_that_differ_are_sent() -> None:
    old = (("step 10/500", Role.TEXT), ("  ok", Role.DIM))
    assert changed_cells(old, (("step 11/500", Role.TEXT), ("  ok", Role.DIM))) == (6, 7)
    assert changed_cells(old, (("step 10/500", Role.TEXT), ("  ok", Role.BAD))) == (11, 15)
    assert changed_cells((("训练", Role.TEXT),), (("训完", Role.TEXT),)) == (2, 4)
    assert changed_cells((), (("ab", Role.TEXT),)) == (0, 2)


def test_a_diff_keeps_its_signs_and_indentation_without_colour() -> None:
    rows = diff_lines("--- a\n+++ a\n@@ -1 +1 @@\n-  key: 1\n+  key: 2\n\n", 20)
    assert [text_of(row) for row in rows][:5] == [
        "--- a",
        "+++ a",
        "@@ -1 +1 @@",
        "-  key: 1",
        "+  key: 2",
    ]
    long = diff_lines("+" + "x" * 30, 20)
    assert all(text_of(row).startswith("+") for row in long)


def test_findings_stay_within_their_rows() -> None:
    many = Diagnosis(tuple(finding() for _ in range(9)))
    for limit in (4, 6, 14):
        rows = findings_lines(many, 60, Language.EN, running=True, can_fix=True, limit=limit)
        assert len(rows) <= limit
    assert "more findings" in text_of(
        findings_lines(many, 60, Language.EN, running=True, can_fix=True, limit=6)[-1]
    )
