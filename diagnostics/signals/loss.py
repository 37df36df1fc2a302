"""Owns the signals of the loss, gradient norm and learning rate as series."""

from collections.abc import Mapping

from diagnostics.signals.context import Reader

SIGNALS: Mapping[str, Reader] = {}
