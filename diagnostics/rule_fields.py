"""Owns typed access to a rule file's YAML nodes; every fault knows its file and line."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from diagnostics.errors import LlamavetError


class RuleError(LlamavetError):
    """A rule file that says something it may not."""

    def __init__(self, path: Path, line: int, column: int, message: str) -> None:
        super().__init__(f"{path}:{line}:{column}: {message}")
        self.path = path
        self.line = line
        self.column = column


_Composer = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is there: twenty times as fast."""


class _Values(yaml.SafeLoader):
    """Builds the value of a node that is already composed."""


def _value(node: yaml.Node) -> Any:
    return _Values("").construct_object(node, deep=True)


def _fault_at(path: Path, node: yaml.Node, message: str) -> RuleError:
    mark = node.start_mark
    return RuleError(path, mark.line + 1, mark.column + 1, message)


class Fields:
    """One YAML node of a rule, read by name; what is never read is refused."""

    def __init__(self, path: Path, node: yaml.Node | None) -> None:
        self._path = path
        self.node = node
        self._seen: set[str] = set()
        self._fields: dict[str, yaml.Node] = {}
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = str(key.value)
                if name in self._fields:
                    raise _fault_at(path, key, f"{name} is there twice")
                self._fields[name] = value

    def fault(self, message: str) -> RuleError:
        """Return an error at this node."""
        if self.node is None:
            return RuleError(self._path, 1, 1, message)
        return _fault_at(self._path, self.node, message)

    @property
    def line(self) -> int:
        """The line of this node, 1-based."""
        return self.node.start_mark.line + 1 if self.node is not None else 1

    @property
    def is_mapping(self) -> bool:
        """Whether this node has fields of its own."""
        return isinstance(self.node, yaml.MappingNode)

    def optional(self, name: str) -> "Fields | None":
        """Return a part, or None where it is absent."""
        node = self._fields.get(name)
        if node is None:
            return None
        self._seen.add(name)
        return Fields(self._path, node)

    def child(self, name: str) -> "Fields":
        """Return a part that must be there."""
        part = self.optional(name)
        if part is None:
            raise self.fault(f"{name} is missing")
        return part

    def items(self, name: str) -> Sequence["Fields"]:
        """Return the parts of a list; none where it is absent."""
        part = self.optional(name)
        if part is None:
            return ()
        if not isinstance(part.node, yaml.SequenceNode):
            raise part.fault(f"{name} must be a list")
        return [Fields(self._path, node) for node in part.node.value]

    def scalar(self) -> str:
        """Return this node's text."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.fault("a single value is needed here")
        return str(self.node.value)

    def text(self, name: str) -> str:
        """Return a part's text."""
        return self.child(name).scalar()

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """Return a part's text, which must be one of the choices."""
        part = self.child(name)
        if part.scalar() not in choices:
            raise part.fault(f"{name} must be one of {', '.join(choices)}")
        return part.scalar()

    def value(self, name: str, default: Any = None) -> Any:
        """Return a part's value of any type."""
        part = self.optional(name)
        return default if part is None or part.node is None else _value(part.node)

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a part as a plain mapping; empty where it is absent."""
        value = self.value(name, {})
        if not isinstance(value, dict):
            raise self.child(name).fault(f"{name} must be a mapping")
        return value

    def only_key(self, choices: Sequence[str]) -> str:
        """Return the one key of this mapping."""
        if len(self._fields) != 1 or next(iter(self._fields)) not in choices:
            raise self.fault(f"one of {', '.join(choices)} is needed here")
        return next(iter(self._fields))

    def check_pattern(self, name: str) -> None:
        """Refuse a regular expression that does not compile."""
        part = self.child(name)
        try:
            re.compile(part.scalar())
        except re.error as error:
            raise part.fault(f"not a regular expression: {error}") from None

    def refuse_others(self) -> None:
        """Refuse keys that nothing has asked for: a misspelt one would be ignored."""
        for name, node in self._fields.items():
            if name not in self._seen:
                raise _fault_at(self._path, node, f"{name} is not known here")


def read_fields(path: Path) -> Fields:
    """Read a rule file.

    Raises:
        RuleError: where it cannot be read or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_Composer)
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(path, 1, 1, str(error)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise RuleError(path, line, column, error.problem or "not YAML") from None
    return Fields(path, node)
