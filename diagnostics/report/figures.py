"""Owns which charts a report has: loss, learning rate, step time and GPU memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from diagnostics.findings import Language, Text
from diagnostics.observations import OutOfMemory
from diagnostics.report import words
from diagnostics.report.charts import Line, Share, bar_chart, is_log, line_chart
from diagnostics.report.clean import shown
from diagnostics.report.model import Report
from diagnostics.report.numbers import gib, number

_FAILED = frozenset({"failed", "stopped", "unknown"})
_BYTES_FROM = 1e6
"""A number in a metric of memory that is this large counts bytes; a smaller one GiB."""


def figures(report: Report, language: Language) -> Iterator[str]:
    """Return the figures of a report; one without data says so."""
    snapshot = report.snapshot
    losses = [(point.step or 0, point.loss) for point in snapshot.steps if point.loss is not None]
    evals = [
        (point.step, point.eval_loss)
        for point in snapshot.evals
        if point.eval_loss is not None and point.step is not None
    ]
    rates = [
        (point.step or 0, point.learning_rate)
        for point in snapshot.steps
        if point.learning_rate is not None
    ]
    mark = _mark(report, language)
    lines = [Line("train", words.TRAIN_LOSS.to(language), losses)]
    if evals:
        lines.append(Line("eval", words.EVALUATION.to(language), evals, dots=True))
    yield _figure(words.LOSS, lines, number, words.NO_LOSS, language=language, mark=mark)
    rate = [Line("rate", words.LEARNING_RATE.to(language), rates)]
    yield _figure(words.LEARNING_RATE, rate, number, words.NO_RATE, language=language, mark=mark)
    pace = [Line("pace", words.SECONDS_A_STEP.to(language), report.pace)]
    yield _figure(words.STEP_TIME, pace, _seconds, words.NO_PACE, language=language, mark=mark)
    yield _memory(report, language, mark)


def _mark(report: Report, language: Language) -> tuple[float, str] | None:
    step = report.run.step
    if report.run.status not in _FAILED or not step:
        return None
    return float(step), words.ENDED_HERE.to(language)


def _figure(
    title: Text,
    lines: Sequence[Line],
    form: Callable[[float], str],
    nothing: Text,
    *,
    language: Language,
    mark: tuple[float, str] | None,
) -> str:
    label = title.to(language)
    chart = line_chart(lines, label=label, format_y=form, mark=mark)
    if not chart:
        return _empty(label, nothing.to(language) + _not_finite(lines, language))
    keys = "".join(f'<span class="key {one.kind}">{_text(one.name)}</span>' for one in lines)
    if len(lines) == 1:
        keys = f'<span class="quiet">{_text(lines[0].name)}</span>' * (lines[0].name != label)
    if is_log(lines):
        keys += f'<span class="quiet">{_text(words.LOG_SCALE.to(language))}</span>'
    left_out = _not_finite(lines, language).lstrip(" ;")
    if left_out:
        keys += f'<span class="quiet">{_text(left_out)}</span>'
    return f"<figure><figcaption><b>{_text(label)}</b>{keys}</figcaption>{chart}</figure>"


def _not_finite(lines: Sequence[Line], language: Language) -> str:
    bad = [step for one in lines for step, value in one.points if not math.isfinite(value)]
    if not bad:
        return ""
    return "; " + words.NOT_FINITE.to(language).format(count=len(bad), step=f"{min(bad):g}")


def _empty(label: str, text: str) -> str:
    return (
        f"<figure><figcaption><b>{_text(label)}</b></figcaption>"
        f'<p class="quiet">{_text(text)}</p></figure>'
    )


def _memory(report: Report, language: Language, mark: tuple[float, str] | None) -> str:
    """Return memory over steps where metrics tell it, else what the allocator's last word says."""
    points = _memory_points(report)
    if points:
        line = [Line("memory", "GiB", points)]
        return _figure(words.MEMORY, line, number, words.NO_MEMORY, language=language, mark=mark)
    told = (oom for oom in report.snapshot.ooms if oom.capacity_bytes)
    oom = next(told, None)
    if oom is not None:
        return _shares(oom, language)
    return _empty(words.MEMORY.to(language), words.NO_MEMORY.to(language))


def _memory_points(report: Report) -> list[tuple[float, float]]:
    names = {
        name for point in report.snapshot.steps for name in point.extra if "mem" in name.lower()
    }
    if not names:
        return []
    preferred = min(names, key=lambda name: ("reserved" not in name, "max" not in name, name))
    found = [
        (float(point.step), point.extra[preferred])
        for point in report.snapshot.steps
        if point.step is not None and preferred in point.extra
    ]
    return [(step, size / 2**30 if size > _BYTES_FROM else size) for step, size in found]


def _shares(oom: OutOfMemory, language: Language) -> str:
    """Return what held the memory of the GPU that ran out."""
    capacity = float(oom.capacity_bytes or 0)
    allocated = float(oom.allocated_bytes or 0)
    cached = max(0.0, float(oom.reserved_bytes or allocated) - allocated)
    free = min(float(oom.free_bytes or 0), capacity)
    others = max(0.0, capacity - allocated - cached - free)
    parts = [
        ("allocated", words.ALLOCATED, allocated),
        ("cached", words.CACHED, cached),
        ("other", words.OTHERS, others),
        ("free", words.FREE, free),
    ]
    shares = [
        Share(kind, name.to(language), size, gib(size)) for kind, name, size in parts if size > 0
    ]
    beyond = None
    if oom.requested_bytes:
        size = float(oom.requested_bytes)
        beyond = Share("asked", words.REQUESTED.to(language), size, gib(size))
    label = words.MEMORY_WHEN.to(language)
    chart = bar_chart(shares, capacity=capacity, label=label, beyond=beyond)
    keys = "".join(
        f'<span class="key {share.kind}">{_text(share.name)} {_text(share.text)}</span>'
        for share in (*shares, *([beyond] if beyond is not None else []))
    )
    whole = words.CAPACITY.to(language).format(size=gib(capacity))
    return (
        f'<figure><figcaption><b>{_text(label)}</b><span class="quiet">{_text(whole)}</span>'
        f"</figcaption>{chart}<p class='keys'>{keys}</p></figure>"
    )


def _seconds(value: float) -> str:
    return f"{value:.3g} s"


def _text(text: str) -> str:
    return escape(shown(text), quote=True)
