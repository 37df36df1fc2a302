"""Owns the tests beside the rules: the cases of `NAME.test.yaml`, and running one. Pure.

A case is a log, a config and an exit, with what must be reported, what must not, and the exact
config that a fix must give.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.engine import diagnose
from diagnostics.errors import LlamavetError
from diagnostics.findings import Diagnosis, Fix, Safety
from diagnostics.fixes import plan
from diagnostics.history import History
from diagnostics.observations import HostSample, Missing, RunEnded
from diagnostics.parsing.console import ConsoleParser
from diagnostics.rule_fields import Fields, read_fields
from diagnostics.ruleset import RuleSet
from diagnostics.signals import Context

_UNKNOWN = Missing("not in this case")


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a rule's tests."""

    path: Path
    name: str
    log: str = ""
    config: str | None = None
    exit_code: int | None = None
    requested: bool = False
    host_used_pct: float | None = None
    packages: dict[str, bool] = field(default_factory=dict)
    closed: bool = True
    expect: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    after: dict[str, str] = field(default_factory=dict)
    """By fix: the exact text of the config after it."""
    not_offered: tuple[str, ...] = ()


def read_cases(path: Path) -> list[Case]:
    """Read a file of cases.

    Raises:
        RuleError: with the line of the fault.
    """
    fields = read_fields(path)
    cases = [_case(path, item) for item in fields.items("cases")]
    fields.refuse_others()
    return cases


def _case(path: Path, fields: Fields) -> Case:
    code = fields.value("exit_code")
    case = Case(
        path=path,
        name=fields.text("name"),
        log=str(fields.value("log", "")),
        config=fields.value("config"),
        exit_code=code,
        requested=bool(fields.value("requested", False)),
        host_used_pct=fields.value("host_used_pct"),
        packages=fields.mapping("packages"),
        closed=bool(fields.value("closed", True)),
        expect=tuple(item.scalar() for item in fields.items("expect")),
        silent=tuple(item.scalar() for item in fields.items("silent")),
        after={name: str(text) for name, text in fields.mapping("after").items()},
        not_offered=tuple(item.scalar() for item in fields.items("not_offered")),
    )
    fields.refuse_others()
    if not (case.expect or case.silent):
        raise fields.fault(f"{case.name}: neither expects nor forbids anything")
    return case


def run_case(case: Case, rules: RuleSet) -> list[str]:
    """Return what is wrong with a case's result; nothing where it is right."""
    config = None
    if case.config is not None:
        config = EffectiveConfig(parse_document(case.config.encode(), Path("config.yaml")), None)
    context = _context(case, rules, config)
    diagnosis = diagnose(rules.rules, context)
    found = {finding.id for finding in diagnosis.findings}
    faults = [f"{wanted} is not reported" for wanted in case.expect if wanted not in found]
    for banned in case.silent:
        if banned == "*":
            faults.extend(f"{item} is reported" for item in sorted(found))
        elif banned in found:
            faults.append(f"{banned} is reported")
    offered = _fixes(diagnosis)
    faults.extend(f"fix {name} is offered" for name in case.not_offered if name in offered)
    if config is not None:
        for name, wanted in case.after.items():
            faults.extend(_fix_faults(name, wanted, offered, config))
    return faults


def _context(case: Case, rules: RuleSet, config: EffectiveConfig | None) -> Context:
    history = History(rules.patterns)
    parser = ConsoleParser("stdout.log")
    for observation in (*parser.feed(case.log.encode(), 1.0), *parser.finish(1.0)):
        history.add(observation)
    if case.host_used_pct is not None:
        total = 100 * 2**30
        free = round(total * (100 - case.host_used_pct) / 100)
        nothing = _UNKNOWN
        history.add(HostSample(1.0, "host", nothing, total, free, nothing, nothing, nothing))
    if case.exit_code is not None:
        history.add(RunEnded(2.0, case.exit_code, requested=case.requested))
    return Context(
        snapshot=history.snapshot(), config=config, packages=case.packages, closed=case.closed
    )


def _fixes(diagnosis: Diagnosis) -> dict[str, Fix]:
    return {fix.id: fix for finding in diagnosis.findings for fix in finding.fixes}


def _fix_faults(
    name: str, wanted: str, offered: dict[str, Fix], config: EffectiveConfig
) -> Iterator[str]:
    fix = offered.get(name)
    if fix is None:
        yield f"fix {name} is not offered"
        return
    if fix.safety is Safety.MANUAL:
        yield f"fix {name} is advice and has no result"
        return
    try:
        change = plan(fix, config)
    except LlamavetError as error:
        yield f"fix {name}: {error}"
        return
    text = change.after.document.text if change.after.document is not None else ""
    if text != wanted:
        yield f"fix {name} gives\n{text}"


def case_files(roots: tuple[Path, ...]) -> list[Path]:
    """Return the case files under the roots."""
    return sorted(path for root in roots for path in root.rglob("*.test.yaml"))
