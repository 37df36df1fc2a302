"""Owns ConfigDocument: a config's exact text, its values, and where each key stands.

Bytes in, values out: reading the file is for others, and so is every change of the text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from diagnostics.config.construct import construct, mapping_entries
from diagnostics.config.nodes import Node, NodeKind, Tree, quote, read_tree
from diagnostics.errors import ConfigError

MAX_BYTES = 4 * 1024 * 1024


class Shape(StrEnum):
    """How a value is written."""

    EMPTY = "empty"
    SCALAR = "scalar"
    FLOW = "flow"
    BLOCK = "block"
    ALIAS = "alias"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key and its value stand.

    `line` and `column` are the key's, 1-based; `start` and `end` are the value's span in
    characters of the text. `inherited` is true where a merge key (`<<`) brings the value.
    """

    line: int
    column: int
    start: int
    end: int
    shape: Shape
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class ConfigDocument:
    """A YAML (or JSON) config: `text` is exact, so BOM, line ends and a missing last one stay."""

    path: Path | None
    text: str
    values: Mapping[str, object]
    places: Mapping[str, Place]


def parse_document(data: bytes, path: Path | None = None) -> ConfigDocument:
    """Read a config as LLaMA-Factory's OmegaConf reads it; an empty one has no values.

    Raises:
        ConfigError: with line, column and remedy, where it is not readable or not a mapping.
    """
    text = _decode(data, path)
    tree = read_tree(text, path)
    if is_blank(tree):
        return ConfigDocument(path, text, MappingProxyType({}), MappingProxyType({}))
    root = tree.root
    if root is None or root.kind is not NodeKind.MAPPING:
        raise ConfigError(
            "a config is a list of `key: value` lines, and this is not",
            path=path,
            line=root.line if root else None,
            column=root.column if root else None,
            remedy="name the YAML file of a LLaMA-Factory training",
        )
    values: dict[str, object] = {}
    places: dict[str, Place] = {}
    for name, entry in mapping_entries(root, path).items():
        if not isinstance(name, str):
            raise ConfigError(
                f"the key {quote(entry.key.resolved.text)} is not text",
                path=path,
                line=entry.key.line,
                column=entry.key.column,
                remedy="put the key in quotes, or write the option's name",
            )
        values[name] = construct(entry.value, path)
        places[name] = _place(entry.key, entry.value, inherited=entry.inherited)
    return ConfigDocument(path, text, MappingProxyType(values), MappingProxyType(places))


def is_blank(tree: Tree) -> bool:
    """Tell whether a text holds no config yet: nothing, comments, or a bare null."""
    root = tree.root
    return root is None or (root.kind is NodeKind.SCALAR and construct(root, None) is None)


def _place(key: Node, value: Node, *, inherited: bool) -> Place:
    if value.is_empty:
        shape = Shape.EMPTY
    elif value.kind is NodeKind.ALIAS:
        shape = Shape.ALIAS
    elif value.kind is NodeKind.SCALAR:
        shape = Shape.BLOCK if value.style in {"|", ">"} else Shape.SCALAR
    else:
        shape = Shape.FLOW if value.style == "flow" else Shape.BLOCK
    return Place(key.line, key.column, value.start, value.end, shape, inherited)


def _decode(data: bytes, path: Path | None) -> str:
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"has more than the {MAX_BYTES:,} bytes a config may have",
            path=path,
            remedy="name the YAML file of a training",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        last = before.splitlines()[-1] if before and before[-1] not in "\r\n" else ""
        raise ConfigError(
            f"is not UTF-8: byte 0x{data[error.start]:02X}",
            path=path,
            line=before.count("\n") + 1,
            column=len(last) + 1,
            remedy="save the file as UTF-8",
        ) from error
