"""Owns what a look at a dataset's files tells."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What was seen of one dataset."""

    name: str
