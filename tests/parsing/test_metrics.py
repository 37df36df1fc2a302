"""The metrics that trainers print, and a quick way to read them that agrees with the slow one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.parsing.metrics import MetricsKind, MetricsReader, find_metrics

LINES = [
    "{'loss': 1.2345, 'grad_norm': 0.83, 'learning_rate': 2.3e-08, 'epoch': 3.0}",
    "{'loss': 1.2, 'grad_norm': nan, 'learning_rate': 0.0, 'epoch': 0.04}",
    "{'loss': '7.555', 'grad_norm': 'nan', 'learning_rate': '9.806e+29', 'epoch': '0.4'}",
    "{'loss': '0', 'grad_norm': 'inf', 'learning_rate': '1E-05', 'epoch': '2'}",
    "  {'loss': '0', 'grad_norm': '1', 'learning_rate': '1e-05', 'epoch': '2'} and more",
    "{'loss': '7.6', 'epoch': '0.2', 'num_input_tokens_seen': 5472, 'train_runtime': '0.81'}",
    "{'eval_loss': 1.5, 'eval_runtime': 12.3, 'epoch': 0.4}",
    "{'train_runtime': 6.3, 'train_loss': 7.4, 'epoch': 2.0}",
    "{'loss': 1.2.3, 'grad_norm': 0.83, 'learning_rate': 2.3e-08, 'epoch': 3.0}",
    "{'loss': 1_0, 'grad_norm': .83, 'learning_rate': +2, 'epoch': 3.0}",
    "{'loss': None, 'grad_norm': 0.83, 'learning_rate': 2.3e-08, 'epoch': 3.0}",
    "{'loss': 1.0, 'loss': 2.0, 'epoch': 3.0}",
    "{'loss': 1.0, 'x': {'y': 1}, 'epoch': 3.0}",
    "{'loss': 1.0, 'epoch': 3.0, }",
    "{'task': {'name': 'Causal Language Modeling'}}",
    "no dict {'loss': 1.0}",
    "{'loss': " + "9" * 60 + ", 'epoch': 1.0}",
]


@given(st.lists(st.sampled_from(LINES), max_size=40))
@settings(deadline=None)
def test_the_quick_reader_finds_what_the_slow_one_does_in_any_order(lines: list[str]):
    reader = MetricsReader()
    assert [repr(reader.find(line)) for line in lines] == [
        repr(find_metrics(line)) for line in lines
    ]


@given(st.text("{}'los: ,.0123456789einfa-+_", max_size=60), st.sampled_from(LINES))
@settings(deadline=None)
def test_the_quick_reader_finds_no_more_than_the_slow_one(text: str, first: str):
    reader = MetricsReader()
    reader.find(first)
    line = "{'loss': " + text
    assert repr(reader.find(line)) == repr(find_metrics(line))


@pytest.mark.parametrize(
    ("line", "kind"),
    [(LINES[0], MetricsKind.TRAIN), (LINES[6], MetricsKind.EVAL), (LINES[7], MetricsKind.SUMMARY)],
)
def test_a_dict_is_of_a_step_an_evaluation_or_the_whole_training(line: str, kind: MetricsKind):
    reader = MetricsReader()
    for _ in range(2):
        found = reader.find(line)
        assert found is not None
        assert found.kind is kind
