"""Owns the signals of what the config says taken together."""

from collections.abc import Mapping

from diagnostics.signals.context import Reader

SIGNALS: Mapping[str, Reader] = {}
