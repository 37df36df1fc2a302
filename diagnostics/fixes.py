"""Owns remedies: a FixRule is data; worked out for a run it is a Fix; planned, a ConfigChange.

Pure: nothing is written here. The batch arithmetic of the out-of-memory remedies lives here too.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeGuard

from diagnostics.conditions import Condition, evaluate
from diagnostics.config.edit import unified_diff
from diagnostics.config.effective import EffectiveConfig, apply
from diagnostics.config.schema import default_of
from diagnostics.config.unset import UNSET, Unset
from diagnostics.errors import LlamavetError
from diagnostics.findings import Fix, KeyChange, Safety, Text
from diagnostics.signals import Context

NO_TEXT = Text("", "")


@dataclass(frozen=True, slots=True)
class SetKey:
    """Give a key a value."""

    key: str
    value: object


@dataclass(frozen=True, slots=True)
class UnsetKey:
    """Take a key away, so that its default holds."""

    key: str


@dataclass(frozen=True, slots=True)
class HalveKey:
    """Halve a whole number, never below `at_least`."""

    key: str
    at_least: int


@dataclass(frozen=True, slots=True)
class SplitBatch:
    """Make the batch smaller and the accumulation larger, so that their product stays."""

    batch: str
    accumulation: str


EditRule: TypeAlias = SetKey | UnsetKey | HalveKey | SplitBatch


@dataclass(frozen=True, slots=True)
class FixRule:
    """A remedy as its YAML file has it."""

    id: str
    title: Text
    why: Text
    price: Text
    safety: Safety
    when: Condition | None = None
    edits: tuple[EditRule, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """A fix applied on paper: the config before and after, and how they differ."""

    fix: Fix
    before: EffectiveConfig
    after: EffectiveConfig
    env: Mapping[str, str]
    diff: str

    @property
    def edits_file(self) -> bool:
        """Whether the YAML's text changes."""
        return _text(self.before) != _text(self.after)

    @property
    def edits_argv(self) -> bool:
        """Whether the command line changes."""
        return _argv(self.before) != _argv(self.after)


def work_out(rule: FixRule, context: Context) -> Fix | None:
    """Make a Fix of a rule for this run; None where it does not apply or changes nothing."""
    # Without a config the defaults stand in: what is offered then is advice only.
    assumed = replace(context, config=context.config or EffectiveConfig(None))
    verdict = evaluate(rule.when, assumed) if rule.when is not None else None
    if verdict is not None and verdict.truth is False:
        return None
    changes: list[KeyChange] = []
    for edit in rule.edits:
        made = _changes(edit, context)
        if made is None:
            return None
        changes.extend(made)
    env = {name: value for name, value in rule.env.items() if context.environ.get(name) != value}
    if rule.edits and not changes:
        return None
    if not rule.edits and rule.env and not env:
        return None
    unwritable = context.config is None
    return Fix(
        id=rule.id,
        title=rule.title,
        why=rule.why,
        price=rule.price,
        safety=Safety.MANUAL if unwritable else rule.safety,
        changes=tuple(changes),
        env=env,
        caveat=_caveat(verdict.missing if verdict is not None and verdict.truth is None else ()),
    )


def plan(fix: Fix, config: EffectiveConfig) -> ConfigChange:
    """Apply a fix on paper.

    Raises:
        LlamavetError: where the fix is advice only.
        ConfigError: where the text cannot be edited without touching something else.
    """
    if fix.safety is Safety.MANUAL:
        raise LlamavetError(
            f"{fix.title.en} is advice: there is nothing to write", remedy=fix.why.en
        )
    after = apply(config, {change.key: change.new for change in fix.changes})
    return ConfigChange(fix, config, after, dict(fix.env), change_diff(config, after, fix.env))


def change_diff(before: EffectiveConfig, after: EffectiveConfig, env: Mapping[str, str]) -> str:
    """Return a unified diff of the file, then of the command line and the environment."""
    parts = []
    name = before.document.path.name if before.document and before.document.path else "config.yaml"
    if _text(before) != _text(after):
        parts.append(unified_diff(_text(before), _text(after), name))
    if _argv(before) != _argv(after):
        lines = difflib.unified_diff(
            _argv(before), _argv(after), "command line", "command line", lineterm="", n=1
        )
        parts.append("\n".join(lines) + "\n")
    if env:
        parts.append(
            "--- environment\n+++ environment\n"
            + "".join(f"+{name}={value}\n" for name, value in env.items())
        )
    return "".join(parts)


def split_batch(batch: int, accumulation: int) -> tuple[int, int] | None:
    """Return the largest batch of at most half with the product kept; None for a batch of 1.

    8 x 2 gives 4 x 4, 5 x 2 gives 2 x 5, 3 x 1 gives 1 x 3, 7 x 1 gives 1 x 7.
    """
    product = batch * accumulation
    for smaller in range(batch // 2, 0, -1):
        if product % smaller == 0:
            return smaller, product // smaller
    return None


def _changes(edit: EditRule, context: Context) -> list[KeyChange] | None:
    """Return an edit's changes: none where it holds already, None where it cannot be made."""
    match edit:
        case SetKey(key, value):
            if _old(key, context) == value:
                return []
            return [KeyChange(key, _old(key, context), value)]
        case UnsetKey(key):
            old = _old(key, context)
            return [] if old is UNSET else [KeyChange(key, old, UNSET)]
        case HalveKey(key, at_least):
            now = _known(key, context)
            if not _is_count(now) or now // 2 < at_least:
                return None
            return [KeyChange(key, _old(key, context), now // 2)]
        case SplitBatch(batch, accumulation):
            sizes = _known(batch, context), _known(accumulation, context)
            if not _is_count(sizes[0]) or not _is_count(sizes[1]):
                return None
            split = split_batch(sizes[0], sizes[1])
            if split is None:
                return None
            return [
                KeyChange(batch, _old(batch, context), split[0]),
                KeyChange(accumulation, _old(accumulation, context), split[1]),
            ]


_HEADER_FACTS = {
    "per_device_train_batch_size": "per_device_batch_size",
    "gradient_accumulation_steps": "accumulation_steps",
}


def _known(key: str, context: Context) -> object:
    """Return the value in force: the config's, else the log header's, else the default."""
    if context.config is not None:
        return context.config.value(key)
    said = context.snapshot.facts.get(_HEADER_FACTS.get(key, ""))
    return said if said is not None else default_of(key)


def _old(key: str, context: Context) -> object | Unset:
    if context.config is None or not context.config.is_set(key):
        return UNSET
    return context.config.get(key)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _caveat(missing: tuple[str, ...]) -> Text:
    names = [name.removeprefix("package ") for name in missing if name.startswith("package ")]
    if not names:
        return NO_TEXT
    listed = ", ".join(dict.fromkeys(names))
    return Text(
        f"needs {listed}; could not tell whether it is installed",
        f"需要 {listed};无法判断是否已安装",
    )


def _text(config: EffectiveConfig) -> str:
    return config.document.text if config.document is not None else ""


def _argv(config: EffectiveConfig) -> tuple[str, ...]:
    return config.args.argv if config.args is not None else ()
