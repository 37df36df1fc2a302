"""The simulated GPU's Source: live, idle, and in front of files that nobody meant."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.demo.gpu import SIMULATED_GPU, GpuState, SimulatedGpu, parse_state, publish
from diagnostics.observations import GpuProcess, GpuSample, SourceFault
from diagnostics.runs.processes import identify

BUSY = GpuState(
    pid=1,
    started_ticks=1,
    used_bytes=20 * 1024**3,
    utilization_pct=97.0,
    temperature_c=61.5,
    power_watts=401.0,
    sm_clock_mhz=2640,
    memory_clock_mhz=10_501,
)


def state_of_this_process() -> GpuState:
    own = identify(os.getpid())
    assert own is not None
    return replace(BUSY, pid=own.pid, started_ticks=own.started_ticks)


def sample_of(path: Path) -> GpuSample:
    (sample,) = SimulatedGpu(path).poll(12.5)
    assert isinstance(sample, GpuSample)
    return sample


def fault_of(path: Path) -> str:
    (fault,) = SimulatedGpu(path).poll(12.5)
    assert isinstance(fault, SourceFault)
    assert fault.at == 12.5
    return fault.reason


def test_a_live_trainers_state_is_a_sample_marked_as_simulated(tmp_path: Path) -> None:
    state = state_of_this_process()
    publish(tmp_path / SIMULATED_GPU, state)
    sample = sample_of(tmp_path / SIMULATED_GPU)
    assert sample.simulated
    assert sample.name == "SIMULATED RTX 4090 24GB"
    assert sample.at == 12.5
    assert sample.memory_used_bytes == state.used_bytes
    assert sample.utilization_pct == 97.0
    assert sample.processes == (GpuProcess(os.getpid(), state.used_bytes, "python"),)


def test_it_is_idle_before_any_training_has_touched_it(tmp_path: Path) -> None:
    sample = sample_of(tmp_path / SIMULATED_GPU)
    assert sample.simulated
    assert sample.utilization_pct == 0.0
    assert sample.processes == ()


def test_it_is_idle_when_the_process_is_another_with_the_same_pid(tmp_path: Path) -> None:
    state = state_of_this_process()
    publish(tmp_path / SIMULATED_GPU, replace(state, started_ticks=state.started_ticks + 1))
    assert sample_of(tmp_path / SIMULATED_GPU).processes == ()


def test_it_is_idle_when_the_process_has_ended(tmp_path: Path) -> None:
    child = subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE)
    try:
        process = identify(child.pid)
        assert process is not None
        state = replace(BUSY, pid=process.pid, started_ticks=process.started_ticks)
        publish(tmp_path / SIMULATED_GPU, state)
        assert sample_of(tmp_path / SIMULATED_GPU).utilization_pct == 97.0
    finally:
        child.kill()
        child.communicate()
    assert sample_of(tmp_path / SIMULATED_GPU).utilization_pct == 0.0


def test_a_running_demo_is_seen_busy_and_an_ended_one_idle(demo) -> None:
    process = demo.start_training()
    sample = sample_of(demo.folder / SIMULATED_GPU)
    assert isinstance(sample.processes, tuple)
    assert [process.pid for process in sample.processes] == [process.pid]
    assert isinstance(sample.memory_used_bytes, int)
    assert sample.memory_used_bytes > 6 * 1024**3
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert sample_of(demo.folder / SIMULATED_GPU).processes == ()


def test_publishing_leaves_no_other_file_behind(tmp_path: Path) -> None:
    publish(tmp_path / SIMULATED_GPU, BUSY)
    publish(tmp_path / SIMULATED_GPU, BUSY)
    assert [path.name for path in tmp_path.iterdir()] == [SIMULATED_GPU]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"pid": 12',
        b"[]",
        b"\xff\xfe\x00",
        b"[" * 60_000,
        b"x" * 100_000,
        json.dumps(asdict(BUSY) | {"used_bytes": -1}).encode(),
        json.dumps(asdict(BUSY) | {"used_bytes": 10**400}).encode(),
        json.dumps(asdict(BUSY) | {"used_bytes": True}).encode(),
        json.dumps(asdict(BUSY) | {"power_watts": float("nan")}).encode(),
        json.dumps(asdict(BUSY) | {"temperature_c": "\x1b[31mhot"}).encode(),
    ],
)
def test_a_file_that_is_not_a_state_is_a_fault_and_no_sample(tmp_path: Path, data: bytes) -> None:
    (tmp_path / SIMULATED_GPU).write_bytes(data)
    assert fault_of(tmp_path / SIMULATED_GPU).startswith("simulated GPU: ")


def test_a_fifo_or_a_folder_in_the_files_place_is_a_fault_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in fault_of(tmp_path / "fifo")
    assert fault_of(tmp_path)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_state_or_a_value_error(data: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse_state(data)


@given(st.dictionaries(st.sampled_from(sorted(asdict(BUSY))), st.floats() | st.integers()))
def test_a_state_with_odd_numbers_is_in_range_or_refused(odd: dict[str, float]) -> None:
    try:
        state = parse_state(json.dumps(asdict(BUSY) | odd).encode())
    except ValueError:
        return
    assert 0 <= state.utilization_pct <= 100
    assert state.used_bytes >= 0
