"""Owns the signals of the training data, from a look at its files."""

from collections.abc import Mapping

from diagnostics.signals.context import Reader

SIGNALS: Mapping[str, Reader] = {}
