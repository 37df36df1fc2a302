"""Owns how dataset_info.json describes a dataset: its format, its columns and its tags. Pure.

LLaMA-Factory's rule: where `columns` (or `tags`) is given, each one not listed there is none at
all; its default is not kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

FORMATTINGS = ("alpaca", "sharegpt", "openai")
HUB_KEYS = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")

_COLUMNS: Mapping[str, str | None] = MappingProxyType(
    {
        "prompt": "instruction",
        "query": "input",
        "response": "output",
        "history": None,
        "messages": "conversations",
        "system": None,
        "tools": None,
        "images": None,
        "videos": None,
        "audios": None,
        "chosen": None,
        "rejected": None,
        "kto_tag": None,
    }
)
_TAGS: Mapping[str, str | None] = MappingProxyType(
    {
        "role_tag": "from",
        "content_tag": "value",
        "user_tag": "human",
        "assistant_tag": "gpt",
        "observation_tag": "observation",
        "function_tag": "function_call",
        "system_tag": "system",
    }
)


@dataclass(frozen=True, slots=True)
class Layout:
    """One entry of dataset_info.json, as far as it says how samples are read."""

    formatting: str
    ranking: bool
    columns: Mapping[str, str | None]
    tags: Mapping[str, str | None]
    num_samples: int | None = None

    @property
    def conversational(self) -> bool:
        """Whether a sample is a list of messages."""
        return self.formatting != "alpaca"


def read_layout(entry: Mapping[str, object]) -> Layout:
    """Read an entry; what is of no use in it counts as not said."""
    formatting = entry.get("formatting", "alpaca")
    count = entry.get("num_samples")
    return Layout(
        formatting=formatting if isinstance(formatting, str) else str(formatting),
        ranking=bool(entry.get("ranking", False)),
        columns=_names(entry.get("columns"), _COLUMNS),
        tags=_names(entry.get("tags"), _TAGS),
        num_samples=count if isinstance(count, int) and count > 0 else None,
    )


def _names(said: object, defaults: Mapping[str, str | None]) -> Mapping[str, str | None]:
    if not isinstance(said, Mapping):
        return defaults
    given = {name: said.get(name) for name in defaults}
    return {name: one if isinstance(one, str) and one else None for name, one in given.items()}
