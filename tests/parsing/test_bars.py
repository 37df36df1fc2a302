"""tqdm's bars."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.parsing.bars import clock_seconds, find_bars, plain_bar


def test_a_bar_without_description_gives_its_counts_and_pace():
    (bar,) = find_bars(" 10%|█         | 5/50 [01:02<00:05,  8.00it/s]")
    assert (bar.description, bar.done, bar.total) == ("", 5, 50)
    assert bar.elapsed_s == 62.0
    assert bar.seconds_per_item == 0.125


def test_slow_bars_print_seconds_for_each_item():
    (bar,) = find_bars("  0%|          | 1/9 [00:06<00:48,  6.25s/it]")
    assert bar.seconds_per_item == 6.25


def test_a_bar_that_has_not_begun_has_no_pace():
    (bar,) = find_bars("  0%|          | 0/2 [00:00<?, ?it/s]")
    assert (bar.done, bar.total, bar.seconds_per_item) == (0, 2, None)


def test_a_description_is_the_text_before_the_percentage():
    (bar,) = find_bars("Loading checkpoint shards:  33%|███▎      | 1/3 [00:01<00:02,  1.00s/it]")
    assert bar.description == "Loading checkpoint shards"
    (bar,) = find_bars(
        "Map (num_proc=8): 100%|██████████| 200/200 [00:00<00:00, 9779.21 examples/s]"
    )
    assert bar.description == "Map (num_proc=8)"


def test_several_bars_on_one_line_come_in_order_each_with_its_own_description():
    text = "A:   0%|  | 0/2 [00:00<?, ?it/s]B:  50%|█ | 1/2 [00:01<00:01,  1.00it/s] tail"
    first, second = find_bars(text)
    assert (first.description, second.description) == ("A", "B")
    assert text[second.end :] == " tail"
    assert text[first.start : first.end] == "A:   0%|  | 0/2 [00:00<?, ?it/s]"
    assert second.start == first.end


def test_scaled_counts_and_commas_are_numbers():
    (bar,) = find_bars("model:  50%|█| 1.5G/3.0G [00:10<00:10, 150MB/s]")
    assert (bar.done, bar.total) == (1_500_000_000, 3_000_000_000)
    (bar,) = find_bars(" 50%|█| 1,000/2,000 [00:10<00:10, 100.00it/s, loss=1.5]")
    assert (bar.done, bar.total) == (1000, 2000)


@pytest.mark.parametrize(
    "text", ["", "100% of it", "50%|half", "see 5/50 [yes]", "50%|x| a/b [00:00<00:00]", "Killed"]
)
def test_what_only_looks_like_a_bar_is_none(text: str):
    assert find_bars(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "%|" + "a" * 65_000,
        "1%|" * 21_000,
        "1%|a| 1/1 [0<0" * 4_600,
        "1%|a| 1/1 [0<0, 1 " + "w" * 65_000,
    ],
)
def test_a_hostile_line_costs_no_more_than_its_length(text: str):
    assert len(find_bars(text)) <= 1  # a quadratic search would not come back for minutes


@given(st.text(alphabet="0123456789%|/[]<:,. itsexampl?", max_size=200))
def test_nothing_raises_and_offsets_lie_within_the_line(text: str):
    for bar in find_bars(text):
        assert 0 <= bar.start < bar.end <= len(text)
        assert bar.done >= 0
        assert bar.total >= 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:05", 5), ("1:02:03", 3723), ("1 day, 2:03:04", 93_784), ("2 days, 0:00:00", 172_800)],
)
def test_clocks_are_seconds(text: str, seconds: float):
    assert clock_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "?", "1", "a:b", "1:2:3:4", ":"])
def test_what_is_no_clock_is_none(text: str):
    assert clock_seconds(text) is None


@pytest.mark.parametrize(
    "text",
    [
        " 10%|█         | 5/50 [01:02<00:05,  8.00it/s]",
        "  0%|          | 1/9 [1:00:06<00:48,  6.25s/it]",
        "  0%|          | 0/2 [00:00<?, ?it/s]",
        " 50%|█         | 5/10 [00:01<00:05,  8.00it/s, loss=1.5]",
        " 50%|█         | 5/10 [00:01<00:05]",
        "100%|██████████| 0/0 [00:00<00:00, 0.0it/s]",
    ],
)
def test_a_plain_bar_is_read_as_any_bar(text: str):
    assert [plain_bar(text)] == find_bars(text)


@pytest.mark.parametrize(
    "text",
    [
        "Map:  10%|█| 5/50 [01:02<00:05,  8.00it/s]",
        " 50%|█| 1.5G/3.0G [00:10<00:10, 150MB/s]",
        " 50%|█| 1/2 [00:10<00:10,  1.50kit/s]",
        " 50%|█| 1/2 [00:10<00:10,  1.50it/s] text",
        "Killed",
    ],
)
def test_what_is_more_than_a_plain_bar_is_left_to_a_closer_look(text: str):
    assert plain_bar(text) is None
