"""Owns what is looked for in a large log: what the parsers know, and what rules look for."""

from dataclasses import dataclass
from enum import Enum

from diagnostics.history import MAX_HITS
from diagnostics.patterns import PatternSet, needles, superset
from diagnostics.sources.skim.scanning import Query

_MIN_NEEDLE = 3
"""A literal of fewer bytes rules too little out."""


class Kind(Enum):
    """What is done with a place at which something was found."""

    METRICS = "metrics"
    ROUTINE = "routine"
    """A line that every training prints."""
    HEADER = "header"
    """A training begins: its numbers follow."""
    FAILURE = "failure"
    """A traceback begins."""
    MEMORY = "memory"
    """An exception without its traceback, perhaps."""
    EXIT = "exit"
    """A rank's end."""
    SAMPLE = "sample"
    """Data begins, which is no log."""
    RULE = "rule"
    """A rule's pattern may match here."""


SLOTS = {
    Kind.ROUTINE: 1,
    Kind.HEADER: 64,
    Kind.FAILURE: 4,
    Kind.MEMORY: 4,
    Kind.EXIT: 64,
    Kind.SAMPLE: 8,
    Kind.RULE: MAX_HITS // 2,
}
"""How many windows are kept of the first, and of the last, of what is alike."""
_ROUTINE = (
    *(b"***** Running Evaluation *****", b"***** Running evaluation *****"),
    *(b"***** Running Prediction *****", b"***** train metrics *****"),
    *(b"***** eval metrics *****", b"***** predict metrics *****"),
    *(b"Saving model checkpoint to ", b"Loading dataset ", b"loading weights file "),
    *(b"Quantizing model to ", b"src/export_model.py", b"llamafactory-cli export"),
    *(b"Training completed.", b"trainable params: ", b"Fine-tuning method: ", b"'train_loss': "),
    *(b"Using torch SDPA", b"Using FlashAttention-", b"Using vanilla attention"),
    *(b"Resuming training from ", b"Continuing training from global step "),
    *(b"Num update steps per epoch = ", b"Num Epochs = ", b"Total optimization steps = "),
    *(b"Total training steps = ", b"Total train batch size (", b"Gradient Accumulation steps = "),
    *(b"Instantaneous batch size per device = ", b"Loading checkpoint shards"),
    *(b"ZeRO Offload", b"cpu_adam", b"offload_optimizer", b"offload_param"),
)
_MEMORY = (
    *(b"out of memory", b"out_of_memory", b"outofmemory", b"_alloc_failed", b"bad_alloc"),
    *(b"allocate memory", b"enough memory", b"unable to allocate", b"memoryerror"),
    *(b"malloc of size", b"low on memory"),
)
_BAD = tuple(
    f": {quote}{number}".encode() for quote in ("", "'") for number in ("nan", "inf", "-inf")
)
_EXIT = (
    *(b"Failures:", b"Root Cause (first observed failure)", b" (local_rank: "),
    *(b"failed (exitcode: ", b"exits with return code"),
)
_STRUCTURE: tuple[tuple[Kind, Query], ...] = (
    (Kind.METRICS, Query((b"{'",))),
    (Kind.METRICS, Query((b">> epoch: ", b">>epoch: "))),
    (Kind.METRICS, Query(_BAD, caseless=True)),
    (Kind.ROUTINE, Query((b" [00:00<?",))),
    *((Kind.ROUTINE, Query((literal,))) for literal in _ROUTINE),
    (Kind.HEADER, Query((b"***** Running training *****",))),
    (Kind.HEADER, Query((b"Process rank: ",))),
    (Kind.FAILURE, Query((b"Traceback (most recent call last):",))),
    (Kind.MEMORY, Query(_MEMORY, caseless=True)),
    *((Kind.EXIT, Query((literal,))) for literal in _EXIT),
    (Kind.EXIT, Query((b"exitcode ", b"exitcode:"))),
    (Kind.SAMPLE, Query((b" example:", b"input_ids:", b"label_ids:"))),
)
DICT, EPOCH, BAD, BEGUN, SAMPLE = 0, 1, 2, 3, len(_STRUCTURE) - 1
"""The places of the queries for metrics, bad numbers, bars that begin, and samples."""


@dataclass(frozen=True, slots=True)
class Sought:
    """All that is looked for, each with its kind and, of a rule's, the place of its pattern."""

    queries: tuple[Query, ...]
    kinds: tuple[Kind, ...]
    patterns: tuple[int, ...]


def sought(patterns: PatternSet) -> Sought:
    """Return what to look for."""
    kinds, queries = ([*column] for column in zip(*_STRUCTURE, strict=True))
    places = [-1] * len(queries)
    for place, text in enumerate(patterns.texts):
        query = rule_query(text)
        if query is not None:
            kinds.append(Kind.RULE)
            queries.append(query)
            places.append(place)
    return Sought(tuple(queries), tuple(kinds), tuple(places))


def rule_query(pattern: str) -> Query | None:
    """Return what to look for where a pattern may match; None where that is in every line.

    Such a one matches at both ends of a log, which are read whole, as often as is remembered.
    """
    found = needles(pattern)
    literals = () if found is None else tuple(text.encode() for text in found.texts)
    if found is not None and min(map(len, literals)) >= _MIN_NEEDLE:
        return Query(literals, caseless=found.caseless)
    wider = superset(pattern)
    return None if wider is None else Query((), pattern=wider.encode())
