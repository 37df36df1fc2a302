"""Owns the signals of how fast steps come, of what they wait for, and of the time before them."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from diagnostics.findings import Evidence
from diagnostics.history import Snapshot
from diagnostics.pace import (
    Drift,
    Pauses,
    Shift,
    Stretch,
    find_drift,
    find_pauses,
    find_shift,
    least_tflops,
    most_flops,
    stretches,
    usual_seconds,
)
from diagnostics.signals.context import Context, Reader, Signal, Value, plain
from diagnostics.signals.sharding import active_params

T = TypeVar("T")

_LEAST_SHIFT = 1.5
_LEAST_DRIFT = 1.5
"""Below these a change is noise, as of a shared machine."""
_LASTING_STEPS = 10
_FAST_S = 5.0
_SLOW_S = 10.0
_DRIFT_STEPS = 60
_DRIFT_S = 60.0
_KNOWN_STEPS = 5
_KNOWN_S = 60.0
"""A pace is known after so many steps and seconds: the first ones are slow."""
_PAIRED = frozenset({"rm", "dpo"})
_TOKENIZING = "tokeniz"


def _stretches(context: Context) -> list[Stretch]:
    return context.once("pace stretches", lambda one: stretches(one.snapshot.pace))


def _usual(context: Context) -> float | None:
    return context.once("pace usual", lambda one: usual_seconds(_stretches(one)))


def _shift(context: Context) -> Shift | None:
    def work(one: Context) -> Shift | None:
        return find_shift(
            _stretches(one), _LEAST_SHIFT, steps=_LASTING_STEPS, fast_s=_FAST_S, slow_s=_SLOW_S
        )

    return context.once("pace shift", work)


def _drift(context: Context) -> Drift | None:
    def work(one: Context) -> Drift | None:
        return find_drift(_stretches(one), _LEAST_DRIFT, steps=_DRIFT_STEPS, seconds=_DRIFT_S)

    return context.once("pace drift", work)


def _pauses(context: Context) -> Pauses | None:
    return context.once("pace pauses", lambda one: find_pauses(_stretches(one)))


def _source(snapshot: Snapshot) -> str:
    return snapshot.pace[-1].source if snapshot.pace else "steps"


def _shown(
    find: Callable[[Context], T | None],
    read: Callable[[T], Value | None],
    tell: Callable[[T], str],
) -> Reader:
    def reader(context: Context) -> Signal | None:
        found = find(context)
        value = None if found is None else read(found)
        if found is None or value is None:
            return None
        return Signal(value, (Evidence(_source(context.snapshot), None, tell(found)),))

    return reader


def _tell_shift(shift: Shift) -> str:
    fast, slow = shift.fast, shift.slow
    text = (
        f"steps {fast.first}-{fast.last} took {_seconds(fast.seconds_per_step)} each, "
        f"{slow.first}-{slow.last} {_seconds(slow.seconds_per_step)}"
    )
    if shift.over is not None:
        over = shift.over
        text += f", {over.first}-{over.last} {_seconds(over.seconds_per_step)}"
    return text


def _tell_drift(drift: Drift) -> str:
    parts = (f"{one.first}-{one.last} {_seconds(one.seconds_per_step)}" for one in drift.parts)
    return f"seconds of a step: {', '.join(parts)}"


def _tell_pauses(pauses: Pauses) -> str:
    first = pauses.first
    text = f"{pauses.count} pauses took {_seconds(pauses.seconds)} of the time between steps"
    return f"{text}; the first one after step {first.before}, {_seconds(first.seconds)}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"  # noqa: PLR2004 - three digits


def _shift_of(read: Callable[[Shift], Value | None]) -> Reader:
    return _shown(_shift, read, _tell_shift)


def _drift_of(read: Callable[[Drift], Value | None]) -> Reader:
    return _shown(_drift, read, _tell_drift)


def _pauses_of(read: Callable[[Pauses], Value | None]) -> Reader:
    return _shown(_pauses, read, _tell_pauses)


def _seconds_per_step(context: Context) -> Signal | None:
    usual, points = _usual(context), context.snapshot.pace
    if usual is None:
        return None
    text = f"steps {points[0].step + 1}-{points[-1].step} took {_seconds(usual)} each"
    return Signal(usual, (Evidence(_source(context.snapshot), None, text),))


def _third(index: int) -> Callable[[Context], Value | None]:
    """Read the usual length of a step in a third of the steps."""

    def reader(context: Context) -> Value | None:
        found = _stretches(context)
        if not found:
            return None
        first, width = found[0].before, (found[-1].last - found[0].before) / 3
        low, high = first + index * width, first + (index + 1) * width
        return usual_seconds([one for one in found if low < one.last <= high])

    return reader


def _measured(context: Context) -> tuple[int, float]:
    """Return how many steps were timed, and how long they took."""
    points = context.snapshot.pace
    if not points:
        return 0, 0.0
    return points[-1].step - points[0].step, points[-1].elapsed_s - points[0].elapsed_s


def _known_pace(context: Context) -> float | None:
    steps, seconds = _measured(context)
    return _usual(context) if steps >= _KNOWN_STEPS and seconds >= _KNOWN_S else None


def _fact(snapshot: Snapshot, name: str) -> int | None:
    value = snapshot.facts.get(name)
    return value if isinstance(value, int) and 0 < value < 10**15 else None


def _seconds_per_batch(context: Context) -> Value | None:
    usual, accumulation = _known_pace(context), _fact(context.snapshot, "accumulation_steps")
    return None if usual is None or accumulation is None else usual / accumulation


def _seconds_per_sample(context: Context) -> Value | None:
    batch, seconds = _fact(context.snapshot, "per_device_batch_size"), _seconds_per_batch(context)
    if batch is None or not isinstance(seconds, float):
        return None
    return seconds / batch


def _devices(snapshot: Snapshot) -> int | None:
    """Return on how many devices the samples of a step are spread, by the header's own numbers."""
    total = _fact(snapshot, "total_batch_size")
    batch, accumulation = (
        _fact(snapshot, "per_device_batch_size"),
        _fact(snapshot, "accumulation_steps"),
    )
    if total is None or batch is None or accumulation is None:
        return None
    return max(1, total // (batch * accumulation))


def _most_tflops(context: Context) -> Signal | None:
    """Return how much each GPU computes at the very most: every sample as long as is allowed."""
    snapshot, config, usual = context.snapshot, context.config, _known_pace(context)
    params, samples = _fact(snapshot, "all_params"), _fact(snapshot, "total_batch_size")
    devices = _devices(snapshot)
    on_gpu = str(snapshot.facts.get("device", "")).startswith(("cuda", "npu"))
    if usual is None or config is None or params is None or samples is None or devices is None:
        return None
    stage, longest = config.value("stage"), config.value("cutoff_len")
    usable = isinstance(longest, int) and not isinstance(longest, bool) and 0 < longest < 10**9
    if not on_gpu or stage == "ppo" or not usable or not isinstance(longest, int):
        return None
    model = config.value("model_name_or_path")
    active = active_params(model) if isinstance(model, str) else None
    used = params if active is None else min(params, active)
    trained = _fact(snapshot, "trainable_params")
    flops = most_flops(
        params=used,
        trained_share=1.0 if trained is None else min(1.0, trained / params),
        tokens=float(samples * longest),
        longest=float(longest),
        recomputed=config.value("disable_gradient_checkpointing") is not True,
        passes=_PASSES_PAIRED if stage in _PAIRED else 1.0 + (stage == "kto"),
    )
    rate = least_tflops(flops, usual, devices)
    text = (
        f"{samples} samples of at most {longest} tokens a step, {used / 1e9:.1f} B parameters, "
        f"{devices} {'GPU' if devices == 1 else 'GPUs'}, {_seconds(usual)} each: "
        f"at most {rate:.1f} TFLOP/s a GPU"
    )
    return Signal(rate, (Evidence(_source(snapshot), None, text),))


_PASSES_PAIRED = 3.0
"""Two samples each, and a reference model that goes forwards."""


def _seconds_left(context: Context) -> Value | None:
    usual, snapshot = _usual(context), context.snapshot
    step, total = snapshot.step, snapshot.total_steps
    return None if usual is None or step is None or not total else usual * max(0, total - step)


def _tokens_per_second(context: Context) -> Value | None:
    for point in reversed(context.snapshot.steps[-_LOOK_BACK:]):
        for name in ("throughput", "train_tokens_per_second", "tokens_per_second"):
            if name in point.extra:
                return point.extra[name]
    return None


_LOOK_BACK = 20


def _silent_seconds(context: Context) -> Value | None:
    """Return the time since the last step; only where the run is watched and has not ended."""
    snapshot = context.snapshot
    if context.closed or not snapshot.pace:
        return None
    return max(0.0, snapshot.at - snapshot.pace[-1].at)


def _silent_steps(context: Context) -> Value | None:
    silent, usual = _silent_seconds(context), _usual(context)
    return silent / usual if isinstance(silent, float) and usual else None


def _prepared_seconds(snapshot: Snapshot) -> float:
    return sum(one.seconds for one in snapshot.data_bars)


def _tell_bars(snapshot: Snapshot) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            one.source,
            None,
            f"{one.description}: {one.done} of {one.total} in {_seconds(one.seconds)}",
        )
        for one in snapshot.data_bars
        if one.seconds
    )


def _preprocess_seconds(context: Context) -> Signal | None:
    snapshot = context.snapshot
    if not snapshot.data_bars:
        return None
    return Signal(_prepared_seconds(snapshot), _tell_bars(snapshot))


def _preprocess_expected(context: Context) -> Signal | None:
    """Return how long the preparation takes in all, what is left of its present bar included."""
    snapshot = context.snapshot
    if not snapshot.data_bars:
        return None
    left = max(one.seconds_left for one in snapshot.data_bars)
    return Signal(_prepared_seconds(snapshot) + left, _tell_bars(snapshot))


def _preprocess_pct(context: Context) -> Signal | None:
    """Return the preparation's share of it and the whole training at its present pace."""
    snapshot, usual, total = context.snapshot, _usual(context), context.snapshot.total_steps
    seconds = _prepared_seconds(snapshot)
    if usual is None or not total or not seconds:
        return None
    done, elapsed = _measured(context)
    training = elapsed + usual * max(0, total - done)
    text = f"{_seconds(seconds)} of preparation, {_seconds(training)} of training in all"
    evidence = (*_tell_bars(snapshot), Evidence(_source(snapshot), None, text))
    return Signal(100.0 * seconds / (seconds + training), evidence)


def _tokenized_path(context: Context) -> Value | None:
    """Return a folder for the tokenized data: beside the output, so that runs share none."""
    said = None if context.config is None else context.config.value("output_dir")
    return f"{said.rstrip('/')}-tokenized" if isinstance(said, str) and said else "saves/tokenized"


def _preprocess_rate(context: Context) -> Value | None:
    """Return how many samples are tokenized a second."""
    for one in context.snapshot.data_bars:
        if _TOKENIZING in one.description.lower() and one.seconds > 0 and one.done:
            return one.done / one.seconds
    return None


def _in_order(context: Context) -> Value | None:
    """Tell that samples come in an order, so that steps may grow; None where nothing says so."""
    if context.config is None:
        return None
    ordered = (
        context.config.value("disable_shuffling") is True
        or context.config.value("group_by_length") is True
        or context.config.value("streaming") is True  # shuffled within a buffer only
        or context.config.value("train_sampling_strategy") in {"sequential", "group_by_length"}
    )
    return ordered or None


SIGNALS: Mapping[str, Reader] = {
    "pace.seconds_per_step": _seconds_per_step,
    "pace.first_third_seconds": plain(_third(0)),
    "pace.last_third_seconds": plain(_third(2)),
    "pace.steps": plain(lambda context: _measured(context)[0]),
    "pace.measured_seconds": plain(lambda context: _measured(context)[1]),
    "pace.seconds_per_batch": plain(_seconds_per_batch),
    "pace.seconds_per_sample": plain(_seconds_per_sample),
    "pace.seconds_left": plain(_seconds_left),
    "pace.samples_in_order": plain(_in_order),
    "pace.most_tflops": _most_tflops,
    "pace.tokens_per_second": plain(_tokens_per_second),
    "pace.silent_seconds": plain(_silent_seconds),
    "pace.silent_steps": plain(_silent_steps),
    "pace.shift_ratio": _shift_of(lambda shift: shift.ratio),
    "pace.shift_step": _shift_of(lambda shift: shift.slow.first),
    "pace.shift_until": _shift_of(lambda shift: shift.slow.last),
    "pace.shift_fast_seconds": _shift_of(lambda shift: shift.fast.seconds_per_step),
    "pace.shift_slow_seconds": _shift_of(lambda shift: shift.slow.seconds_per_step),
    "pace.shift_fast_lasted_s": _shift_of(lambda shift: shift.fast.seconds),
    "pace.shift_slow_lasted_s": _shift_of(lambda shift: shift.slow.seconds),
    "pace.shift_over": _shift_of(lambda shift: shift.over is not None),
    "pace.drift_ratio": _drift_of(lambda drift: drift.ratio),
    "pace.drift_first_seconds": _drift_of(lambda drift: drift.parts[0].seconds_per_step),
    "pace.drift_last_seconds": _drift_of(lambda drift: drift.parts[-1].seconds_per_step),
    "pace.pause_count": _pauses_of(lambda pauses: pauses.count),
    "pace.pause_seconds": _pauses_of(lambda pauses: pauses.seconds),
    "pace.pause_pct": _pauses_of(lambda pauses: pauses.share_pct),
    "pace.pause_every": _pauses_of(lambda pauses: pauses.every_steps),
    "compute.device": plain(lambda context: context.snapshot.facts.get("device")),
    "compute.devices": plain(lambda context: _devices(context.snapshot)),
    "compute.dtype": plain(lambda context: context.snapshot.facts.get("compute_dtype")),
    "preprocess.seconds": _preprocess_seconds,
    "preprocess.expected_seconds": _preprocess_expected,
    "preprocess.pct": _preprocess_pct,
    "preprocess.tokenized_path": plain(_tokenized_path),
    "preprocess.samples_per_second": plain(_preprocess_rate),
}
