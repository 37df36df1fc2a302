"""Model shapes and configs that the tests of the memory prediction share."""

import json
from collections.abc import Mapping
from typing import Any

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.memory.architecture import Architecture
from diagnostics.memory.config_json import architecture_of
from diagnostics.memory.reading import workload_of
from diagnostics.memory.workload import Workload

GIB = 2**30
MIB = 2**20

SMALL: Mapping[str, object] = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
LLAMA_8B: Mapping[str, object] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
LLAMA_8B_PARAMS = 8_030_261_248
"""As the model's own checkpoint counts them."""
QWEN_7B: Mapping[str, object] = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
QWEN_7B_PARAMS = 7_615_616_512


def model(shape: Mapping[str, object] = SMALL, **changes: object) -> Architecture:
    """Return the model of a `config.json`."""
    return architecture_of({**shape, **changes})


def config(text: str = "", **keys: Any) -> EffectiveConfig:
    """Return the config of a YAML text, and of keys after it."""
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())
    return EffectiveConfig(parse_document((text + lines).encode()))


def workload(**keys: Any) -> Workload:
    """Return the workload of a config of these keys, in bf16 unless they say otherwise."""
    if not keys.keys() & {"pure_bf16", "fp16", "bf16"}:
        keys = {"bf16": True, **keys}
    return workload_of(config(**keys))
