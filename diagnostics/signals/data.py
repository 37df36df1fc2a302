"""Owns the signals of the training data, from a look at its files.

A share is of the dataset that is worst; `data.truncated_pct` and the numbers of samples are of all
datasets of the training together. Where nobody looked, a signal is missing and says why.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from diagnostics.datasets import DatasetReport, Fault, FaultKind, Lengths, Place, Tally, Use
from diagnostics.findings import Evidence
from diagnostics.observations import Missing
from diagnostics.signals.context import Context, Reader, Signal

_NOBODY_LOOKED = Missing("nobody looked at the data files")
_NO_DATASET = Missing("the config names no dataset")
_LEAST_CUTOFF = 256
_MOST_CUTOFF = 32_768


def _reports(context: Context, use: Use | None = Use.TRAIN) -> Sequence[DatasetReport] | Missing:
    """Return the datasets for a use (any where None): looked at or not."""
    if context.datasets is None:
        return _NOBODY_LOOKED
    found = [report for report in context.datasets if use is None or report.use is use]
    return found or _NO_DATASET


def _seen(context: Context) -> Sequence[DatasetReport] | Missing:
    """Return the training's datasets of which samples were read."""
    reports = _reports(context)
    if isinstance(reports, Missing):
        return reports
    return [report for report in reports if report.read] or Missing(_why_not(reports))


def _why_not(reports: Sequence[DatasetReport]) -> str:
    for report in reports:
        reason = report.not_looked_at or report.partial or (report.fault and report.fault.text)
        if reason:
            return f"{report.name}: {reason}"
    return "no samples"


def _looked(context: Context) -> Signal:
    return Signal(not isinstance(_seen(context), Missing))


def _shown(places: Sequence[Place]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(place.source, place.line, f"sample {place.sample}: {place.text}")
        for place in places
    )


def _worst(
    tally: Callable[[DatasetReport], Tally], whole: Callable[[DatasetReport], int]
) -> tuple[Reader, Reader]:
    """Return the readers of a count and its share, of the dataset where the share is largest."""

    def find(context: Context) -> DatasetReport | Missing:
        seen = _seen(context)
        if isinstance(seen, Missing):
            return seen
        return max(seen, key=lambda one: _share(tally(one).count, whole(one)))

    def count(context: Context) -> Signal:
        found = find(context)
        if isinstance(found, Missing):
            return Signal(found)
        return Signal(tally(found).count, _shown(tally(found).places))

    def share(context: Context) -> Signal:
        found = find(context)
        if isinstance(found, Missing):
            return Signal(found)
        part = tally(found)
        return Signal(_share(part.count, whole(found)), _shown(part.places))

    return count, share


def _share(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


def _kept(report: DatasetReport) -> int:
    return report.read - report.dropped


def _dropped(report: DatasetReport) -> Tally:
    parts = (report.no_answers, report.invalid_turns, report.no_pairs)
    return Tally(report.dropped, tuple(place for part in parts for place in part.places))


_empty_answers, _empty_answer_pct = _worst(lambda one: one.empty_answers, _kept)
_skipped, _skipped_pct = _worst(_dropped, lambda one: one.read)
_duplicates, _duplicate_pct = _worst(lambda one: one.duplicates, _kept)
_conflicts, _conflict_pct = _worst(lambda one: one.conflicts, _kept)
_identical, _identical_pct = _worst(lambda one: one.identical_pairs, _kept)
_mismatched, _mismatched_pct = _worst(lambda one: one.media_mismatch, _kept)
_absent, _absent_pct = _worst(lambda one: one.media_missing, lambda one: one.media_checked)


def _names(read: Callable[[DatasetReport], Sequence[str]]) -> Reader:
    """Return the reader of names that a dataset gives: of the first that gives any."""

    def reader(context: Context) -> Signal | None:
        reports = _reports(context, None)
        if isinstance(reports, Missing):
            return Signal(reports)
        for report in reports:
            names = read(report)
            if names:
                text = f"dataset {report.name}: {', '.join(report.columns[:12]) or 'no columns'}"
                return Signal(", ".join(names[:12]), (Evidence(report.source, None, text),))
        return _none_or_missing(reports)

    return reader


def _none_or_missing(reports: Sequence[DatasetReport]) -> Signal | None:
    """Return no value where all was looked at; else say what was not."""
    unseen = next((report for report in reports if report.not_looked_at), None)
    return None if unseen is None else Signal(Missing(f"{unseen.name}: {unseen.not_looked_at}"))


def _columns_there(context: Context) -> Signal | None:
    """The columns of the dataset that lacks some."""
    reports = _reports(context, None)
    if isinstance(reports, Missing):
        return Signal(reports)
    lacking = [one for one in reports if one.missing_columns and one.columns]
    return Signal(", ".join(lacking[0].columns[:12])) if lacking else None


def _mixed(context: Context) -> Signal | None:
    reports = _reports(context, None)
    if isinstance(reports, Missing):
        return Signal(reports)
    for report in reports:
        if report.mixed_columns:
            names = ", ".join(report.mixed_columns[:12])
            return Signal(names, _shown(report.mixed.places))
    return _none_or_missing(reports)


def _one_sided(context: Context) -> Signal | None:
    """Which KTO tag all samples have; no value without such tags."""
    seen = _seen(context)
    if isinstance(seen, Missing):
        return Signal(seen)
    liked = sum(report.liked for report in seen)
    disliked = sum(report.disliked for report in seen)
    if not liked + disliked or (liked and disliked) or any(report.partial for report in seen):
        return None
    tag = "true" if liked else "false"
    text = f"{liked + disliked:,} samples are tagged {tag}, none {'false' if liked else 'true'}"
    return Signal(tag, (Evidence(seen[0].source, None, text),))


def _fault(*kinds: FaultKind) -> Reader:
    """Return the reader of what stops the training from reading a dataset."""

    def reader(context: Context) -> Signal | None:
        reports = _reports(context, None)
        if isinstance(reports, Missing):
            return Signal(reports)
        for report in reports:
            fault = report.fault
            if fault is not None and fault.kind in kinds:
                text = f"{fault.source} {fault.text}"
                return Signal(text, (Evidence(fault.source, fault.line, _told(fault)),))
        return _none_or_missing(reports)

    return reader


def _told(fault: Fault) -> str:
    return fault.text if fault.column is None else f"{fault.text} (column {fault.column})"


def _undefined(context: Context) -> Signal | None:
    return _of_undefined(context, lambda one: one.name)


def _nearest(context: Context) -> Signal | None:
    return _of_undefined(context, lambda one: one.nearest)


def _defined(context: Context) -> Signal | None:
    return _of_undefined(context, lambda one: ", ".join(one.defined[:12]) or None)


def _of_undefined(context: Context, read: Callable[[DatasetReport], str | None]) -> Signal | None:
    reports = _reports(context, None)
    if isinstance(reports, Missing):
        return Signal(reports)
    for report in reports:
        if report.fault is not None and report.fault.kind is FaultKind.UNDEFINED:
            value = read(report)
            shown = Evidence(report.fault.source, None, report.fault.text)
            return None if value is None else Signal(value, (shown,))
    return _none_or_missing(reports)


def _dataset_value(context: Context) -> Signal | None:
    """The value of `dataset` with an undefined name replaced by the nearest one."""
    value = context.config.value("dataset") if context.config is not None else None
    reports = _reports(context)
    if isinstance(reports, Missing) or not isinstance(value, str):
        return None
    near = {one.name: one.nearest for one in reports if one.nearest is not None}
    if not near:
        return None
    return Signal(",".join(near.get(name.strip(), name.strip()) for name in value.split(",")))


def _dir_missing(context: Context) -> Signal | None:
    reports = _reports(context, None)
    if isinstance(reports, Missing):
        return Signal(reports)
    return next((Signal(one.dir_missing) for one in reports if one.dir_missing), None)


def _stage_mismatch(context: Context) -> Signal | None:
    reports = _reports(context, None)
    if isinstance(reports, Missing):
        return Signal(reports)
    for report in reports:
        if report.stage_mismatch:
            text = f"dataset {report.name} is not for this stage: look at its `ranking`"
            return Signal(report.name, (Evidence("dataset_info.json", None, text),))
    return _none_or_missing(reports)


def _lengths(context: Context) -> Sequence[Lengths] | Missing:
    seen = _seen(context)
    if isinstance(seen, Missing):
        return seen
    found = [one.lengths for one in seen if one.lengths is not None and not one.packed]
    return found or Missing("samples are packed into blocks, or none can be measured")


def _cut(read: Callable[[Lengths], int]) -> Reader:
    def reader(context: Context) -> Signal:
        lengths = _lengths(context)
        if isinstance(lengths, Missing):
            return Signal(lengths)
        whole = sum(one.measured for one in lengths)
        worst = max(lengths, key=lambda one: one.longest)
        return Signal(_share(sum(map(read, lengths)), whole), _shown(worst.longest_places))

    return reader


def _length(read: Callable[[Lengths], int]) -> Reader:
    def reader(context: Context) -> Signal:
        lengths = _lengths(context)
        if isinstance(lengths, Missing):
            return Signal(lengths)
        worst = max(lengths, key=read)
        return Signal(read(worst), _shown(worst.longest_places))

    return reader


def _fitting_cutoff(context: Context) -> Signal | None:
    """The power of two, at least 256, that holds 95 % of the samples as estimated."""
    lengths = _lengths(context)
    if isinstance(lengths, Missing):
        return Signal(lengths)
    wanted = max(one.p95 for one in lengths) + _TEMPLATE_TOKENS
    fitting = max(_LEAST_CUTOFF, 2 ** math.ceil(math.log2(wanted)))
    return Signal(min(fitting, _MOST_CUTOFF)) if fitting > lengths[0].cutoff_len else None


_TEMPLATE_TOKENS = 40
"""What a chat template adds to a sample, roughly."""


def _samples(context: Context) -> Signal:
    """How many samples one epoch has, before any are set aside for evaluation."""
    reports = _reports(context)
    if isinstance(reports, Missing):
        return Signal(reports)
    unsure = next((one for one in reports if not one.exact), None)
    if unsure is not None:
        return Signal(Missing(_why_not([unsure])))
    if _setting(context, "mix_strategy") not in {None, "concat"}:
        return Signal(Missing("the datasets are interleaved"))
    shown = tuple(
        Evidence(one.source, None, f"dataset {one.name}: {one.samples:,} samples")
        for one in reports[:4]
    )
    return Signal(sum(one.samples - one.dropped for one in reports), shown)


def _unused(context: Context) -> Signal | None:
    reports = _reports(context)
    if isinstance(reports, Missing):
        return Signal(reports)
    return Signal(sum(one.unused for one in reports))


def _setting(context: Context, key: str) -> object:
    return context.config.value(key) if context.config is not None else None


def _number(context: Context, key: str) -> float | None:
    value = _setting(context, key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _trained_on(context: Context) -> float | Missing:
    """The samples of an epoch: those that val_size leaves."""
    samples = _samples(context).value
    if isinstance(samples, Missing) or not isinstance(samples, int):
        return samples if isinstance(samples, Missing) else Missing("no number of samples")
    aside = _number(context, "val_size") or 0.0
    return max(0.0, samples * (1 - aside) if aside < 1 else samples - aside)


def _per_step(context: Context) -> float:
    """The samples of one optimizer step, on one GPU at least."""
    said = context.snapshot.facts.get("total_batch_size")
    if isinstance(said, int) and said > 0:
        return said
    batch = _number(context, "per_device_train_batch_size") or 1
    return max(1.0, batch * (_number(context, "gradient_accumulation_steps") or 1))


def _passes(context: Context) -> Signal | None:
    """How often each sample is seen: max_steps wins over num_train_epochs."""
    samples = _trained_on(context)
    if isinstance(samples, Missing):
        return Signal(samples)
    steps, epochs = _number(context, "max_steps"), _number(context, "num_train_epochs")
    if samples and steps is not None and steps > 0:
        return Signal(steps * _per_step(context) / samples)
    return None if epochs is None else Signal(float(epochs))


def _samples_seen(context: Context) -> Signal | None:
    samples, passes = _trained_on(context), _passes(context)
    if isinstance(samples, Missing):
        return Signal(samples)
    if passes is None or not isinstance(passes.value, float):
        return passes
    return Signal(round(samples * passes.value))


def _optimizer_steps(context: Context) -> Signal | None:
    """How many updates the samples make, on one GPU: on several there are fewer."""
    if (_number(context, "max_steps") or 0) > 0:
        return None  # then nobody left the number to the data
    reports, samples = _reports(context), _trained_on(context)
    epochs = _number(context, "num_train_epochs")
    if isinstance(samples, Missing) or isinstance(reports, Missing) or epochs is None:
        return Signal(samples) if isinstance(samples, Missing) else None
    if _setting(context, "packing") is True or any(one.packed for one in reports):
        return Signal(Missing("samples are packed into blocks"))
    steps = math.ceil(math.ceil(samples / _per_step(context)) * epochs)
    return Signal(steps, _samples(context).evidence)


SIGNALS: Mapping[str, Reader] = {
    "data.looked": _looked,
    "data.samples": _samples,
    "data.samples_seen": _samples_seen,
    "data.samples_unused": _unused,
    "data.passes": _passes,
    "data.optimizer_steps": _optimizer_steps,
    "data.empty_answers": _empty_answers,
    "data.empty_answer_pct": _empty_answer_pct,
    "data.skipped": _skipped,
    "data.skipped_pct": _skipped_pct,
    "data.duplicates": _duplicates,
    "data.duplicate_pct": _duplicate_pct,
    "data.conflicts": _conflicts,
    "data.conflict_pct": _conflict_pct,
    "data.identical_pairs": _identical,
    "data.identical_pair_pct": _identical_pct,
    "data.one_sided": _one_sided,
    "data.media_mismatched": _mismatched,
    "data.media_mismatched_pct": _mismatched_pct,
    "data.media_missing": _absent,
    "data.media_missing_pct": _absent_pct,
    "data.truncated_pct": _cut(lambda one: one.cut_surely),
    "data.truncated_most_pct": _cut(lambda one: one.cut_maybe),
    "data.median_tokens": _length(lambda one: one.median),
    "data.p95_tokens": _length(lambda one: one.p95),
    "data.longest_tokens": _length(lambda one: one.longest),
    "data.fitting_cutoff": _fitting_cutoff,
    "data.columns": _columns_there,
    "data.missing_columns": _names(lambda one: one.missing_columns),
    "data.unlisted_columns": _names(lambda one: one.unlisted_columns),
    "data.mixed_columns": _mixed,
    "data.stage_mismatch": _stage_mismatch,
    "data.undefined": _undefined,
    "data.nearest_dataset": _nearest,
    "data.defined_datasets": _defined,
    "data.corrected_dataset": _dataset_value,
    "data.dir_missing": _dir_missing,
    "data.info_missing": _fault(FaultKind.INFO_MISSING),
    "data.info_broken": _fault(FaultKind.INFO_BROKEN),
    "data.file_missing": _fault(FaultKind.FILE_MISSING),
    "data.file_type": _fault(FaultKind.FILE_TYPE),
    "data.parse_error": _fault(FaultKind.PARSE),
    "data.no_samples": _fault(FaultKind.EMPTY),
}
