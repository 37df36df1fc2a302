"""Owns the text that a training writes: log lines, metrics and tqdm bars, in the real formats.

LLaMA-Factory's lines and the metrics go to stdout, transformers' lines and the bars to stderr.
Like the real stack it leaves stdout's buffering to Python: in a file, lines may come late.
"""

import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

_GLYPHS = " ▏▎▍▌▋▊▉█"
_BAR_WIDTH = 10
_SMOOTHING = 0.3  # tqdm's share of the newest interval in its rate


def factory_line(module: str, line: int, message: str, level: str = "INFO") -> None:
    """Write one line of LLaMA-Factory's logger."""
    stamp = datetime.now(tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    sys.stdout.write(f"[{level}|{stamp}] llamafactory.{module}:{line} >> {message}\n")
    sys.stdout.flush()  # a logging handler flushes after each record


def transformers_line(file: str, line: int, message: str, level: str = "INFO") -> None:
    """Write one line of transformers' logger."""
    now = datetime.now(tz=UTC).astimezone()
    stamp = f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d}"
    sys.stderr.write(f"[{level}|{file}:{line}] {stamp} >> {message}\n")
    sys.stderr.flush()


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Return metrics as transformers 5 prints them: floats as text of four significant digits."""
    words = {
        name: value if isinstance(value, int) else f"{value:.4g}" for name, value in metrics.items()
    }
    return str(words)


def final_block(metrics: Mapping[str, float]) -> str:
    """Return the block of metrics at a training's end."""
    words = {name: _final_value(name, metrics[name]) for name in sorted(metrics)}
    key_width = max(map(len, words))
    value_width = max(map(len, words.values()))
    lines = [f"  {name:<{key_width}} = {word:>{value_width}}" for name, word in words.items()]
    return "\n".join(["***** train metrics *****", *lines]) + "\n"


def _final_value(name: str, value: float) -> str:
    if name == "total_flos":
        return f"{int(value) >> 30}GF"
    if name.endswith("_runtime"):
        whole = timedelta(seconds=int(value))
        return f"{whole}.{int(value * 100) % 100:02d}"
    return str(round(value, 4))


class Bar:
    """One tqdm bar on stderr, redrawn after a carriage return."""

    def __init__(
        self, total: int, *, description: str = "", unit: str = "it", start: int = 0
    ) -> None:
        self._total = total
        self._prefix = f"{description}: " if description else ""
        self._unit = unit
        self._done = start
        self._start = start
        self._began = self._last = time.monotonic()
        self._seconds_per_item: float | None = None
        self._drawn = ""
        self._draw()

    def advance(self, count: int = 1) -> None:
        """Move the bar and redraw it."""
        now = time.monotonic()
        newest = (now - self._last) / count
        before = self._seconds_per_item
        self._seconds_per_item = (
            newest if before is None else _SMOOTHING * newest + (1 - _SMOOTHING) * before
        )
        self._last = now
        self._done += count
        self._draw()

    def print_above(self, text: str) -> None:
        """Write one line to stdout where the bar stands, then redraw the bar below it."""
        sys.stderr.write("\r" + " " * len(self._drawn) + "\r")
        sys.stderr.flush()
        sys.stdout.write(text + "\n")
        self._draw()

    def close(self) -> None:
        """Draw the bar a last time, with its mean rate, and end its line."""
        done = self._done - self._start
        if done:
            self._seconds_per_item = (self._last - self._began) / done
        self._draw()
        sys.stderr.write("\n")
        sys.stderr.flush()

    def _draw(self) -> None:
        elapsed = time.monotonic() - self._began
        share = min(1.0, self._done / self._total) if self._total else 1.0
        self._drawn = (
            f"{self._prefix}{share * 100:3.0f}%|{_blocks(share)}| {self._done}/{self._total} "
            f"[{_clock(elapsed)}<{self._remaining()}, {self._rate()}]"
        )
        sys.stderr.write("\r" + self._drawn)
        sys.stderr.flush()

    def _remaining(self) -> str:
        if self._seconds_per_item is None:
            return "?"
        return _clock(self._seconds_per_item * (self._total - self._done))

    def _rate(self) -> str:
        blank = "" if self._unit == "it" else " "
        if not self._seconds_per_item:
            return f"?{blank}{self._unit}/s"
        rate = 1 / self._seconds_per_item
        if rate < 1 and not blank:
            return f"{self._seconds_per_item:5.2f}s/{self._unit}"
        return f"{rate:5.2f}{blank}{self._unit}/s"


def wait_with(bar: Bar, parts: Iterable[int], seconds: float) -> None:
    """Advance a bar by the given parts, spread over a time."""
    counts = tuple(parts)
    for count in counts:
        time.sleep(seconds / len(counts))
        bar.advance(count)


def _blocks(share: float) -> str:
    full, eighths = divmod(int(share * _BAR_WIDTH * 8), 8)
    if full >= _BAR_WIDTH:
        return _GLYPHS[-1] * _BAR_WIDTH
    return _GLYPHS[-1] * full + _GLYPHS[eighths] + " " * (_BAR_WIDTH - full - 1)


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"
