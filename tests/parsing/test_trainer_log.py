"""Rows of trainer_log.jsonl, of every generation."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.parsing.trainer_log import parse_row

LOGS = Path(__file__).parents[1] / "data" / "logs"


def row(**values: object) -> bytes:
    return json.dumps(values).encode()


def test_a_row_of_today_gives_all_it_says():
    found = parse_row(
        b'{"current_steps": 5, "total_steps": 50, "loss": 7.62, "lr": 0.0008, "epoch": 0.2, '
        b'"percentage": 10.0, "elapsed_time": "1 day, 2:03:04", "remaining_time": "0:00:05"}'
    )
    assert found is not None
    assert (found.step, found.total_steps, found.loss) == (5, 50, 7.62)
    assert (found.learning_rate, found.epoch, found.eval_loss) == (0.0008, 0.2, None)
    assert found.extra == ()


def test_the_older_name_of_the_learning_rate_counts_too():
    found = parse_row(row(current_steps=1, loss=1.0, learning_rate=2e-5))
    assert found is not None
    assert found.learning_rate == 2e-5
    found = parse_row(row(current_steps=1, loss=1.0, lr=None, learning_rate=3e-5))
    assert found is not None
    assert found.learning_rate == 3e-5


def test_null_is_absent_as_old_files_wrote_it():
    found = parse_row(row(current_steps=10, total_steps=20, loss=None, eval_loss=1.5, reward=None))
    assert found is not None
    assert (found.loss, found.eval_loss, found.extra) == (None, 1.5, ())


def test_a_throughput_written_as_text_is_a_number():
    found = parse_row(row(current_steps=1, loss=1.0, throughput="1234.56", total_tokens=99))
    assert found is not None
    assert dict(found.extra) == {"throughput": 1234.56, "total_tokens": 99.0}


def test_bare_nan_and_infinity_are_values():
    found = parse_row(b'{"current_steps": 3, "loss": NaN, "lr": 0.0, "grad_norm": Infinity}')
    assert found is not None
    assert found.loss is not None
    assert math.isnan(found.loss)
    assert found.grad_norm == math.inf


def test_rows_of_memory_and_preference_training_keep_their_extras():
    found = parse_row(
        row(current_steps=1, loss=0.6, accuracy=0.75, vram_allocated=10.5, vram_reserved=12)
    )
    assert found is not None
    assert dict(found.extra) == {"accuracy": 0.75, "vram_allocated": 10.5, "vram_reserved": 12.0}


def test_a_summary_row_and_a_prediction_row_are_rows_without_loss():
    for text in (
        b'{"current_steps": 50, "total_steps": 50, "epoch": 2.0, "percentage": 100.0}',
        b'{"current_steps": 5, "total_steps": 10, "percentage": 50.0, "elapsed_time": "0:00:01"}',
    ):
        found = parse_row(text)
        assert found is not None
        assert (found.loss, found.eval_loss) == (None, None)


def test_rows_of_the_second_trainer_say_step():
    found = parse_row(
        row(step=7, total_steps=70, loss=1.5, learning_rate=1e-4, grad_norm=0.5, epoch=0.1)
    )
    assert found is not None
    assert (found.step, found.total_steps, found.grad_norm) == (7, 70, 0.5)


def test_a_real_file_gives_every_row():
    rows = [
        parse_row(line) for line in (LOGS / "lora_pipe.trainer_log.jsonl").read_bytes().splitlines()
    ]
    assert all(found is not None for found in rows)
    assert [found.step for found in rows if found is not None and found.loss is not None] == list(
        range(5, 51, 5)
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b'"text"',
        b"null",
        b'{"current_steps": 5, "lo',
        b'{"loss": 1.0}',
        b'{"current_steps": null}',
        b'{"current_steps": true}',
        b'{"current_steps": -1}',
        b'{"current_steps": NaN}',
        b'{"current_steps": 1e400}',
        b'{"current_steps": ' + b"9" * 400 + b"}",
        b'{"current_steps": ' + b"9" * 9000 + b"}",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"current_steps": 1, "x": "' + b"y" * 2_000_000 + b'"}',
        b"\xff\xfe\x00",
    ],
    ids=range(19),
)
def test_what_is_no_row_is_none(line: bytes):
    assert parse_row(line) is None


def test_a_huge_integer_as_a_loss_is_no_number():
    found = parse_row(b'{"current_steps": 1, "loss": ' + b"9" * 400 + b"}")
    assert found is not None
    assert found.loss is None


def test_nuls_before_a_row_are_a_sparse_file_and_nothing_else():
    found = parse_row(b"\0" * 10_000 + b'{"current_steps": 4, "loss": 1.0}')
    assert found is not None
    assert found.step == 4


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.sampled_from(
    ["current_steps", "step", "total_steps", "loss", "lr", "epoch", "throughput", "reward"]
)


@given(st.dictionaries(keys, json_values, max_size=8))
def test_any_object_gives_a_row_of_numbers_or_none(values: dict[str, object]):
    found = parse_row(json.dumps(values).encode())
    assert found is None or found.step >= 0


@given(st.binary(max_size=200))
def test_any_bytes_give_a_row_or_none(line: bytes):
    found = parse_row(line)
    assert found is None or found.step >= 0
