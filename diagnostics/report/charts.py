"""Owns charts as SVG without script: lines over steps, and the shares of a GPU's memory. Pure.

Colours are classes, which the page's style gives; every text is escaped.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import median

from diagnostics.report.clean import shown

WIDTH, HEIGHT = 560, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 14, 30
_MAX_POINTS = 400
_LOG_FROM = 40.0
"""A largest value of so many medians hides all others on a linear scale."""
_Y_TICKS, _X_TICKS = 4, 5

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart; `kind` is its class: "train", "eval", "rate", "pace", "memory"."""

    kind: str
    name: str
    points: Points
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """One part of a bar; `kind` is its class."""

    kind: str
    name: str
    size: float
    text: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values to pixels; logarithmic where a few values would hide all others."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False
    ticks: tuple[float, ...] = field(default=())

    def at(self, value: float) -> float:
        low, high = self.low, self.high
        if self.is_log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def line_chart(
    lines: Sequence[Line],
    *,
    label: str,
    format_y: Callable[[float], str],
    mark: tuple[float, str] | None = None,
) -> str:
    """Return a chart of lines over steps; empty where no line has a finite point.

    Args:
        lines: what is drawn; points that are not finite are left out.
        label: what the chart shows, for who cannot see it.
        format_y: how a value reads at the axis.
        mark: a step to mark with a vertical line, and its word.
    """
    drawn = [Line(one.kind, one.name, _finite(one.points), one.dots) for one in lines]
    values = [y for one in drawn for _, y in one.points]
    steps = [x for one in drawn for x, _ in one.points]
    if not values:
        return ""
    if mark is not None and not max(steps) * 0.5 <= mark[0] <= max(steps) * 1.5:
        mark = None
    wide = [*steps, mark[0]] if mark is not None else steps
    x = _x_scale(min(wide), max(wide))
    y = _y_scale(values)
    parts = [*_axes(x, y, format_y)]
    if mark is not None:
        parts.append(_mark(x.at(mark[0]), mark[1]))
    for one in drawn:
        parts.extend(_line(one, x, y, format_y))
    return _svg(label, parts)


def is_log(lines: Sequence[Line]) -> bool:
    """Tell whether a chart of these lines has a logarithmic scale."""
    return _needs_log([y for one in lines for _, y in _finite(one.points)])


def bar_chart(
    shares: Sequence[Share], *, capacity: float, label: str, beyond: Share | None = None
) -> str:
    """Return a bar of shares of a capacity, and what was asked for beyond them."""
    left, right, top, high = 4.0, WIDTH - 4.0, 8.0, 34.0
    whole = max(capacity, sum(share.size for share in shares), 1.0)
    parts = [
        f'<rect class="track" x="{left}" y="{top}" width="{right - left}" height="{high}" rx="4"/>'
    ]
    at = left
    for share in shares:
        wide = (right - left) * share.size / whole
        parts.append(
            f'<rect class="share {share.kind}" x="{at:.1f}" y="{top}"'
            f' width="{max(wide - 1, 0.5):.1f}" height="{high}">'
            f"<title>{_text(share.name)}: {_text(share.text)}</title></rect>"
        )
        at += wide
    if beyond is not None:
        wide = min((right - left) * beyond.size / whole, right - left)
        start = max(left, min(at, right - wide))
        parts.append(
            f'<rect class="share {beyond.kind}" x="{start:.1f}" y="{top + high + 8}"'
            f' width="{max(wide, 1.5):.1f}" height="8" rx="2">'
            f"<title>{_text(beyond.name)}: {_text(beyond.text)}</title></rect>"
        )
    return _svg(label, parts, height=62)


def _svg(label: str, parts: Sequence[str], height: int = HEIGHT) -> str:
    inside = "".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="{_text(label)}">{inside}</svg>'
    )


def _axes(x: _Scale, y: _Scale, format_y: Callable[[float], str]) -> list[str]:
    parts = []
    for value in y.ticks:
        at = y.at(value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{at + 3.5:.1f}" text-anchor="end">'
            f"{_text(format_y(value))}</text>"
        )
    parts.extend(
        f'<text class="tick" x="{x.at(value):.1f}" y="{HEIGHT - 10}" text-anchor="middle">'
        f"{value:,.0f}</text>"
        for value in x.ticks
    )
    return parts


def _mark(at: float, word: str) -> str:
    anchor, shift = ("end", -5) if at > WIDTH / 2 else ("start", 5)
    return (
        f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
        f'<text class="tick" x="{at + shift:.1f}" y="{_TOP + 8}" text-anchor="{anchor}">'
        f"{_text(word)}</text>"
    )


def _line(line: Line, x: _Scale, y: _Scale, format_y: Callable[[float], str]) -> list[str]:
    if not line.points:
        return []
    kept = _thinned(line.points)
    places = [(x.at(step), y.at(value)) for step, value in kept]
    parts = []
    if len(places) > 1:
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
        parts.append(f'<polyline class="line {line.kind}" points="{path}"/>')
    if line.dots or len(places) == 1:
        parts.extend(
            f'<circle class="dot {line.kind}" cx="{across:.1f}" cy="{down:.1f}" r="3">'
            f"<title>{_text(line.name)} {_text(format_y(value))} @ {step:g}</title></circle>"
            for (across, down), (step, value) in zip(places, kept, strict=True)
        )
    return parts


def _finite(points: Points) -> Points:
    return [
        (float(step), value)
        for step, value in points
        if math.isfinite(value) and math.isfinite(step) and abs(value) < 1e15  # noqa: PLR2004
    ]


def _thinned(points: Points) -> Points:
    """Keep the lowest and the highest of each stretch, so that spikes stay."""
    if len(points) <= _MAX_POINTS:
        return points
    size = -(-len(points) * 2 // _MAX_POINTS)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        ends = {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
        kept.extend(sorted(ends))
    return kept


def _x_scale(low: float, high: float) -> _Scale:
    ticks = _nice(low, high, _X_TICKS, whole=True)
    return _Scale(low, high, _LEFT, WIDTH - _RIGHT, ticks=ticks)


def _y_scale(values: Sequence[float]) -> _Scale:
    low, high = min(values), max(values)
    bottom, top = HEIGHT - _BOTTOM, _TOP
    if _needs_log(values):
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        every = max(1, -(-(last - first) // _Y_TICKS))
        decades = tuple(10.0**power for power in range(first, last + 1, every))
        return _Scale(10.0**first, 10.0**last, bottom, top, is_log=True, ticks=decades)
    if 0 <= low < high * 0.4:
        low = 0.0
    if high == low:
        pad = abs(high) * 0.1 or 1.0
        low, high = low - pad, high + pad
    ticks = _nice(low, high, _Y_TICKS)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 0.0
    top_value = high if ticks and ticks[-1] >= high else (ticks[-1] + step if ticks else high)
    low_value = low if ticks and ticks[0] <= low else (ticks[0] - step if ticks else low)
    spread = tuple(
        tick for tick in (low_value, *ticks, top_value) if low_value <= tick <= top_value
    )
    return _Scale(low_value, top_value, bottom, top, ticks=tuple(dict.fromkeys(spread)))


def _needs_log(values: Sequence[float]) -> bool:
    if len(values) < 3 or min(values) <= 0:  # noqa: PLR2004 - two points make no scale
        return False
    return max(values) > _LOG_FROM * median(values)


def _nice(low: float, high: float, count: int, *, whole: bool = False) -> tuple[float, ...]:
    """Return round values between two, about so many."""
    if high <= low:
        return (low,)
    rough = (high - low) / count
    if rough < sys.float_info.min:
        return (low,)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    step = max(1.0, round(step)) if whole else step
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(_rounded(index * step, step) for index in range(first, min(last, first + 20) + 1))


def _rounded(value: float, step: float) -> float:
    return round(value, max(0, 2 - math.floor(math.log10(step))))


def _text(text: str) -> str:
    return escape(shown(text), quote=True)
