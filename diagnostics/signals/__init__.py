"""Owns the one table of all the values that rules may name: "loss.last", "run.exit_code" ..."""

from collections.abc import Mapping
from itertools import chain

from diagnostics.observations import Missing
from diagnostics.signals import (
    data,
    errors,
    evaluation,
    gradients,
    loss,
    machine,
    memory,
    pace,
    plan,
    preferences,
    rates,
    repository,
    restarts,
    resume,
    run,
    sharding,
    template,
    zero_loss,
)
from diagnostics.signals.context import Context, Reader, Signal, Value

__all__ = ["SIGNALS", "Context", "Reader", "Signal", "Value", "read_signal"]

_TABLES = (
    *(data, errors, evaluation, gradients, loss, machine, memory, pace, plan, preferences),
    *(rates, repository, restarts, resume, run, sharding, template, zero_loss),
)

SIGNALS: Mapping[str, Reader] = dict(chain.from_iterable(part.SIGNALS.items() for part in _TABLES))
"""Every signal a rule may name."""


def read_signal(name: str, context: Context) -> Signal | None:
    """Return a signal's value now; None where it has none, Missing where it broke."""
    return context.once(f"signal {name}", lambda one: _read(name, one))


def _read(name: str, context: Context) -> Signal | None:
    try:
        return SIGNALS[name](context)
    except Exception as error:  # noqa: BLE001 - one broken value must not blind every rule
        return Signal(Missing(f"could not be worked out ({type(error).__name__}: {error})"))
