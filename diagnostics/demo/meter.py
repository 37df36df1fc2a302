"""Owns publishing what the simulated card does: its memory, load, heat and clocks over time."""

import contextlib
import os
from pathlib import Path

from diagnostics.demo.card import CONTEXT_BYTES, TOTAL_BYTES, Card
from diagnostics.demo.gpu import GpuState, publish
from diagnostics.runs.processes import identify

_COOL_C, _HOT_C = 38.0, 69.0
_WARMING = 0.06  # share of the way to the hot end that one look covers
_SM_BUSY_MHZ, _SM_LOADING_MHZ, _MEMORY_MHZ = 2670, 2235, 10_501


class Meter:
    """Publishes the card's state for this process."""

    def __init__(self, path: Path, card: Card) -> None:
        self._path = path
        self._card = card
        self._pid = os.getpid()
        own = identify(self._pid)
        self._ticks = own.started_ticks if own is not None else 0
        self._temperature_c = _COOL_C
        self._looks = 0

    def loading(self) -> None:
        """Publish the state of a card that weights are copied to."""
        self._publish(6.0, 92.0, _SM_LOADING_MHZ)

    def training(self) -> None:
        """Publish the state of a card that computes."""
        self._temperature_c += (_HOT_C - self._temperature_c) * _WARMING
        wobble = self._looks % 4
        self._publish(95.0 + wobble, 386.0 + 7.5 * wobble, _SM_BUSY_MHZ - 15 * wobble)

    def _publish(self, utilization_pct: float, power_watts: float, sm_clock_mhz: int) -> None:
        self._looks += 1
        state = GpuState(
            pid=self._pid,
            started_ticks=self._ticks,
            used_bytes=min(TOTAL_BYTES, max(CONTEXT_BYTES, self._card.used_bytes)),
            utilization_pct=utilization_pct,
            temperature_c=round(self._temperature_c, 1),
            power_watts=power_watts,
            sm_clock_mhz=sm_clock_mhz,
            memory_clock_mhz=_MEMORY_MHZ,
        )
        with contextlib.suppress(OSError):  # a full disk must not end the training
            publish(self._path, state)
