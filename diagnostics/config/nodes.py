"""Owns reading YAML text as a tree of nodes, each with its span in the text; it makes no values.

Anchors and aliases stay apart, as an edit needs them. Depth, size and aliases are bounded here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

from diagnostics.errors import ConfigError

MAX_DEPTH = 50
MAX_NODES = 10_000
"""Nodes with every alias written out: OmegaConf's own limit, against alias bombs."""

LINE_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
BOM = "\ufeff"
# PyYAML wheels carry libyaml, which LLaMA-Factory's reader uses too; it allows tabs as blanks.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile(r"[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_QUOTED = 60


class NodeKind(StrEnum):
    """What a node is in the text."""

    SCALAR = "scalar"
    SEQUENCE = "sequence"
    MAPPING = "mapping"
    ALIAS = "alias"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A part of a YAML text; offsets count characters of the text, BOM included.

    `start` is where its anchor or tag begins, `content` where the rest begins. The `end` of a
    block collection is that of its last part.
    """

    kind: NodeKind
    start: int
    content: int
    end: int
    line: int
    column: int
    style: str = ""
    """"": plain, "'" and '"': quoted, "|" and ">": block scalar, "flow" and "block": collection."""
    anchor: str | None = None
    tag: str | None = None
    text: str = ""
    """A scalar's text, or an alias' name."""
    items: tuple["Node", ...] = ()
    pairs: tuple[tuple["Node", "Node"], ...] = ()
    target: "Node | None" = None
    """What an alias stands for."""
    size: int = 1
    height: int = 1

    @property
    def resolved(self) -> "Node":
        """The node itself, or what the alias stands for."""
        return self.target if self.target is not None else self

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is written, not even `null`."""
        return self.kind is NodeKind.SCALAR and self.style == "" and self.content == self.end

    def walk(self) -> Iterator["Node"]:
        """Yield the node and all below it, in the order of the text; aliases are not entered."""
        yield self
        for item in self.items:
            yield from item.walk()
        for key, value in self.pairs:
            yield from key.walk()
            yield from value.walk()


@dataclass(frozen=True, slots=True)
class Tree:
    """A whole document: `root` is None where the text holds only comments, or nothing."""

    text: str
    root: Node | None
    body: int
    """Where the document's body may begin: after a BOM, directives and `---`."""


def quote(text: str) -> str:
    """Return a text of the user's for a message: printable and short."""
    short = text if len(text) <= _QUOTED else text[:_QUOTED] + "..."
    return repr(short)


def position(text: str, offset: int) -> tuple[int, int]:
    """Return the line and column, both 1-based, of an offset; a BOM has no column."""
    line, start = 1, 1 if text.startswith(BOM) else 0
    for found in LINE_BREAK.finditer(text, 0, offset):
        line, start = line + 1, found.end()
    return line, max(offset - start, 0) + 1


def check_characters(text: str, path: Path | None) -> None:
    """Refuse what no YAML may hold: NUL, escape codes and other control characters."""
    found = _UNPRINTABLE.search(text)
    if found is not None:
        line, column = position(text, found.start())
        raise ConfigError(
            f"holds the control character U+{ord(found.group()):04X}",
            path=path,
            line=line,
            column=column,
            remedy="remove it; a config is plain text",
        )


def read_tree(text: str, path: Path | None = None) -> Tree:
    """Read a text as one YAML document.

    Raises:
        ConfigError: with line and column, where it is no YAML or goes beyond the limits.
    """
    check_characters(text, path)
    shift = 1 if text.startswith(BOM) else 0
    try:
        return _Reader(text, shift, path).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        offset = min(mark.index + shift, len(text)) if mark is not None else None
        raise _fault(error, text, offset, path) from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError(
            f"is not YAML: {quote(str(error))}", path=path, remedy="correct it by hand"
        ) from error


class _Reader:
    """Builds nodes of the parser's events; recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str, shift: int, path: Path | None) -> None:
        self.text = text
        self.shift = shift
        self.path = path
        self.events = yaml.parse(text[shift:], Loader=_LOADER)
        self.anchors: dict[str, Node] = {}
        self.count = 0

    def read(self) -> Tree:
        root: Node | None = None
        body = self.shift
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self.error(
                        event,
                        "a second document begins",
                        "keep one document: no `---` after the first key",
                    )
                body = self.span(event)[1]
                root = self.node(next(self.events), 1)
        return Tree(self.text, root, body)

    def node(self, event: yaml.Event, depth: int) -> Node:
        self.count += 1
        if depth > MAX_DEPTH:
            raise self.error(event, f"is nested more than {MAX_DEPTH} deep", "flatten it")
        if self.count > MAX_NODES:
            raise self.error(
                event, f"has more than {MAX_NODES} values", "name the YAML file of a training"
            )
        if isinstance(event, yaml.AliasEvent):
            node = self.alias(event)
        elif isinstance(event, yaml.ScalarEvent):
            node = self.scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            node = self.collection(event, depth)
        else:
            raise self.error(event, "ends before its value", "correct the lines before it")
        if node.size > MAX_NODES or node.height + depth > MAX_DEPTH + 1:
            raise self.error(
                event,
                "grows too large through its aliases",
                "write the values out, without aliases",
            )
        if node.anchor is not None:
            self.anchors[node.anchor] = node
        return node

    def alias(self, event: yaml.AliasEvent) -> Node:
        name = event.anchor or ""
        target = self.anchors.get(name)
        if target is None:
            raise self.error(
                event,
                f"the alias *{name[:_QUOTED]} names no anchor before it",
                f"write &{name[:_QUOTED]} before the value it stands for",
            )
        start, end = self.span(event)
        return Node(
            NodeKind.ALIAS,
            start,
            start,
            end,
            *self.place(event),
            text=name,
            target=target,
            size=target.size,
            height=target.height,
        )

    def scalar(self, event: yaml.ScalarEvent) -> Node:
        start, end = self.span(event)
        return Node(
            NodeKind.SCALAR,
            start,
            min(self.content(start, event), end),
            end,
            *self.place(event),
            style=event.style or "",
            anchor=event.anchor,
            tag=event.tag,
            text=event.value,
        )

    def collection(self, event: yaml.CollectionStartEvent, depth: int) -> Node:
        start, end = self.span(event)
        is_flow = bool(event.flow_style)
        parts: list[Node] = []
        for inner in self.events:
            if isinstance(inner, yaml.CollectionEndEvent):
                if is_flow:
                    end = self.span(inner)[1]
                elif parts:
                    end = parts[-1].end
                break
            parts.append(self.node(inner, depth + 1))
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        return Node(
            NodeKind.MAPPING if is_mapping else NodeKind.SEQUENCE,
            start,
            self.content(start, event),
            end,
            *self.place(event),
            style="flow" if is_flow else "block",
            anchor=event.anchor,
            tag=event.tag,
            items=() if is_mapping else tuple(parts),
            pairs=tuple(zip(parts[::2], parts[1::2], strict=True)) if is_mapping else (),
            size=1 + sum(part.size for part in parts),
            height=1 + max((part.height for part in parts), default=0),
        )

    def content(self, start: int, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> int:
        """Return where the value itself begins, after `&anchor` and `!tag`."""
        at = start
        if event.anchor is None and event.tag is None:
            return at
        while at < len(self.text) and self.text[at] in "&!":
            while at < len(self.text) and not self.text[at].isspace():
                at += 1
            while at < len(self.text) and self.text[at].isspace():
                at += 1
        return at

    def span(self, event: yaml.Event) -> tuple[int, int]:
        start, end = event.start_mark, event.end_mark
        at = start.index + self.shift if start is not None else 0
        return at, end.index + self.shift if end is not None else at

    def place(self, event: yaml.Event) -> tuple[int, int]:
        mark = event.start_mark
        return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)

    def error(self, event: yaml.Event, message: str, remedy: str) -> ConfigError:
        line, column = self.place(event)
        return ConfigError(message, path=self.path, line=line, column=column, remedy=remedy)


def _fault(
    error: yaml.MarkedYAMLError, text: str, offset: int | None, path: Path | None
) -> ConfigError:
    problem = str(error.problem or error.context or "is not YAML")
    place = position(text, offset) if offset is not None else (None, None)
    at = text[offset : offset + 1] if offset is not None else ""
    if "\t" in at or "tab" in problem:
        remedy = "indent with blanks, not with tabs"
    elif "cannot start any token" in problem:
        remedy = f"put the value that begins with {at} in quotes"
    elif "mapping values" in problem:
        remedy = "put a value that holds `: ` in quotes, or correct the indentation"
    elif "could not find expected ':'" in problem:
        remedy = "write the line as `key: value`"
    elif "quoted scalar" in str(error.context):
        remedy = "close the quotes"
    elif "flow" in str(error.context):
        remedy = "close the bracket, and put commas between the values"
    else:
        remedy = "correct the indentation or the quotes there"
    clean = _UNPRINTABLE.sub("?", problem)[: 3 * _QUOTED]
    return ConfigError(clean, path=path, line=place[0], column=place[1], remedy=remedy)
