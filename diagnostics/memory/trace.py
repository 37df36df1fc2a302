"""Owns a memory trace: what was allocated and freed, in order, and how it repeats by layer.

A model's layers do the same work one after another, so a trace recorded with few of them tells
that of the whole model: of each run of like layers one from the middle is the template, and its
events are repeated for the layers that were left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

RECORDED = 5
"""Layers that a recording keeps of a run: two at each edge, and between them the template."""
TEMPLATE = 2
"""The template's place among them."""


class TraceError(Exception):
    """A trace that cannot be repeated: its layers do not do the same work."""


@dataclass(frozen=True, slots=True)
class Event:
    """A block allocated (`size_bytes` above 0) or freed (0)."""

    block: int
    size_bytes: int
    layer: int | None = None
    """The layer that the block belongs to, if any."""


@dataclass(slots=True)
class Stretch:
    """What happened in one part of the step, while one layer worked or none."""

    part: str
    layer: int | None = None
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Run:
    """Layers of one kind, one after another: how many there are, how many were recorded."""

    count: int
    recorded: int

    @property
    def repeats(self) -> bool:
        """Whether the template stands for layers that were left out."""
        return self.count > self.recorded


@dataclass(frozen=True, slots=True)
class Change:
    """A block allocated or freed in the whole model's trace."""

    part: str
    block: int
    size_bytes: int
    """0 when it is freed."""


def shortened(counts: Sequence[int]) -> list[Run]:
    """Return the runs to record for runs of so many layers."""
    return [Run(count, min(count, RECORDED)) for count in counts]


def expand(stretches: Sequence[Stretch], runs: Sequence[Run]) -> Iterator[Change]:
    """Yield what happens in the whole model, in order.

    Raises:
        TraceError: the layers of a run are not alike.
    """
    return _Expansion(stretches, runs).changes()


_Key = tuple[int, int | None, int]
"""The stretch's place among its layer's or among all, the layer in the whole model, the count."""


class _Layout:
    """Where each recorded layer stands in the whole model."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.places: list[range] = []
        self.templates: set[int] = set()
        self.alike: list[tuple[int, int]] = []
        recorded_at = whole_at = 0
        for run in runs:
            for own in range(run.recorded):
                self.places.append(self._places(run, own, whole_at))
            if run.repeats:
                template = recorded_at + TEMPLATE
                self.templates.add(template)
                self.alike += [(template, template - 1), (template, template + 1)]
            recorded_at += run.recorded
            whole_at += run.count

    @staticmethod
    def _places(run: Run, own: int, start: int) -> range:
        after = run.recorded - TEMPLATE - 1
        if not run.repeats or own < TEMPLATE:
            return range(start + own, start + own + 1)
        if own == TEMPLATE:
            return range(start + TEMPLATE, start + run.count - after)
        place = start + run.count - run.recorded + own
        return range(place, place + 1)


class _Expansion:
    def __init__(self, stretches: Sequence[Stretch], runs: Sequence[Run]) -> None:
        self.stretches = stretches
        self.layout = _Layout(runs)
        self.keys: dict[int, tuple[int, int | None, int]] = {}
        self.blocks: dict[_Key, int] = {}
        self.made = 0

    def changes(self) -> Iterator[Change]:
        """Yield the changes of all stretches."""
        self._compare()
        visits: dict[int, int] = {}
        before: int | None = None
        for number, stretch in enumerate(self.stretches):
            layer = stretch.layer
            if layer is None:
                yield from self._outside(number, stretch)
                continue
            visit = visits[layer] = visits.get(layer, 0) - 1
            places = self.layout.places[layer]
            downwards = before is not None and before > layer
            self._number(stretch, visit)
            for place in reversed(places) if downwards else places:
                yield from self._inside(stretch, visit, place)
            before = layer

    def _compare(self) -> None:
        """Make sure that a template does what the layers beside it do."""
        made: dict[int, list[int]] = {}
        for stretch in self.stretches:
            if stretch.layer is not None:
                made.setdefault(stretch.layer, []).append(-1)
            for event in stretch.events:
                layer = event.layer if stretch.layer is None else stretch.layer
                if event.size_bytes and layer is not None:
                    made.setdefault(layer, []).append(event.size_bytes)
        if any(made.get(one) != made.get(other) for one, other in self.layout.alike):
            raise TraceError("layers of one kind do not do the same")

    def _number(self, stretch: Stretch, visit: int) -> None:
        for count, event in enumerate(one for one in stretch.events if one.size_bytes):
            self.keys[event.block] = (visit, stretch.layer, count)

    def _outside(self, number: int, stretch: Stretch) -> Iterator[Change]:
        """Yield what an optimizer does: layer by layer, be it one at a time or a list of them.

        What it does for a template is done for one layer after the other, so that what a loop frees
        before it goes on, or when it comes to the next layer, is not there for all of them at once.
        """
        counts: dict[int | None, int] = {}
        waiting: list[tuple[_Key, int]] = []
        working: int | None = None
        for event in stretch.events:
            if event.size_bytes:
                count = counts[event.layer] = counts.get(event.layer, -1) + 1
                self.keys[event.block] = (number, event.layer, count)
                if event.layer is not None and event.layer != working:
                    yield from self._repeated(stretch.part, waiting, working)
                    waiting, working = [], event.layer
            key = self.keys[event.block]
            if key[1] is not None and working in self.layout.templates:
                waiting.append((key, event.size_bytes))
            else:
                yield from self._once(stretch.part, key, event.size_bytes, working)
        yield from self._repeated(stretch.part, waiting, working)

    def _once(self, part: str, key: _Key, size_bytes: int, working: int | None) -> Iterator[Change]:
        """Yield a change while no template is worked on."""
        number, layer, count = key
        places = self._places(layer)
        is_left_behind = layer in self.layout.templates and working == (layer or 0) + 1
        if is_left_behind and not size_bytes:
            places = places[-1:]  # the others' are freed by the layers that were left out
        for place in places:
            if size_bytes:
                yield self._make(part, (number, place, count), size_bytes)
            else:
                yield self._free(part, (number, place, count))

    def _repeated(
        self, part: str, changes: Sequence[tuple[_Key, int]], template: int | None
    ) -> Iterator[Change]:
        """Yield a template's changes, for each place that it stands at."""
        for place in self._places(template) if changes else ():
            for (number, layer, count), size_bytes in changes:
                if size_bytes:
                    yield self._make(part, (number, place, count), size_bytes)
                    continue
                distance = (layer or 0) - (template or 0)
                if place is None or abs(distance) > 1:
                    raise TraceError("a layer frees what one far from it made")
                yield self._free(part, (number, place + distance, count))

    def _inside(self, stretch: Stretch, visit: int, place: int) -> Iterator[Change]:
        count = -1
        for event in stretch.events:
            if event.size_bytes:
                count += 1
                yield self._make(stretch.part, (visit, place, count), event.size_bytes)
                continue
            key, layer, made = self.keys[event.block]
            yield self._free(stretch.part, (key, self._related(stretch, layer, place), made))

    def _places(self, layer: int | None) -> Sequence[int | None]:
        return (None,) if layer is None else self.layout.places[layer]

    def _related(self, stretch: Stretch, layer: int | None, place: int) -> int | None:
        """Return the place of the layer whose block the layer at `place` frees."""
        if layer is None or stretch.layer is None:
            return None
        distance = layer - stretch.layer
        if abs(distance) <= 1:
            return place + distance
        if layer in self.layout.templates:
            raise TraceError("a layer frees what one far from it made")
        return self.layout.places[layer][0]

    def _make(self, part: str, key: _Key, size_bytes: int) -> Change:
        self.made += 1
        self.blocks[key] = self.made
        return Change(part, self.made, size_bytes)

    def _free(self, part: str, key: _Key) -> Change:
        block = self.blocks.pop(key, None)
        if block is None:
            raise TraceError("a layer frees what no like layer made")
        return Change(part, block, 0)
