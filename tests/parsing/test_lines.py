"""Splitting bytes into clean lines."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.parsing.lines import LineSplitter, RawLine, clean

pieces = st.lists(
    st.sampled_from(
        [
            b"a",
            b"loss",
            b"\r",
            b"\n",
            b"\r\n",
            b"\0",
            b"\x1b[31m",
            b"\xe4\xbd\xa0",
            b"\xff",
            b" ",
            b"x" * 9,
        ]
    ),
    max_size=40,
).map(b"".join)


def whole(data: bytes, limit: int = 64 * 1024) -> list[RawLine]:
    splitter = LineSplitter(limit)
    return splitter.feed(data) + splitter.flush()


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(pieces, st.lists(st.integers(0, 400), max_size=12), st.sampled_from([4, 8, 64 * 1024]))
def test_lines_do_not_depend_on_how_the_bytes_arrive(data: bytes, cuts: list[int], limit: int):
    splitter = LineSplitter(limit)
    found = [line for part in split_at(data, cuts) for line in splitter.feed(part)]
    assert found + splitter.flush() == whole(data, limit)


@given(pieces)
def test_line_numbers_count_the_newlines_before(data: bytes):
    for line in whole(data):
        assert 1 <= line.line <= data.count(b"\n") + 1
    numbers = [line.line for line in whole(data)]
    assert numbers == sorted(numbers)


@given(st.binary(max_size=300))
def test_text_never_holds_a_control_character(data: bytes):
    for line in whole(data):
        assert not any(ord(char) < 32 and char != "\t" for char in line.text)
        assert "\x7f" not in line.text


def test_a_return_and_newline_that_arrive_apart_are_one_break():
    splitter = LineSplitter()
    assert splitter.feed(b"one\r") == []
    assert splitter.feed(b"\ntwo\n") == [RawLine("one", 1, False), RawLine("two", 2, False)]


def test_a_lone_return_redraws_and_stays_on_its_physical_line():
    assert whole(b"1/5\r2/5\rdone\nnext") == [
        RawLine("1/5", 1, True),
        RawLine("2/5", 1, True),
        RawLine("done", 1, False),
        RawLine("next", 2, False),
    ]


def test_a_hundred_megabytes_without_a_newline_are_not_held():
    splitter = LineSplitter()
    block = b"x" * (1024 * 1024)
    for _ in range(100):
        assert splitter.feed(block) == []
        assert len(splitter._rest) <= 64 * 1024 + 1
    (line, after) = splitter.feed(b"\nafter\n")
    assert line.cut
    assert line.text == "x" * 64 * 1024
    assert after == RawLine("after", 2, False)


def test_a_line_of_exactly_the_limit_is_whole_however_it_ends():
    for ending in (b"\n", b"\r\n", b"\r"):
        (line,) = whole(b"abcd" + ending, 4)
        assert (line.text, line.cut) == ("abcd", False)
        splitter = LineSplitter(4)
        (line,) = [
            *splitter.feed(b"abcd" + ending[:1]),
            *splitter.feed(ending[1:]),
            *splitter.flush(),
        ]
        assert (line.text, line.cut) == ("abcd", False)


def test_the_nuls_of_a_sparse_file_are_no_text():
    splitter = LineSplitter()
    assert splitter.feed(b"\0" * 500_000) == []
    assert splitter.feed(b"{'loss': 1.0}\n") == [RawLine("{'loss': 1.0}", 1, False)]
    assert whole(b"\0" * 20_000) == []


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b[2K\x1b[1Gline", "line"),
        (b"\x1bP1$r0m\x1b\\after", "after"),
        ("a\u202eb\u2066c\u200fd\u061ce".encode(), "abcde"),
        ("a\u2028b\u0085c\u009b31md".encode(), "abcd"),
        (b"bell\x07 back\x08 null\0", "bell back null"),
        ("训练 👩\u200d🔬".encode(), "训练 👩\u200d🔬"),
        (b"bad \xff byte", "bad \ufffd byte"),
        (b"tab\tstays  ", "tab\tstays"),
    ],
)
def test_escapes_and_controls_are_taken_out_and_words_stay(raw: bytes, text: str):
    assert clean(raw) == text


def test_going_on_elsewhere_drops_the_half_line_and_counts_from_there():
    splitter = LineSplitter()
    splitter.feed(b"one\nhal")
    splitter.jump(900)
    assert splitter.feed(b"there\n") == [RawLine("there", 900, False)]
