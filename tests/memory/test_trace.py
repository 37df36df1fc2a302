from collections import Counter
from collections.abc import Sequence

import pytest

from diagnostics.memory.replay import GIB, replay
from diagnostics.memory.trace import RECORDED, Event, Run, Stretch, TraceError, expand, shortened

MIB = 2**20


class Training:
    """Writes the trace of a model of some layers: weights, and a step of them forward and back."""

    def __init__(self, layers: int) -> None:
        self.layers, self.block = layers, 0
        self.stretches: list[Stretch] = []

    def made(self, size: int, layer: int | None = None) -> int:
        self.block += 1
        self.stretches[-1].events.append(Event(self.block, size, layer))
        return self.block

    def freed(self, block: int) -> None:
        self.stretches[-1].events.append(Event(block, 0))

    def enter(self, part: str, layer: int | None = None) -> None:
        self.stretches.append(Stretch(part, layer))

    def recorded(self) -> list[Stretch]:
        self.enter("load")
        for layer in range(self.layers):
            self.made(10 * MIB, layer)
        self.enter("forward")
        hidden = self.made(MIB)
        kept: list[int] = []
        for layer in range(self.layers):
            self.enter("forward", layer)
            work = self.made(3 * MIB, layer)
            kept.append(self.made(2 * MIB, layer))
            following = self.made(MIB, layer)
            self.freed(work)
            self.freed(hidden)
            hidden = following
        self.enter("loss")
        logits = self.made(50 * MIB)
        self.enter("loss_backward")
        gradient = self.made(MIB)
        self.freed(logits)
        self.freed(hidden)
        of_weights: list[int] = []
        for layer in reversed(range(self.layers)):
            self.enter("backward", layer)
            of_weights.append(self.made(10 * MIB, layer))
            following = self.made(MIB, layer)
            self.freed(gradient)
            self.freed(kept[layer])
            gradient = following
        self.enter("optimizer")
        self.freed(gradient)
        for layer in range(self.layers):
            self.made(20 * MIB, layer)
        self.enter("zero")
        for block in of_weights:
            self.freed(block)
        return self.stretches


def sizes(stretches: Sequence[Stretch], runs: Sequence[Run]) -> list[int]:
    return [change.size_bytes for change in expand(stretches, runs)]


def test_runs_of_few_layers_are_recorded_whole_and_longer_ones_shortened() -> None:
    assert shortened([2, 40]) == [Run(2, 2), Run(40, RECORDED)]


def test_a_repeated_trace_is_that_of_the_whole_model() -> None:
    few = Training(RECORDED).recorded()
    whole = Training(32).recorded()

    assert sizes(few, [Run(32, RECORDED)]) == sizes(whole, [Run(32, 32)])
    assert replay(expand(few, [Run(32, RECORDED)])) == replay(expand(whole, [Run(32, 32)]))


def test_every_block_that_is_freed_was_made_before() -> None:
    live: Counter[int] = Counter()
    for change in expand(Training(RECORDED).recorded(), [Run(20, RECORDED)]):
        live[change.block] += 1 if change.size_bytes else -1
        assert 0 <= live[change.block] <= 1


def test_a_replay_tells_the_moments_of_the_step() -> None:
    moments = replay(expand(Training(RECORDED).recorded(), [Run(10, RECORDED)])).phases_gib()

    in_mib = {name: round(gib * GIB / MIB) for name, gib in moments.items()}
    assert in_mib == {
        "static": 100,
        "after_fwd": 171,
        "peak_fwd": 171,
        "after_bwd": 201,
        "peak_fwd_bwd": 204,
        "peak_opt": 400,
    }


def test_layers_that_are_not_alike_cannot_be_repeated() -> None:
    stretches = Training(RECORDED).recorded()
    odd = next(one for one in stretches if one.part == "forward" and one.layer == 3)
    odd.events[:0] = [Event(10_000, MIB, 3), Event(10_000, 0)]

    with pytest.raises(TraceError):
        sizes(stretches, [Run(20, RECORDED)])


def test_layers_that_differ_are_taken_as_they_are_where_none_is_repeated() -> None:
    stretches = Training(RECORDED).recorded()
    odd = next(one for one in stretches if one.part == "forward" and one.layer == 3)
    odd.events[:0] = [Event(10_000, MIB, 3), Event(10_000, 0)]

    events = [event.size_bytes for one in stretches for event in one.events]
    assert sizes(stretches, [Run(RECORDED, RECORDED)]) == events


def test_two_runs_are_repeated_each_by_its_own_template() -> None:
    few = Training(2 * RECORDED).recorded()
    whole = Training(30).recorded()

    repeated = sizes(few, [Run(18, RECORDED), Run(12, RECORDED)])
    assert repeated == sizes(whole, [Run(30, 30)])


def peak(stretches: Sequence[Stretch], runs: Sequence[Run]) -> int:
    live: dict[int, int] = {}
    highest = 0
    for change in expand(stretches, runs):
        live[change.block] = change.size_bytes
        highest = max(highest, sum(live.values()))
    return highest


def in_a_loop(layers: int) -> list[Stretch]:
    """Write an optimizer's step that goes from layer to layer and keeps nothing."""
    training = Training(layers)
    training.enter("load")
    for layer in range(layers):
        training.made(10 * MIB, layer)
    training.enter("optimizer")
    for layer in range(layers):
        square = training.made(40 * MIB, layer)
        update = training.made(20 * MIB, layer)
        training.freed(square)
        training.freed(update)
    return training.stretches


def test_an_optimizer_that_goes_layer_by_layer_needs_one_layers_work_at_a_time() -> None:
    assert peak(in_a_loop(RECORDED), [Run(40, RECORDED)]) == (400 + 60) * MIB
    assert peak(in_a_loop(40), [Run(40, 40)]) == (400 + 60) * MIB


def in_a_loop_with_variables(layers: int) -> list[Stretch]:
    """Write the same where variables hold a layer's work until the next one's replaces it."""
    training = Training(layers)
    training.enter("load")
    for layer in range(layers):
        training.made(10 * MIB, layer)
    training.enter("optimizer")
    held: list[int] = []
    for layer in range(layers):
        made = [training.made(40 * MIB, layer), training.made(20 * MIB, layer)]
        for block in held:
            training.freed(block)
        held = made
    training.enter("zero")
    for block in held:
        training.freed(block)
    return training.stretches


def test_what_a_loop_holds_until_the_next_layer_is_there_of_two_layers_at_most() -> None:
    assert peak(in_a_loop_with_variables(RECORDED), [Run(40, RECORDED)]) == (400 + 120) * MIB
    assert peak(in_a_loop_with_variables(40), [Run(40, 40)]) == (400 + 120) * MIB
