"""Owns the signals of preference and reward training, which are judged by their own measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from diagnostics.observations import TrainStep
from diagnostics.series import finite, noise, trend
from diagnostics.signals.context import Context, Reader, Signal, Value, plain
from diagnostics.signals.curves import shown, spread_out, value_of

CHOSEN, REJECTED = "rewards/chosen", "rewards/rejected"
_ACCURACIES = ("rewards/accuracies", "accuracy")
_WINDOW = 5


@dataclass(frozen=True, slots=True)
class Measure:
    """One logged measure: its points and values."""

    name: str
    points: tuple[TrainStep, ...]
    values: tuple[float, ...]

    @property
    def level(self) -> float:
        """The median of the last values."""
        return median(self.values[-_WINDOW:])


def measure(context: Context, *names: str) -> Measure | None:
    """Return the first of the named measures that is logged."""
    for name in names:
        points = tuple(p for p in context.snapshot.steps if finite([value_of(p, name)]))
        if points:
            return Measure(name, points, tuple(finite(value_of(p, name) for p in points)))
    return None


def _measured(read: Callable[[Measure], Value | None], *names: str) -> Reader:
    def reader(context: Context) -> Signal | None:
        found = context.once(f"measure {names}", lambda one: measure(one, *names))
        value = None if found is None else read(found)
        if found is None or value is None:
            return None
        return Signal(value, shown(spread_out(found.points), found.name))

    return reader


def _second_half(found: Measure) -> float:
    return median(found.values[len(found.values) // 2 :])


def _fall_in_noise(found: Measure) -> float:
    """Return by how much it has fallen along its trend, in units of its noise."""
    change, unit = trend(found.values), noise(found.values)
    if change.score > -_NO_CHANCE:
        return 0.0
    return -change.change / unit if unit > 0 else 0.0


_NO_CHANCE = 3.0
_WITHOUT_REFERENCE = frozenset({"orpo", "simpo"})
_DEFAULT_BETA = 0.1


def _reference_free(context: Context) -> Value | None:
    """Tell whether rewards are log-probabilities themselves, which begin below 0; None if unknown.

    With a reference model rewards begin at 0, for the two models are the same.
    """
    logged = measure(context, "odds_ratio_loss")
    if logged is not None:
        return True
    config = context.config
    if config is None:
        return None
    said = (config.value(key) for key in ("pref_loss", "dpo_loss", "stage"))
    return any(isinstance(one, str) and one.lower() in _WITHOUT_REFERENCE for one in said)


def _in_nats(name: str) -> Callable[[Context], Value | None]:
    """Read a reward without its scale: by how much the log-probability has changed."""

    def reader(context: Context) -> Value | None:
        found = context.once(f"measure {(name,)}", lambda one: measure(one, name))
        beta = _DEFAULT_BETA if context.config is None else context.config.value("pref_beta")
        if found is None or isinstance(beta, bool) or not isinstance(beta, int | float):
            return None
        return found.level / beta if beta > 0 else None

    return reader


SIGNALS: Mapping[str, Reader] = {
    "pref.lines": _measured(lambda found: len(found.values), CHOSEN),
    "pref.chosen": _measured(lambda found: found.level, CHOSEN),
    "pref.chosen_first": _measured(lambda found: median(found.values[:_WINDOW]), CHOSEN),
    "pref.chosen_nats": plain(_in_nats(CHOSEN)),
    "pref.rejected_nats": plain(_in_nats(REJECTED)),
    "pref.reference_free": plain(_reference_free),
    "pref.rejected": _measured(lambda found: found.level, REJECTED),
    "pref.accuracy": _measured(lambda found: found.level, *_ACCURACIES),
    "pref.accuracy_settled": _measured(_second_half, *_ACCURACIES),
    "pref.accuracy_first": _measured(lambda found: median(found.values[:_WINDOW]), *_ACCURACIES),
    "pref.accuracy_lines": _measured(lambda found: len(found.values), *_ACCURACIES),
    "pref.kl": _measured(lambda found: found.level, "kl"),
    "ppo.reward": _measured(lambda found: found.level, "reward"),
    "ppo.reward_first": _measured(lambda found: median(found.values[:_WINDOW]), "reward"),
    "ppo.reward_lines": _measured(lambda found: len(found.values), "reward"),
    "ppo.reward_fall_in_noise": _measured(_fall_in_noise, "reward"),
}
