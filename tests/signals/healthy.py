"""Owns healthy trainings as series of numbers: made up with noise, and recorded."""

import csv
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.history import TRAINER_LOG, Snapshot
from diagnostics.observations import EvalPoint, TrainStep

RECORDINGS = Path(__file__).parent.parent / "recordings"


@dataclass(frozen=True, slots=True)
class Healthy:
    """One training with nothing wrong, and its config."""

    name: str
    config: str
    steps: tuple[TrainStep, ...]
    evals: tuple[EvalPoint, ...] = ()

    @property
    def effective(self) -> EffectiveConfig:
        return EffectiveConfig(parse_document(self.config.encode(), Path("config.yaml")), None)

    def until(self, count: int) -> Snapshot:
        """Return what is known after so many logged lines."""
        seen = self.steps[:count]
        last = seen[-1].step if seen else 0
        evals = tuple(point for point in self.evals if (point.step or 0) <= (last or 0))
        return Snapshot(
            steps=seen, evals=evals, last_step=last, observed=frozenset({"log", "metrics"})
        )


def recorded(path: Path) -> Healthy:
    """Read a recording: a row a point, the first line its config."""
    with path.open(encoding="utf-8", newline="") as file:
        config = file.readline().lstrip("# ").replace("; ", "\n")
        rows = list(csv.DictReader(file))
    steps, evals = [], []
    for line, row in enumerate(rows, start=3):
        given = {name: float(text) for name, text in row.items() if text}
        step = int(given.pop("step"))
        if "eval_loss" in given:
            evals.append(EvalPoint(1.0, TRAINER_LOG, line, step, given["eval_loss"]))
        if "loss" in given:
            steps.append(
                TrainStep(
                    1.0,
                    TRAINER_LOG,
                    line,
                    step,
                    loss=given["loss"],
                    grad_norm=given.get("grad_norm"),
                    learning_rate=given.get("learning_rate"),
                    epoch=given.get("epoch"),
                )
            )
    return Healthy(path.stem, config, tuple(steps), tuple(evals))


def recordings() -> list[Healthy]:
    """Return all recordings of healthy trainings."""
    return [recorded(path) for path in sorted(RECORDINGS.glob("healthy_*.csv"))]


Course = Callable[[float, random.Random], float]
"""A loss by how much of the training is done, from 0 to 1."""


def _decay(start: float, end: float, speed: float, noise: float) -> Course:
    def course(done: float, chance: random.Random) -> float:
        return (end + (start - end) * math.exp(-speed * done)) * math.exp(chance.gauss(0, noise))

    return course


def _stairs(levels: tuple[float, ...], noise: float) -> Course:
    def course(done: float, chance: random.Random) -> float:
        level = levels[min(int(done * len(levels)), len(levels) - 1)]
        return level * (1 - 0.05 * done) * (1 + chance.gauss(0, noise))

    return course


def _bump(noise: float) -> Course:
    calm = _decay(1.8, 1.0, 8.0, noise)

    def course(done: float, chance: random.Random) -> float:
        return calm(done, chance) + 0.5 * math.exp(-(((done - 0.5) / 0.02) ** 2))

    return course


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def _restarts(done: float) -> float:
    return _cosine(done * 3 % 1.0)


def _warmed(done: float) -> float:
    return done / 0.1 if done < 0.1 else _cosine((done - 0.1) / 0.9)


LORA = "stage: sft\nfinetuning_type: lora\nlearning_rate: 1.0e-4\nval_size: 0.1\n"
FULL = "stage: sft\nfinetuning_type: full\nlearning_rate: 1.0e-5\ngradient_accumulation_steps: 8\n"
COURSES: Mapping[str, tuple[str, Course, Callable[[float], float]]] = {
    "lora": (LORA, _decay(1.9, 1.0, 6.0, 0.03), _warmed),
    "full, cosine restarts": (FULL, _decay(1.5, 0.9, 4.0, 0.04), _restarts),
    "a batch of one, logged at each step": (LORA, _decay(1.6, 0.9, 5.0, 0.35), _cosine),
    "steps at epochs": (FULL, _stairs((1.2, 0.8, 0.45, 0.25), 0.04), _cosine),
    "a bump that passes": (LORA, _bump(0.03), _warmed),
    "learned by heart": (LORA, _decay(2.0, 0.00001, 12.0, 0.1), _cosine),
    "packed pretraining": (
        FULL.replace("sft", "pt"),
        _decay(2.4, 1.9, 3.0, 0.015),
        _warmed,
    ),
    "a small model from random weights": (
        "stage: sft\nfinetuning_type: full\nlearning_rate: 1.0e-3\n",
        _decay(10.8, 3.0, 5.0, 0.02),
        _warmed,
    ),
    "preferences": (
        "stage: dpo\nfinetuning_type: lora\nlearning_rate: 5.0e-6\n",
        _decay(0.72, 0.3, 3.0, 0.08),
        _warmed,
    ),
    "a reward model": (
        "stage: rm\nfinetuning_type: lora\nlearning_rate: 5.0e-5\n",
        _decay(0.7, 0.05, 6.0, 0.3),
        _cosine,
    ),
    "GaLore layer by layer": (
        FULL.replace("gradient_accumulation_steps: 8", "use_galore: true\ngalore_layerwise: true"),
        _decay(1.7, 1.0, 5.0, 0.03),
        _cosine,
    ),
    "reinforcement": (
        "stage: ppo\nfinetuning_type: lora\nlearning_rate: 1.0e-5\n",
        _decay(0.4, 0.2, 1.0, 1.0),
        _cosine,
    ),
}


def made_up(name: str, seed: int, lines: int, every: int) -> Healthy:
    """Return a training of a kind, four decimals logged as transformers 4 does."""
    config, course, rate = COURSES[name]
    chance = random.Random(f"{name} {seed}")
    effective = EffectiveConfig(parse_document(config.encode(), Path("config.yaml")), None)
    peak = effective.value("learning_rate")
    assert isinstance(peak, float)
    steps, evals = [], []
    for index in range(lines):
        done = (index + 1) / lines
        step = (index + 1) * every
        norm = 0.0 if "GaLore" in name else round(abs(chance.gauss(0.8, 0.3)) + 0.05, 4)
        steps.append(
            TrainStep(
                1.0,
                TRAINER_LOG,
                index + 1,
                step,
                lines * every,
                round(course(done, chance), 4),
                norm,
                peak * rate(done),
                3 * done,
                _extra(config, done, chance),
            )
        )
        if index % max(5, lines // 10) == max(5, lines // 10) - 1 and "by heart" not in name:
            loss = 1.0 + math.exp(-4 * done) + chance.gauss(0, 0.004)
            evals.append(EvalPoint(1.0, TRAINER_LOG, 0, step, round(loss, 4), 3 * done))
    return Healthy(name, config, tuple(steps), tuple(evals))


def _extra(config: str, done: float, chance: random.Random) -> Mapping[str, float]:
    if "dpo" in config:
        chosen = 0.3 * done + chance.gauss(0, 0.05)
        accuracy = min(1.0, max(0.0, 0.5 + 0.35 * done + chance.gauss(0, 0.06)))
        rejected = chosen - 1.5 * done + chance.gauss(0, 0.05)
        return {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/accuracies": accuracy,
        }
    return {"reward": done + chance.gauss(0, 0.3)} if "ppo" in config else {}
