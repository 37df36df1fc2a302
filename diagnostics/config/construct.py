"""Owns making values of nodes as OmegaConf does: tags, merge keys, and no key twice."""

from dataclasses import dataclass
from pathlib import Path

from diagnostics.config.nodes import Node, NodeKind, quote, read_tree
from diagnostics.config.scalars import convert, kind_of
from diagnostics.errors import ConfigError

_PREFIX = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset({"str", "int", "float", "bool", "null"})
_TAGS = {NodeKind.SEQUENCE: "seq", NodeKind.MAPPING: "map"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping; `inherited` where a merge key (`<<`) brings it."""

    key: Node
    value: Node
    inherited: bool


def parse_value(text: str) -> object:
    """Return the value of a text as OmegaConf reads the right side of `key=value`.

    Raises:
        ConfigError: it is no YAML value.
    """
    tree = read_tree(text)
    return construct(tree.root, None) if tree.root is not None else None


def construct(node: Node, path: Path | None) -> object:
    """Return a node's value: dict, list, str, int, float, bool or None.

    Raises:
        ConfigError: a key stands twice, a tag is not allowed, or a number cannot be read.
    """
    real = node.resolved
    if real.kind is NodeKind.SCALAR:
        return _scalar(real, path)
    if real.tag not in {None, "!", _PREFIX + _TAGS[real.kind]}:
        raise _tag_error(real, path)
    if real.kind is NodeKind.SEQUENCE:
        return [construct(item, path) for item in real.items]
    return {key: construct(entry.value, path) for key, entry in mapping_entries(real, path).items()}


def mapping_entries(node: Node, path: Path | None) -> dict[object, Entry]:
    """Return a mapping's keys and what they stand for, merge keys followed.

    Raises:
        ConfigError: a key stands twice or is a collection, or `<<` has no mapping.
    """
    own: dict[object, Entry] = {}
    inherited: dict[object, Entry] = {}
    for key, value in node.pairs:
        if _is_merge(key):
            for name, entry in _merged(value, path).items():
                inherited[name] = Entry(entry.key, entry.value, inherited=True)
            continue
        name = _key(key.resolved, path)
        if name in own:
            raise ConfigError(
                f"the key {quote(str(name))} stands twice (first in line {own[name].key.line})",
                path=path,
                line=key.line,
                column=key.column,
                remedy="remove one of the two",
            )
        own[name] = Entry(key, value, inherited=False)
    # The order of OmegaConf: what is merged comes first, and an own key wins.
    return {**{name: entry for name, entry in inherited.items() if name not in own}, **own}


def _is_merge(key: Node) -> bool:
    if key.kind is not NodeKind.SCALAR or key.text != "<<":
        return False
    return (key.tag is None and key.style == "") or key.tag == _PREFIX + "merge"


def _merged(value: Node, path: Path | None) -> dict[object, Entry]:
    real = value.resolved
    sources = real.items if real.kind is NodeKind.SEQUENCE else (real,)
    found: dict[object, Entry] = {}
    for source in reversed(sources):  # the first of a list wins
        if source.resolved.kind is not NodeKind.MAPPING:
            raise ConfigError(
                "`<<` merges something that is no mapping",
                path=path,
                line=source.line,
                column=source.column,
                remedy="let it name the anchor of a mapping",
            )
        found.update(mapping_entries(source.resolved, path))
    return found


def _key(node: Node, path: Path | None) -> object:
    if node.kind is not NodeKind.SCALAR:
        raise ConfigError(
            "a key is a list or a mapping",
            path=path,
            line=node.line,
            column=node.column,
            remedy="write the line as `key: value`",
        )
    if node.tag is None and node.style == "" and kind_of(node.text) == "value":
        return node.text
    return _scalar(node, path)


def _scalar(node: Node, path: Path | None) -> object:
    if node.tag is None:
        kind = kind_of(node.text) if node.style == "" else "str"
    elif node.tag == "!":
        kind = "str"
    else:
        kind = node.tag.removeprefix(_PREFIX)
        if kind not in _SCALAR_TAGS or not node.tag.startswith(_PREFIX):
            raise _tag_error(node, path)
    try:
        return convert(kind, node.text)
    except ValueError as error:
        raise ConfigError(
            f"cannot be read: {error}",
            path=path,
            line=node.line,
            column=node.column,
            remedy="put it in quotes if it is meant as text",
        ) from error


def _tag_error(node: Node, path: Path | None) -> ConfigError:
    return ConfigError(
        f"the tag {quote(node.tag or '')} is not allowed here",
        path=path,
        line=node.line,
        column=node.column,
        remedy="remove the tag and write the value itself",
    )
