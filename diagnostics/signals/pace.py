"""Owns the signals of how fast steps come."""

from collections.abc import Mapping

from diagnostics.signals.context import Reader

SIGNALS: Mapping[str, Reader] = {}
