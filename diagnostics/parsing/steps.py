"""Owns which training step a metrics dict belongs to: the bar says, unless output was held back.

A log that is written to a file or pipe holds stdout back, so that all dicts come in one lump at
the end, after the last bar; then the epoch tells the step.
"""

import math

MIN_TOLERANCE = 1.5
"""Steps by which a bar may lag behind."""
EXACT = 0.45
"""Steps of rounding below which an epoch names one step."""


class StepClock:
    """Follows the training bar and the header's numbers."""

    def __init__(self) -> None:
        self.bar_step: int | None = None
        self.total_steps: int | None = None
        self._bar_total: int | None = None
        self._facts: dict[str, int] = {}
        self._used_bar: int | None = None

    def see_bar(self, done: int) -> None:
        """Take a training bar's count."""
        self.bar_step = done

    def see_fact(self, name: str, value: float | str) -> None:
        """Take a number of the training header."""
        if not isinstance(value, int):
            return
        self._facts[name] = value
        if name == "total_steps":
            self.total_steps = value
            self._bar_total = value
            self.bar_step = None
            self._used_bar = None

    def is_train_total(self, total: int) -> bool:
        """Whether a bar without description is the training's, by its total."""
        if self._bar_total is None:
            self._bar_total = total
        return total == self._bar_total

    def step_at(self, epoch: float | None, *, new: bool) -> int | None:
        """Return the step that a metrics dict belongs to; None where nothing tells."""
        by_epoch, tolerance = self._by_epoch(epoch)
        held_back = new and self._used_bar is not None and self._used_bar == self.bar_step
        if new:
            self._used_bar = self.bar_step
        if by_epoch is not None and tolerance < EXACT:
            return max(1, round(by_epoch))  # the bar is drawn late: tqdm skips redraws
        near = by_epoch is None or abs(by_epoch - (self.bar_step or 0)) <= tolerance + MIN_TOLERANCE
        if self.bar_step and near and not held_back:
            return self.bar_step
        return None if by_epoch is None else max(1, round(by_epoch))

    def _by_epoch(self, epoch: float | None) -> tuple[float | None, float]:
        per_epoch = self._steps_per_epoch()
        if epoch is None or per_epoch is None or not 0 <= epoch < 1e6:  # noqa: PLR2004 - nan too
            return None, 0.0
        rounding = 0.005
        if "steps_per_epoch" in self._facts:  # transformers 5: four significant digits
            rounding = 0.5 * 10.0 ** (math.floor(math.log10(epoch)) - 3) if epoch > 0 else 0.0
        return epoch * per_epoch, rounding * per_epoch

    def _steps_per_epoch(self) -> float | None:
        if self._facts.get("steps_per_epoch"):
            return float(self._facts["steps_per_epoch"])
        examples, batch = self._facts.get("num_examples"), self._facts.get("total_batch_size")
        return max(1.0, examples / batch) if examples and batch else None
