"""Owns KeyInfo: what is known of one argument."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key. `type_name` is "int", "float", "bool", "str", "list" (of words) or "dict"."""

    type_name: str
    default: object = None
    choices: tuple[str, ...] = ()
    remark: str = ""
    beside: str | None = None
    """The key that a new line with this one is best written after."""
    types: tuple[str, ...] = ()
    """Every type that is taken; "other" for one that no YAML can give."""
    nullable: bool = True
    owner: str = "llamafactory"
    """The software that adds it: "llamafactory" or "transformers"."""
    since: str | None = None
    """The owner's first version with it; None where that is not known, or it was always there."""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    refused: bool | None = None
    """Whether a value outside choices or range ends the run; None where that is not known."""

    @property
    def range_text(self) -> str:
        """The range in words: "at least 0, below 1"; empty where there is none."""
        bounds = (
            ("at least", self.at_least),
            ("above", self.above),
            ("at most", self.at_most),
            ("below", self.below),
        )
        return ", ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    def is_outside(self, number: float) -> bool:
        """Tell whether a number is outside the range; NaN always is where there is one."""
        inside = (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )
        return not inside
