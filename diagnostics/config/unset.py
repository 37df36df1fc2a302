"""Owns UNSET: the key is not there at all, which is not the same as null."""

from enum import Enum


class Unset(Enum):
    """The type of UNSET."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset.UNSET
