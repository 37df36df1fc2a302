"""The rules of thumb that a prediction is shown beside, worked out by hand for 7 billion."""

from typing import Any

import pytest

from diagnostics.memory.rules_of_thumb import RulesOfThumb, rules_of_thumb
from tests.memory.shapes import GIB, workload

BILLIONS = 7


def rules(**keys: Any) -> RulesOfThumb:
    return rules_of_thumb(workload(**keys), BILLIONS * 10**9)


def gigabytes(value: float | None) -> float | None:
    return None if value is None else round(value * GIB / 1e9, 2)


@pytest.mark.parametrize(("method", "each"), [("full", 20), ("lora", 10), ("freeze", 6)])
def test_the_articles_rule_is_a_number_for_each_method(method: str, each: int):
    assert gigabytes(rules(finetuning_type=method).article_gib) == BILLIONS * each


def test_the_article_says_nothing_of_quantized_models_or_of_oft():
    assert rules(quantization_bit=4).article_gib is None
    assert rules(finetuning_type="oft").article_gib is None


@pytest.mark.parametrize(
    ("keys", "each"),
    [
        ({"finetuning_type": "full"}, 18),
        ({"finetuning_type": "full", "pure_bf16": True}, 8),
        ({"finetuning_type": "lora"}, 2),
        ({"finetuning_type": "freeze"}, 2),
        ({"finetuning_type": "full", "use_galore": True}, 2),
        ({"finetuning_type": "full", "use_badam": True}, 2),
        ({"quantization_bit": 8}, 1),
        ({"quantization_bit": 4}, 0.5),
        ({"quantization_bit": 2, "quantization_method": "hqq"}, 0.25),
    ],
)
def test_llamafactorys_table_is_bytes_a_parameter(keys: dict[str, Any], each: float):
    assert gigabytes(rules(**keys).llamafactory_readme_gib) == BILLIONS * each
