"""Owns searching text for many regular expressions at once. Pure.

Most lines match none of them. What a pattern cannot match without, a literal, is looked for first;
`superset` turns a pattern into one over bytes, without assertions, that scanners of whole blocks
understand: it matches wherever the pattern does, and where it alone matches, the pattern decides.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MOST_REPEATS = 64
"""More, and any number is taken for it: the automata of scanners stay small."""
_FEWEST_REPEATS = 16
_BEGIN = 8
"""Of literals so much is looked for first."""
_ASCII = 128
_UTF8_BYTES = 4
"""The bytes of the longest character."""
_FOREIGN = r"\x80-\xff"
_ANY = r"[^\r\n]"
_CATEGORIES = {
    "CATEGORY_DIGIT": re.compile(r"\d"),
    "CATEGORY_NOT_DIGIT": re.compile(r"\D"),
    "CATEGORY_SPACE": re.compile(r"\s"),
    "CATEGORY_NOT_SPACE": re.compile(r"\S"),
    "CATEGORY_WORD": re.compile(r"\w"),
    "CATEGORY_NOT_WORD": re.compile(r"\W"),
}


@dataclass(frozen=True, slots=True)
class Needles:
    """Literals of which a matching text holds at least one."""

    texts: tuple[str, ...]
    caseless: bool = False
    """Where true they are in lower case, and the text is to be, too."""

    @property
    def weight(self) -> int:
        """How much they rule out."""
        return min(len(text.encode()) for text in self.texts)


class PatternSet:
    """Regular expressions, each once, in order."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.texts: tuple[str, ...] = tuple(dict.fromkeys(patterns))
        self._compiled: dict[int, re.Pattern[str]] = {}  # few of them are ever asked
        self._always: list[int] = []
        self._caseless: list[int] = []
        self._needles: dict[str, list[int]] = {}
        for index, text in enumerate(self.texts):
            found = needles(text)
            if found is None:
                self._always.append(index)
                continue
            if found.caseless:
                self._caseless.append(index)
            for literal in found.texts:
                self._needles.setdefault(literal.lower(), []).append(index)
        self._begins = by_beginning(self._needles)
        self._any = re.compile(any_of(self._begins)) if self._begins else None

    def matches(self, text: str) -> list[int]:
        """Return the places in `texts` of the patterns that match somewhere, in order."""
        likely = {*self._always}
        lower = text.lower()
        if self._any is not None:
            likely.update(self._named_in(lower, self._any))
        if not text.isascii():
            likely.update(self._caseless)  # letters beyond ASCII are capitals of some within it
        return [index for index in sorted(likely) if self.match(index, text)]

    def _named_in(self, lower: str, begins: re.Pattern[str]) -> Iterator[int]:
        """Yield the places of the patterns one of whose literals stands in a text."""
        seen: set[str] = set()
        at = 0
        while (found := begins.search(lower, at)) is not None:
            seen.add(found.group())
            at = found.start() + 1
        for begin in seen:
            for literal in self._begins[begin]:
                if literal in lower:
                    yield from self._needles[literal]

    def match(self, index: int, text: str) -> bool:
        """Whether one pattern matches somewhere in a text."""
        compiled = self._compiled.get(index)
        if compiled is None:
            compiled = self._compiled[index] = re.compile(self.texts[index])
        return compiled.search(text) is not None


def by_beginning(literals: Iterable[str]) -> dict[str, list[str]]:
    """Return the literals by their beginnings, none of which begins with another."""
    begins = {literal[:_BEGIN] for literal in literals}
    shortest = {
        begin
        for begin in begins
        if not any(begin[:length] in begins for length in range(1, len(begin)))
    }
    found: dict[str, list[str]] = {begin: [] for begin in sorted(shortest)}
    for literal in literals:
        lengths = range(1, len(literal[:_BEGIN]) + 1)
        found[next(literal[:n] for n in lengths if literal[:n] in shortest)].append(literal)
    return found


def any_of(literals: Iterable[str]) -> str:
    """Return a pattern that matches any of some literals, their common beginnings told once."""
    tree: dict[str, Any] = {}
    for literal in literals:
        node = tree
        for char in literal:
            if "" in node:
                break
            node = node.setdefault(char, {})
        node.clear()  # what begins with it need not be told apart
        node[""] = {}
    return _branches(tree)


def _branches(tree: dict[str, Any]) -> str:
    if "" in tree:
        return ""
    branches = [re.escape(char) + _branches(node) for char, node in tree.items()]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


_known: dict[str, Needles | None] = {}


def learn(known: Mapping[str, Needles | None]) -> None:
    """Take needles in that were worked out before: parsing some hundred patterns takes a while."""
    _known.update(known)


def needles(pattern: str) -> Needles | None:
    """Return literals without one of which the pattern matches nothing; None where it has none."""
    if pattern not in _known:
        _known[pattern] = _needles(pattern)
    return _known[pattern]


def search(pattern: str, text: str) -> re.Match[str] | None:
    """Search as `re` does; a pattern whose literals are not there is not even compiled."""
    needed = needles(pattern)
    if needed is not None and (text.isascii() or not needed.caseless):
        within = text.lower() if needed.caseless else text
        if not any(literal in within for literal in needed.texts):
            return None
    return re.search(pattern, text)


def _needles(pattern: str) -> Needles | None:
    tree = _tree(pattern)
    found = None if tree is None else _required(tree, caseless=_is_caseless(tree))
    if found is None or (found.caseless and not all(text.isascii() for text in found.texts)):
        return None
    return found


def superset(pattern: str) -> str | None:
    """Return a pattern over bytes that matches in every line in which the given one does.

    It has no anchors, assertions and references, ends as early as it can, and never spans lines.
    None where it would match anything at all.
    """
    tree = _tree(pattern)
    if tree is None:
        return None
    items = _trimmed(list(tree))
    return _sequence(items, caseless=_is_caseless(tree)) if items else None


def _tree(pattern: str) -> Any:
    """Return the syntax tree of a pattern, as `re` parses it; None where that has changed."""
    try:
        return re._parser.parse(pattern)  # type: ignore[attr-defined] # noqa: SLF001 - there is no other way to one
    except (AttributeError, re.error, RecursionError):
        return None


def _is_caseless(tree: Any) -> bool:
    return bool(tree.state.flags & re.IGNORECASE)


def _required(items: Iterable[Any], *, caseless: bool) -> Needles | None:
    """Return the best literals of a sequence."""
    found: list[Needles] = []
    run = ""

    def close() -> None:
        nonlocal run
        if run:
            found.append(Needles((run.lower(),) if caseless else (run,), caseless))
        run = ""

    for kind, argument in items:
        name = str(kind)
        if name == "LITERAL":
            run += chr(argument)
            continue
        if name == "AT":
            continue
        close()
        inner = _required_in(name, argument, caseless=caseless)
        if inner is not None:
            found.append(inner)
    close()
    return max(found, key=lambda one: one.weight, default=None)


def _required_in(name: str, argument: Any, *, caseless: bool) -> Needles | None:
    match name:
        case "SUBPATTERN":
            _, added, removed, inner = argument
            within = (caseless or bool(added & re.IGNORECASE)) and not removed & re.IGNORECASE
            return _required(inner, caseless=within)
        case "ATOMIC_GROUP":
            return _required(argument, caseless=caseless)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT" if argument[0] > 0:
            return _required(argument[2], caseless=caseless)
        case "BRANCH":
            each = [_required(branch, caseless=caseless) for branch in argument[1]]
            known = [one for one in each if one is not None]
            if len(known) < len(each):
                return None
            if any(one.caseless for one in known):
                lower = dict.fromkeys(text.lower() for one in known for text in one.texts)
                return Needles(tuple(lower), caseless=True)
            return Needles(tuple(dict.fromkeys(text for one in known for text in one.texts)))
        case _:
            return None


def _trimmed(items: list[Any]) -> list[Any]:
    """Leave away what may match nothing at either end: scanners tell every end there is."""
    while items and _nullable(*items[0]):
        items.pop(0)
    return _ended(items)


def _ended(items: list[Any]) -> list[Any]:
    while items and _nullable(*items[-1]):
        items.pop()
    if not items:
        return items
    kind, argument = items[-1]
    if str(kind).endswith("_REPEAT"):
        items[-1] = (kind, (argument[0], argument[0], argument[2]))
    elif str(kind) == "SUBPATTERN":
        items[-1] = (kind, (*argument[:3], _ended(list(argument[3]))))
    elif str(kind) == "BRANCH":
        items[-1] = (kind, (argument[0], [_ended(list(branch)) for branch in argument[1]]))
    return items


def _nullable(kind: Any, argument: Any) -> bool:
    match str(kind):
        case "AT" | "ASSERT" | "ASSERT_NOT" | "GROUPREF" | "GROUPREF_EXISTS":
            return True
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return argument[0] == 0 or all(_nullable(*item) for item in argument[2])
        case "SUBPATTERN":
            return all(_nullable(*item) for item in argument[3])
        case "ATOMIC_GROUP":
            return all(_nullable(*item) for item in argument)
        case "BRANCH":
            return any(all(_nullable(*item) for item in branch) for branch in argument[1])
        case _:
            return False


def _sequence(items: Iterable[Any], *, caseless: bool) -> str:
    return "".join(_item(str(kind), argument, caseless=caseless) for kind, argument in items)


def _item(name: str, argument: Any, *, caseless: bool) -> str:
    match name:
        case "LITERAL":
            return _literal(argument, caseless=caseless)
        case "NOT_LITERAL" | "ANY" | "IN":
            return _repeat(1, 1, [(name, argument)], caseless=caseless)
        case "BRANCH":
            return "(?:" + "|".join(_sequence(b, caseless=caseless) for b in argument[1]) + ")"
        case "SUBPATTERN":
            _, added, removed, inner = argument
            within = (caseless or bool(added & re.IGNORECASE)) and not removed & re.IGNORECASE
            return f"(?:{_sequence(inner, caseless=within)})"
        case "ATOMIC_GROUP":
            return f"(?:{_sequence(argument, caseless=caseless)})"
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return _repeat(*argument, caseless=caseless)
        case "GROUPREF" | "GROUPREF_EXISTS":
            return _ANY + "*"
        case _:
            return ""  # an anchor or an assertion: without it no less is matched


def _repeat(least: int, most: int, inner: Any, *, caseless: bool) -> str:
    name, argument = (str(inner[0][0]), inner[0][1]) if len(inner) == 1 else ("", ())
    width = 1
    if name in {"NOT_LITERAL", "ANY"}:
        body, width = _ANY, _UTF8_BYTES
    elif name == "IN":
        body, width = _class(argument, caseless=caseless)
    else:
        body = _sequence(inner, caseless=caseless)
        body = f"(?:{body})" if body else ""
    if not body:
        return ""
    low, high = min(int(least), _FEWEST_REPEATS), int(most) * width
    if low == high == 1:
        return body
    return f"{body}{{{low},{high if high <= _MOST_REPEATS else ''}}}"


def _literal(code: int, *, caseless: bool) -> str:
    if code >= _ASCII:
        if caseless:
            return f"[{_FOREIGN}]{{1,{_UTF8_BYTES}}}"
        return "".join(f"\\x{byte:02x}" for byte in chr(code).encode("utf-8", "surrogatepass"))
    char = chr(code)
    if not (caseless and char.isalpha()):
        return char if char.isalnum() else f"\\x{code:02x}"
    both = f"[{char.lower()}{char.upper()}]"
    # These letters are also the small or capital form of one beyond ASCII.
    return f"(?:{both}|[{_FOREIGN}]{{2,3}})" if char in "iIkKsS" else both


def _class(items: Sequence[Any], *, caseless: bool) -> tuple[str, int]:
    """Return a class of bytes, and how many of them at most stand for one character of it.

    Of what lies beyond ASCII it holds all, unless it surely has none.
    """
    members = [code for code in range(_ASCII) if _holds(items, code, caseless=caseless)]
    inside = "".join(f"\\x{code:02x}" for code in members if chr(code) not in "\r\n")
    foreign = caseless or any(
        str(kind) in {"NEGATE", "CATEGORY"}
        or (str(kind) == "LITERAL" and argument >= _ASCII)
        or (str(kind) == "RANGE" and argument[1] >= _ASCII)
        for kind, argument in items
    )
    if foreign:
        return f"[{inside}{_FOREIGN}]", _UTF8_BYTES
    return (f"[{inside}]" if inside else _ANY), 1


def _holds(items: Sequence[Any], code: int, *, caseless: bool) -> bool:
    codes = {code}
    if caseless:
        codes |= {ord(chr(code).lower()), ord(chr(code).upper())}
    negated = bool(items) and str(items[0][0]) == "NEGATE"
    held = any(_member(str(kind), argument, one) for kind, argument in items for one in codes)
    return held is not negated


def _member(name: str, argument: Any, code: int) -> bool:
    match name:
        case "LITERAL":
            return bool(argument == code)
        case "RANGE":
            return bool(argument[0] <= code <= argument[1])
        case "CATEGORY":
            form = _CATEGORIES.get(str(argument))
            return form is None or form.match(chr(code)) is not None
        case _:
            return False
