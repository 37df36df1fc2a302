import pytest

from diagnostics.config.schema import KEYS, default_of, nearest_key

TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "list": (str, list),
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
    assert not info.choices or info.default in info.choices
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
        ("zzz", None),
        ("x" * 100_000, None),
    ],
)
def test_a_misspelt_or_former_key_is_traced_to_the_one_meant(name: str, meant: str | None) -> None:
    assert nearest_key(name) == meant
