"""Owns making text safe to show: a log, a path or a config may hold what steers a screen."""

import re

_STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def shown(text: str) -> str:
    """Return text without control characters, in one line, of any length."""
    return _STEERING.sub("\ufffd", text).replace("\n", " ").replace("\t", " ")


def shown_lines(text: str) -> str:
    """Return text without control characters, its line ends and tabs kept."""
    return _STEERING.sub("\ufffd", text)
