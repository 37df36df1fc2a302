from pathlib import Path

import pytest

from diagnostics.config.argv import parse_launch
from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig, Origin, SetAt, apply
from diagnostics.config.unset import UNSET
from diagnostics.errors import ConfigError

YAML = "stage: sft\nper_device_train_batch_size: 8\nbf16: true\nquantization_bit:\n"


def config(text: str | None = YAML, command: str | None = None) -> EffectiveConfig:
    document = parse_document(text.encode(), Path("a.yaml")) if text is not None else None
    return EffectiveConfig(document, parse_launch(command.split()) if command else None)


def text_of(effective: EffectiveConfig) -> str:
    assert effective.document is not None
    return effective.document.text


def words_of(effective: EffectiveConfig) -> str:
    assert effective.args is not None
    return " ".join(effective.args.argv)


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default() -> None:
    effective = config(command="lmf train a.yaml bf16=false lora_rank=4")
    assert effective.get("bf16") is False
    assert effective.value("per_device_train_batch_size") == 8
    assert effective.value("cutoff_len") == 2048
    assert effective.value("no_such_key") is None
    assert effective.get("cutoff_len") is UNSET
    assert effective.get("cutoff_len", 7) == 7
    assert effective.as_dict() == {
        "stage": "sft",
        "per_device_train_batch_size": 8,
        "bf16": False,
        "quantization_bit": None,
        "lora_rank": 4,
    }


def test_origin_and_place_tell_where_a_key_is_set() -> None:
    effective = config(command="lmf train a.yaml bf16=false lora_rank=4")
    assert effective.origin("bf16") is Origin.OVERRIDE
    assert effective.place("bf16") == SetAt(index=3)
    assert effective.origin("stage") is Origin.FILE
    assert effective.place("stage") == SetAt(line=1)
    assert effective.origin("cutoff_len") is Origin.DEFAULT
    assert effective.place("cutoff_len") is None
    flags = config(None, "lmf train --bf16 --lora_rank 4")
    assert flags.origin("lora_rank") is Origin.FLAG
    assert flags.place("lora_rank") == SetAt(index=3)


def test_null_is_set_and_an_absent_key_is_not() -> None:
    assert config().is_set("quantization_bit")
    assert config().get("quantization_bit") is None
    assert not config().is_set("cutoff_len")


def test_a_key_of_the_file_is_changed_in_the_file() -> None:
    after = apply(config(command="lmf train a.yaml"), {"per_device_train_batch_size": 4})
    assert text_of(after) == YAML.replace("size: 8", "size: 4")
    assert words_of(after) == "lmf train a.yaml"


def test_a_key_of_both_is_changed_in_the_override_alone() -> None:
    before = config(command="lmf train a.yaml per_device_train_batch_size=16")
    after = apply(before, {"per_device_train_batch_size": 4})
    assert text_of(after) == YAML
    assert words_of(after) == "lmf train a.yaml per_device_train_batch_size=4"


def test_a_new_key_joins_the_key_it_belongs_to_in_the_file() -> None:
    after = apply(config(), {"gradient_accumulation_steps": 2, "lora_rank": 4})
    assert (
        text_of(after)
        == YAML.replace("size: 8\n", "size: 8\ngradient_accumulation_steps: 2\n") + "lora_rank: 4\n"
    )


def test_flags_are_changed_and_added_on_the_command_line() -> None:
    after = apply(config(None, "lmf train --bf16 --lora_rank 4"), {"lora_rank": 8, "optim": "x"})
    assert words_of(after) == "lmf train --bf16 --lora_rank 8 --optim x"
    assert after.document is None


def test_a_yaml_that_is_not_known_is_changed_by_an_override() -> None:
    assert words_of(apply(config(None, "lmf train a.yaml"), {"x": 1})) == "lmf train a.yaml x=1"


def test_an_unset_key_leaves_file_and_command_line() -> None:
    after = apply(config(command="lmf train a.yaml bf16=false x=1"), {"bf16": UNSET})
    assert words_of(after) == "lmf train a.yaml x=1"
    assert text_of(after) == YAML.replace("bf16: true\n", "")
    assert not after.is_set("bf16")


def test_unsetting_what_is_not_set_changes_nothing() -> None:
    before = config(command="lmf train a.yaml")
    assert apply(before, {"lora_rank": UNSET}) == before


def test_several_changes_are_made_together() -> None:
    changes: dict[str, object] = {"per_device_train_batch_size": 2, "bf16": UNSET, "stage": "dpo"}
    after = apply(config(), changes)
    assert text_of(after) == "stage: dpo\nper_device_train_batch_size: 2\nquantization_bit:\n"


def test_a_change_without_a_file_or_a_command_line_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither"):
        apply(EffectiveConfig(None, None), {"x": 1})


def test_a_mapping_that_would_merge_with_the_file_is_refused() -> None:
    before = config("fsdp_config: {a: 1}\n", "lmf train a.yaml fsdp_config.b=2")
    with pytest.raises(ConfigError, match="fsdp_config"):
        apply(before, {"fsdp_config": {"c": 3}})


def test_the_config_before_is_not_changed() -> None:
    before = config(command="lmf train a.yaml m.a=1")
    apply(before, {"m": 5, "stage": "dpo"})
    assert text_of(before) == YAML
    assert before.get("m") == {"a": 1}
