"""Owns which training step a dict of metrics belongs to: the bar says, unless output was held back.

A log in a file or pipe holds standard output back: its dicts come in lumps, long after their steps
and after the bar has gone on. Then the epoch tells the step.
"""

import math
from collections.abc import Callable, Iterable

_LAG = 1.0
"""Steps by which a bar that is drawn in time may differ from the epoch."""
_EXACT = 0.3
"""Steps of doubt below which an epoch names one step."""
_STREAMED = 10**6
"""A data set without a length has more epochs than this in the header."""
_MAX_CADENCE = 5_000


class StepClock:
    """Follows the training bar and the header of one training."""

    def __init__(self) -> None:
        self.bar_step: int | None = None
        self.resumed_step = 0
        self._facts: dict[str, int] = {}
        self._rule: Callable[[float], float] | None = None
        self._changed = False
        self._used_bar: int | None = None
        self._last: int | None = None
        self._count = 0
        self._cadences: set[int] | None = None

    @property
    def total_steps(self) -> int | None:
        """The header's number of steps."""
        return self._facts.get("total_steps")

    def knows(self, epoch: float | None) -> bool:
        """Whether the header tells how many steps an epoch has."""
        return epoch is not None and 0 <= epoch < _STREAMED and self._steps_at() is not None

    def see_end(self, epoch: float | None) -> None:
        """Take the epoch at the end of the training, for a log whose header is not there."""
        done = self.bar_step
        if done and epoch is not None and 0 < epoch < _STREAMED and not self._facts:
            self._facts["steps_per_epoch"] = max(1, round(done / epoch))
            self._changed = True

    def see_fact(self, name: str, value: float | str) -> None:
        """Take a number of the training header."""
        if isinstance(value, int):
            self._facts[name] = value
            self._changed = True
        if name == "resumed_step" and isinstance(value, int):
            self.resumed_step = value

    def pass_over(self, count: int) -> None:
        """Take note of dicts that were logged and are left away."""
        self._count += count

    def train_step(self, epoch: float | None, error: float) -> int | None:
        """Return the step of a dict of training metrics; None where nothing tells.

        Args:
            epoch: as the dict says.
            error: by how much it may have been rounded, up or down.
        """
        self._count += 1
        self._last = self._train_step(epoch, error)
        return self._last

    def _train_step(self, epoch: float | None, error: float) -> int | None:
        held_back = self._used_bar is not None and self._used_bar == self.bar_step
        self._used_bar = self.bar_step
        span = self._span(epoch, error)
        if span is not None and span[1] - span[0] < 2 * _EXACT:
            return max(1, round((span[0] + span[1]) / 2))  # tqdm may have skipped a redraw
        bar = None if held_back else self.bar_step
        if bar and (span is None or span[0] - _LAG <= bar <= span[1] + _LAG):
            return bar
        return None if span is None else self._by_cadence(span)

    def eval_step(self, epoch: float | None, error: float) -> int | None:
        """Return the step after which an evaluation was done; None where nothing tells."""
        span, bar = self._span(epoch, error), self.bar_step
        if bar and (span is None or span[0] - _LAG <= bar <= span[1] + _LAG):
            return bar
        if span is None:
            return None
        if self._last is not None and span[0] - _EXACT <= self._last <= span[1] + _EXACT:
            return self._last
        return max(1, round((span[0] + span[1]) / 2))

    def _by_cadence(self, span: tuple[float, float]) -> int:
        """Choose among the steps of a span: logged are the multiples of one number, a round one."""
        low, high = math.ceil(span[0] - _EXACT), math.floor(span[1] + _EXACT)
        if self._cadences is None:
            most = min(high - self.resumed_step, _MAX_CADENCE)
            self._cadences = set(range(1, most + 1)) if self._count == 1 else set()
        self._cadences = {
            cadence for cadence in self._cadences if low <= self._multiple(cadence) <= high
        }
        if not self._cadences:
            return max(1, round((span[0] + span[1]) / 2))
        return self._multiple(_roundest(self._cadences))

    def _multiple(self, cadence: int) -> int:
        return (self.resumed_step // cadence + self._count) * cadence

    def _span(self, epoch: float | None, error: float) -> tuple[float, float] | None:
        """Return the steps between which an epoch lies."""
        if epoch is None or not 0 <= epoch < _STREAMED:  # nan, too
            return None
        steps_at = self._steps_at()
        if steps_at is None:
            return None
        return steps_at(max(0.0, epoch - error)), steps_at(epoch + error)

    def _steps_at(self) -> Callable[[float], float] | None:
        """Return what gives the steps done at an epoch; None where the header does not tell."""
        if self._changed:
            self._rule = self._make_rule()
            self._changed = False
        return self._rule

    def _make_rule(self) -> Callable[[float], float] | None:
        facts = self._facts
        total, epochs = facts.get("total_steps"), facts.get("num_epochs")
        if epochs is not None and epochs > _STREAMED:
            return None if total is None else _times(total)
        per_epoch = facts.get("steps_per_epoch") or None
        batches = self._micro_batches()
        if batches is not None:
            accumulation = max(1, facts.get("accumulation_steps", 1))
            whole = -(-batches // accumulation)
            counts_rest = per_epoch == whole or (epochs is not None and total == epochs * whole)
            if not counts_rest:
                # The batches that are left over at an epoch's end count for the next one's step.
                return _times(batches / accumulation)
            return _whole_epochs(whole, batches / accumulation)
        if per_epoch is not None:
            return _times(per_epoch)
        examples, batch = facts.get("num_examples"), facts.get("total_batch_size")
        if examples and batch:
            return _times(max(1.0, examples / batch))
        return _times(max(1.0, total / epochs)) if total and epochs else None

    def _micro_batches(self) -> int | None:
        """Return how many batches each device takes in an epoch, by the header."""
        facts = self._facts
        examples, total = facts.get("num_examples"), facts.get("total_batch_size")
        accumulation = facts.get("accumulation_steps")
        if not examples or not total or not accumulation or total % accumulation:
            return None
        return -(-examples // (total // accumulation))


def _times(steps: float) -> Callable[[float], float]:
    return lambda epoch: epoch * steps


def _whole_epochs(whole: int, steps: float) -> Callable[[float], float]:
    def steps_at(epoch: float) -> float:
        done = math.floor(epoch)
        return done * whole + min((epoch - done) * steps, whole)

    return steps_at


def _roundest(numbers: Iterable[int]) -> int:
    """Return the number that a person would most likely have written."""
    return min(numbers, key=lambda n: ([n % part != 0 for part in (100, 50, 10, 5)], n))
