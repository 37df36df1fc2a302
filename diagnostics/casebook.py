"""Owns the tests beside the rules: the cases of `NAME.test.yaml`, and running one. Pure.

A case is a log, a config, metrics, samples of the machine, data files and an exit, as far as it
needs them, with what must be reported, what must not, and the exact config that a fix must give.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.datasets import DatasetReport
from diagnostics.engine import diagnose
from diagnostics.errors import LlamavetError
from diagnostics.findings import Diagnosis, Fix, Safety
from diagnostics.fixes import plan
from diagnostics.history import TRAINER_LOG, History
from diagnostics.observations import (
    BarKind,
    EvalPoint,
    GpuProcess,
    GpuSample,
    HostSample,
    Missing,
    Observation,
    Progress,
    RunEnded,
    TrainStep,
)
from diagnostics.parsing.console import ConsoleParser
from diagnostics.rule_fields import Fields, read_fields
from diagnostics.ruleset import RuleSet
from diagnostics.signals import Context

if TYPE_CHECKING:
    from diagnostics.memory.facts import MemoryFacts

Look: TypeAlias = Callable[[EffectiveConfig, Path], tuple[DatasetReport, ...]]
"""Reads the data files that a config names, relative to a folder."""
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
    host: dict[str, Any] = field(default_factory=dict)
    """used_pct, cpu_pct, swap_used_gib."""
    gpus: tuple[dict[str, Any], ...] = ()
    """Fields of GpuSample, by its names; sizes may be given in GiB as used_gib and total_gib."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """every, from_step, total_steps; loss, grad_norm, learning_rate and others: a list or a number;
    seconds: of each step between one logged point and the next, a list or a number."""
    evals: dict[str, Any] = field(default_factory=dict)
    """every; loss and others: lists."""
    files: dict[str, str] = field(default_factory=dict)
    """Data files by path, beside the config."""
    gpu_gib: float | None = None
    """The size of a GPU to predict for; the model is known by its name then."""
    environ: dict[str, str] = field(default_factory=dict)
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
        host=fields.mapping("host"),
        gpus=tuple(fields.value("gpus", [])),
        metrics=fields.mapping("metrics"),
        evals=fields.mapping("evals"),
        files={name: str(text) for name, text in fields.mapping("files").items()},
        gpu_gib=fields.value("gpu_gib"),
        environ={name: str(text) for name, text in fields.mapping("environ").items()},
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


def diagnosis_of(
    case: Case, rules: RuleSet, look: Look
) -> tuple[Diagnosis, EffectiveConfig | None]:
    """Return what the rules say of a case, and its config.

    `look` reads the data files that a case comes with.
    """
    config = None
    if case.config is not None:
        config = EffectiveConfig(parse_document(case.config.encode(), Path("config.yaml")), None)
    return diagnose(rules.rules, _context(case, rules, config, look)), config


def run_case(case: Case, rules: RuleSet, look: Look) -> list[str]:
    """Return what is wrong with a case's result; nothing where it is right."""
    diagnosis, config = diagnosis_of(case, rules, look)
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


def _context(case: Case, rules: RuleSet, config: EffectiveConfig | None, look: Look) -> Context:
    history = History(rules.patterns)
    parser = ConsoleParser("stdout.log")
    for observation in (*parser.feed(case.log.encode(), 1.0), *parser.finish(1.0)):
        history.add(observation)
    for observation in (*_points(case), *_machine(case)):
        history.add(observation)
    if case.exit_code is not None:
        history.add(RunEnded(2.0, case.exit_code, requested=case.requested))
    return Context(
        snapshot=history.snapshot(),
        config=config,
        environ=case.environ,
        packages=case.packages,
        closed=case.closed,
        datasets=_datasets(case, config, look),
        memory=_memory(case, config),
    )


def _points(case: Case) -> Iterator[Observation]:
    """Make the metrics of a case, each point at its own time."""
    given = dict(case.metrics)
    every, total = given.pop("every", 10), given.pop("total_steps", None)
    first, seconds = given.pop("from_step", every), given.pop("seconds", 1.0)
    count = max((len(values) for values in given.values() if isinstance(values, list)), default=0)
    at = 0.0
    for index in range(count):
        numbers = {name: _at(values, index) for name, values in given.items()}
        at += every * float(_at(seconds, index) or 0)
        step = first + index * every
        named = {name: numbers.pop(name, None) for name in _NAMED}
        extra = {name: value for name, value in numbers.items() if value is not None}
        yield TrainStep(at, TRAINER_LOG, index + 1, step, total, **named, extra=extra)
        yield Progress(at, "stdout.log", BarKind.TRAIN, "", step, total or count * every, at)
    each = case.evals.get("every", every)
    for index, loss in enumerate(case.evals.get("loss", ())):
        yield EvalPoint(at, TRAINER_LOG, count + index + 1, (index + 1) * each, float(loss))


_NAMED = ("loss", "grad_norm", "learning_rate", "epoch")


def _at(values: Any, index: int) -> float | None:
    value = values[index] if isinstance(values, list) else values
    return None if value is None else float(value)


def _machine(case: Case) -> Iterator[Observation]:
    if case.host:
        total = 100 * _GIB
        used = case.host.get("used_pct")
        free = _UNKNOWN if used is None else round(total * (100 - used) / 100)
        cpu = case.host.get("cpu_pct", _UNKNOWN)
        swap = case.host.get("swap_used_gib")
        swap_bytes = _UNKNOWN if swap is None else round(swap * _GIB)
        yield HostSample(1.0, "host", cpu, total, free, swap_bytes, _UNKNOWN, _UNKNOWN)
    for index, given in enumerate(case.gpus):
        fields = {**_UNKNOWN_GPU, "index": index, **given}
        for name in ("used", "total"):
            if f"{name}_gib" in fields:
                fields[f"memory_{name}_bytes"] = round(fields.pop(f"{name}_gib") * _GIB)
        if isinstance(fields["processes"], list):
            fields["processes"] = tuple(
                GpuProcess(item["pid"], round(item["used_gib"] * _GIB))
                for item in given["processes"]
            )
        yield GpuSample(**fields)


_GIB = 2**30
_UNKNOWN_GPU: Mapping[str, Any] = {
    "at": 1.0,
    "host": "host",
    "uuid": "GPU-0",
    "name": "GPU",
    **dict.fromkeys(
        (
            "memory_used_bytes",
            "memory_total_bytes",
            "utilization_pct",
            "temperature_c",
            "power_watts",
            "power_limit_watts",
            "sm_clock_mhz",
            "memory_clock_mhz",
            "processes",
        ),
        _UNKNOWN,
    ),
}


def _memory(case: Case, config: EffectiveConfig | None) -> "MemoryFacts | None":
    """Return what predicts a case's memory: the GPU it names, the model that its config names."""
    if case.gpu_gib is None or config is None:
        return None
    from diagnostics.memory.facts import MemoryFacts  # noqa: PLC0415 - few cases predict
    from diagnostics.memory.model_names import model_named  # noqa: PLC0415 - the same

    named = model_named(str(config.value("model_name_or_path")))
    model = named.architecture if named is not None else None
    return MemoryFacts(model, capacity_gib=case.gpu_gib)


def _datasets(
    case: Case, config: EffectiveConfig | None, look: Look
) -> tuple[DatasetReport, ...] | None:
    """Look at a case's data files, written out for the while."""
    if not case.files or config is None:
        return None
    with tempfile.TemporaryDirectory(prefix="llamavet-case-") as folder:
        for name, text in case.files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return look(config, Path(folder))


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
