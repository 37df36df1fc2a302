"""Owns where a failure begins and ends in a log, and which ones are alike."""

import re
from collections.abc import Sequence

from diagnostics.sources.skim.blocks import Block
from diagnostics.sources.skim.limits import Limits
from diagnostics.sources.skim.queries import Kind

_MEMORY_AFTER = 1024
_SIGNATURE = 120
_EXCEPTION = re.compile(rb"[\r\n](?:\[rank\d+\]: ?)?(?P<text>[A-Za-z_][^\r\n]{0,160})")
_DIGITS = re.compile(rb"\d+")


def by_signature(
    block: Block, kind: Kind, ends: Sequence[int], limits: Limits
) -> dict[bytes, list[tuple[int, int]]]:
    """Return where failures begin and end that were found in a block, those alike together."""
    alike: dict[bytes, list[tuple[int, int]]] = {}
    for start, end in block.lines(ends):
        if kind is Kind.FAILURE:
            stop, signature = _traceback_end(block, start, limits)
        else:
            stop = block.line_end(min(end + _MEMORY_AFTER, len(block.data)))
            signature = block.data[start:end]
        signature = _DIGITS.sub(b"", signature.strip())[:_SIGNATURE]
        alike.setdefault(signature, []).append((start, stop))
    return alike


def _traceback_end(block: Block, start: int, limits: Limits) -> tuple[int, bytes]:
    """Return where a traceback with its message surely ends, and its exception."""
    last = min(start + limits.failure_bytes, len(block.data))
    match = _EXCEPTION.search(block.data, start + 1, last)
    if match is None:
        return block.line_end(last), b""
    return block.line_end(min(match.end() + limits.message_bytes, last)), match["text"]
