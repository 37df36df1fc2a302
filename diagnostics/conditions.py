"""Owns the condition language of rules: a parsed tree, and its three-valued evaluation.

A leaf compares a signal, a config key, an environment variable or a package, or looks for a
pattern in log lines, in the error that ended the run, or in that error's frames; `all`, `any` and
`not` join leaves. Unknown stays unknown: it neither meets a condition nor refutes it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from diagnostics.config.effective import EffectiveConfig
from diagnostics.findings import Evidence
from diagnostics.observations import Missing
from diagnostics.patterns import search
from diagnostics.signals import Context, Signal, Value, read_signal
from diagnostics.signals.errors import error_chain, error_evidence, error_text, lone_errors


class Subject(StrEnum):
    """What a leaf looks at."""

    SIGNAL = "signal"
    CONFIG = "config"
    ENV = "env"
    PACKAGE = "package"
    LOG = "log"
    ERROR = "error"
    FRAME = "frame"


PATTERNS = frozenset({Subject.LOG, Subject.ERROR, Subject.FRAME})
"""What is looked for by a regular expression."""


class Operator(StrEnum):
    """How a leaf compares."""

    IS = "is"
    NOT = "is_not"
    IN = "in"
    NOT_IN = "not_in"
    ABOVE = "above"
    BELOW = "below"
    AT_LEAST = "at_least"
    MATCHES = "matches"
    SET = "set"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One comparison; `name` is a signal, a key, a variable, a package, or a line's pattern."""

    subject: Subject
    name: str
    operator: Operator
    operand: object


@dataclass(frozen=True, slots=True)
class AllOf:
    """Met where every part is."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Met where one part is."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class NotThis:
    """Met where its part is not."""

    part: "Condition"


Condition: TypeAlias = Leaf | AllOf | AnyOf | NotThis


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a condition; `truth` is None where something it needed is missing."""

    truth: bool | None
    evidence: tuple[Evidence, ...] = ()
    missing: tuple[str, ...] = ()
    captures: Mapping[str, str] = field(default_factory=dict)
    """What the named groups of its patterns matched."""


def evaluate(condition: Condition, context: Context) -> Verdict:
    """Judge a condition."""
    match condition:
        case AllOf(parts):
            return _join(parts, context, deciding=False)
        case AnyOf(parts):
            return _join(parts, context, deciding=True)
        case NotThis(part):
            verdict = evaluate(part, context)
            truth = None if verdict.truth is None else not verdict.truth
            return Verdict(truth, (), verdict.missing)
        case Leaf():
            return _leaf(condition, context)


def patterns(condition: Condition) -> tuple[str, ...]:
    """Return the line patterns of a condition, for History to look out for."""
    match condition:
        case AllOf(parts) | AnyOf(parts):
            return tuple(text for part in parts for text in patterns(part))
        case NotThis(part):
            return patterns(part)
        case Leaf(Subject.LOG | Subject.ERROR, name):
            return (name,)
        case Leaf():
            return ()


def expressions(condition: Condition) -> tuple[str, ...]:
    """Return every regular expression of a condition, whatever it is searched in."""
    match condition:
        case AllOf(parts) | AnyOf(parts):
            return tuple(text for part in parts for text in expressions(part))
        case NotThis(part):
            return expressions(part)
        case Leaf(subject, name, operator, operand):
            own = (name,) if subject in PATTERNS else ()
            return (*own, str(operand)) if operator is Operator.MATCHES else own


def _join(parts: tuple[Condition, ...], context: Context, *, deciding: bool) -> Verdict:
    """Join verdicts; one part with the deciding truth settles it, else unknown beats the rest."""
    verdicts = []
    for part in parts:
        verdict = evaluate(part, context)
        if verdict.truth is False and not deciding:
            return verdict  # one part that is not met refutes them all
        verdicts.append(verdict)
    missing = tuple(name for verdict in verdicts for name in verdict.missing)
    evidence = tuple(
        dict.fromkeys(item for verdict in verdicts if verdict.truth for item in verdict.evidence)
    )
    captures: dict[str, str] = {}
    for verdict in verdicts:
        if verdict.truth:
            captures = {**verdict.captures, **captures}
    if deciding and any(verdict.truth for verdict in verdicts):
        return Verdict(True, evidence, missing, captures)
    if any(verdict.truth is None for verdict in verdicts):
        return Verdict(None, (), missing)
    return Verdict(False) if deciding else Verdict(True, evidence, (), captures)


def _leaf(leaf: Leaf, context: Context) -> Verdict:
    match leaf.subject:
        case Subject.SIGNAL:
            return _signal(leaf, context)
        case Subject.LOG:
            return _lines(leaf, context)
        case Subject.ERROR:
            return _error(leaf, context)
        case Subject.FRAME:
            return _frame(leaf, context)
        case Subject.CONFIG:
            return _config(leaf, context)
        case Subject.ENV:
            value = context.environ.get(leaf.name)
            return Verdict(holds(leaf.operator, value, leaf.operand))
        case Subject.PACKAGE:
            if leaf.name not in context.packages:
                return Verdict(None, (), (f"package {leaf.name}",))
            return Verdict(context.packages[leaf.name] is bool(leaf.operand))


def _signal(leaf: Leaf, context: Context) -> Verdict:
    signal: Signal | None = read_signal(leaf.name, context)
    if signal is None:
        absent = leaf.operator is Operator.SET and leaf.operand is False
        return Verdict(absent)
    if isinstance(signal.value, Missing):
        return Verdict(None, (), (f"{leaf.name}: {signal.value.reason}",))
    truth = holds(leaf.operator, signal.value, leaf.operand)
    return Verdict(truth, signal.evidence if truth else ())


def _lines(leaf: Leaf, context: Context) -> Verdict:
    hits = context.snapshot.hits.get(leaf.name, ())
    wanted = leaf.operand if isinstance(leaf.operand, int) else 1
    if len(hits) < wanted:
        return Verdict(False)
    shown = tuple(Evidence(hit.source, hit.line, hit.text) for hit in hits[:_SHOWN_LINES])
    return Verdict(True, shown, (), _captured(leaf.name, hits[0].text))


_SHOWN_LINES = 4


def _error(leaf: Leaf, context: Context) -> Verdict:
    """Look for a pattern in the error that ended the run, and in those that led to it.

    A log that holds no whole traceback, as a pasted one may, is searched for exception lines.
    """
    chain = error_chain(context)
    for one in reversed(chain):
        text = error_text(one)
        if search(leaf.name, text) is not None:
            return Verdict(True, (error_evidence(one),), (), _captured(leaf.name, text))
    if chain:
        return Verdict(False)
    for hit in lone_errors(context, context.snapshot.hits.get(leaf.name, ())):
        shown = (Evidence(hit.source, hit.line, hit.text),)
        return Verdict(True, shown, (), _captured(leaf.name, hit.text))
    return Verdict(False)


def _frame(leaf: Leaf, context: Context) -> Verdict:
    for one in reversed(error_chain(context)):
        if any(search(leaf.name, frame) for frame in one.frames):
            return Verdict(True, (error_evidence(one),))
    return Verdict(False)


def _captured(pattern: str, text: str) -> Mapping[str, str]:
    match = re.search(pattern, text)
    found = match.groupdict() if match is not None else {}
    return {name: value for name, value in found.items() if value is not None}


def _config(leaf: Leaf, context: Context) -> Verdict:
    if context.config is None:
        return Verdict(None, (), (f"config key {leaf.name}",))
    if leaf.operator is Operator.SET:
        truth = context.config.is_set(leaf.name) is bool(leaf.operand)
    else:
        truth = holds(leaf.operator, context.config.value(leaf.name), leaf.operand)
    return Verdict(truth, _setting(leaf.name, context.config) if truth else ())


def _setting(key: str, config: EffectiveConfig) -> tuple[Evidence, ...]:
    """Return where a key is set; nothing shows a default."""
    place = config.place(key)
    if place is None:
        return ()
    text = f"{key}: {config.get(key)}"
    document = config.document
    name = document.path.name if document is not None and document.path is not None else "config"
    if place.line is None:
        return (Evidence("command line", None, text),)
    return (Evidence(name, place.line, text),)


def holds(operator: Operator, value: object, operand: object) -> bool:
    """Compare a value; unlike kinds never compare, rather than fail."""
    match operator:
        case Operator.IS:
            return _same(value, operand)
        case Operator.NOT:
            return not _same(value, operand)
        case Operator.IN:
            return isinstance(operand, list) and any(_same(value, item) for item in operand)
        case Operator.NOT_IN:
            return isinstance(operand, list) and not any(_same(value, item) for item in operand)
        case Operator.MATCHES:
            return value is not None and search(str(operand), str(value)) is not None
        case Operator.SET:
            return (value is not None) is bool(operand)
        case Operator.ABOVE | Operator.BELOW | Operator.AT_LEAST:
            return _ordered(operator, value, operand)


def _same(value: object, operand: object) -> bool:
    if isinstance(value, bool) or isinstance(operand, bool):
        return value is operand
    return value == operand


def _ordered(operator: Operator, value: object, operand: object) -> bool:
    numbers = [v for v in (value, operand) if isinstance(v, int | float)]
    if len(numbers) != 2:  # noqa: PLR2004 - both sides are numbers, or there is no order
        return False
    left, right = numbers
    if operator is Operator.ABOVE:
        return left > right
    return left < right if operator is Operator.BELOW else left >= right


Thresholds: TypeAlias = Mapping[str, Value]
