"""Owns what a check foresees: words that the training would print, and the keys that bring them.

They are judged by the very rules that judge a log, so that one symptom has one rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from diagnostics.findings import Evidence, KeyChange, Severity, Text
from diagnostics.history import Snapshot
from diagnostics.observations import LogLine, Traceback
from diagnostics.patterns import search

SOURCE = "foreseen"
TRAINER = (
    "llamafactory/launcher.py:<module>",
    "llamafactory/train/sft/workflow.py:run_sft",
    "transformers/trainer.py:train",
)
PARSER = ("llamafactory/launcher.py:<module>", "llamafactory/hparams/parser.py:get_train_args")


@dataclass(frozen=True, slots=True)
class Named:
    """The rule of something that a training would not say in words of its own."""

    rule_id: str
    captures: Mapping[str, str]
    """As if a pattern of the rule had matched them."""
    cause: Text
    severity: Severity


@dataclass(frozen=True, slots=True)
class Foreseen:
    """An error or a log line that a training with this config would print."""

    said: str
    """An error as Python prints it, "ValueError: ...", or a log line."""
    keys: tuple[str, ...]
    """The keys that bring it about, the first one to be shown first."""
    frames: tuple[str, ...] = PARSER
    """Where an error is raised; () for a log line."""
    places: tuple[Evidence, ...] = ()
    """Places besides the keys' own, such as a line of another file."""
    context: tuple[str, ...] = ()
    """Log lines that come before."""
    named: Named | None = None
    """Its rule, where no rule knows the words."""
    change: KeyChange | None = None
    """What would mend it, where that is one change of the config."""

    @property
    def is_error(self) -> bool:
        """Whether it ends the training."""
        return bool(self.frames)


def snapshot_of(one: Foreseen, lines: tuple[str, ...]) -> Snapshot:
    """Return what would be known once it was printed; `lines` are the patterns to look out for."""
    texts = [*one.context] if one.is_error else [*one.context, one.said]
    log = tuple(LogLine(0.0, SOURCE, number, text) for number, text in enumerate(texts, 1))
    hits = {
        pattern: found
        for pattern in lines
        if (found := tuple(line for line in log if search(pattern, line.text)))
    }
    tracebacks: tuple[Traceback, ...] = ()
    if one.is_error:
        name, _, message = one.said.partition(": ")
        last = len(log) + 1 + message.count("\n")
        raised = Traceback(0.0, SOURCE, len(log) + 1, last, name, message, one.frames)
        tracebacks = (raised,)
    return Snapshot(log=log, hits=hits, tracebacks=tracebacks, observed=frozenset({"log"}))
