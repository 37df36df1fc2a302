"""Owns reading one rule file: nodes to a Rule, a FixRule or a Tuning, each fault in its place.

What the fields mean is told in rule_schema.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnostics.conditions import (
    PATTERNS,
    AllOf,
    AnyOf,
    Condition,
    Leaf,
    NotThis,
    Operator,
    Subject,
)
from diagnostics.edits import (
    EditRule,
    HalveKey,
    RenameNearest,
    ScaleKey,
    SetKey,
    SetNearest,
    SplitBatch,
    UnsetKey,
)
from diagnostics.findings import Safety, Severity, Text
from diagnostics.fixes import NO_TEXT, FixRule
from diagnostics.phrases import FORMS, fields_of
from diagnostics.rule_fields import Fields
from diagnostics.signals import SIGNALS

STATUSES = ("experimental", "test", "stable", "deprecated")
SEVERITIES = ("note", "warning", "critical")
SAFETIES = ("manual", "unsafe", "safe")
NEEDS = ("log", "metrics", "gpu", "host", "process", "exit", "config", "dataset")
EDITS = ("set", "unset", "halve", "scale", "split_batch", "rename_nearest", "set_nearest")


@dataclass(frozen=True, slots=True)
class Rule:
    """One symptom: when it is there, what to say, and what helps."""

    id: str
    path: Path
    status: str
    severity: Severity
    title: Text
    needs: tuple[str, ...]
    when: Condition
    cause: tuple[Text, ...]
    """Sentences; one whose values are not known is left out."""
    why: Text
    to_be_sure: Text
    """What to look at or try, so that no doubt is left."""
    false_positives: tuple[str, ...]
    references: tuple[str, ...]
    fixes: tuple[FixRule, ...]
    explains: tuple[str, ...] = ()
    """Ids, or families of ids, of findings that are only this one's consequence."""
    fallback: bool = False
    """Said only where no other rule explains how the run ended."""
    thresholds: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tuning:
    """A user's change to a rule that ships: other thresholds, another severity, or off."""

    rule_id: str
    path: Path
    line: int
    thresholds: Mapping[str, int | float | str] = field(default_factory=dict)
    severity: Severity | None = None
    enabled: bool = True


def read_rule(
    fields: Fields,
    path: Path,
    shared: Mapping[str, FixRule],
    overrides: Mapping[str, int | float | str],
) -> Rule:
    """Read a rule; `shared` are the remedies by name, `overrides` other thresholds by name.

    Raises:
        RuleError: with the place of the fault.
    """
    thresholds = {**fields.mapping("thresholds"), **overrides}
    fixes = []
    for item in fields.items("fixes"):
        if item.is_mapping:
            fixes.append(read_fix(item))
        elif item.scalar() in shared:
            fixes.append(shared[item.scalar()])
        else:
            raise item.fault(f"no remedy {item.scalar()!r} among the fixes")
    sure = fields.optional("to_be_sure")
    rule = Rule(
        id=fields.text("id"),
        path=path,
        status=fields.choice("status", STATUSES),
        severity=Severity[fields.choice("severity", SEVERITIES).upper()],
        title=_phrase(fields.child("title")),
        needs=tuple(_need(item) for item in fields.items("needs")),
        when=_condition(fields.child("when"), thresholds),
        cause=tuple(_phrase(item) for item in fields.items("cause")),
        why=_text(fields.child("why")),
        to_be_sure=_phrase(sure) if sure is not None else NO_TEXT,
        false_positives=tuple(item.scalar() for item in fields.items("false_positives")),
        references=tuple(item.scalar() for item in fields.items("references")),
        fixes=tuple(fixes),
        explains=tuple(item.scalar() for item in fields.items("explains")),
        fallback=bool(fields.value("fallback", False)),
        thresholds=thresholds,
    )
    fields.refuse_others()
    return rule


def read_fix(fields: Fields) -> FixRule:
    """Read a remedy.

    Raises:
        RuleError: with the place of the fault.
    """
    when = fields.optional("when")
    fix = FixRule(
        id=fields.text("id"),
        title=_text(fields.child("title")),
        why=_text(fields.child("why")),
        price=_text(fields.child("price")),
        safety=Safety[fields.choice("safety", SAFETIES).upper()],
        when=None if when is None else _condition(when, {}),
        edits=tuple(_edit(item) for item in fields.items("edits")),
        env={name: str(value) for name, value in fields.mapping("env").items()},
    )
    fields.refuse_others()
    return fix


def read_tuning(fields: Fields, path: Path) -> Tuning:
    """Read a change to a rule that is elsewhere.

    Raises:
        RuleError: with the place of the fault.
    """
    child = fields.child("tune")
    severity = fields.optional("severity")
    tuning = Tuning(
        rule_id=child.scalar(),
        path=path,
        line=child.line,
        thresholds=fields.mapping("thresholds"),
        severity=(
            None if severity is None else Severity[fields.choice("severity", SEVERITIES).upper()]
        ),
        enabled=bool(fields.value("enabled", True)),
    )
    fields.refuse_others()
    return tuning


def _need(item: Fields) -> str:
    if item.scalar() not in NEEDS:
        raise item.fault(f"needs is one of {', '.join(NEEDS)}")
    return item.scalar()


def _phrase(item: Fields) -> Text:
    """Read a text with fields in it, each of which must be known."""
    text = _text(item)
    for name, form in fields_of(text):
        known = name in SIGNALS or name.startswith(("config.", "match."))
        if not known or (form and form not in FORMS):
            raise item.fault(f"no value {{{name}{'|' + form if form else ''}}} to put in")
    return text


def _edit(fields: Fields) -> EditRule:
    kind = fields.only_key(EDITS)
    inner = fields.child(kind)
    edit: EditRule
    match kind:
        case "set":
            edit = SetKey(inner.text("key"), inner.value("to"))
        case "unset":
            edit = UnsetKey(inner.text("key"))
        case "halve":
            edit = HalveKey(inner.text("key"), int(inner.value("at_least")))
        case "scale":
            edit = ScaleKey(
                inner.text("key"),
                float(inner.value("by")),
                inner.value("at_least"),
                inner.value("at_most"),
            )
        case "rename_nearest":
            edit = RenameNearest(inner.text("keys"))
        case "set_nearest":
            edit = SetNearest(inner.text("key"))
        case _:
            edit = SplitBatch(inner.text("batch"), inner.text("accumulation"))
    inner.refuse_others()
    return edit


def _text(fields: Fields) -> Text:
    text = Text(fields.text("en"), fields.text("zh"))
    fields.refuse_others()
    return text


def _condition(fields: Fields, thresholds: Mapping[str, Any]) -> Condition:
    for word, node in (("all", AllOf), ("any", AnyOf)):
        if fields.optional(word) is not None:
            parts = tuple(_condition(item, thresholds) for item in fields.items(word))
            fields.refuse_others()
            if not parts:
                raise fields.fault(f"{word!r} joins nothing")
            return node(parts)
    inner = fields.optional("not")
    if inner is not None:
        fields.refuse_others()
        return NotThis(_condition(inner, thresholds))
    return _leaf(fields, thresholds)


def _leaf(fields: Fields, thresholds: Mapping[str, Any]) -> Leaf:
    for subject in Subject:
        if fields.optional(subject.value) is None:
            continue
        name = fields.text(subject.value)
        if subject in PATTERNS:
            fields.check_pattern(subject.value)
            leaf = Leaf(subject, name, Operator.AT_LEAST, fields.value("count", 1))
        else:
            if subject is Subject.SIGNAL and name not in SIGNALS:
                raise fields.fault(f"no signal {name!r}")
            default = Operator.IS if subject is Subject.PACKAGE else None
            leaf = _comparison(fields, subject, name, thresholds, default)
        fields.refuse_others()
        return leaf
    raise fields.fault(
        "a condition is all, any, not, signal, config, env, package, log, error or frame"
    )


def _comparison(
    fields: Fields,
    subject: Subject,
    name: str,
    thresholds: Mapping[str, Any],
    default: Operator | None,
) -> Leaf:
    for operator in Operator:
        if fields.optional(operator.value) is None:
            continue
        operand = fields.value(operator.value)
        if isinstance(operand, str) and operand.startswith("$"):
            if operand[1:] not in thresholds:
                raise fields.fault(f"no threshold {operand[1:]!r} in this rule")
            operand = thresholds[operand[1:]]
        if operator is Operator.MATCHES:
            fields.check_pattern(operator.value)
        return Leaf(subject, name, operator, operand)
    if default is None:
        raise fields.fault(f"{name} is compared with nothing")
    return Leaf(subject, name, default, True)
