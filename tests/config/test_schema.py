import pytest

from diagnostics.config.schema import (
    KEYS,
    bundled_facts,
    default_of,
    nearest_key,
    nearest_value,
    read_keys,
)

TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "list": (str, list),
    "dict": (dict,),
}


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("per_device_train_batch_size", 8),
        ("gradient_accumulation_steps", 1),
        ("cutoff_len", 2048),
        ("disable_gradient_checkpointing", False),
        ("finetuning_type", "lora"),
        ("quantization_bit", None),
        ("save_steps", 500),
        ("no_such_key", None),
    ],
)
def test_defaults_are_those_of_llama_factory(key: str, default: object) -> None:
    assert default_of(key) == default


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_row_agrees_with_itself(key: str) -> None:
    info = KEYS[key]
    assert info.default is None or isinstance(info.default, TYPES[info.type_name])
    assert info.type_name == "bool" or not isinstance(info.default, bool)
    assert not info.choices or info.default is None or info.default in info.choices
    assert info.types
    assert not isinstance(info.default, int | float) or not info.is_outside(info.default)
    assert info.beside is None or info.beside in KEYS
    assert info.beside != key


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cutoff_length", "cutoff_len"),
        ("evaluation_strategy", "eval_strategy"),
        ("lora_rnak", "lora_rank"),
        ("--learning-rate", "learning_rate"),
        ("per_device_train_batchsize", "per_device_train_batch_size"),
        ("lora_rank", "lora_rank"),
        ("per_device_batchsize", "per_device_train_batch_size"),
        ("galore_targt", "galore_target"),
        ("gradient_checkpoint", "gradient_checkpointing"),
        ("num_train_epoch", "num_train_epochs"),
        ("group_by_length", "group_by_length"),
        ("use_megatron_bridge", "use_megatron_bridge"),
        ("wandb_project", None),
        ("zzz", None),
        ("x" * 100_000, None),
    ],
)
def test_a_misspelt_or_former_key_is_traced_to_the_one_meant(name: str, meant: str | None) -> None:
    assert nearest_key(name) == meant


@pytest.mark.parametrize(
    ("key", "types", "owner", "since"),
    [
        ("lora_rank", ("int",), "llamafactory", None),
        ("quantization_method", ("str",), "llamafactory", "0.8.3"),
        ("enable_liger_kernel", ("bool",), "llamafactory", "0.9.0"),
        ("overwrite_output_dir", ("bool",), "llamafactory", None),
        ("enable_jit_checkpoint", ("bool",), "transformers", "5.0.0"),
        ("deepspeed", ("dict", "str", "bool"), "transformers", None),
        ("dataset", ("str", "list"), "llamafactory", None),
        ("logging_steps", ("float", "int"), "transformers", None),
    ],
)
def test_a_key_has_its_types_its_owner_and_the_version_that_brought_it(
    key: str, types: tuple[str, ...], owner: str, since: str | None
) -> None:
    info = KEYS[key]
    assert (info.types, info.owner, info.since) == (types, owner, since)


@pytest.mark.parametrize(
    ("name", "owner", "last", "gone"),
    [
        ("image_resolution", "llamafactory", "0.9.1", "0.9.2"),
        ("num_layer_trainable", "llamafactory", "0.7.0", "0.7.1"),
        ("save_safetensors", "transformers", "4.57.1", "5.0.0"),
        ("use_mps_device", "transformers", "4.57.1", "5.0.0"),
    ],
)
def test_a_former_key_is_known_with_the_versions_that_were_seen(
    name: str, owner: str, last: str, gone: str
) -> None:
    former = bundled_facts().former[name]
    assert (former.owner, former.last, former.gone) == (owner, last, gone)
    assert name not in KEYS


def test_no_key_is_present_and_former_or_newer_at_once() -> None:
    facts = bundled_facts()
    assert not facts.former.keys() & facts.keys.keys()
    assert not facts.newer & facts.keys.keys()
    assert len(facts.keys) > 300


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("quantization_method", "bitsandbytes", "bnb"),
        ("flash_attn", "off", "disabled"),
        ("eval_strategy", False, "no"),
        ("lr_scheduler_type", "Cosine", "cosine"),
        ("learning_rate", "fast", 5e-5),
        ("no_such_key", "x", None),
    ],
)
def test_a_value_that_is_not_accepted_is_traced_to_the_one_meant(
    key: str, value: object, meant: object
) -> None:
    assert nearest_value(key, value) == meant


@pytest.mark.parametrize(
    ("key", "number", "outside"),
    [
        ("lora_rank", 0, True),
        ("lora_rank", 1, False),
        ("learning_rate", 0.0, True),
        ("learning_rate", float("nan"), True),
        ("lora_dropout", 1.5, True),
        ("warmup_steps", -1, True),
        ("max_steps", -1, False),
        ("seed", 2**32, True),
    ],
)
def test_a_range_tells_what_is_outside_of_it(key: str, number: float, outside: object) -> None:
    assert KEYS[key].is_outside(number) is outside


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {"a": None, 3: {}},
        {"x" * 1000: {}},
        {
            "lora_rank": {
                "types": "int",
                "choices": [1, "y" * 1000],
                "default": {"a": 1},
                "since": 4,
            }
        },
        {str(number): {} for number in range(10_000)},
    ],
)
def test_malformed_keys_of_an_environment_are_left_out(raw: object) -> None:
    found = read_keys(raw)
    assert len(found) <= 5_000
    assert all(len(name) <= 200 and info.default is None for name, info in found.items())
