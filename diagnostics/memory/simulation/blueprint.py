"""Owns which layers of a model are simulated: how its layers repeat, and a config with fewer."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diagnostics.memory.trace import TEMPLATE, Run, shortened

MAX_PERIOD = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """The layers to simulate: their numbers in the whole model, and the blocks they form."""

    runs: tuple[Run, ...]
    kept: tuple[int, ...]
    block_of: tuple[int, ...]
    """For each kept layer the recorded block that it is part of."""
    layers: int
    """Layers of the whole model."""

    def times(self) -> list[int]:
        """Return for how many blocks of the whole model each recorded one stands."""
        times: list[int] = []
        for run in self.runs:
            of_run = [1] * run.recorded
            if run.repeats:
                of_run[TEMPLATE] += run.count - run.recorded
            times += of_run
        return times


def plan(kinds: Sequence[object], *, whole: bool = False) -> Plan:
    """Choose the layers to simulate, where `kinds` has what each layer of the model is like."""
    period = _period(kinds)
    blocks = [tuple(range(at, min(at + period, len(kinds)))) for at in range(0, len(kinds), period)]
    likes = [tuple(kinds[layer] for layer in block) for block in blocks]
    counts: list[int] = []
    for at, like in enumerate(likes):
        if at and like == likes[at - 1]:
            counts[-1] += 1
        else:
            counts.append(1)
    runs = [Run(count, count) for count in counts] if whole else shortened(counts)
    kept: list[int] = []
    block_of: list[int] = []
    start = number = 0
    for run in runs:
        for own in range(run.recorded):
            for layer in blocks[start + own]:
                kept.append(layer)
                block_of.append(number)
            number += 1
        start += run.count
    return Plan(tuple(runs), tuple(kept), tuple(block_of), len(kinds))


def _period(kinds: Sequence[object]) -> int:
    """Return after how many layers their kinds repeat; 1 where they do not."""
    for period in range(1, MAX_PERIOD + 1):
        changes = sum(kinds[at] != kinds[at - period] for at in range(period, len(kinds)))
        if changes <= period:
            return period
    return 1


def reduced(config: Any, kept: Sequence[int]) -> Any:
    """Return a copy of a transformers config that has only the layers in `kept`."""
    fewer = copy.deepcopy(config)
    fewer.num_hidden_layers = len(kept)
    for name, values in _by_layer(config).items():
        setattr(fewer, name, [values[layer] for layer in kept])
    if getattr(config, "first_k_dense_replace", None):
        fewer.first_k_dense_replace = sum(layer < config.first_k_dense_replace for layer in kept)
    if getattr(config, "mlp_only_layers", None):
        only = set(config.mlp_only_layers)
        fewer.mlp_only_layers = [at for at, layer in enumerate(kept) if layer in only]
    return fewer


def kinds_of(config: Any, trainable: Sequence[bool]) -> list[object]:
    """Return what each layer of a model is like: its attention, its MLP, whether it trains."""
    dense = getattr(config, "first_k_dense_replace", None) or 0
    only = set(getattr(config, "mlp_only_layers", None) or ())
    lists = list(_by_layer(config).values())
    return [
        (layer < dense or layer in only, trains, *(str(values[layer]) for values in lists))
        for layer, trains in enumerate(trainable)
    ]


def _by_layer(config: Any) -> dict[str, list[Any]]:
    """Return the settings of a config that have a value for each layer."""
    count = config.num_hidden_layers
    return {
        name: value
        for name, value in vars(config).items()
        if isinstance(value, list) and len(value) == count and not name.startswith("_")
    }
