"""Owns a rule as a page for a person: what it looks for, why, and what helps. Pure."""

from collections.abc import Iterable, Iterator

from diagnostics.conditions import AllOf, AnyOf, Condition, Leaf, NotThis, Operator, Subject
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
from diagnostics.findings import Text
from diagnostics.fixes import FixRule
from diagnostics.rule_reader import Rule


def page(rule: Rule) -> str:
    """Return a rule as Markdown, in both languages."""
    return "\n".join(_page(rule)) + "\n"


def index(rules: Iterable[Rule]) -> str:
    """Return the table of all rules as Markdown, a family after the other."""
    lines = [
        "# Rules",
        "",
        "What llamavet can name, made from the rule files; `llamavet rules show ID` prints a page.",
    ]
    family = ""
    for rule in sorted(rules, key=lambda one: one.id):
        own = rule.id.partition(".")[0]
        if own != family:
            family = own
            lines += ["", f"## {family}", "", "| rule | severity | what | 中文 | fixes |"]
            lines.append("|---|---|---|---|---|")
        fixes = ", ".join(fix.id for fix in rule.fixes) or "none"
        title = f"{_cell(rule.title.en)} | {_cell(rule.title.zh)}"
        lines.append(f"| [{rule.id}]({rule.id}.md) | {rule.severity.label} | {title} | {fixes} |")
    return "\n".join(lines) + "\n"


def _page(rule: Rule) -> Iterator[str]:
    yield f"# {rule.id}"
    yield ""
    yield from _both(rule.title)
    yield f"{rule.severity.label}, {rule.status}; needs {', '.join(rule.needs) or 'nothing'}."
    yield ""
    yield from _both(rule.why)
    if rule.to_be_sure.en:
        yield "## To be sure"
        yield ""
        yield from _both(rule.to_be_sure)
    yield "## Reported where"
    yield ""
    yield from _condition(rule.when, 0)
    yield ""
    if rule.thresholds:
        yield "Thresholds, which a file with `tune:` may change: " + ", ".join(
            f"`{name}` {value}" for name, value in rule.thresholds.items()
        )
        yield ""
    if rule.fallback:
        yield "Only where no other rule says how the run ended."
        yield ""
    if rule.explains:
        yield "Told under it, as its consequence: " + ", ".join(rule.explains)
        yield ""
    if rule.fixes:
        yield "## Fixes"
        yield ""
        for fix in rule.fixes:
            yield from _fix(fix)
    if rule.false_positives:
        yield "## Not to be taken for it"
        yield ""
        yield from (f"- {text}" for text in rule.false_positives)
        yield ""
    if rule.references:
        yield "## References"
        yield ""
        yield from (f"- <{url}>" for url in rule.references)


def _both(text: Text) -> Iterator[str]:
    yield text.en
    yield ""
    yield text.zh
    yield ""


def _fix(fix: FixRule) -> Iterator[str]:
    yield f"### {fix.title.en} / {fix.title.zh}"
    yield ""
    yield f"`{fix.id}`, {fix.safety.label}. {fix.why.en} Price: {fix.price.en}."
    yield ""
    yield from (f"- {describe_edit(edit)}" for edit in fix.edits)
    yield from (
        f"- set the environment variable `{name}={value}`" for name, value in fix.env.items()
    )
    if fix.edits or fix.env:
        yield ""


def describe_edit(edit: EditRule) -> str:
    """Return an edit in a few words."""
    match edit:
        case SetKey(key, value):
            return f"set `{key}` to `{_yaml(value)}`"
        case UnsetKey(key):
            return f"remove `{key}`"
        case HalveKey(key, at_least):
            return f"halve `{key}`, not below {at_least}"
        case ScaleKey(key, by, at_least, at_most):
            bounds = [f"not below {at_least:g}"] if at_least is not None else []
            bounds += [f"not above {at_most:g}"] if at_most is not None else []
            return ", ".join([f"multiply `{key}` by {by:g}", *bounds])
        case SplitBatch(batch, accumulation):
            return f"halve `{batch}` and raise `{accumulation}`, their product kept"
        case RenameNearest(keys):
            return f"rename each of `{keys}` to the known key it most likely means"
        case SetNearest(key):
            return f"set `{key}` to the accepted value it most likely means"


def _yaml(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _condition(condition: Condition, depth: int) -> Iterator[str]:
    pad = "  " * depth
    match condition:
        case AllOf(parts):
            yield f"{pad}- all of"
            for part in parts:
                yield from _condition(part, depth + 1)
        case AnyOf(parts):
            yield f"{pad}- one of"
            for part in parts:
                yield from _condition(part, depth + 1)
        case NotThis(part):
            yield f"{pad}- not"
            yield from _condition(part, depth + 1)
        case Leaf():
            yield f"{pad}- {_leaf(condition)}"


_LOOKED_FOR = {
    Subject.LOG: "a log line matches",
    Subject.ERROR: "the error that ended the run matches",
    Subject.FRAME: "a frame of that error matches",
}
_WORDS = {
    Operator.IS: "is",
    Operator.NOT: "is not",
    Operator.IN: "is one of",
    Operator.NOT_IN: "is none of",
    Operator.ABOVE: "is above",
    Operator.BELOW: "is below",
    Operator.AT_LEAST: "is at least",
    Operator.MATCHES: "matches",
}


def _leaf(leaf: Leaf) -> str:
    if leaf.subject in _LOOKED_FOR:
        times = (
            f", {leaf.operand} times" if leaf.subject is Subject.LOG and leaf.operand != 1 else ""
        )
        return f"{_LOOKED_FOR[leaf.subject]} `` {leaf.name} ``{times}"
    name = f"{leaf.subject.value} `{leaf.name}`"
    if leaf.operator is Operator.SET:
        return f"{name} is {'set' if leaf.operand else 'not set'}"
    if leaf.subject is Subject.PACKAGE:
        return f"{name} is {'installed' if leaf.operand else 'missing'}"
    operand = leaf.operand
    shown = ", ".join(map(_yaml, operand)) if isinstance(operand, list) else _yaml(operand)
    return f"{name} {_WORDS[leaf.operator]} `` {shown} ``"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
