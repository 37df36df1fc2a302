"""Owns reading rules: YAML files to Rule values, each fault reported with its file and line.

A rule is one file; a remedy used by several rules is one file under rules/fixes. A broken file
is reported and left out; the others work on.
"""

from collections.abc import Iterable, Mapping
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
    patterns,
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
from diagnostics.fixes import FixRule
from diagnostics.rule_fields import Fields, RuleError, read_fields
from diagnostics.signals import SIGNALS


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
    false_positives: tuple[str, ...]
    references: tuple[str, ...]
    fixes: tuple[FixRule, ...]
    explains: tuple[str, ...] = ()
    """Ids, or families of ids, of findings that are only this one's consequence."""
    fallback: bool = False
    """Said only where no other rule explains how the run ended."""
    thresholds: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules that could be read, and the faults of those that could not."""

    rules: tuple[Rule, ...]
    faults: tuple[RuleError, ...] = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        """Every line pattern of every rule."""
        return tuple(dict.fromkeys(text for rule in self.rules for text in patterns(rule.when)))


def bundled_rules() -> Path:
    """Return the folder of the rules that ship: inside the package, or beside it in a checkout."""
    packaged = Path(__file__).parent / "_rules"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "rules"


def load_rules(
    roots: Iterable[Path] | None = None,
    thresholds: Mapping[str, Mapping[str, int | float | str]] | None = None,
) -> RuleSet:
    """Read all rules under the roots (the bundled ones by default).

    `thresholds` overrides a rule's own, by rule id and name.
    """
    faults: list[RuleError] = []
    folders = [bundled_rules()] if roots is None else list(roots)
    files = [
        path
        for folder in folders
        for path in sorted(folder.rglob("*.yaml"))
        if not path.name.endswith(".test.yaml")
    ]
    fixes: dict[str, FixRule] = {}
    for path in files:
        if path.parent.name == "fixes":
            try:
                fix = _fix(read_fields(path))
            except RuleError as fault:
                faults.append(fault)
                continue
            fixes[fix.id] = fix
    rules: dict[str, Rule] = {}
    for path in files:
        if path.parent.name == "fixes":
            continue
        try:
            rule = _rule(read_fields(path), path, fixes, thresholds or {})
        except RuleError as fault:
            faults.append(fault)
            continue
        if rule.id in rules:
            faults.append(RuleError(path, 1, f"{rule.id} is also in {rules[rule.id].path.name}"))
            continue
        rules[rule.id] = rule
    return RuleSet(tuple(rules.values()), tuple(faults))


def _rule(
    fields: Fields,
    path: Path,
    shared: Mapping[str, FixRule],
    overrides: Mapping[str, Mapping[str, int | float | str]],
) -> Rule:
    rule_id = fields.text("id")
    thresholds = {**fields.mapping("thresholds"), **overrides.get(rule_id, {})}
    fixes = []
    for item in fields.items("fixes"):
        name = item.scalar()
        if name not in shared:
            raise item.fault(f"no remedy {name!r} in rules/fixes")
        fixes.append(shared[name])
    rule = Rule(
        id=rule_id,
        path=path,
        status=fields.choice("status", ("experimental", "test", "stable", "deprecated")),
        severity=Severity[fields.choice("severity", ("note", "warning", "critical")).upper()],
        title=_text(fields.child("title")),
        needs=tuple(item.scalar() for item in fields.items("needs")),
        when=_condition(fields.child("when"), thresholds),
        cause=tuple(_text(item) for item in fields.items("cause")),
        why=_text(fields.child("why")),
        false_positives=tuple(item.scalar() for item in fields.items("false_positives")),
        references=tuple(item.scalar() for item in fields.items("references")),
        fixes=tuple(fixes),
        explains=tuple(item.scalar() for item in fields.items("explains")),
        fallback=bool(fields.value("fallback", False)),
        thresholds=thresholds,
    )
    fields.refuse_others()
    return rule


def _fix(fields: Fields) -> FixRule:
    when = fields.optional("when")
    fix = FixRule(
        id=fields.text("id"),
        title=_text(fields.child("title")),
        why=_text(fields.child("why")),
        price=_text(fields.child("price")),
        safety=Safety[fields.choice("safety", ("manual", "unsafe", "safe")).upper()],
        when=None if when is None else _condition(when, {}),
        edits=tuple(_edit(item) for item in fields.items("edits")),
        env={name: str(value) for name, value in fields.mapping("env").items()},
    )
    fields.refuse_others()
    return fix


def _edit(fields: Fields) -> EditRule:
    kind = fields.only_key(
        ("set", "unset", "halve", "scale", "split_batch", "rename_nearest", "set_nearest")
    )
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
