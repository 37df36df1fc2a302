"""Owns judging a config before its launch with the rules that judge a run. Pure.

Rules that read the config and the data are asked as they are. What is foreseen is put to the rules
that read a log, one thing at a time, and what they find is shown where the config says it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from diagnostics.conditions import Verdict, patterns
from diagnostics.config.document import ConfigDocument
from diagnostics.config.effective import EffectiveConfig
from diagnostics.config.faults import FaultKind, SchemaFault, schema_faults
from diagnostics.config.unset import UNSET
from diagnostics.datasets import Use
from diagnostics.engine import covers, diagnose, finding_of
from diagnostics.errors import ConfigError
from diagnostics.findings import (
    Blind,
    Diagnosis,
    Evidence,
    Finding,
    Fix,
    KeyChange,
    Language,
    Safety,
    Severity,
    Text,
)
from diagnostics.history import Snapshot
from diagnostics.memory.facts import MemoryFacts
from diagnostics.precheck.data import foresee_data
from diagnostics.precheck.devices import foresee_devices
from diagnostics.precheck.folders import foresee_folders, surely_absent
from diagnostics.precheck.foreseen import PARSER, SOURCE, Foreseen, Named, snapshot_of
from diagnostics.precheck.kinds import ConfigKind, kind_of, may_be_of_a_backend
from diagnostics.precheck.options import foresee_options
from diagnostics.precheck.packages import foresee_packages
from diagnostics.precheck.resuming import foresee_resuming
from diagnostics.precheck.sharding import foresee_sharding, zero_stage
from diagnostics.precheck.surroundings import Presence, Surroundings
from diagnostics.precheck.versions import foresee_versions
from diagnostics.report.model import describe_change
from diagnostics.rule_reader import Rule
from diagnostics.signals import Context

_OF_A_RUN = frozenset({"log", "metrics", "gpu", "host", "process", "exit"})
_MOST_FORESEEN = 64
_TRUE = frozenset({"1", "true", "y"})


def foresee(config: EffectiveConfig, around: Surroundings) -> tuple[Foreseen, ...]:
    """Return all that a training with this config would print of faults in it."""
    faults = schema_faults(
        config,
        around.environment,
        allow_extra_keys=_is_on(around, "ALLOW_EXTRA_ARGS"),
        zero_stage=zero_stage(around),
        distributed=True if _is_on(around, "FORCE_TORCHRUN") else None,
    )
    found = (
        *foresee_options([one for one in faults if not _is_of_a_backend(one, config)]),
        *foresee_data(config, around),
        *foresee_folders(config, around),
        *(foresee_resuming(config, around) if config.value("do_train") is True else ()),
        *foresee_sharding(config, around),
        *foresee_packages(config, around),
        *foresee_versions(config, around),
        *(foresee_devices(config, around) if _trains(config) else ()),
    )
    return found[:_MOST_FORESEEN]


def _trains(config: EffectiveConfig) -> bool:
    return kind_of(config.as_dict()) is ConfigKind.TRAINING


def _is_of_a_backend(fault: SchemaFault, config: EffectiveConfig) -> bool:
    is_key = fault.kind is FaultKind.UNKNOWN_KEY
    return is_key and may_be_of_a_backend(fault.key, config.as_dict())


def _is_on(around: Surroundings, name: str) -> bool:
    return around.environ.get(name, "").lower() in _TRUE


def judge(
    rules: Sequence[Rule],
    config: EffectiveConfig,
    around: Surroundings,
    foreseen: Iterable[Foreseen],
    memory: MemoryFacts | None = None,
) -> Diagnosis:
    """Return what is wrong with a config, most important first, and what could not be judged.

    `memory` is what predicts the training's memory, where its model is known.
    """
    base = Context(
        Snapshot(),
        config,
        environ=around.environ,
        packages=around.packages,
        datasets=around.datasets,
        memory=memory,
    )
    quiet = [rule for rule in rules if _OF_A_RUN.isdisjoint(rule.needs)]
    known = diagnose(quiet, base)
    found = [_anchored(one, config, around) for one in known.findings]
    talking = [rule for rule in rules if _OF_A_RUN.isdisjoint(set(rule.needs) - {"log"})]
    lines = tuple(dict.fromkeys(text for rule in talking for text in patterns(rule.when)))
    for one in foreseen:
        found += _told(one, talking, replace(base, datasets=None, memo={}), lines)
    blind = (*known.blind, *_elsewhere(around))
    explains = {rule.id: rule.explains for rule in rules}
    told = _ranked(_under_causes(found, explains), config)
    return Diagnosis(tuple(told), tuple(dict.fromkeys(blind)))


def judge_unreadable(rules: Sequence[Rule], error: ConfigError, name: str) -> Diagnosis:
    """Return what is wrong with a config whose YAML cannot be read."""
    said = (
        f"yaml.parser.ParserError: {error.message}\n"
        f'  in "{name}", line {error.line or 1}, column {error.column or 1}'
    )
    place = Evidence(name, error.line, error.remedy or error.message, error.column)
    one = Foreseen(said, (), (PARSER[0], "llamafactory/hparams/parser.py:read_args"), (place,))
    talking = [rule for rule in rules if _OF_A_RUN.isdisjoint(set(rule.needs) - {"log"})]
    document = ConfigDocument(Path(name), "", {}, {})
    config = EffectiveConfig(document)
    found = _told(one, talking, Context(Snapshot(), config), ())
    return Diagnosis(tuple(_ranked(found, config)))


def _told(
    one: Foreseen, rules: Sequence[Rule], base: Context, lines: tuple[str, ...]
) -> list[Finding]:
    """Put one foreseen thing to the rules of a log; return what they find in it."""
    found = _by_words(one, rules, base, lines) if one.is_error or one.named is None else []
    if not found and one.named is not None:
        found = _by_name(one.named, rules, base)
    shown = tuple(_places(one, base.config))
    return [
        replace(
            finding, evidence=shown, consequences=(), fixes=_with_change(finding.fixes, one, base)
        )
        for finding in found
    ]


def _by_words(
    one: Foreseen, rules: Sequence[Rule], base: Context, lines: tuple[str, ...]
) -> list[Finding]:
    """Return what the rules find in its words; a rule that only falls back knows none."""
    snapshot = snapshot_of(one, () if one.is_error and not one.context else lines)
    found = diagnose(rules, replace(base, snapshot=snapshot, memo={})).findings
    unexplained = {rule.id for rule in rules if rule.fallback}
    return [
        finding
        for finding in found
        if finding.id not in unexplained and any(item.source == SOURCE for item in finding.evidence)
    ]


def _by_name(named: Named, rules: Sequence[Rule], base: Context) -> list[Finding]:
    """Let the rule that is named speak, with what is known in place of a pattern's groups."""
    rule = next((rule for rule in rules if rule.id == named.rule_id), None)
    if rule is None:
        return []
    told = finding_of(rule, Verdict(True, (), (), named.captures), base)
    return [replace(told, severity=named.severity, cause=named.cause)]


def _with_change(fixes: tuple[Fix, ...], one: Foreseen, base: Context) -> tuple[Fix, ...]:
    """Put the one change that mends it first, unless a fix makes just this one."""
    change, config = one.change, base.config
    if change is None or config is None:
        return fixes
    old = config.get(change.key)
    own = KeyChange(change.key, old, change.new)
    if own.old == own.new or any(fix.changes == (own,) for fix in fixes):
        return fixes
    title = Text(f"change {describe_change(own)}", f"修改 {describe_change(own, Language.ZH)}")
    if change.new is UNSET:
        title = Text(f"leave {change.key} out", f"去掉 {change.key}")
    why = Text("The rest of the config is accepted then.", "改后其余配置即可接受。")
    price = Text("what was set does not happen", "原设置不再起作用")
    made = Fix(f"set_{change.key}"[:60], title, why, price, Safety.UNSAFE, (own,))
    return (made, *fixes)


def _places(one: Foreseen, config: EffectiveConfig | None) -> Iterable[Evidence]:
    if config is None:
        return
    set_ones = [key for key in one.keys if config.is_set(key)]
    for key in set_ones:
        yield evidence_of(key, config)
    yield from one.places
    if not set_ones and not one.places:
        yield Evidence(name_of(config), None, f"{one.keys[0]} is not set" if one.keys else one.said)


def evidence_of(key: str, config: EffectiveConfig) -> Evidence:
    """Return where a key is set, and to what."""
    place = config.place(key)
    text = f"{key}: {_written(config.get(key))}"
    if place is None or place.line is None:
        return Evidence("command line" if place is not None else name_of(config), None, text)
    return Evidence(name_of(config), place.line, text)


def _written(value: object) -> str:
    """Return a value as YAML writes it, cut where it is long."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text[:200]


def name_of(config: EffectiveConfig) -> str:
    """Return the name by which the rules' evidence calls the config's file."""
    document = config.document
    return document.path.name if document is not None and document.path is not None else "config"


def column_of(item: Evidence, config: EffectiveConfig, around: Surroundings) -> int | None:
    """Return the column at which a piece of evidence stands, where that is known."""
    if item.line is None or item.column is not None:
        return item.column
    key = item.text.partition(":")[0]
    document = config.document
    if document is not None and item.source == name_of(config) and key in document.places:
        place = document.places[key]
        return place.column if place.line == item.line else None
    faults = (one.fault for one in around.datasets or () if one.fault is not None)
    at = (one.column for one in faults if (one.source, one.line) == (item.source, item.line))
    return next(at, None)


def _anchored(finding: Finding, config: EffectiveConfig, around: Surroundings) -> Finding:
    """Show first where the config brings a finding of the data about."""
    if not finding.id.startswith("data.") or finding.id.startswith("data.template"):
        return finding
    key = "cutoff_len" if finding.id == "data.truncated" else _dataset_key(around)
    if not config.is_set(key):
        return finding
    first = evidence_of(key, config)
    others = (item for item in finding.evidence if item != first)
    return replace(finding, evidence=(first, *others))


def _dataset_key(around: Surroundings) -> str:
    reports = around.datasets or ()
    at_fault = [one for one in reports if one.fault is not None or one.dir_missing]
    return "eval_dataset" if at_fault and at_fault[0].use is Use.EVAL else "dataset"


def _under_causes(found: list[Finding], explains: Mapping[str, tuple[str, ...]]) -> list[Finding]:
    """Put what only follows from a finding under it, and what shows that with it."""
    told = []
    for finding in found:
        if any(covers(explains[one.id], finding.id, one.id) for one in found):
            continue
        below = [one for one in found if covers(explains[finding.id], one.id, finding.id)]
        shown = (item for one in (finding, *below) for item in one.evidence)
        told.append(
            replace(finding, evidence=tuple(dict.fromkeys(shown)), consequences=tuple(below))
        )
    return told


def _elsewhere(around: Surroundings) -> Iterable[Blind]:
    """Tell the paths of which nobody can say whether they will be there."""
    ids = {
        "adapter_name_or_path": "ckpt.adapter_not_found",
        "resume_from_checkpoint": "ckpt.not_found",
        "deepspeed": "args.config_missing",
    }
    for one in around.paths:
        if one.presence is Presence.ABSENT and not surely_absent(one, around):
            missing = (f"{one.key}: {one.value} is not on this machine",)
            yield Blind(ids.get(one.key, "model.not_found"), missing)


def _ranked(found: list[Finding], config: EffectiveConfig) -> Iterable[Finding]:
    """Return findings once each: the worst first, then as the config has them."""
    name = name_of(config)

    def order(finding: Finding) -> tuple[int, int, str]:
        line = next((e.line for e in finding.evidence if e.source == name and e.line), 1 << 30)
        return (-finding.severity, line, finding.id)

    once: dict[tuple[str, tuple[Evidence, ...]], Finding] = {}
    for finding in found:
        once.setdefault((finding.id, finding.evidence), replace(finding, primary=False))
    for number, finding in enumerate(sorted(once.values(), key=order)):
        primary = number == 0 and finding.severity > Severity.NOTE
        yield replace(finding, primary=primary)
