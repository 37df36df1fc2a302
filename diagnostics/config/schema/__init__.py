"""What is known of a training's arguments: type, default, choices, range, versions, what to mind.

The definitions are those of LLaMA-Factory 0.9.5 with transformers 5.6, read from the software by
`scripts/schema`; what one should know beside them is written by hand.
"""

from diagnostics.config.schema.facts import Facts, FormerKey, bundled_facts, read_keys
from diagnostics.config.schema.former import FORMER_VALUES, RENAMED, SUCCESSORS, successor_value
from diagnostics.config.schema.key_info import KeyInfo
from diagnostics.config.schema.nearest import KEYS, default_of, nearest_key, nearest_value

__all__ = [
    "FORMER_VALUES",
    "KEYS",
    "RENAMED",
    "SUCCESSORS",
    "Facts",
    "FormerKey",
    "KeyInfo",
    "bundled_facts",
    "default_of",
    "nearest_key",
    "nearest_value",
    "read_keys",
    "successor_value",
]
