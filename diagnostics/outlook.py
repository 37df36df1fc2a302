"""Owns what fixes do to memory: each with its prediction, what fits first, several where one won't.

Pure. A fix that repeats (halving a batch) is repeated until it fits; where no single one fits, the
fewest that do so together are offered as a plan; where nothing does, that is said.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from diagnostics.config.effective import EffectiveConfig, apply
from diagnostics.errors import LlamavetError
from diagnostics.findings import Fix, KeyChange, Safety, Text
from diagnostics.fixes import NO_TEXT, FixRule, work_out
from diagnostics.memory.calibration import Measure, calibrate
from diagnostics.memory.facts import MemoryFacts, forecast_config
from diagnostics.memory.forecast import Forecast, prediction_of
from diagnostics.memory.peak import GIB
from diagnostics.memory.verdict import CONTEXT_GIB, WORKSPACE, Verdict
from diagnostics.observations import Missing
from diagnostics.signals import Context
from diagnostics.signals.memory import foreign_bytes, root_oom

PLAN, NOTHING = "several_changes", "nothing_fits"
_MAX_REPEATS = 8
_NOTICED_GIB = 0.05
_RANK = {Verdict.FITS: 0, Verdict.TIGHT: 1, Verdict.UNKNOWN: 1, Verdict.DOES_NOT_FIT: 2}


@dataclass(frozen=True, slots=True)
class _Option:
    """A fix with the forecast of the config that it makes."""

    fix: Fix
    told: Forecast | None

    @property
    def rank(self) -> int:
        return 1 if self.told is None else _RANK[self.told.verdict]

    @property
    def fits(self) -> bool:
        return self.told is not None and self.told.verdict is Verdict.FITS


def with_outlook(
    rules: Iterable[FixRule],
    context: Context,
    captures: Mapping[str, str],
    *,
    cures_memory: bool,
) -> tuple[Fix, ...]:
    """Work fixes out and predict each; of a finding about memory the fitting ones come first.

    Without what predicts memory they are as their rules have them.
    """
    made = [(rule, work_out(rule, context, captures)) for rule in rules]
    fixes = [(rule, fix) for rule, fix in made if fix is not None]
    plain = tuple(fix for _, fix in fixes)
    facts, config = context.memory, context.config
    if facts is None or facts.model is None or config is None or not plain:
        return plain
    facts = as_observed(facts, config, context)
    now = _forecast(config, facts) if facts is not None else None
    if facts is None or now is None:
        return plain
    context = replace(context, memory=facts)
    options = [_option(rule, fix, context, captures, now) for rule, fix in fixes]
    if not cures_memory:
        return tuple(_without_idle_prediction(option.fix) for option in options)
    return tuple(option.fix for option in _ordered(options, config, facts, now))


def _without_idle_prediction(fix: Fix) -> Fix:
    """Leave out what a fix does to memory where it does nothing."""
    told = fix.predicted
    if told is None or abs(told.peak_gib - told.before_gib) >= _NOTICED_GIB:
        return fix
    return replace(fix, predicted=None)


def as_observed(
    facts: MemoryFacts, config: EffectiveConfig, context: Context
) -> MemoryFacts | None:
    """Return the facts as the run itself shows them; None where they contradict what it shows.

    An out-of-memory names the GPU's size, and is a floor of what the config needs.
    """
    snapshot = context.snapshot
    oom = root_oom(snapshot)
    world = snapshot.facts.get("world_size")
    gpus = world if isinstance(world, int) and world > 0 else facts.gpus
    sizes = [one.memory_total_bytes for one in snapshot.gpus.values() if not one.simulated]
    read = [size / GIB for size in sizes if not isinstance(size, Missing)]
    capacity = facts.capacity_gib if not read else min(read)
    facts = replace(facts, gpus=gpus, capacity_gib=capacity)
    if oom is None:
        return facts
    floor = 0.0
    facts = replace(facts, anchored=True)
    if oom.capacity_bytes:
        room = (oom.capacity_bytes - foreign_bytes(snapshot, oom)) / GIB
        facts = replace(facts, capacity_gib=room)
        floor = (room - CONTEXT_GIB) / WORKSPACE
    held = (oom.allocated_bytes or 0) + (oom.requested_bytes or 0)
    floor = max(floor, held / GIB)
    told = _forecast(config, facts)
    if told is None or told.allocated_gib >= floor:
        return facts
    calibration = calibrate(floor, told.allocated_gib, Measure.FLOOR)
    return None if calibration is None else replace(facts, calibration=calibration)


def _forecast(config: EffectiveConfig, facts: MemoryFacts) -> Forecast | None:
    try:
        return forecast_config(config, facts)
    except LlamavetError:
        return None


def _after(
    config: EffectiveConfig, changes: Iterable[KeyChange], facts: MemoryFacts
) -> tuple[EffectiveConfig, Forecast] | None:
    try:
        after = apply(config, {change.key: change.new for change in changes})
        return after, forecast_config(after, facts)
    except LlamavetError:
        return None


def _option(
    rule: FixRule, fix: Fix, context: Context, captures: Mapping[str, str], now: Forecast
) -> _Option:
    """Predict one fix, repeated where it can be and must be until it fits."""
    facts, config = context.memory, context.config
    if facts is None or config is None or not fix.changes or fix.safety is Safety.MANUAL:
        return _Option(fix, None)
    done = _after(config, fix.changes, facts)
    if done is None or done[1].work == now.work:
        return _Option(fix, None)
    if done[1].work.sharding.zero_stage and facts.gpus < 2:  # noqa: PLR2004
        return _Option(fix, None)  # what a share is cannot be told
    after, told = done
    best = _Option(fix, told)
    for _ in range(_MAX_REPEATS):
        if told.verdict in {Verdict.FITS, Verdict.UNKNOWN}:
            break
        again = work_out(rule, replace(context, config=after, memo={}), captures)
        if again is None or not again.changes:
            break
        merged = replace(fix, changes=_merged(best.fix.changes, again.changes))
        done = _after(config, merged.changes, facts)
        if done is None or done[1].needed_gib >= told.needed_gib:
            break
        after, told = done
        best = _Option(merged, told)
    return _Option(replace(best.fix, predicted=prediction_of(now, told)), told)


def _merged(first: tuple[KeyChange, ...], then: tuple[KeyChange, ...]) -> tuple[KeyChange, ...]:
    """Join changes: each key's first old value and last new one."""
    joined = {change.key: change for change in first}
    for change in then:
        before = joined.get(change.key)
        joined[change.key] = change if before is None else replace(before, new=change.new)
    return tuple(joined.values())


def _ordered(
    options: list[_Option], config: EffectiveConfig, facts: MemoryFacts, now: Forecast
) -> list[_Option]:
    """Put what fits first, the harmless before the others; add a plan where no single one fits."""
    if now.capacity_gib is None:
        return options
    if any(option.fits and option.fix.safety is Safety.SAFE for option in options):
        return sorted(options, key=_place)
    plan = _plan(options, config, facts, now)
    judged = [option.rank for option in options if option.told is not None]
    if plan is not None:
        options = [plan, *options]
    elif judged and min(judged) == _RANK[Verdict.DOES_NOT_FIT]:
        options = [_nothing(now, facts), *options]
    return sorted(options, key=_place)


def _place(option: _Option) -> tuple[bool, int, int]:
    """Return a fix's place: what may fit before what does not, the harmless before the others."""
    if option.fix.id == NOTHING:
        return (False, -3, 0)
    return (option.rank == _RANK[Verdict.DOES_NOT_FIT], -option.fix.safety, option.rank)


def _plan(
    options: list[_Option], config: EffectiveConfig, facts: MemoryFacts, now: Forecast
) -> _Option | None:
    """Find the fewest changes that fit together: harmless ones first, then those with a price.

    A single unsafe fix that fits needs no plan, unless harmless ones do it together.
    """
    usable = [option for option in options if option.told is not None]
    usable.sort(key=lambda option: -option.fix.safety)
    single = any(option.fits for option in usable)
    taken: list[_Option] = []
    least = now.needed_gib
    for option in usable:
        if single and option.fix.safety is not Safety.SAFE:
            break
        tried = _together([*taken, option], config, facts)
        if tried is None or tried.needed_gib >= least:
            continue
        taken.append(option)
        least = tried.needed_gib
        if tried.verdict is Verdict.FITS:
            break
    else:
        tried = None
    told = _together(taken, config, facts)
    if len(taken) < 2 or told is None or told.verdict is not Verdict.FITS:  # noqa: PLR2004
        return None
    harmless = [one for one in usable if one.fix.safety is Safety.SAFE and one not in taken]
    for option in list(taken[:-1]):
        # It may not be needed, or do less harm: what does not help alone may help beside the rest.
        without = [one for one in taken if one is not option]
        priced = harmless if option.fix.safety is not Safety.SAFE else []
        for tried_now in (without, *([one, *without] for one in priced)):
            less = _together(tried_now, config, facts)
            if less is not None and less.verdict is Verdict.FITS:
                taken, told = tried_now, less
                break
    return None if len(taken) < 2 else _Option(_joined(taken, now, told), told)  # noqa: PLR2004


def _together(
    options: list[_Option], config: EffectiveConfig, facts: MemoryFacts
) -> Forecast | None:
    changes = _all_changes(options)
    done = _after(config, changes, facts) if changes is not None else None
    return None if done is None else done[1]


def _all_changes(options: list[_Option]) -> tuple[KeyChange, ...] | None:
    """Join the changes of several fixes; None where two want one key otherwise."""
    joined: dict[str, KeyChange] = {}
    for option in options:
        for change in option.fix.changes:
            if change.key in joined and joined[change.key].new != change.new:
                return None
            joined[change.key] = change
    return tuple(joined.values())


def _joined(taken: list[_Option], now: Forecast, told: Forecast) -> Fix:
    fixes = [option.fix for option in taken]
    caveats = [fix.caveat for fix in fixes if fix.caveat.en]
    return Fix(
        id=PLAN,
        title=_list([fix.title for fix in fixes], " + "),
        why=Text(
            "None of these changes is enough by itself; together they fit.",
            "单独一项都不够；合在一起放得下。",
        ),
        price=_list([fix.price for fix in fixes if fix.price.en], "; "),
        safety=min(fix.safety for fix in fixes),
        changes=_all_changes(taken) or (),
        env={name: value for fix in fixes for name, value in fix.env.items()},
        caveat=_list(caveats, "; ") if caveats else NO_TEXT,
        predicted=prediction_of(now, told),
    )


def _list(texts: list[Text], joint: str) -> Text:
    return Text(
        joint.join(text.en for text in texts), joint.join(text.zh or text.en for text in texts)
    )


def _nothing(now: Forecast, facts: MemoryFacts) -> _Option:
    """Say that nothing fits, and what would."""
    smallest = now.peak.total_params * 0.55 / 2**30
    room = now.capacity_gib or 0.0
    gpus = max(2, -(-int(now.needed_gib) // max(1, int(room * 0.8))))
    more = Text(
        f"What would: about {gpus} such GPUs with DeepSpeed ZeRO-3, a larger GPU, or a smaller"
        " model.",
        f"可行的做法：约 {gpus} 块同样的 GPU 配合 DeepSpeed ZeRO-3、更大的 GPU，或更小的模型。",
    )
    if smallest + 1.0 < room:
        more = Text(
            more.en + f" QLoRA keeps the weights in {smallest:.1f} GiB.",
            more.zh + f" QLoRA 的权重约占 {smallest:.1f} GiB。",
        )
    name = facts.device_name or "GPU"
    return _Option(
        Fix(
            id=NOTHING,
            title=Text(
                f"none of these changes fits {room:.1f} GiB ({name})",
                f"以下修改都无法放入 {room:.1f} GiB({name})",
            ),
            why=more,
            price=NO_TEXT,
            safety=Safety.MANUAL,
        ),
        None,
    )
