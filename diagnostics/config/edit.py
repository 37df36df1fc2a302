"""Owns edits of a config's text: every byte outside the changed value stays as it is.

Each edit is proved by reading its result: exactly the wanted value differs, or it is refused.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from diagnostics.config.construct import Entry, mapping_entries
from diagnostics.config.document import ConfigDocument, is_blank, parse_document
from diagnostics.config.nodes import BOM, LINE_BREAK, Node, NodeKind, Tree, quote, read_tree
from diagnostics.config.render import Where, write_key, write_value
from diagnostics.config.scalars import same_value
from diagnostics.config.unset import UNSET, Unset
from diagnostics.errors import ConfigError

_BLOCK_SCALARS = frozenset({"|", ">"})
_COMMENT = re.compile(r"( +)(?=#)")
_COLON = re.compile(r"[ \t]*:")


@dataclass(frozen=True, slots=True)
class _Change:
    """Replace the characters from `start` to `end` of a text."""

    start: int
    end: int
    text: str


def set_value(
    document: ConfigDocument, key: str, value: object, *, near: str | None = None
) -> ConfigDocument:
    """Return the document with a key's value changed, or the key added.

    A new key gets a line of its own after `near`'s, or after the last key's.

    Raises:
        ConfigError: the text cannot be edited without touching something else.
    """
    if key in document.values and same_value(document.values[key], value):
        return document
    tree = read_tree(document.text, document.path)
    entry = _entries(tree, document).get(key)
    if entry is not None and not entry.inherited:
        text = _apply(tree.text, _replace(tree, entry, value, document))
        return _proved(document, text, key, value)
    refusal: ConfigError | None = None
    for change in _insertions(tree, document, key, value, near):
        try:
            return _proved(document, _apply(tree.text, [change]), key, value)
        except ConfigError as error:
            refusal = refusal or error
    raise refusal if refusal is not None else _refusal(document, key)


def unset_value(document: ConfigDocument, key: str) -> ConfigDocument:
    """Return the document without a key, its line and the comment on it.

    Raises:
        ConfigError: a merge key brings it, or its line cannot go alone.
    """
    if key not in document.values:
        return document
    tree = read_tree(document.text, document.path)
    entry = _entries(tree, document)[key]
    if entry.inherited:
        raise ConfigError(
            f"{quote(key)} comes from a merge key (`<<`)",
            path=document.path,
            line=entry.key.line,
            column=entry.key.column,
            remedy="remove it there by hand, or give it a value",
        )
    removal = _remove_flow(tree, entry) if _is_flow(tree) else _remove_lines(tree, entry)
    changes = [removal, *_release(tree, entry.value, document)]
    return _proved(document, _apply(tree.text, changes), key, UNSET)


def unified_diff(before: str, after: str, name: str) -> str:
    """Return a unified diff of two texts; line ends and a BOM are no difference."""
    lines = difflib.unified_diff(
        _lines(before), _lines(after), f"a/{name}", f"b/{name}", lineterm=""
    )
    return "".join(f"{line}\n" for line in lines)


def _lines(text: str) -> list[str]:
    lines = LINE_BREAK.split(text.removeprefix(BOM))
    return lines if lines[-1] else lines[:-1]


def _entries(tree: Tree, document: ConfigDocument) -> dict[object, Entry]:
    if tree.root is None or tree.root.kind is not NodeKind.MAPPING:
        return {}
    return mapping_entries(tree.root, document.path)


def _is_flow(tree: Tree) -> bool:
    return tree.root is not None and tree.root.style == "flow"


def _apply(text: str, changes: list[_Change]) -> str:
    # From the back; where one begins with an insertion at the same place, that comes last.
    for change in sorted(changes, key=lambda change: (change.start, change.end), reverse=True):
        text = text[: change.start] + change.text + text[change.end :]
    return text


def _proved(document: ConfigDocument, text: str, key: str, value: object | Unset) -> ConfigDocument:
    """Return the document of an edited text, if it has exactly the wanted values."""
    wanted = dict(document.values)
    if value is UNSET:
        wanted.pop(key, None)
    else:
        wanted[key] = list(value) if isinstance(value, tuple) else value
    try:
        result = parse_document(text.encode("utf-8"), document.path)
    except (ConfigError, UnicodeEncodeError) as error:
        raise _refusal(document, key) from error
    if not same_value(dict(result.values), wanted):
        raise _refusal(document, key)
    return result


def _refusal(document: ConfigDocument, key: str) -> ConfigError:
    place = document.places.get(key)
    return ConfigError(
        f"{quote(key)} cannot be changed without changing something else",
        path=document.path,
        line=place.line if place is not None else None,
        column=place.column if place is not None else None,
        remedy="edit the file by hand",
    )


def _replace(tree: Tree, entry: Entry, value: object, document: ConfigDocument) -> list[_Change]:
    node, text = entry.value, tree.text
    released = _release(tree, node, document)
    where = _where(tree, entry.key)
    old_quotes = node.style if node.style in {"'", '"'} and isinstance(value, str) else ""
    new = write_value(value, where, old_quotes)
    if node.is_empty:
        # A null in brackets may have no colon yet: `{bf16, fp16: true}`.
        colon = "" if text[: node.end].endswith(":") or node.content > node.start else ":"
        return [
            _Change(node.end, node.end, f"{colon} {new}"),
            *_comment(text, node.end, 1 + len(new)),
        ]
    if _starts_below(tree, entry):
        return [*_replace_lines(tree, entry, new), *released]
    start, keeps_anchor = node.start, node.anchor is not None and not released
    if keeps_anchor and node.tag is None:
        start = node.content
    elif keeps_anchor:
        new = f"&{node.anchor} {new}"
    end = _text_end(tree, node)
    grown = len(new) - (end - start)
    comment = [] if LINE_BREAK.search(text, start, end) else _comment(text, end, grown)
    return [_Change(start, end, new), *comment, *released]


def _comment(text: str, end: int, grown: int) -> list[_Change]:
    """Keep the column of a comment that follows a value, where there is room."""
    gap = _COMMENT.match(text, end)
    if gap is None:
        return []
    return [_Change(end, gap.end(), " " * max(gap.end() - end - grown, 1))]


def _starts_below(tree: Tree, entry: Entry) -> bool:
    """Tell whether a list or mapping begins on a line below its key's."""
    node = entry.value
    if node.style != "block" or node.anchor is not None or node.tag is not None:
        return False
    return LINE_BREAK.search(tree.text, entry.key.end, node.start) is not None


def _replace_lines(tree: Tree, entry: Entry, new: str) -> list[_Change]:
    """Put a value on the key's line, keep a comment there, and remove the lines below."""
    text = tree.text
    colon = _COLON.match(text, entry.key.end)
    at = colon.end() if colon is not None else entry.key.end
    line_end, _ = _line_end(text, at)
    return [
        _Change(at, at, f" {new}"),
        *_comment(text, at, 1 + len(new)),
        _Change(line_end, _text_end(tree, entry.value), ""),
    ]


def _where(tree: Tree, key: Node) -> Where:
    if not _is_flow(tree):
        return Where.LINE
    return Where.JSON if key.style == '"' else Where.BRACKETS


def _release(tree: Tree, node: Node, document: ConfigDocument) -> list[_Change]:
    """Move the anchor that others use to the first of them, with the value it stands for."""
    if tree.root is None:
        return []
    inside = {id(part) for part in node.walk()}
    users: dict[int, Node] = {}
    for part in tree.root.walk():
        if part.target is not None and id(part) not in inside and id(part.target) in inside:
            users.setdefault(id(part.target), part)
    if not users:
        return []
    user = users.get(id(node))
    if len(users) > 1 or user is None or LINE_BREAK.search(tree.text, node.start, node.end):
        raise ConfigError(
            "holds an anchor that other keys use",
            path=document.path,
            line=node.line,
            column=node.column,
            remedy="write the values of the others out, then try again",
        )
    return [_Change(user.start, user.end, tree.text[node.start : node.end])]


def _last(node: Node) -> Node:
    """Return the last part of a list or mapping of several lines, however deep."""
    while node.style == "block" and (node.pairs or node.items):
        node = node.pairs[-1][1] if node.pairs else node.items[-1]
    return node


def _text_end(tree: Tree, node: Node) -> int:
    """Return where the last line of a value ends; blank lines after it are not counted."""
    node = _last(node)
    if node.style not in _BLOCK_SCALARS:
        return node.end
    return node.start + len(tree.text[node.start : node.end].rstrip())


def _content_end(tree: Tree, node: Node) -> int:
    """Return where a value ends, with the blank lines that are its own (`|+` keeps them)."""
    last = _last(node)
    keeps = last.style in _BLOCK_SCALARS and "+" in _header(tree, last)
    return last.end if keeps else _text_end(tree, node)


def _header(tree: Tree, node: Node) -> str:
    end, _ = _line_end(tree.text, node.content)
    return tree.text[node.content : end].partition("#")[0]


def _line_end(text: str, offset: int) -> tuple[int, int]:
    """Return where a line's text ends, and where the next line begins."""
    found = LINE_BREAK.search(text, offset)
    return (found.start(), found.end()) if found is not None else (len(text), len(text))


def _line_start(text: str, offset: int) -> int:
    start = 1 if text.startswith(BOM) else 0
    for found in LINE_BREAK.finditer(text, 0, offset):
        start = found.end()
    return start


def _next_line(tree: Tree, node: Node) -> int:
    """Return where the line after a value begins, or the text's end."""
    end = _content_end(tree, node)
    if end > node.start and LINE_BREAK.fullmatch(tree.text, end - 1, end):
        return end  # kept blank lines end with their line's end
    return _line_end(tree.text, end)[1]


def _break_of(text: str) -> str:
    found = LINE_BREAK.search(text)
    return found.group() if found is not None else "\n"


def _insertions(
    tree: Tree, document: ConfigDocument, key: str, value: object, near: str | None
) -> Iterator[_Change]:
    """Yield the places for a new key, the best first."""
    root, text = tree.root, tree.text
    newline = _break_of(text)
    if root is None or root.kind is not NodeKind.MAPPING:
        yield from _first(tree, f"{write_key(key)}: {write_value(value)}", newline)
        return
    if root.style == "flow":
        yield _into_brackets(tree, root, key, value)
        return
    line = f"{write_key(key)}: {write_value(value)}"
    beside = _entries(tree, document).get(near) if near is not None else None
    first, last = root.pairs[0][0], root.pairs[-1][1]
    indent = " " * (root.column - 1)
    for node in [beside.value] if beside is not None and not beside.inherited else []:
        yield _own_line(text, _next_line(tree, node), indent + line, newline)
    yield _own_line(text, _next_line(tree, last), indent + line, newline)
    start = _line_start(text, first.start)
    yield _Change(start, start, f"{indent}{line}{newline}")


def _own_line(text: str, at: int, line: str, newline: str) -> _Change:
    if at == len(text) and not text.endswith(("\n", "\r")):
        return _Change(at, at, f"{newline}{line}{newline}")
    return _Change(at, at, f"{line}{newline}")


def _first(tree: Tree, line: str, newline: str) -> Iterator[_Change]:
    """Yield the places for the first key of a text without any."""
    text, root = tree.text, tree.root
    if root is not None and is_blank(tree) and not root.is_empty:
        yield _Change(root.start, root.end, line)  # a bare `null`
        yield _Change(root.start, root.end, newline + line)  # after `---`
    elif root is None:
        yield (
            _own_line(text, len(text), line, newline)
            if len(text) > tree.body
            else _Change(len(text), len(text), line + newline)
        )
    else:
        yield _own_line(text, _line_end(text, tree.body)[1], line, newline)


def _into_brackets(tree: Tree, root: Node, key: str, value: object) -> _Change:
    text = tree.text
    if not root.pairs:
        return _Change(
            root.content + 1,
            root.content + 1,
            f"{write_key(key)}: {write_value(value, Where.BRACKETS)}",
        )
    last_key, last = root.pairs[-1]
    where = _where(tree, last_key)
    new = f"{write_key(key, where)}: {write_value(value, where)}"
    before = text[_line_start(text, last_key.start) : last_key.start]
    if before.strip() == "" and LINE_BREAK.search(text, root.content, last_key.start):
        return _Change(last.end, last.end, f",{_break_of(text)}{before}{new}")
    return _Change(last.end, last.end, f", {new}")


def _remove_lines(tree: Tree, entry: Entry) -> _Change:
    start = _line_start(tree.text, entry.key.start)
    return _Change(start, _next_line(tree, entry.value), "")


def _remove_flow(tree: Tree, entry: Entry) -> _Change:
    pairs = tree.root.pairs if tree.root is not None else ()
    at = next(index for index, (key, _) in enumerate(pairs) if key is entry.key)
    if at + 1 < len(pairs):
        return _Change(entry.key.start, pairs[at + 1][0].start, "")
    if at > 0:
        return _Change(pairs[at - 1][1].end, entry.value.end, "")
    return _Change(entry.key.start, entry.value.end, "")
