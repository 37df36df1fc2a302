"""Owns where a log shows samples of its data, which are no log: parsers pass over them."""

import re
from collections.abc import Sequence

from diagnostics.sources.skim.blocks import Block, Window, newlines
from diagnostics.sources.skim.kept import Kept
from diagnostics.sources.skim.queries import SAMPLE

_SAMPLE_HEAD = re.compile(
    rb"(?:\[rank\d+\]: ?)?(?:(?:training|eval|validation|predict) example:\s*$"
    rb"|(?:(?:chosen|rejected|kl|target)_)?(?:input_ids|label_ids):\s)"
)
_SAMPLE_ENDS = re.compile(
    rb"[\r\n](?:\[[A-Z]{4,8}\||\[rank\d+\]:|\d\d/\d\d/\d{4} |\[\d{4}-|[^\r\n]{0,120}\d%\|"
    rb"|\{'[\w/. -]{1,80}': '?-?[\dni]|\*{5} |\S+: line \d+: |\S{1,400}\.py:\d+: \w*Warning: "
    rb"|(?:Killed|Terminated|Aborted|Bus error|Segmentation fault)(?: +\(core dumped\))?[\r\n]"
    rb"|terminate called|Detected ZeRO|Time to load |Using \S+ as PyTorch"
    rb"|Traceback \(most recent call last\):\r?\n\s+File \"[^\"\r\n]*(?:llama|llmtuner"
    rb"|site-packages|dist-packages|runpy|/bin/|src/train|src/export))"
)


class Samples:
    """Finds samples; `open` is the one that goes on in what comes next.

    Args:
        kept: where they are kept.
        most_bytes: so much of one is kept.
    """

    def __init__(self, kept: Kept, most_bytes: int) -> None:
        self._kept = kept
        self._most_bytes = most_bytes
        self.open: Window | None = None

    def take(self, block: Block, ends: Sequence[int]) -> list[tuple[int, int]]:
        """Keep a block's samples; return where they are in it."""
        regions: list[tuple[int, int]] = []
        if self.open is not None:
            regions.append((0, self._end(block, 0, self.open)))
        for start, stop in block.lines(ends):
            is_head = _SAMPLE_HEAD.match(block.data, start, stop) is not None
            if is_head and (not regions or start >= regions[-1][1]):
                regions.append((start, self._end(block, start, block.window(start, start))))
        return regions

    def pass_over(self, data: bytes, end: int) -> None:
        """Take the rest of a line that is not looked at, up to a place in the log."""
        if self.open is not None:
            self.open.data += b"\n" * newlines(data)
            self.open.end = end

    def _end(self, block: Block, start: int, window: Window) -> int:
        """Add to a sample what a block holds of it from a place on; return where it ends there."""
        match = _SAMPLE_ENDS.search(block.data, start, block.limit)
        end = block.limit if match is None else match.start() + 1
        if len(window.data) < self._most_bytes and window.end == block.base + start:
            # The line that ends it is fed, too.
            stop = end if match is None else block.line_end(end)
            window.data += block.data[start:stop]
            window.end = block.base + stop
        self.open = window if match is None else None
        if match is not None:
            self._kept.add(SAMPLE, b"", window)
        return end
