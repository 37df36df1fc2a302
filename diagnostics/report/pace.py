"""Owns how long each step took, as a training's bar and its own record tell. Bounded."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from diagnostics.observations import BarKind, Observation, Progress

MAX_SEEN = 4_096
_POINTS = 80
_FEW_SECONDS = 240.0
"""Bars count whole seconds: below this their differences say little, what they measure more."""


class PaceReader:
    """Follows the observations of one run; the last training in them counts."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, float, float | None]] = []
        self._every = 1
        self._count = 0

    def take(self, observation: Observation) -> None:
        """Take note of a training bar."""
        if isinstance(observation, Progress) and observation.kind is BarKind.TRAIN:
            self.add(observation.done, observation.elapsed_s, observation.seconds_per_item)

    def add(self, step: int, elapsed_s: float | None, seconds_each: float | None = None) -> None:
        """Take note that a step was done after so many seconds."""
        if elapsed_s is None:
            return
        if self._seen and (step < self._seen[-1][0] or elapsed_s < self._seen[-1][1]):
            self._seen.clear()  # another training
            self._every, self._count = 1, 0
        if self._seen and step == self._seen[-1][0]:
            return
        self._count += 1
        if self._count % self._every:
            return
        self._seen.append((step, elapsed_s, seconds_each))
        if len(self._seen) > MAX_SEEN:
            del self._seen[1::2]
            self._every *= 2

    @property
    def points(self) -> tuple[tuple[int, float], ...]:
        """(step, seconds that a step took) in the order of steps, at most some dozens."""
        seen = self._seen
        if len(seen) < 2:  # noqa: PLR2004 - a difference needs two
            return ()
        measured = [(step, each) for step, _, each in seen if each is not None and step > 0]
        if seen[-1][1] - seen[0][1] < _FEW_SECONDS and len(measured) > 1:
            return tuple(_thinned(measured))
        rows = _thinned([(step, elapsed) for step, elapsed, _ in seen])
        return tuple(
            (step, (elapsed - before) / (step - begin))
            for (begin, before), (step, elapsed) in pairwise(rows)
            if step > begin
        )


def _thinned(rows: Sequence[tuple[int, float]]) -> Iterable[tuple[int, float]]:
    every = max(1, -(-len(rows) // _POINTS))
    kept = list(rows[::every])
    return kept if kept[-1] == rows[-1] else [*kept, rows[-1]]
