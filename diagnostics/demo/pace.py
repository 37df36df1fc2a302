"""Owns the demo's time: how long a simulated moment takes, and when the long batch comes."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

SPEED = "LLAMAVET_DEMO_SPEED"
"""Environment variable: how many times faster than usual the trainer runs."""
LONG_BATCH_AT = "LLAMAVET_DEMO_LONG_BATCH_AT"
"""Environment variable: the step in which the longest sample comes for the first time."""

STEP_SECONDS = 0.2
_USUAL_LONG_BATCH = 10  # late enough to see the memory grow, before the first checkpoint
_MAX_SPEED = 1000.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast time passes, and the step of the long batch."""

    speed: float = 1.0
    long_batch_at: int = _USUAL_LONG_BATCH

    def seconds(self, usual: float) -> float:
        """Return how long something takes that usually takes `usual` seconds."""
        return usual / self.speed

    def wait(self, usual: float) -> None:
        """Sleep for something that usually takes `usual` seconds."""
        time.sleep(self.seconds(usual))


def read_pace(environ: Mapping[str, str] = os.environ) -> Pace:
    """Return the pace that the environment asks for; what it cannot mean counts as not set."""
    speed = _number(environ.get(SPEED, ""), 1.0)
    long_batch_at = _number(environ.get(LONG_BATCH_AT, ""), float(_USUAL_LONG_BATCH))
    return Pace(min(speed, _MAX_SPEED), max(1, int(long_batch_at)))


def _number(text: str, default: float) -> float:
    try:
        number = float(text)
    except ValueError:
        return default
    return number if math.isfinite(number) and number > 0 else default
