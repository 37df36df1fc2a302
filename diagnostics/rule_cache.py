"""Owns the compiled form of rules: read once from YAML, then from one file in the cache folder.

Reading some five hundred YAML files takes longer than a short diagnosis. The file is only taken
where it is the user's own and its stamp is that of the rule files as they are now.
"""

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from diagnostics import edits
from diagnostics.conditions import AllOf, AnyOf, Leaf, NotThis, Operator, Subject, expressions
from diagnostics.findings import Safety, Severity, Text
from diagnostics.fixes import FixRule
from diagnostics.patterns import Needles, learn, needles
from diagnostics.rule_reader import Rule

_FORM = 1
"""Raised whenever a rule's values are kept in another way."""
_KINDS: tuple[type, ...] = (
    *(Rule, FixRule, Text, AllOf, AnyOf, NotThis, Leaf, Operator, Subject, Safety, Severity),
    *(edits.SetKey, edits.UnsetKey, edits.HalveKey, edits.ScaleKey, edits.SplitBatch),
    *(edits.RenameNearest, edits.SetNearest, Needles),
)
_MAKERS: Mapping[str, Callable[..., Any]] = {kind.__name__: kind for kind in _KINDS}
_CODE = tuple(
    Path(__file__).with_name(f"{name}.py")
    for name in (
        "conditions",
        "edits",
        "findings",
        "fixes",
        "patterns",
        "rule_cache",
        "rule_reader",
    )
)
"""What a kept rule is made with."""
_MAX_BYTES = 64 * 1024 * 1024


def stamp(files: Iterable[Path]) -> str:
    """Return what changes whenever a rule file, or the code that reads it, is another one."""
    seen = ((file, file.stat()) for file in (*_CODE, *files))
    lines = [f"{os.fspath(file)} {found.st_size} {found.st_mtime_ns}" for file, found in seen]
    return "\n".join((str(_FORM), *lines))


def cache_file() -> Path:
    """Return where the compiled rules lie, whether they are there or not."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "llamavet" / "rules.json"


def read_cache(wanted: str) -> tuple[Rule, ...] | None:
    """Return the rules of a stamp; None where they are not there, or not to be trusted."""
    try:
        descriptor = os.open(cache_file(), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        seen = os.fstat(descriptor)
        shared = seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if seen.st_uid != os.geteuid() or shared or seen.st_size > _MAX_BYTES:
            return None
        try:
            kept = json.loads(file.read())
            if kept["stamp"] != wanted:
                return None
            rules = tuple(_made(rule) for rule in kept["rules"])
            learn({text: _made(found) for text, found in kept["needles"].items()})
        except (ValueError, LookupError, TypeError, RecursionError):
            return None
    return rules if all(isinstance(rule, Rule) for rule in rules) else None


def write_cache(made: str, rules: Sequence[Rule]) -> None:
    """Keep the rules of a stamp; where that cannot be done the next start is slower, no more."""
    path = cache_file()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    conditions = [rule.when for rule in rules]
    conditions += [fix.when for rule in rules for fix in rule.fixes if fix.when is not None]
    looked_for = dict.fromkeys(text for one in conditions for text in expressions(one))
    kept = {
        "stamp": made,
        "rules": [_kept(rule) for rule in rules],
        "needles": {text: _kept(needles(text)) for text in looked_for},
    }
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(kept, file, ensure_ascii=False, separators=(",", ":"))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _kept(value: object) -> Any:
    """Return a value as JSON: a list whose first item is its kind, else what JSON has."""
    if isinstance(value, Enum):
        return [type(value).__name__, value.value]
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *(_kept(getattr(value, one.name)) for one in fields(value))]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(_kept, value)]
    if isinstance(value, Mapping):
        return {str(key): _kept(item) for key, item in value.items()}
    return ["Path", str(value)] if isinstance(value, Path) else value


def _made(kept: Any) -> Any:
    if type(kept) is list:
        kind, *parts = kept
        if kind == "tuple":
            return tuple([_made(part) for part in parts])
        if kind == "list":
            return [_made(part) for part in parts]
        if kind == "Path":
            return Path(parts[0])
        return _MAKERS[kind](*[_made(part) for part in parts])
    if type(kept) is dict:
        return {key: _made(item) for key, item in kept.items()}
    return kept
