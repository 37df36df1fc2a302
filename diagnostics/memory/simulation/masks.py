"""Owns which attention masks a step has: none where transformers would see that none is needed.

It looks into the values of a real batch for that, and takes tensors without data for a compiler's
(https://github.com/huggingface/transformers, `masking_utils.py`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

from diagnostics.memory.simulation.parameters import half_of

FLOAT32_BYTES = 4


def mask_of(work: Mapping[str, Any]) -> Any:
    """Return the attention mask of a batch, None where no sample of it is padded.

    Packed samples that do not see each other have one of each query and key.
    """
    shape = (work["batch"], work["sequence"])
    if work["attention"] == "flash":
        return None
    if work["neat_packing"]:
        dtype = torch.float32 if work["compute_bytes"] == FLOAT32_BYTES else half_of(work)
        return torch.empty((shape[0], 1, shape[1], shape[1]), dtype=dtype)
    return None if work["packing"] else torch.empty(shape, dtype=torch.int64)


@contextmanager
def no_needless_masks(work: Mapping[str, Any]) -> Iterator[None]:
    """Let transformers make no mask where a batch has none, while the context lasts."""
    try:
        code: Any = import_module("transformers.masking_utils")
        makers, usual = code.ALL_MASK_ATTENTION_FUNCTIONS, code.find_packed_sequence_indices
    except (ImportError, AttributeError):  # older ones make their masks in each model's code
        yield
        return
    code.find_packed_sequence_indices = lambda *_, **__: None
    if work["attention"] == "flash":
        makers["sdpa"] = lambda *_, **__: None
    try:
        yield
    finally:
        code.find_packed_sequence_indices = usual
        if work["attention"] == "flash":
            del makers["sdpa"]
