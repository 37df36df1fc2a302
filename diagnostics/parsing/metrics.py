"""Owns the metrics that trainers print: one dict a logged step, bare or quoted numbers."""

import re
from collections.abc import Mapping

_DICT = re.compile(r"\{'[\w/.-]+': [^{}]*\}")
_PAIR = re.compile(r"'([\w/.-]+)': '?(-?\d[\d.]*(?:e[+-]?\d+)?|-?inf|nan)'?(?=[,}])")


def find_metrics(text: str) -> tuple[Mapping[str, float], int] | None:
    """Return the numbers of a metrics dict in a line and its offset, or None."""
    if "{'" not in text:
        return None
    match = _DICT.search(text)
    if match is None:
        return None
    numbers: dict[str, float] = {}
    for key, value in _PAIR.findall(match.group()):
        try:
            numbers[key] = float(value)
        except ValueError:
            continue
    return (numbers, match.start()) if numbers else None
