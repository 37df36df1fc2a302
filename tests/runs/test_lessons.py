"""What a watched run teaches: its measured peak corrects the next prediction of the same config."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from diagnostics.config.document import parse_document
from diagnostics.config.effective import EffectiveConfig
from diagnostics.history import Snapshot
from diagnostics.memory.calibration import Measure
from diagnostics.memory.facts import MemoryFacts, forecast_config, workload_from
from diagnostics.memory.measured import measured_peak
from diagnostics.memory.model_names import model_named
from diagnostics.observations import (
    GpuProcess,
    GpuSample,
    MemoryDevice,
    MemoryPhase,
    Missing,
    OutOfMemory,
    ProcessState,
    TrainStep,
)
from diagnostics.runs.lessons import LESSON, calibration_for, record_lesson
from diagnostics.runs.model import Attempt
from diagnostics.runs.store import create_attempt, create_record

GIB = 2**30
TEXT = """\
model_name_or_path: Qwen/Qwen2.5-0.5B
finetuning_type: lora
per_device_train_batch_size: 2
cutoff_len: 1024
bf16: true
"""
UNREAD = Missing("not read")


@pytest.fixture
def config(tmp_path: Path) -> EffectiveConfig:
    path = tmp_path / "train.yaml"
    path.write_text(TEXT)
    return EffectiveConfig(parse_document(path.read_bytes(), path))


@pytest.fixture
def facts() -> MemoryFacts:
    named = model_named("Qwen/Qwen2.5-0.5B")
    assert named is not None
    return MemoryFacts(named.architecture, name="Qwen/Qwen2.5-0.5B")


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    monkeypatch.setenv("LLAMAVET_STATE_DIR", str(tmp_path / "state"))
    return create_attempt(create_record("train", {}), log_path=None, treatment=None)


def step(**extra: float) -> TrainStep:
    return TrainStep(1.0, "trainer_log.jsonl", 1, 5, loss=1.0, extra=extra)


def sample(*pids: int) -> GpuSample:
    return GpuSample(
        at=1.0,
        host="host",
        index=0,
        uuid="GPU-0",
        name="GPU",
        memory_used_bytes=5 * GIB,
        memory_total_bytes=24 * GIB,
        utilization_pct=UNREAD,
        temperature_c=UNREAD,
        power_watts=UNREAD,
        power_limit_watts=UNREAD,
        sm_clock_mhz=UNREAD,
        memory_clock_mhz=UNREAD,
        processes=tuple(GpuProcess(pid, GIB, "python") for pid in pids),
    )


def on_gpu(*pids: int) -> Snapshot:
    return Snapshot(
        steps=(step(),),
        gpus={0: sample(*pids)},
        gpu_peak_bytes={0: 5 * GIB},
        process=ProcessState(1.0, "host", alive=True, pids=(10, 11)),
    )


def out_of_memory() -> Snapshot:
    oom = OutOfMemory(
        at=1.0,
        source="stdout.log",
        line=9,
        text="CUDA out of memory",
        device=MemoryDevice.GPU,
        phase=MemoryPhase.TRAIN,
        requested_bytes=2 * GIB,
        allocated_bytes=20 * GIB,
        capacity_bytes=24 * GIB,
    )
    return Snapshot(steps=(step(vram_allocated=1.0),), ooms=(oom,))


def test_the_allocators_own_peak_is_taken_before_the_drivers(config, facts):
    work = workload_from(config, facts)
    snapshot = replace(on_gpu(10), steps=(step(vram_allocated=2.5), step(vram_allocated=2.25)))

    measured = measured_peak(snapshot, work)

    assert measured is not None
    assert (measured.peak_gib, measured.measure) == (2.5, Measure.ALLOCATED)


def test_the_drivers_figure_counts_where_only_the_run_is_on_the_gpu(config, facts):
    work = workload_from(config, facts)

    alone, shared = measured_peak(on_gpu(10), work), measured_peak(on_gpu(10, 99), work)

    assert alone is not None
    assert (alone.peak_gib, alone.measure) == (5.0, Measure.DEVICE)
    assert shared is None
    assert measured_peak(replace(on_gpu(10), steps=()), work) is None


def test_an_out_of_memory_is_only_a_floor(config, facts):
    measured = measured_peak(out_of_memory(), workload_from(config, facts))

    assert measured is not None
    assert (measured.peak_gib, measured.measure) == (22.0, Measure.FLOOR)


def test_a_measured_attempt_corrects_the_next_prediction_and_says_so(config, facts, attempt):
    told = forecast_config(config, facts)
    snapshot = Snapshot(steps=(step(vram_allocated=round(1.2 * told.allocated_gib, 2)),))

    record_lesson(attempt, config, facts, snapshot)
    found = calibration_for(config, told.work)

    assert found is not None
    assert found.factor == pytest.approx(1.2, abs=0.01)
    corrected = forecast_config(config, replace(facts, calibration=found))
    assert corrected.allocated_gib == pytest.approx(1.2 * told.allocated_gib, rel=0.01)
    assert corrected.method == "calibrated"
    assert "corrected by x1.2" in corrected.assumptions[0].en


def test_a_lesson_holds_for_the_same_config_and_method_only(config, facts, attempt, tmp_path: Path):
    told = forecast_config(config, facts)
    snapshot = Snapshot(steps=(step(vram_allocated=1.1 * told.allocated_gib),))
    record_lesson(attempt, config, facts, snapshot)
    other = tmp_path / "other.yaml"
    other.write_text(TEXT)
    path = tmp_path / "train.yaml"
    full = EffectiveConfig(parse_document(TEXT.replace("lora", "full").encode(), path))
    smaller = EffectiveConfig(parse_document(TEXT.replace(": 2\n", ": 1\n").encode(), path))
    elsewhere = EffectiveConfig(parse_document(other.read_bytes(), other))

    assert calibration_for(elsewhere, told.work) is None
    assert calibration_for(full, workload_from(full, facts)) is None
    assert calibration_for(smaller, workload_from(smaller, facts)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"config": 1}',
        '{"config": "x", "model": "y", "kind": "z", "predicted_gib": "NaN"}',
        '{"config": "x", "model": "y", "kind": "z", "predicted_gib": 1, "measured_gib": [1]}',
    ],
)
def test_a_broken_lesson_teaches_nothing(config, facts, attempt, text: str):
    (attempt.folder / LESSON).write_text(text)

    assert calibration_for(config, workload_from(config, facts)) is None


def test_a_run_with_another_memory_than_predicted_by_half_teaches_nothing(config, facts, attempt):
    told = forecast_config(config, facts)
    record_lesson(
        attempt, config, facts, Snapshot(steps=(step(vram_allocated=3 * told.allocated_gib),))
    )

    assert (attempt.folder / LESSON).exists()
    assert calibration_for(config, told.work) is None


def test_nothing_is_noted_where_nothing_was_measured(config, facts, attempt):
    record_lesson(attempt, config, facts, Snapshot(steps=(step(),)))
    record_lesson(attempt, config, None, Snapshot(steps=(step(vram_allocated=1.0),)))

    assert not (attempt.folder / LESSON).exists()


def test_the_command_takes_the_correction(config, facts, attempt, tmp_path: Path):
    told = forecast_config(config, facts)
    record_lesson(
        attempt, config, facts, Snapshot(steps=(step(vram_allocated=1.25 * told.allocated_gib),))
    )

    done = subprocess.run(
        [sys.executable, "-m", "tui.cli", "estimate", "train.yaml", "--format", "json"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin", "LLAMAVET_STATE_DIR": str(tmp_path / "state"), "LANG": "C"},
        text=True,
        capture_output=True,
        check=True,
    )

    said = json.loads(done.stdout)
    assert said["method"] == "calibrated"
    assert said["allocated_gib"] == pytest.approx(1.25 * told.allocated_gib, rel=0.01)
