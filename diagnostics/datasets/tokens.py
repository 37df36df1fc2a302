"""Owns estimating how many tokens a text has, without a tokenizer. Pure.

Vocabularies differ, so there are three counts. `low` is cautious: no tokenizer in use joins words
across a blank, none has tokens of more than 64 letters (those of one sign repeated), and a token
rarely holds more than 3 Chinese, Japanese or Korean characters. `likely` takes 4 letters or 1.5 CJK
characters for a token. `high` takes 1.5 letters, as digits and code do, and 2 tokens for each CJK
character, as old vocabularies do.
"""

from dataclasses import dataclass

_LOW_LETTERS = 64
_LOW_WIDE = 3
_LIKELY_LETTERS = 4
_LIKELY_WIDE = 1.5
_HIGH_LETTERS = 1.5
_HIGH_WIDE = 2


@dataclass(frozen=True, slots=True)
class Tokens:
    """An estimate: surely no fewer, most likely, hardly more."""

    low: int = 0
    likely: int = 0
    high: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.low + other.low, self.likely + other.likely, self.high + other.high)


def estimate(text: str) -> Tokens:
    """Estimate a text's tokens."""
    words = text.split()
    solid = sum(map(len, words))
    wide = 0 if text.isascii() else min(solid, _wide(text))
    letters = len(text) - wide
    return Tokens(
        low=max(len(words), (solid - wide) // _LOW_LETTERS, wide // _LOW_WIDE),
        likely=max(len(words), round(letters / _LIKELY_LETTERS + wide / _LIKELY_WIDE)),
        high=round(letters / _HIGH_LETTERS) + wide * _HIGH_WIDE + 1,
    )


def _wide(text: str) -> int:
    """Count characters of three bytes and more: CJK and its like (two of two bytes make one)."""
    return (len(text.encode("utf-8", "surrogatepass")) - len(text)) // 2
