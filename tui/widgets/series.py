"""Owns what the chart keeps of a metric: low, high, first and last of each bucket of steps.

Buckets double in size as a run grows, so a point costs the same at step 10 and at step a million.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from diagnostics.observations import TrainStep

CAPACITY = 1024


@dataclass(slots=True)
class Bucket:
    """The finite values of some neighbouring steps; `gap` where one was NaN or infinite."""

    low: float
    high: float
    first: float
    last: float
    gap: bool = False


class Series:
    """A loss curve, kept incrementally; `size` is the number of steps in one bucket."""

    def __init__(self) -> None:
        self.buckets: dict[int, Bucket] = {}
        self.size = 1
        self.start = 0
        self.end = 0
        self._seen: TrainStep | None = None

    def _clear(self) -> None:
        self.buckets = {}
        self.size = 1
        self.start = self.end = 0
        self._seen = None

    def update(self, steps: Sequence[TrainStep]) -> None:
        """Take in what is new; a history that differs from what was seen is read again."""
        if not steps:
            if self._seen is not None:
                self._clear()
            return
        begin = self._position_after_seen(steps)
        if begin is None:
            self._clear()
            begin = 0
        for point in steps[begin:]:
            self._add(point)
        self._seen = steps[-1]

    def _position_after_seen(self, steps: Sequence[TrainStep]) -> int | None:
        seen = self._seen
        if seen is None:
            return None
        for index in range(len(steps) - 1, -1, -1):
            point = steps[index]
            if point.step == seen.step:
                # As text, because NaN is not equal to itself.
                return index + 1 if str(point.loss) == str(seen.loss) else None
            if point.step is not None and seen.step is not None and point.step < seen.step:
                return None
        return None

    def _add(self, point: TrainStep) -> None:
        if point.step is None or point.loss is None:
            return
        if not self.buckets:
            self.start = point.step
        self.end = point.step
        while (point.step - self.start) // self.size >= CAPACITY:
            self._double()
        self._put((point.step - self.start) // self.size, point.loss)

    def _put(self, index: int, loss: float) -> None:
        bucket = self.buckets.get(index)
        if not math.isfinite(loss):
            if bucket is None:
                self.buckets[index] = Bucket(math.inf, -math.inf, math.nan, math.nan, gap=True)
            else:
                bucket.gap = True
        elif bucket is None or bucket.low > bucket.high:
            gap = bucket is not None
            self.buckets[index] = Bucket(loss, loss, loss, loss, gap=gap)
        else:
            bucket.low = min(bucket.low, loss)
            bucket.high = max(bucket.high, loss)
            bucket.last = loss

    def _double(self) -> None:
        merged: dict[int, Bucket] = {}
        for index, bucket in self.buckets.items():
            other = merged.get(index // 2)
            if other is None:
                merged[index // 2] = bucket
            elif other.low > other.high:
                bucket.gap = True
                merged[index // 2] = bucket
            else:
                other.gap |= bucket.gap
                if bucket.low <= bucket.high:
                    other.low = min(other.low, bucket.low)
                    other.high = max(other.high, bucket.high)
                    other.last = bucket.last
        self.buckets = merged
        self.size *= 2
