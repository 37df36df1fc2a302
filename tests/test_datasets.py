"""What is counted of a dataset's samples, and how their tokens are estimated."""

import pytest

from diagnostics.datasets import Analysis, DatasetReport, Place, Recipe, read_layout
from diagnostics.datasets.analysis import excerpt
from diagnostics.datasets.tokens import estimate

SHAREGPT: dict[str, object] = {"formatting": "sharegpt"}
OPENAI: dict[str, object] = {
    "formatting": "openai",
    "columns": {"messages": "messages"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
        "observation_tag": "tool",
        "function_tag": "function",
    },
}


def analyse(
    entry: dict[str, object], samples: list[dict[str, object]], recipe: Recipe | None = None
) -> DatasetReport:
    analysis = Analysis(read_layout(entry), recipe or Recipe())
    for number, sample in enumerate(samples, start=1):
        analysis.add(Place("mine.jsonl", number, number), sample)
    return analysis.report(DatasetReport("mine"))


def alpaca(prompt: str, answer: object, **more: object) -> dict[str, object]:
    return {"instruction": prompt, "input": "", "output": answer, **more}


def talk(*turns: tuple[str, str]) -> dict[str, object]:
    return {"conversations": [{"from": role, "value": text} for role, text in turns]}


def chat(*messages: dict[str, object]) -> dict[str, object]:
    return {"messages": list(messages)}


def test_an_empty_answer_is_kept_and_a_null_one_is_dropped():
    report = analyse({}, [alpaca("a", "x"), alpaca("b", ""), alpaca("c", None), alpaca("d", 4)])

    assert report.empty_answers.count == 1
    assert report.no_answers.count == 2
    assert report.dropped == 2
    assert report.empty_answers.places[0].line == 2
    assert report.empty_answers.places[0].text == '"b": its answer is empty'


def test_copies_are_counted_from_the_second_on():
    report = analyse({}, [alpaca("a", "x")] * 3 + [alpaca("a", "y")])

    assert report.duplicates.count == 2
    assert [place.sample for place in report.duplicates.places] == [2, 3]


def test_a_prompt_with_two_answers_is_a_conflict_and_both_places_are_told():
    report = analyse({}, [alpaca("a", "x"), alpaca("b", "x"), alpaca("a", "y"), alpaca("a", "x")])

    assert report.conflicts.count == 2
    assert [place.sample for place in report.conflicts.places] == [1, 3]
    assert "2 different answers" in report.conflicts.places[0].text


def test_equal_prompts_with_other_system_prompts_are_no_conflict():
    entry: dict[str, object] = {
        "columns": {"prompt": "instruction", "response": "output", "system": "system"}
    }
    report = analyse(entry, [alpaca("a", "x", system="one"), alpaca("a", "y", system="two")])

    assert report.conflicts.count == 0


@pytest.mark.parametrize(
    ("turns", "remark"),
    [
        ([("gpt", "Hello")], "turn 1 is of 'gpt'"),
        ([("human", "Hi")], "the last has no answer"),
        ([("human", "Hi"), ("assistant", "Hello")], "turn 2 is of 'assistant'"),
        ([], "it has no turns"),
    ],
)
def test_a_conversation_out_of_order_is_dropped(turns: list[tuple[str, str]], remark: str):
    report = analyse(SHAREGPT, [talk(*turns)])

    assert report.invalid_turns.count == 1
    assert remark in report.invalid_turns.places[0].text


def test_tools_and_a_system_prompt_in_their_order_are_fine():
    turns = [("system", "s"), ("human", "q"), ("function_call", "f"), ("observation", "o")]
    report = analyse(SHAREGPT, [talk(*turns, ("gpt", "a"))])

    assert report.dropped == 0
    assert report.missing_columns == ()


def test_answers_of_several_tools_at_once_are_one_turn_in_openai_data():
    report = analyse(
        OPENAI,
        [
            chat(
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
                {"role": "tool", "content": "1"},
                {"role": "tool", "content": "2"},
                {"role": "assistant", "content": "done"},
            )
        ],
    )

    assert report.dropped == 0
    assert report.empty_answers.count == 0


def test_tags_that_are_given_in_part_leave_the_other_roles_unknown():
    entry: dict[str, object] = {**SHAREGPT, "tags": {"role_tag": "from", "content_tag": "value"}}
    report = analyse(entry, [talk(("human", "q"), ("gpt", "a"))])

    assert report.invalid_turns.count == 1
    assert "a role that tags do not name is expected" in report.invalid_turns.places[0].text


def test_columns_that_are_looked_up_and_not_there_are_missing():
    assert analyse({}, [{"instruction": "a", "output": "x"}]).missing_columns == ("input",)
    assert analyse(SHAREGPT, [alpaca("a", "x")]).missing_columns == ("conversations",)


def test_keys_of_messages_are_looked_up_as_well():
    entry: dict[str, object] = {**SHAREGPT, "columns": {"messages": "messages"}}
    report = analyse(entry, [chat({"role": "user", "content": "q"})])

    assert report.missing_columns == ("messages[].from", "messages[].value")


def test_a_system_column_is_not_looked_up_where_each_conversation_begins_with_it():
    entry: dict[str, object] = {
        **SHAREGPT,
        "columns": {"messages": "conversations", "system": "system"},
    }
    own = talk(("system", "s"), ("human", "q"), ("gpt", "a"))
    other = talk(("human", "q"), ("gpt", "a"))

    assert analyse(entry, [own]).missing_columns == ()
    assert analyse(entry, [own, other]).missing_columns == ("system",)


def test_a_ranking_dataset_without_columns_for_its_pair_says_which():
    report = analyse({"ranking": True}, [alpaca("a", "x")], Recipe("dpo"))

    assert report.unlisted_columns == ("chosen", "rejected")


def test_pairs_of_messages_are_compared():
    entry: dict[str, object] = {
        **SHAREGPT,
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "good", "rejected": "bad"},
    }
    answer = {"from": "gpt", "value": "a"}
    same = {**talk(("human", "q")), "good": answer, "bad": dict(answer)}
    half = {**talk(("human", "q")), "good": answer, "bad": None}
    report = analyse(entry, [same, half], Recipe("dpo"))

    assert report.identical_pairs.count == 1
    assert report.no_pairs.count == 1


def test_kto_tags_are_counted_and_others_are_dropped():
    entry: dict[str, object] = {
        "columns": {"prompt": "instruction", "response": "output", "kto_tag": "good"}
    }
    tags: list[object] = [True, True, False, "yes", None]
    rows = [alpaca(str(number), "x", good=tag) for number, tag in enumerate(tags)]
    report = analyse(entry, rows, Recipe("kto"))

    assert (report.liked, report.disliked, report.no_pairs.count) == (2, 1, 2)


def test_kinds_that_cannot_be_one_column_are_told_with_the_first_place():
    report = analyse(
        {}, [alpaca("a", "x", id=1), alpaca("b", "y", id=2.5), alpaca("c", "z", id="3")]
    )

    assert report.mixed_columns == ("id",)
    assert report.mixed.places[0].sample == 3
    assert report.mixed.places[0].text == "id is text, and a number before"


def test_media_and_placeholders_must_be_as_many():
    entry: dict[str, object] = {
        "columns": {"prompt": "instruction", "response": "output", "images": "images"}
    }
    rows = [
        alpaca("<image>What?", "a cat", images=["1.png"]),
        alpaca("<image>What?", "a dog", images=["2.png", "3.png"]),
        alpaca("What?", "nothing", images=None),
    ]
    report = analyse(entry, rows)

    assert report.media_mismatch.count == 1
    assert "2 images, and <image> 1 times" in report.media_mismatch.places[0].text


def test_a_sample_is_surely_cut_only_by_the_cautious_count():
    rows = [alpaca("a", "word " * 300), alpaca("b", "x" * 900), alpaca("c", "short")]
    lengths = analyse({}, rows, Recipe(cutoff_len=256)).lengths

    assert lengths is not None
    assert (lengths.cut_surely, lengths.cut_maybe, lengths.measured) == (1, 2, 3)
    assert lengths.longest_places[0].sample == 1


def test_pre_training_takes_the_prompt_alone_and_loses_nothing_by_packing():
    entry: dict[str, object] = {"columns": {"prompt": "text"}}
    report = analyse(entry, [{"text": "word " * 300}], Recipe("pt", 64, packing=True))

    assert report.packed
    assert (report.dropped, report.empty_answers.count) == (0, 0)


@pytest.mark.parametrize(
    ("text", "real"),
    [
        ("Write the full handbook of a training run, step by step.", 13),
        ("你好，我是一个人工智能助手，很高兴为你服务。", 14),
        ("=" * 5000, 78),
        (" " * 5000, 40),
        ("internationalization counterrevolutionaries " * 50, 251),
    ],
)
def test_a_real_tokenizer_counts_no_fewer_than_the_cautious_estimate(text: str, real: int):
    assert estimate(text).low <= real


def test_chinese_text_has_more_tokens_for_its_length_than_english():
    assert estimate("学习率决定每次更新的幅度" * 10).likely > estimate("a learning" * 12).likely


def test_an_excerpt_is_one_printable_line():
    assert excerpt("a\n\x1b[2Jb\u202e" + "c" * 200) == '"a \ufffd[2Jb\ufffd' + "c" * 52 + '..."'


@pytest.mark.parametrize(
    "sample",
    [
        {},
        {"conversations": None},
        {"conversations": [None, 3, [], {"from": [1], "value": {}}]},
        {"conversations": {"from": "human"}},
        {"conversations": [{"from": "human"}, {"from": "gpt", "value": None}]},
        {"messages": [{"role": "assistant", "tool_calls": [1, {"function": None}]}]},
        {"instruction": {"a": [1]}, "input": 3, "output": ["x"], "images": {"path": 1}},
        {"history": [[1, 2], "x", ["a", "b", "c"]], "instruction": "\ud800"},
        {"chosen": {"from": None}, "rejected": {}, "conversations": []},
    ],
)
@pytest.mark.parametrize("formatting", ["alpaca", "sharegpt", "openai"])
@pytest.mark.parametrize("stage", ["sft", "dpo", "kto", "pt", "ppo", "nonsense"])
def test_samples_of_any_shape_are_counted(sample: dict[str, object], formatting: str, stage: str):
    names = ("history", "messages", "system", "tools", "images", "chosen", "rejected", "kto_tag")
    entry: dict[str, object] = {
        "formatting": formatting,
        "ranking": stage == "dpo",
        "columns": {"prompt": "instruction", **{name: name for name in names}},
    }
    report = analyse(entry, [sample], Recipe(stage))

    assert report.read == 1
