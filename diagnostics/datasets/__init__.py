"""Owns what a look at a dataset's files tells: its report, and how the report is counted."""

from diagnostics.datasets.analysis import Analysis, Recipe
from diagnostics.datasets.layout import FORMATTINGS, HUB_KEYS, Layout, read_layout
from diagnostics.datasets.report import (
    TO_BE_FILLED_IN,
    DatasetReport,
    Fault,
    FaultKind,
    Lengths,
    Place,
    Tally,
    Use,
)

__all__ = [
    "FORMATTINGS",
    "HUB_KEYS",
    "TO_BE_FILLED_IN",
    "Analysis",
    "DatasetReport",
    "Fault",
    "FaultKind",
    "Layout",
    "Lengths",
    "Place",
    "Recipe",
    "Tally",
    "Use",
    "read_layout",
]
