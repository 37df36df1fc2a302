from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.config.document import MAX_BYTES, ConfigDocument, Shape, parse_document
from diagnostics.errors import ConfigError


def values(text: str) -> dict[str, object]:
    return dict(parse_document(text.encode()).values)


def refused(text: str | bytes) -> ConfigError:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        parse_document(data, Path("train.yaml"))
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("5E-5", 5e-5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("1e400", float("inf")),
        ("8", 8),
        ("+8", 8),
        ("1_000", 1000),
        ("012", 10),
        ("0x1F", 31),
        ("0b11", 3),
        ("1:30", 90),
        ("1:30.5", 90.5),
        ("yes", True),
        ("On", True),
        ("no", False),
        ("OFF", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("# nothing", None),
    ],
)
def test_plain_values_are_read_as_omegaconf_reads_them(text: str, value: object) -> None:
    read = values(f"key: {text}\n")["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    ["y", "n", "0o17", "08", "-.5", "inf", "nan", "2020-01-01", "${oc.env:HOME}/x", "???", "a,b"],
)
def test_what_omegaconf_takes_for_text_stays_text(text: str) -> None:
    assert values(f"key: {text}\n") == {"key": text}


def test_quoted_numbers_and_switches_are_text() -> None:
    assert values("a: '8'\nb: \"no\"\nc: !!str 8\n") == {"a": "8", "b": "no", "c": "8"}


@pytest.mark.parametrize("text", ["", "\ufeff", "# only a comment\n", "---\n", "null\n"])
def test_a_config_without_keys_has_no_values(text: str) -> None:
    assert values(text) == {}


def test_the_text_is_kept_exactly() -> None:
    text = "\ufeff# head\r\nbf16: true  \r\n\r\nlora_rank: 8"
    document = parse_document(text.encode(), Path("a.yaml"))
    assert document.text == text
    assert dict(document.values) == {"bf16": True, "lora_rank": 8}


def test_places_give_line_column_and_span() -> None:
    text = (
        "\ufeff# 头\r\nlora_rank: 8\r\n  \r\nnested:\r\n  - a\r\n  - b  # last\r\nlist: [1, 2]\r\n"
    )
    document = parse_document(text.encode())
    spans = {key: text[place.start : place.end] for key, place in document.places.items()}
    assert spans == {"lora_rank": "8", "nested": "- a\r\n  - b", "list": "[1, 2]"}
    assert [(place.line, place.column) for place in document.places.values()] == [
        (2, 1),
        (4, 1),
        (7, 1),
    ]


def test_places_tell_how_a_value_is_written() -> None:
    text = "a: 8\nb: [1]\nc:\n  d: 1\ne: |\n  x\nf: &x 1\ng: *x\nh:\n"
    shapes = {key: place.shape for key, place in parse_document(text.encode()).places.items()}
    assert shapes == {
        "a": Shape.SCALAR,
        "b": Shape.FLOW,
        "c": Shape.BLOCK,
        "e": Shape.BLOCK,
        "f": Shape.SCALAR,
        "g": Shape.ALIAS,
        "h": Shape.EMPTY,
    }


def test_the_first_key_after_a_byte_order_mark_is_in_column_one() -> None:
    place = parse_document("\ufeffbf16: true\n".encode()).places["bf16"]
    assert (place.line, place.column) == (1, 1)


def test_aliases_and_merge_keys_are_followed() -> None:
    text = "base: &base {lora_rank: 8, bf16: true}\n<<: *base\nbf16: false\nother: *base\n"
    document = parse_document(text.encode())
    assert dict(document.values) == {
        "base": {"lora_rank": 8, "bf16": True},
        "lora_rank": 8,
        "bf16": False,
        "other": {"lora_rank": 8, "bf16": True},
    }
    assert document.places["lora_rank"].inherited
    assert not document.places["bf16"].inherited


def test_the_first_of_several_merged_mappings_wins() -> None:
    text = "a: &a {k: 1}\nb: &b {k: 2, m: 3}\nc:\n  <<: [*a, *b]\n"
    assert values(text)["c"] == {"k": 1, "m": 3}


def test_json_is_read_too() -> None:
    assert values('{"stage": "sft", "bf16": true, "x": null, "l": [1, 2.5]}') == {
        "stage": "sft",
        "bf16": True,
        "x": None,
        "l": [1, 2.5],
    }


def test_tabs_as_blanks_are_allowed_where_llama_factory_allows_them() -> None:
    assert values("lora_rank:\t8\t# rank\n") == {"lora_rank": 8}


def test_a_key_that_stands_twice_is_refused_at_the_second() -> None:
    error = refused("bf16: true\nlora_rank: 8\nbf16: false\n")
    assert (error.line, error.column) == (3, 1)
    assert "train.yaml:3:1" in error.message
    assert "twice" in error.message
    assert error.remedy


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "did not find"),
        ("a: b: c\n", 1, "mapping values"),
        ("a: 'open\n", 2, "end of stream"),
        ("a: 1\n\tb: 2\n", 2, "tab"),
        ("a: @x\n", 1, "start any token"),
        ("a: *nowhere\n", 1, "names no anchor"),
        ("a: &x [*x]\n", 1, "names no anchor"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("- a\n- b\n", 1, "key: value"),
        ("just text\n", 1, "key: value"),
        ("1: x\n", 1, "not text"),
        ("no: x\n", 1, "not text"),
        ("a:\n  [1]: x\n", 2, "a key is"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "tag"),
        ("a: !!set {x}\n", 1, "tag"),
        ("a: !local 1\n", 1, "tag"),
        ("a: !!int x\n", 1, "cannot be read"),
        ("a: !!int\n", 1, "cannot be read"),
        ("a: =\n", 1, "cannot be read"),
        ("<<: 8\n", 1, "merges"),
        ("a: 1\nb: x\0y\n", 2, "U+0000"),
        ("a: 1\nb: \x1b[31m\n", 2, "U+001B"),
        ("a: " + "9" * 5000 + "\n", 1, "too long"),
        ("a: 1" + ":30" * 5000 + "\n", 1, "too long"),
    ],
)
def test_a_fault_is_one_line_with_its_place_and_a_remedy(text: str, line: int, words: str) -> None:
    error = refused(text)
    assert error.line == line
    assert error.column is not None
    assert words in error.message
    assert error.remedy
    assert str(error).isprintable()


def test_bytes_that_are_no_utf8_are_named_with_their_place() -> None:
    error = refused(b"stage: sft\ntemplate: \xff\n")
    assert (error.line, error.column) == (2, 11)
    assert "0xFF" in error.message


def test_a_file_of_another_kind_is_refused() -> None:
    assert "UTF-8" in refused(b"\x80\x02}q\x00X\x05").message


def test_too_much_is_refused_before_it_is_parsed() -> None:
    assert "bytes" in refused(b"a" * (MAX_BYTES + 1)).message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused(opening: str) -> None:
    assert "nest" in refused("a:\n  " + opening * 3000).message


def test_fifty_levels_are_allowed_and_more_are_not() -> None:
    assert values("a: " + "[" * 48 + "1" + "]" * 48)
    assert "deep" in refused("a: " + "[" * 50 + "1" + "]" * 50).message


def test_depth_through_aliases_counts() -> None:
    lines = [f"k{n}: &a{n} {'[' * 10}{f'*a{n - 1}' if n else '1'}{']' * 10}" for n in range(8)]
    assert "aliases" in refused("\n".join(lines)).message


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases" in refused("\n".join(lines)).message


def test_more_values_than_any_config_has_are_refused() -> None:
    assert "more than" in refused("a: [" + "1," * 20_000 + "]").message


def read(data: bytes) -> ConfigDocument | ConfigError:
    try:
        return parse_document(data)
    except ConfigError as error:
        return error


@given(st.binary(max_size=200))
def test_random_bytes_give_a_document_or_a_config_error(data: bytes) -> None:
    result = read(data)
    if isinstance(result, ConfigError):
        assert str(result).isprintable()
    else:
        assert result.text.encode() == data


@given(st.text(alphabet="ab:-[]{},#&*!|>'\"%@`?=<~ \t\n\r\u2028\ufeff01e.", max_size=40))
def test_random_yaml_gives_a_document_or_a_config_error(text: str) -> None:
    result = read(text.encode())
    if isinstance(result, ConfigError):
        assert str(result).isprintable()
    else:
        assert result.places.keys() == result.values.keys()
        for place in result.places.values():
            assert 0 <= place.start <= place.end <= len(text)
