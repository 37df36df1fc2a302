"""Owns what watched runs teach about memory: one small file in an attempt's folder, and its use.

A lesson holds what was predicted of an attempt and what was measured; the next prediction of the
same config, with the same method, is corrected by it.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diagnostics.config.effective import EffectiveConfig
from diagnostics.errors import LlamavetError
from diagnostics.history import Snapshot
from diagnostics.memory.calibration import Calibration, Measure, calibrate, kind_of
from diagnostics.memory.facts import MemoryFacts, forecast_config, workload_from
from diagnostics.memory.measured import measured_peak
from diagnostics.memory.workload import Workload
from diagnostics.runs.files import read_json, write_json
from diagnostics.runs.model import Attempt
from diagnostics.runs.store import attempts, records

LESSON = "memory.json"
_MOST_RECORDS = 50


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was predicted and measured of one attempt, in GiB."""

    config: str
    model: str
    kind: str
    predicted_gib: float
    measured_gib: float
    measure: Measure


def record_lesson(
    attempt: Attempt, config: EffectiveConfig | None, facts: MemoryFacts | None, snapshot: Snapshot
) -> None:
    """Note what an attempt teaches; nothing where nothing was measured or predicted.

    Raises:
        StoreError: it cannot be written.
    """
    if config is None or facts is None or facts.model is None:
        return
    world = snapshot.facts.get("world_size")
    if isinstance(world, int) and world > 0:
        facts = replace(facts, gpus=world)
    try:
        told = forecast_config(config, facts)
    except LlamavetError:
        return
    measured = measured_peak(snapshot, told.work)
    if measured is None:
        return
    write_json(
        attempt.folder / LESSON,
        {
            "schema": 1,
            "config": _path(config),
            "model": str(config.value("model_name_or_path")),
            "kind": kind_of(told.work),
            "predicted_gib": told.peak.allocated_gib,
            "measured_gib": measured.peak_gib,
            "measure": measured.measure.value,
        },
    )


def with_lessons(config: EffectiveConfig, facts: MemoryFacts) -> MemoryFacts:
    """Return the facts with what an earlier attempt of a config taught, if any did."""
    if facts.model is None:
        return facts
    try:
        return replace(facts, calibration=calibration_for(config, workload_from(config, facts)))
    except LlamavetError:
        return facts  # a value has no meaning: the prediction says which


def calibration_for(config: EffectiveConfig, work: Workload) -> Calibration | None:
    """Return the correction that the newest fitting lesson gives."""
    path, model, kind = _path(config), str(config.value("model_name_or_path")), kind_of(work)
    if not path:
        return None
    for record in records()[:_MOST_RECORDS]:
        for attempt in reversed(attempts(record)):
            lesson = _read(attempt.folder / LESSON)
            if lesson is None or (lesson.config, lesson.model, lesson.kind) != (path, model, kind):
                continue
            found = calibrate(lesson.measured_gib, lesson.predicted_gib, lesson.measure)
            if found is not None:
                return found
    return None


def _path(config: EffectiveConfig) -> str:
    if config.document is None or config.document.path is None:
        return ""
    try:
        return str(config.document.path.resolve())
    except OSError:
        return ""


def _read(path: Path) -> Lesson | None:
    value = read_json(path)
    if value is None:
        return None
    try:
        return _lesson(value)
    except (KeyError, TypeError, ValueError):
        return None


def _lesson(value: dict[str, Any]) -> Lesson:
    predicted, measured = float(value["predicted_gib"]), float(value["measured_gib"])
    if not (math.isfinite(predicted) and math.isfinite(measured)):
        raise ValueError("not a size")
    return Lesson(
        str(value["config"]),
        str(value["model"]),
        str(value["kind"]),
        predicted,
        measured,
        Measure(str(value["measure"])),
    )
