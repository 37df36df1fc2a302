"""Owns what stands in one piece of a console log, between line breaks, seen by itself."""

from diagnostics.parsing.bars import split_bars
from diagnostics.parsing.lines import MAX_LINE_BYTES, clean
from diagnostics.parsing.records import BOARD, parse_record, split_rank

MAX_TEXT = 4096


def lines_in(raw: bytes) -> list[str]:
    """Return the log lines of a piece: bars are none, and a record is one of its own."""
    _, body = split_rank(clean(raw[:MAX_LINE_BYTES]))
    found: list[str] = []
    for part in split_bars(body):
        if not isinstance(part, str):
            continue
        record = parse_record(part)
        texts = [part] if record is None else [part[: record.start], part[record.start :]]
        found += [text[:MAX_TEXT].rstrip() for text in texts if text.strip()]
    return found


def is_lead_of_metrics(raw: bytes) -> bool:
    """Whether metrics that come right after the beginning of a piece are the trainer's own."""
    if len(raw) > MAX_LINE_BYTES:
        return False
    _, body = split_rank(clean(raw) + " ")
    parts = split_bars(body)
    if not parts:
        return True
    last = parts[-1]
    if not isinstance(last, str):
        return True
    record = parse_record(last + " ")
    return record is not None and record.name in BOARD and not record.message.strip()
