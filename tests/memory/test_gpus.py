"""GPUs by what a person says of them: sizes, names, and what is refused."""

import pytest

from diagnostics.errors import LlamavetError
from diagnostics.memory.gpus import GPUS, known_gpu, parse_gpu


@pytest.mark.parametrize(
    ("said", "gib"),
    [("24", 24.0), ("24GB", 24.0), ("24 GiB", 24.0), ("80g", 80.0), ("24564MiB", 24564 / 1024)],
)
def test_a_size_is_read_in_gib_and_has_no_name(said: str, gib: float):
    assert parse_gpu(said) == (gib, "")


@pytest.mark.parametrize(
    ("said", "mib", "name"),
    [
        ("RTX 4090", 24_564, "RTX 4090"),
        ("rtx4090", 24_564, "RTX 4090"),
        ("4090", 24_564, "RTX 4090"),
        ("NVIDIA GeForce RTX 4090", 24_564, "RTX 4090"),
        ("a100-80g", 81_920, "A100 80GB"),
        ("NVIDIA A100-SXM4-40GB", 40_960, "A100 40GB"),
        ("NVIDIA H100 80GB HBM3", 81_559, "H100"),
        ("Tesla V100-SXM2-32GB", 32_768, "V100 32GB"),
        ("Tesla T4", 15_360, "T4"),
        ("NVIDIA L40S", 46_068, "L40S"),
        ("NVIDIA RTX 6000 Ada Generation", 49_140, "RTX 6000 Ada"),
    ],
)
def test_a_card_is_known_by_its_name_as_people_and_drivers_write_it(said: str, mib: int, name: str):
    assert parse_gpu(said) == (mib / 1024, name)


@pytest.mark.parametrize(
    "said",
    [
        "",
        " ",
        "-5",
        "0",
        "0.01",
        "1e9",
        "nan",
        "inf",
        "9999999",
        "2x24",
        "two",
        "\x1b[31m",
        "A" * 999,
    ],
)
def test_what_is_no_gpu_is_refused_in_one_line(said: str):
    with pytest.raises(LlamavetError) as raised:
        parse_gpu(said)

    assert '"24GB"' in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_card_of_several_sizes_is_not_guessed():
    with pytest.raises(LlamavetError, match='say "A100 40GB" or "A100 80GB"'):
        parse_gpu("A100")


def test_a_size_that_a_card_never_had_is_told():
    with pytest.raises(LlamavetError, match='RTX 4090 has 24 GB, not 48; or say "48GB"'):
        parse_gpu("RTX 4090 48GB")


def test_a_laptop_card_is_not_taken_for_the_desktop_card_of_the_same_number():
    assert known_gpu("NVIDIA GeForce RTX 4090 Laptop GPU") is None


def test_a_misspelt_card_is_answered_with_the_near_one():
    with pytest.raises(LlamavetError, match="is it RTX 4090"):
        parse_gpu("RTX 4095")


def test_bfloat16_needs_an_ampere_card_or_newer():
    names = ("T4", "V100", "RTX 2080 Ti", "A100", "RTX 3060", "H100")
    cards = {name: known_gpu(name) for name in names}

    has_bf16 = [name for name, card in cards.items() if card is not None and card.has_bf16]

    assert has_bf16 == ["A100", "RTX 3060", "H100"]


def test_every_card_holds_about_what_its_trade_name_says():
    for card in GPUS:
        for gb, mib in card.sizes_mib:
            assert 0.9 * gb < mib / 1024 <= 1.02 * gb, card.name
