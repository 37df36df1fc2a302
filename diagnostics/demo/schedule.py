"""Owns the plan of a simulated training: its steps, epochs, learning rate, loss and batch lengths.

Pure and repeatable: the same settings and seed give the same curves.
"""

import hashlib
import math
from dataclasses import dataclass

from diagnostics.demo.failures import SimulatedError

_FIRST_LOSS, _LAST_LOSS = 1.9, 1.1
_SHORTEST, _LONGEST_BEFORE = 0.22, 0.5  # of the longest sample, in the steps before the long batch


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many steps there are, and what each of them is like. Steps count from 1."""

    examples: int
    batch_size: int
    accumulation_steps: int
    epochs: int
    total_steps: int
    warmup_steps: int
    learning_rate: float
    scheduler: str
    longest_tokens: int
    """Tokens of the longest sample after cutting."""
    long_batch_at: int
    """The step in which the longest sample comes for the first time."""
    seed: int

    @property
    def batches_per_epoch(self) -> int:
        """Micro-batches in one epoch."""
        return math.ceil(self.examples / self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return math.ceil(self.batches_per_epoch / self.accumulation_steps)

    def epoch_at(self, step: int) -> float:
        """Return the epochs done after a step."""
        if step < 1:
            return 0.0
        whole, into = divmod(step - 1, self.steps_per_epoch)
        batches = min((into + 1) * self.accumulation_steps, self.batches_per_epoch)
        return whole + batches / self.batches_per_epoch

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate that a step uses."""
        done = step - 1
        if done < self.warmup_steps:
            return self.learning_rate * done / self.warmup_steps
        if "constant" in self.scheduler:
            return self.learning_rate
        share = (done - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        if self.scheduler == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
        return self.learning_rate * (1 - share)

    def loss_at(self, step: int) -> float:
        """Return the training loss of a step."""
        fall = math.exp(-3.5 * step / self.total_steps)
        mean = _LAST_LOSS + (_FIRST_LOSS - _LAST_LOSS) * fall
        return mean + 0.07 * (self._noise("loss", step) - 0.5)

    def gradient_norm_at(self, step: int) -> float:
        """Return the norm of a step's gradients."""
        return 0.45 + 0.5 * math.exp(-step / 8) + 0.2 * self._noise("norm", step)

    def longest_at(self, step: int) -> int:
        """Return the tokens that each row of a step's micro-batches is padded to."""
        if step < self.long_batch_at:
            share = step / self.long_batch_at
            fraction = _SHORTEST + (_LONGEST_BEFORE - _SHORTEST) * share
        elif (step - self.long_batch_at) % 9 == 0:
            fraction = 1.0
        else:
            fraction = 0.35 + 0.5 * self._noise("length", step)
        return max(1, int(self.longest_tokens * fraction))

    def _noise(self, name: str, step: int) -> float:
        """Return a number from 0 to 1 that depends on the seed, the name and the step only."""
        digest = hashlib.sha256(f"{self.seed}:{name}:{step}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / 0xFFFF_FFFF


def plan_schedule(
    *,
    examples: int,
    batch_size: int,
    accumulation_steps: int,
    epochs: float,
    max_steps: int,
    warmup_steps: float,
    learning_rate: float,
    scheduler: str,
    longest_tokens: int,
    long_batch_at: int,
    seed: int,
) -> Schedule:
    """Return the schedule of a training over `examples` samples.

    `warmup_steps` below 1 is a share of all steps; `max_steps` above 0 wins over `epochs`.

    Raises:
        SimulatedError: the learning rate's schedule is not one that is simulated.
    """
    known = ("linear", "cosine", "constant", "constant_with_warmup")
    if scheduler not in known:
        raise SimulatedError(
            "ValueError",
            f"{scheduler} is not a valid SchedulerType, please select one of {list(known)}",
            stack="parse",
        )
    steps_per_epoch = math.ceil(math.ceil(examples / batch_size) / accumulation_steps)
    total = max_steps if max_steps > 0 else max(1, math.ceil(epochs * steps_per_epoch))
    warmup = math.ceil(warmup_steps * total) if warmup_steps < 1 else int(warmup_steps)
    return Schedule(
        examples=examples,
        batch_size=batch_size,
        accumulation_steps=accumulation_steps,
        epochs=math.ceil(total / steps_per_epoch) if max_steps > 0 else math.ceil(epochs),
        total_steps=total,
        warmup_steps=warmup,
        learning_rate=learning_rate,
        scheduler=scheduler,
        longest_tokens=longest_tokens,
        long_batch_at=long_batch_at,
        seed=seed,
    )
