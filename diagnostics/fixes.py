"""Owns remedies: a FixRule is data; worked out for a run it is a Fix; planned, a ConfigChange.

Pure: nothing is written here.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from diagnostics.conditions import Condition, evaluate
from diagnostics.config.edit import unified_diff
from diagnostics.config.effective import EffectiveConfig, apply
from diagnostics.edits import EditRule, changes_of, resolved
from diagnostics.errors import LlamavetError
from diagnostics.findings import Fix, KeyChange, Safety, Text
from diagnostics.signals import Context

NO_TEXT = Text("", "")


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


def work_out(
    rule: FixRule, context: Context, captures: Mapping[str, str] = MappingProxyType({})
) -> Fix | None:
    """Make a Fix of a rule for this run; None where it does not apply or changes nothing.

    `captures` is what the named groups of the finding's patterns matched.
    """
    # Without a config the defaults stand in: what is offered then is advice only.
    assumed = replace(context, config=context.config or EffectiveConfig(None), memo={})
    verdict = evaluate(rule.when, assumed) if rule.when is not None else None
    if verdict is not None and verdict.truth is False:
        return None
    changes: list[KeyChange] = []
    for edit in rule.edits:
        made = changes_of(edit, context, captures)
        if made is None:
            return None
        changes.extend(made)
    wanted = {name: resolved(value, context, captures) for name, value in rule.env.items()}
    if any(value is None for value in wanted.values()):
        return None
    env = {
        name: str(value)
        for name, value in wanted.items()
        if context.environ.get(name) != str(value)
    }
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
        changes=tuple({change.key: change for change in changes}.values()),
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


def _caveat(missing: tuple[str, ...]) -> Text:
    names = [name.removeprefix("package ") for name in missing if name.startswith("package ")]
    if not names:
        return NO_TEXT
    listed = ", ".join(dict.fromkeys(names))
    return Text(
        f"needs {listed}; could not tell whether it is installed",
        f"需要 {listed}；无法判断是否已安装",
    )


def _text(config: EffectiveConfig) -> str:
    return config.document.text if config.document is not None else ""


def _argv(config: EffectiveConfig) -> tuple[str, ...]:
    return config.args.argv if config.args is not None else ()
