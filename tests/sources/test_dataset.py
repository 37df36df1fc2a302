"""A look at real data files: which they are, what is in them, and what is wrong with them."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.datasets import DatasetReport, FaultKind, Use
from diagnostics.sources import dataset as source
from diagnostics.sources.dataset import look

ROW = {"instruction": "What is 1 plus 1?", "input": "", "output": "2"}
SAME = {"prompt": "a", "response": "a"}


def config(text: str = "dataset: mine\n") -> EffectiveConfig:
    return EffectiveConfig(parse_document(text.encode()))


def project(folder: Path, name: str = "mine.json", data: bytes = b"[]", **entry: object) -> Path:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / name).write_bytes(data)
    info = {"mine": {"file_name": name, **entry}}
    (folder / "data" / "dataset_info.json").write_text(json.dumps(info))
    return folder


def seen(
    folder: Path, name: str, data: bytes, text: str = "dataset: mine\n", **entry: object
) -> DatasetReport:
    return look(config(text), project(folder, name, data, **entry))[0]


def rows(count: int) -> list[dict[str, str]]:
    return [{**ROW, "instruction": f"What is {number} plus 1?"} for number in range(count)]


def test_a_json_list_is_read_with_the_line_of_each_sample(tmp_path: Path):
    data = json.dumps([ROW, {**ROW, "output": ""}], indent=1).encode()
    report = seen(tmp_path, "mine.json", data)

    assert (report.read, report.samples, report.exact) == (2, 2, True)
    assert report.formatting == "alpaca"
    assert report.empty_answers.places[0].line == 7
    assert report.empty_answers.places[0].source == "mine.json"


def test_json_lines_are_read_whatever_the_file_is_called(tmp_path: Path):
    data = b"\n".join(json.dumps(row).encode() for row in rows(3)) + b"\n\n"

    assert seen(tmp_path, "mine.json", data).samples == 3
    assert seen(tmp_path, "mine.jsonl", data).samples == 3


@pytest.mark.parametrize(
    ("name", "data", "count"),
    [
        ("nan.jsonl", b'{"a": NaN}\n', 1),
        ("bom.jsonl", b'\xef\xbb\xbf{"a":"x"}\n{"a":"y"}\n', 2),
        ("pretty.jsonl", b'{\n "a": "x"\n}\n{\n "a": "y"\n}\n', 2),
        ("one_line.jsonl", b'{"a":"x"}{"a":"y"}', 2),
        ("blank.jsonl", b'{"a":"x"}\r\n\r\n{"a":"y"}', 2),
        ("big.jsonl", b'{"a":' + b"9" * 30_000 + b"}\n", 1),
    ],
)
def test_what_the_datasets_library_accepts_is_accepted(
    tmp_path: Path, name: str, data: bytes, count: int
):
    report = seen(tmp_path, name, data, columns=SAME)

    assert report.fault is None
    assert (report.read, report.exact) == (count, True)


@pytest.mark.parametrize(
    ("name", "data", "line", "column"),
    [
        ("bom.json", b'\xef\xbb\xbf[{"a":"x"}]', 1, 2),
        ("bytes.jsonl", b'{"a":"x"}\n{"a":"\xff"}\n', 2, None),
        ("utf16.json", '[{"a":"x"}]'.encode("utf-16"), 1, None),
        ("comma.json", b'[{"a":"x"},]', 1, 12),
        ("comma.jsonl", b'{"a":"x"},\n{"a":"y"},\n', 1, 10),
        ("cut.jsonl", b'{"a":"x"}\n{"a":"y\n', 2, 8),
        ("cut.json", b'[{"a":"x"},{"a":"y"', 1, 20),
        ("open.json", b'[{"a":"x"}\n', 2, 1),
        ("twice.json", b'[{"a":"x"}]\n[{"a":"y"}]', 2, 1),
        ("missing.json", b'[{"a":"x"}\n {"a":"y"}]', 2, 2),
        ("comment.json", b'// hi\n[{"a":"x"}]', 1, 1),
        ("quotes.jsonl", b"{'a':'x'}\n", 1, 2),
        ("nul.jsonl", b"\0" * 4096, 1, 1),
    ],
)
def test_what_the_datasets_library_refuses_is_told_with_its_place(
    tmp_path: Path, name: str, data: bytes, line: int, column: int | None
):
    report = seen(tmp_path, name, data, columns=SAME)

    assert report.fault is not None
    assert report.fault.kind is FaultKind.PARSE
    assert (report.fault.line, report.fault.column) == (line, column)
    assert not report.exact


def test_a_fault_far_into_a_file_has_its_own_line(tmp_path: Path):
    good = b"".join(json.dumps({**ROW, "output": "x" * 900}).encode() + b"\n" for _ in range(3000))
    report = seen(tmp_path, "mine.jsonl", good + b'{"instruction": nothing}\n')

    assert report.fault is not None
    assert (report.fault.line, report.fault.column) == (3001, 17)
    assert report.read == 3000


@pytest.mark.parametrize("data", [b"", b"[]", b"\n\n"])
def test_a_file_without_samples_is_empty(tmp_path: Path, data: bytes):
    report = seen(tmp_path, "mine.json", data)

    assert report.fault is not None
    assert report.fault.kind is FaultKind.EMPTY


def test_empty_cells_of_a_csv_are_null_and_columns_of_numbers_are_numbers(tmp_path: Path):
    data = b'instruction,input,output\n"a,\nb",,x\nc,,N/A\nd,,"line\nline"\n'
    report = seen(tmp_path, "mine.csv", data)
    rated = seen(tmp_path, "rated.csv", b"instruction,input,output\na,,1\nb,,2.5\n")

    assert (report.read, report.no_answers.count) == (3, 1)
    assert report.no_answers.places[0].line == 4
    assert rated.no_answers.count == 2


def test_a_csv_row_longer_than_the_header_is_a_fault(tmp_path: Path):
    report = seen(tmp_path, "mine.csv", b"instruction,input,output\na,b,c\na,b,c,d\n")

    assert report.fault is not None
    assert (report.fault.kind, report.fault.line) == (FaultKind.PARSE, 3)


def test_each_line_of_a_text_file_is_a_sample(tmp_path: Path):
    report = seen(
        tmp_path,
        "mine.txt",
        b"one\ntwo\nthree",
        "dataset: mine\nstage: pt\n",
        columns={"prompt": "text"},
    )

    assert (report.read, report.missing_columns, report.packed) == (3, (), True)


def test_max_samples_ends_the_look_and_the_rest_counts_as_unused(tmp_path: Path):
    data = json.dumps([*rows(5), {**ROW, "output": ""}]).encode()
    report = seen(tmp_path, "mine.json", data, "dataset: mine\nmax_samples: 5\n")

    assert (report.read, report.samples, report.exact) == (5, 5, True)
    assert report.unused == 1
    assert report.empty_answers.count == 0


def test_num_samples_of_the_entry_is_what_training_takes(tmp_path: Path):
    report = seen(tmp_path, "mine.json", json.dumps(rows(5)).encode(), num_samples=40)

    assert (report.read, report.samples, report.exact) == (5, 40, True)


def test_a_large_dataset_is_read_in_part_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows(50))
    monkeypatch.setattr(source, "_MAX_SAMPLES", 20)
    few = seen(tmp_path, "mine.jsonl", data)
    monkeypatch.setattr(source, "_MAX_SAMPLES", 200)
    monkeypatch.setattr(source, "_DATASET_BYTES", 1000)
    short = seen(tmp_path, "mine.jsonl", data)

    assert (few.read, few.samples, few.exact) == (20, 20, False)
    assert "first 20 samples" in few.partial
    assert 0 < short.read < 20
    assert not short.exact
    assert "MiB were read" in short.partial


def test_a_folder_of_files_is_one_dataset(tmp_path: Path):
    project(tmp_path)
    folder = tmp_path / "data" / "parts"
    folder.mkdir()
    (folder / "1.json").write_text(json.dumps(rows(2)))
    (folder / "2.jsonl").write_text(json.dumps({**ROW, "output": ""}) + "\n")
    (tmp_path / "data" / "dataset_info.json").write_text('{"mine": {"file_name": "parts"}}')
    report = look(config(), tmp_path)[0]

    assert (report.read, report.fault) == (3, None)
    assert report.empty_answers.places[0].source == "parts/2.jsonl"


def test_a_folder_of_several_types_and_an_unknown_type_are_faults(tmp_path: Path):
    project(tmp_path)
    folder = tmp_path / "data" / "parts"
    folder.mkdir()
    (folder / "1.json").write_text("[]")
    (folder / "2.csv").write_text("a\n")
    (tmp_path / "data" / "dataset_info.json").write_text('{"mine": {"file_name": "parts"}}')
    mixed = look(config(), tmp_path)[0]
    other = seen(tmp_path, "mine.xlsx", b"x")

    assert mixed.fault is not None
    assert mixed.fault.kind is FaultKind.FILE_TYPE
    assert other.fault is not None
    assert "'xlsx'" in other.fault.text


def test_parquet_and_hub_datasets_are_not_looked_at_and_say_why(tmp_path: Path):
    parquet = seen(tmp_path, "mine.parquet", b"PAR1")
    hub = seen(tmp_path, "mine.json", b"[]", hf_hub_url="some/one")
    online = look(config("dataset: a, b\ndataset_dir: ONLINE\n"), tmp_path)

    assert parquet.not_looked_at == "parquet files are not read"
    assert "hf_hub_url some/one" in hub.not_looked_at
    assert [one.not_looked_at for one in online] == ["dataset_dir is ONLINE"] * 2


def test_a_name_that_is_not_defined_has_the_nearest_one(tmp_path: Path):
    project(tmp_path)
    info: dict[str, object] = {"alpaca_en_demo": {}, "identity": {}, "dpo_zh": {}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    report, other = look(config("dataset: alpaca_demo_en,zzz\n"), tmp_path)

    assert report.fault is not None
    assert report.fault.kind is FaultKind.UNDEFINED
    assert report.nearest == "alpaca_en_demo"
    assert report.defined == ("alpaca_en_demo", "identity", "dpo_zh")
    assert other.nearest is None


def test_what_is_missing_is_told_apart(tmp_path: Path):
    nowhere = look(config(), tmp_path)[0]
    (tmp_path / "data").mkdir()
    no_info = look(config(), tmp_path)[0]
    (tmp_path / "data" / "dataset_info.json").write_text('{"mine": {"file_name": "gone.json"}}')
    no_file = look(config(), tmp_path)[0]

    assert (nowhere.dir_missing, nowhere.fault) == ("data", None)
    assert no_info.fault is not None
    assert no_info.fault.kind is FaultKind.INFO_MISSING
    assert no_file.fault is not None
    assert (no_file.fault.kind, no_file.fault.source) == (FaultKind.FILE_MISSING, "data/gone.json")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b'{"mine": {"file_name": "mine.json"},\n}', 2),
        (b'\xef\xbb\xbf{"mine": {}}', 1),
        (b"[]", 1),
        (b'{"mine": []}', None),
        (b'{"mine": {}}', None),
        (b'{"mine": {"file_name": "mine.json", "formatting": "chatml"}}', None),
        (b"\xff\xfe", None),
    ],
)
def test_a_broken_dataset_info_is_told_with_its_line(tmp_path: Path, data: bytes, line: int | None):
    project(tmp_path)
    (tmp_path / "data" / "dataset_info.json").write_bytes(data)
    report = look(config(), tmp_path)[0]

    assert report.fault is not None
    assert (report.fault.kind, report.fault.line) == (FaultKind.INFO_BROKEN, line)


def test_tokenized_data_make_the_files_irrelevant(tmp_path: Path):
    project(tmp_path)
    (tmp_path / "tokens").mkdir()
    text = "dataset: mine\ntokenized_path: tokens\n"
    before = look(config(text), tmp_path)[0]
    (tmp_path / "tokens" / "state.json").write_text("{}")
    after = look(config(text), tmp_path)[0]

    assert before.not_looked_at == ""
    assert "tokens" in after.not_looked_at


def test_training_and_evaluation_data_are_both_looked_at(tmp_path: Path):
    project(tmp_path, data=json.dumps(rows(2)).encode())
    reports = look(config("dataset: mine\neval_dataset: mine\n"), tmp_path)

    assert [report.use for report in reports] == [Use.TRAIN, Use.EVAL]
    assert look(config("stage: sft\n"), tmp_path) == ()


def test_media_are_looked_for_in_media_dir_and_at_their_own_path(tmp_path: Path):
    names = ["there.png", "here.png", "gone.png", "https://x.org/1.png", "bad\0name", "n" * 5000]
    data = json.dumps([{**ROW, "images": [name]} for name in names]).encode()
    project(tmp_path, data=data, columns={"prompt": "instruction", "images": "images"})
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "there.png").touch()
    (tmp_path / "here.png").touch()
    report = look(config("dataset: mine\nstage: pt\nmedia_dir: pictures\n"), tmp_path)[0]

    assert (report.media_missing.count, report.media_checked) == (3, 5)
    assert report.media_missing.places[0].text == "gone.png is not there"


def test_a_preference_dataset_in_another_stage_is_a_mismatch(tmp_path: Path):
    data = json.dumps(rows(2)).encode()

    assert seen(tmp_path, "mine.json", data, ranking=True).stage_mismatch
    assert not seen(tmp_path, "mine.json", data).stage_mismatch
    assert not seen(tmp_path, "mine.json", data, "dataset: mine\nstage: kto\n").stage_mismatch


@pytest.mark.parametrize(
    "data",
    [
        b'{"instruction":"' + b"x" * 9_000_000 + b'"}\n',
        b'["' + b"x" * 9_000_000,
        b"[" * 1_000_000,
        b'{"a":' * 500_000,
        b'[{"a":[' + b"{}," * 3_000_000 + b"{}]}]",
        b"".join(b'{"k%d":1}\n' % number for number in range(3000)),
    ],
)
def test_hostile_samples_end_the_look_within_bounds(tmp_path: Path, data: bytes):
    report = seen(tmp_path, "mine.jsonl", data)

    assert report.read <= 3000
    assert len(report.columns) <= 200
    assert report.partial or report.fault is not None or report.exact


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    project(tmp_path)
    (tmp_path / "data" / "mine.json").unlink()
    os.mkfifo(tmp_path / "data" / "mine.json")
    report = look(config(), tmp_path)[0]

    assert report.fault is not None
    assert report.fault.kind is FaultKind.FILE_MISSING


@given(data=st.binary(max_size=300), suffix=st.sampled_from(["json", "jsonl", "csv", "txt"]))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_look_never_raises(tmp_path: Path, data: bytes, suffix: str):
    report = seen(tmp_path, f"mine.{suffix}", data)

    assert report.name == "mine"
    assert report.read <= report.samples or not report.exact


@pytest.mark.parametrize(
    "text",
    [
        "dataset: [a, 1, null]\n",
        "dataset: 3\n",
        "dataset: mine\ndataset_dir: {mine: {file_name: 3}}\n",
        "dataset: mine\ndataset_dir: 7\nmedia_dir: []\nstage: [a]\ncutoff_len: many\n",
        'dataset: "a\\0b"\ndataset_dir: "a\\0b"\n',
        "dataset: mine\ntokenized_path: 4\nmax_samples: -3\npacking: perhaps\n",
    ],
)
def test_odd_settings_are_taken_as_they_come(tmp_path: Path, text: str):
    reports = look(config(text), project(tmp_path))

    assert all(isinstance(report, DatasetReport) for report in reports)
