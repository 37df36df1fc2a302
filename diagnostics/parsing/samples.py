"""Owns telling the training samples that LLaMA-Factory prints from its log.

A sample is data: what it says of memory or errors is no evidence of anything.
"""

import re

from diagnostics.parsing.metrics import find_metrics
from diagnostics.parsing.tracebacks import START

_HEAD = re.compile(r"(?:training|eval|validation|predict) example:$")
_SECTION = re.compile(
    r"(?:(?:chosen|rejected|kl|target)_)?(?P<kind>input_ids|inputs|label_ids|labels):(?: |$)"
)
_SURE = frozenset({"input_ids", "label_ids"})
"""Sections that open a block where older releases printed no heading."""
_LOG_AGAIN = re.compile(
    r"\[rank\d+\]:|\*{5} (?:train|eval|predict) metrics \*{5}"
    r"|\S+[:：] ?(?:line \d+|行 ?\d+|第 ?\d+ ?行)[:：] +\d+ |\S{1,400}\.py:\d+: \w*Warning: "
    r"|terminate called after throwing|Detected ZeRO Offload|Time to load \w+ op"
    r"|Using \S+ as PyTorch extensions root"
)
_SHELL = re.compile(
    r"(?:Killed|Terminated|Aborted|Bus error|Segmentation fault"
    r"|已杀死|已终止|已放弃|已中止|总线错误|段错误)(?: +\((?:core dumped|核心已转储)\))?$"
)
"""What a shell prints when a process died: a sample may say so, too, and then go on."""
_ENTRY_POINT = re.compile(
    r'\s+File "[^"]*(?:bin/(?:llamafactory-cli|lmf|torchrun|accelerate|deepspeed)'
    r"|Scripts\\(?:llamafactory-cli|lmf|torchrun|accelerate|deepspeed)(?:\.exe\\__main__\.py)?"
    r"|(?:llamafactory|llmtuner)[/\\](?:v1[/\\])?(?:cli|launcher)\.py"
    r'|src[/\\](?:train_bash|train|export_model)\.py|<frozen runpy>|[/\\]runpy\.py)"'
)
_INSTALLED = re.compile(r'\s+File "[^"]*[/\\](?:site|dist)-packages[/\\]')


class SampleBlocks:
    """Follows the blocks of samples; `take` gives back what is log."""

    def __init__(self) -> None:
        self._inside = False
        self._last = False  # in the section that ends a block
        self._held: tuple[str, int] | None = None

    def take(self, text: str, line: int, *, is_record: bool) -> list[tuple[str, int]]:
        """Take a line; return the lines that are log now, each with its number.

        Of a block only its heading is log.
        """
        if _HEAD.match(text) is not None:
            self._inside, self._held = True, None
            return [(text, line)]
        if self.begins_section(text):
            self._inside, self._held = True, None
            self._last = text.partition(":")[0].endswith("labels")
            return []
        if not self._inside:
            return [(text, line)]
        held, self._held = self._held, None
        if is_record or _LOG_AGAIN.match(text) is not None or find_metrics(text) is not None:
            self.leave()
            return [*_words(held), (text, line)]
        if held is not None and self._is_own(text):
            self.leave()
            return [held, (text, line)]
        if _SHELL.match(text) is not None:
            if self._last:
                self.leave()
                return [(text, line)]
            self._held = (text, line)  # the shell's own only where nothing of a sample follows
            return []
        if text.startswith(START):
            self._held = (text, line)  # the training's own only if its first frame is
        return []

    def end(self) -> list[tuple[str, int]]:
        """Return what is log after all now that the log goes no further."""
        held, self._held = self._held, None
        return _words(held)

    @property
    def inside(self) -> bool:
        """Whether a block is open."""
        return self._inside

    def leave(self) -> None:
        """Take note that something that is surely not of a sample came."""
        self._inside = False
        self._held = None

    def _is_own(self, text: str) -> bool:
        """Whether a traceback's first frame is one of the training, and no sample's."""
        return _ENTRY_POINT.match(text) is not None or (
            self._last and _INSTALLED.match(text) is not None
        )

    def begins_section(self, text: str) -> bool:
        """Whether a line begins one of a block's sections; its text may stand on the same line."""
        section = _SECTION.match(text)
        return section is not None and (self._inside or section["kind"] in _SURE)


def _words(held: tuple[str, int] | None) -> list[tuple[str, int]]:
    return [held] if held is not None and _SHELL.match(held[0]) is not None else []
