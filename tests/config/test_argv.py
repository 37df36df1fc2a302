import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.config.argv import (
    DEMO_MODULE,
    LaunchArgs,
    LaunchKind,
    parse_launch,
    with_value,
    without_key,
)
from diagnostics.config.scalars import same_value
from diagnostics.errors import ConfigError

SITE = "/venv/lib/python3.11/site-packages/llamafactory"


def parsed(command: str) -> LaunchArgs:
    args = parse_launch(command.split())
    assert args is not None
    return args


@pytest.mark.parametrize(
    ("command", "kind", "token"),
    [
        ("llamafactory-cli train a.yaml", LaunchKind.CLI, "a.yaml"),
        ("/venv/bin/python3 /venv/bin/llamafactory-cli train a.yml", LaunchKind.CLI, "a.yml"),
        ("lmf train conf/a.json lora_rank=8", LaunchKind.CLI, "conf/a.json"),
        ("python -m llamafactory.cli train a.yaml", LaunchKind.CLI, "a.yaml"),
        ("python3.11 -u -X dev -m llamafactory.cli train a.yaml", LaunchKind.CLI, "a.yaml"),
        (f"python {SITE}/cli.py train a.yaml", LaunchKind.CLI, "a.yaml"),
        ("llamafactory-cli sft a.yaml", LaunchKind.CLI, "a.yaml"),
        (
            f"python /venv/bin/torchrun --nproc_per_node 2 {SITE}/launcher.py a.yaml x=1",
            LaunchKind.TORCHRUN,
            "a.yaml",
        ),
        (
            "python -m torch.distributed.run --nproc_per_node=2 src/train.py a.yaml",
            LaunchKind.TORCHRUN,
            "a.yaml",
        ),
        (
            "torchrun --nproc_per_node 2 -m llamafactory.launcher a.yaml",
            LaunchKind.TORCHRUN,
            "a.yaml",
        ),
        (f"python -u {SITE}/launcher.py a.yaml x=1", LaunchKind.LAUNCHER, "a.yaml"),
        (f"python -u {SITE}/v1/launcher.py sft a.yaml", LaunchKind.LAUNCHER, "a.yaml"),
        (f"python -u {SITE}/v1/launcher.py a.yaml", LaunchKind.LAUNCHER, "a.yaml"),
        ("python src/train.py a.yaml", LaunchKind.SCRIPT, "a.yaml"),
        ("python -u src/train.py --local_rank=0 a.yaml", LaunchKind.SCRIPT, "a.yaml"),
        ("python src/train_bash.py --stage sft", LaunchKind.SCRIPT, None),
        (
            "accelerate launch --config_file fsdp.yaml src/train.py a.yaml",
            LaunchKind.ACCELERATE,
            "a.yaml",
        ),
        (
            "python -m accelerate.commands.launch src/train_bash.py --stage sft",
            LaunchKind.ACCELERATE,
            None,
        ),
        ("deepspeed --num_gpus 4 src/train.py --stage sft", LaunchKind.DEEPSPEED, None),
        (
            "python -u -m deepspeed.launcher.launch --world_info=e30= src/train.py a.yaml",
            LaunchKind.DEEPSPEED,
            "a.yaml",
        ),
        (f"python -P -m {DEMO_MODULE} train demo.yaml", LaunchKind.DEMO, "demo.yaml"),
    ],
)
def test_every_way_to_start_a_training_is_recognised(
    command: str, kind: LaunchKind, token: str | None
) -> None:
    args = parsed(command)
    assert (args.kind, args.config_token, args.is_training) == (kind, token, True)


@pytest.mark.parametrize(
    "command",
    [
        "llamafactory-cli export a.yaml",
        "llamafactory-cli chat a.yaml",
        "llamafactory-cli api a.yaml",
        "llamafactory-cli eval a.yaml",
        "llamafactory-cli version",
        "llamafactory-cli",
        "lmf webui",
        "python src/webui.py",
    ],
)
def test_what_does_not_train_is_told_apart(command: str) -> None:
    assert not parsed(command).is_training


def test_the_board_is_recognised_as_such() -> None:
    assert parsed("python /venv/bin/llamafactory-cli webui").kind is LaunchKind.BOARD


@pytest.mark.parametrize(
    "command",
    [
        "",
        "python",
        "python -c import",
        "python train.py --lr 1",
        "python train.py",
        "python src/train.py trainer=gpu",
        "python other.py llamafactory-cli train a.yaml",
        "vim llamafactory-cli",
        "bash -c llamafactory-cli train a.yaml",
        "torchrun --nproc_per_node 2 pretrain.py a.yaml",
        "python launcher.py a.yaml",
        "tail -f train.yaml",
    ],
)
def test_other_programs_are_not_llama_factory(command: str) -> None:
    assert parse_launch(command.split()) is None


def test_overrides_are_read_as_omegaconf_reads_a_dotlist() -> None:
    args = parsed(
        "lmf train a.yaml lr=1e-5 eval_strategy=no x=null y=None report_to=[wandb,tensorboard] "
        "dataset=a,b z= url=http://x?a=1 q='8' bad={ fsdp_config.offload=true"
    )
    assert [(item.index, item.key, item.value) for item in args.overrides] == [
        (3, "lr", 1e-5),
        (4, "eval_strategy", False),
        (5, "x", None),
        (6, "y", "None"),
        (7, "report_to", ["wandb", "tensorboard"]),
        (8, "dataset", "a,b"),
        (9, "z", None),
        (10, "url", "http://x?a=1"),
        (11, "q", "8"),
        (12, "bad", "{"),
        (13, "fsdp_config.offload", True),
    ]
    assert args.values["fsdp_config"] == {"offload": True}
    assert args.overrides[0].value_text == "1e-5"


def test_flags_after_a_yaml_are_keys_with_their_dashes_as_llama_factory_has_them() -> None:
    args = parsed("lmf train a.yaml --learning_rate 1e-5")
    assert args.values == {"--learning_rate": None, "1e-5": None}


def test_the_last_of_several_overrides_wins() -> None:
    assert parsed("lmf train a.yaml x=1 x=2").values == {"x": 2}


def test_mappings_of_file_and_override_merge() -> None:
    args = parsed('lmf train a.yaml m={"a":1,"b":{"c":2}} m.b.d=3 l=[1,2] l[1]=9 s.t=1')
    file: dict[str, object] = {"m": {"z": 0, "b": {"c": 1}}, "l": [3], "s": 5}
    assert args.over(file) == {
        "m": {"z": 0, "a": 1, "b": {"c": 2, "d": 3}},
        "l": [1, 9],
        "s": {"t": 1},
    }
    assert file == {"m": {"z": 0, "b": {"c": 1}}, "l": [3], "s": 5}


def test_an_override_of_a_part_merges_with_the_file_whatever_came_before_it() -> None:
    args = parsed("lmf train a.yaml b=x b.y=1")
    assert args.over({"b": {"z": 0}}) == {"b": {"z": 0, "y": 1}}


def test_escaped_separators_are_part_of_a_key() -> None:
    args = parsed(r"lmf train a.yaml a\.b=1 c\=d=2")
    assert args.values == {"a.b": 1, "c=d": 2}


def test_flags_are_read_by_the_types_of_their_keys() -> None:
    args = parsed(
        "lmf train --learning_rate 1e-5 --lora_rank=16 --bf16 --max_steps -1 --eval_strategy no "
        "--overwrite_output_dir False --report_to wandb tensorboard --no_double_quantization "
        "--lora-alpha 32 --cutoff_len many --unknown 5 --kwargs {} --template= --bf16 true"
    )
    assert args.values == {
        "learning_rate": 1e-5,
        "lora_rank": 16,
        "bf16": True,
        "max_steps": -1,
        "eval_strategy": "no",
        "overwrite_output_dir": False,
        "report_to": ["wandb", "tensorboard"],
        "double_quantization": False,
        "lora_alpha": 32,
        "cutoff_len": "many",
        "unknown": 5,
        "kwargs": {},
        "template": "",
    }
    by_key = {flag.key: (flag.index, flag.value_index, flag.last) for flag in args.flags}
    assert by_key["learning_rate"] == (2, 3, 3)
    assert by_key["lora_rank"] == (4, 4, 4)
    assert by_key["report_to"] == (12, 13, 14)


@pytest.mark.parametrize(
    ("command", "key", "value", "after"),
    [
        ("lmf train a.yaml", "x", 16, "lmf train a.yaml x=16"),
        ("lmf train a.yaml x=1 y=2", "x", 16, "lmf train a.yaml x=16 y=2"),
        ("lmf train a.yaml x=1 x=2", "x", 16, "lmf train a.yaml x=1 x=16"),
        ("lmf train a.yaml x.a=1 y=2", "x", 16, "lmf train a.yaml y=2 x=16"),
        ("lmf train a.yaml", "x", 1e-5, "lmf train a.yaml x=1.0e-05"),
        ("lmf train a.yaml", "x", "no", "lmf train a.yaml x='no'"),
        ("lmf train a.yaml", "x", None, "lmf train a.yaml x=null"),
        ("lmf train a.yaml", "x", False, "lmf train a.yaml x=false"),
        ("lmf train a.yaml", "x", ["a", "b"], "lmf train a.yaml x=[a,b]"),
        ("lmf train --x 1 --y 2", "x", 16, "lmf train --x 16 --y 2"),
        ("lmf train --x=1 --y 2", "x", 16, "lmf train --x=16 --y 2"),
        ("lmf train --y 2", "x", True, "lmf train --y 2 --x True"),
        ("lmf train --bf16 --y 2", "bf16", False, "lmf train --bf16 False --y 2"),
        ("lmf train --x a b --y 2", "x", ["c"], "lmf train --x c --y 2"),
        ("lmf train --x 1 --y 2", "x", None, "lmf train --y 2"),
        ("lmf train --x 1", "x", "", None),
    ],
)
def test_a_value_changes_where_it_stands_or_is_added(
    command: str, key: str, value: object, after: str | None
) -> None:
    words = with_value(parsed(command), key, value)
    assert words == (tuple(after.split()) if after is not None else ("lmf", "train", "--x", ""))


def test_an_override_holds_no_blank_as_torchrun_would_break_it() -> None:
    args = parsed("lmf train a.yaml")
    for value in ("my runs/a", ["a b", "c"], {"a b": {"c": "d e"}}):
        word = with_value(args, "x", value)[-1]
        assert " " not in word
        assert parsed(f"lmf train a.yaml {word}").values == {"x": value}


@pytest.mark.parametrize("value", [None, {"a": 1}, object(), "--x"])
def test_a_flag_cannot_hold_every_value(value: object) -> None:
    with pytest.raises(ConfigError):
        with_value(parsed("lmf train --y 1"), "x", value)


def test_a_key_can_be_taken_away() -> None:
    args = parsed("lmf train a.yaml x=1 y=2 x.a=3")
    assert without_key(args, "x") == ("lmf", "train", "a.yaml", "y=2")
    flags = parsed("lmf train --x 1 2 --y 2 --x=3")
    assert without_key(flags, "x") == ("lmf", "train", "--y", "2")


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"))
)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=3), scalars)


@given(values)
def test_an_override_reads_back_as_the_value_it_was_given(value: object) -> None:
    words = with_value(parsed("lmf train a.yaml lora_rank=8"), "x", value)
    args = parse_launch(words)
    assert args is not None
    assert same_value(args.values, {"lora_rank": 8, "x": value})
    assert not any(" " in word for word in words)


@given(st.lists(st.text(max_size=12) | st.sampled_from(["-m", "lmf", "train", "a.yaml", "--x"])))
def test_no_command_line_is_an_error(words: list[str]) -> None:
    args = parse_launch(["lmf", "train", *words])
    assert args is not None
    assert args.argv == ("lmf", "train", *words)
    assert parse_launch(words) is None or isinstance(parse_launch(words), LaunchArgs)
    assert isinstance(args.values, dict)


def test_a_key_of_very_many_parts_is_taken_whole() -> None:
    key = "a." * 100_000 + "b"
    assert parsed(f"lmf train a.yaml {key}=1").values == {key: 1}
