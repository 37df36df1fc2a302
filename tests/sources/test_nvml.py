"""The NVML source over a stand-in driver library that is called through the real binding."""

import ctypes.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diagnostics.observations import GpuUnavailable
from diagnostics.sources.nvml import PROCESS_POLLS, RETRY_SECONDS, NvmlGpus
from tests.nvml.driver import LIBRARY, Poll, Step, build, compiler, poll_all

GIB = 1024**3
NOT_SUPPORTED = {"reason": "Not Supported"}
READINGS = (
    "memory_used_bytes",
    "memory_total_bytes",
    "utilization_pct",
    "temperature_c",
    "power_watts",
    "power_limit_watts",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "processes",
)
FIRST = {
    "gpu0.name": "NVIDIA A100-SXM4-80GB",
    "gpu0.uuid": "GPU-0a",
    "gpu0.memory.total": 80 * GIB,
    "gpu0.memory.used": 31 * GIB,
    "gpu0.memory.reserved": GIB,
    "gpu0.utilization": 97,
    "gpu0.temperature": 61,
    "gpu0.power": 312_500,
    "gpu0.power_limit": 400_000,
    "gpu0.clock.sm": 1410,
    "gpu0.clock.memory": 1593,
    "gpu0.throttle": 0x24,
    "gpu0.compute": f"4000001:{30 * GIB}",
    "gpu0.graphics": "",
}
SECOND = {key.replace("gpu0", "gpu1"): value for key, value in FIRST.items()}
ONE = {"count": 1, **FIRST}
TWO = {"count": 2, **FIRST, **SECOND, "gpu1.uuid": "GPU-1b"}

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler on this machine")
Read = Callable[..., list[Poll]]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="session")
def old_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("old-driver"), "-DOLD_DRIVER")


@pytest.fixture
def read(library: Path, tmp_path: Path) -> Read:
    return lambda *steps: poll_all(library, tmp_path / "state", steps)


def only(poll: Poll) -> dict[str, Any]:
    (seen,) = poll
    return seen


def reasons(sample: dict[str, Any]) -> set[str]:
    """Return why values are missing; every reading of the sample must be."""
    return {sample[name]["reason"] for name in READINGS}


@needs_compiler
def test_each_gpu_gives_its_values_in_their_units(read):
    (poll,) = read(Step(TWO, 12.5))
    first, second = poll
    assert first == {
        "kind": "GpuSample",
        "at": 12.5,
        "host": "node1",
        "index": 0,
        "uuid": "GPU-0a",
        "name": "NVIDIA A100-SXM4-80GB",
        "memory_used_bytes": 31 * GIB,
        "memory_total_bytes": 80 * GIB,
        "utilization_pct": 97,
        "temperature_c": 61,
        "power_watts": 312.5,
        "power_limit_watts": 400.0,
        "sm_clock_mhz": 1410,
        "memory_clock_mhz": 1593,
        "processes": [{"pid": 4_000_001, "used_bytes": 30 * GIB, "name": ""}],
        "simulated": False,
        "throttle": ["power cap", "software thermal"],
    }
    assert (second["index"], second["uuid"]) == (1, "GPU-1b")


@needs_compiler
def test_a_change_is_seen_at_the_next_poll(read):
    later = {**ONE, "gpu0.memory.used": 79 * GIB, "gpu0.utilization": 0, "gpu0.temperature": 84}
    before, after = (only(poll) for poll in read(Step(ONE, 0.0), Step(later, 2.0)))
    assert (before["memory_used_bytes"], before["temperature_c"]) == (31 * GIB, 61)
    assert (after["memory_used_bytes"], after["temperature_c"]) == (79 * GIB, 84)
    assert after["utilization_pct"] == 0


@needs_compiler
@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("memory.used", {"memory_used_bytes", "memory_total_bytes"}),
        ("utilization", {"utilization_pct"}),
        ("temperature", {"temperature_c"}),
        ("power", {"power_watts"}),
        ("power_limit", {"power_limit_watts"}),
        ("clock.sm", {"sm_clock_mhz"}),
        ("clock.memory", {"memory_clock_mhz"}),
        ("compute", {"processes"}),
    ],
)
@pytest.mark.parametrize(
    ("code", "word"),
    [(3, "Not Supported"), (4, "Insufficient Permissions"), (28, "GPU Not Found")],
)
def test_a_missing_value_is_missing_alone_and_in_nvmls_words(read, key, names, code, word):
    (poll,) = read(Step({**ONE, f"gpu0.{key}": f"!{code}"}))
    sample = only(poll)
    missing = {name for name in READINGS if isinstance(sample[name], dict)}
    assert missing == names
    assert {sample[name]["reason"] for name in names} == {word}


@needs_compiler
def test_a_gpu_whose_name_and_uuid_cannot_be_read_claims_none(read):
    (poll,) = read(Step({**ONE, "gpu0.name": "!999", "gpu0.uuid": "!4"}))
    assert (only(poll)["name"], only(poll)["uuid"]) == ("GPU", "")


@needs_compiler
def test_a_name_with_escape_codes_and_bad_bytes_is_text_only(read):
    (poll,) = read(Step({**ONE, "gpu0.name": "\x1b[31mA\x07100"}))
    assert only(poll)["name"] == "A100"


@needs_compiler
def test_a_lost_gpu_keeps_its_place_and_its_name_while_the_others_go_on(read):
    lost = {**TWO, "gpu0.all": "!15", "gpu0.handle": "!15"}
    steps = [Step(TWO, 0.0), Step(lost, 2.0), Step(lost, RETRY_SECONDS + 2.0)]
    for poll in read(*steps)[1:]:
        first, second = poll
        assert reasons(first) == {"GPU is lost"}
        assert (first["index"], first["uuid"]) == (0, "GPU-0a")
        assert first["name"] == "NVIDIA A100-SXM4-80GB"
        assert second["memory_used_bytes"] == 31 * GIB


@needs_compiler
def test_a_gpu_that_answers_again_is_read_again(read):
    lost = {**TWO, "gpu1.handle": "!16"}
    steps = [Step(lost, 0.0), Step(TWO, 2.0), Step(TWO, RETRY_SECONDS)]
    at_once, too_early, later = (poll[1] for poll in read(*steps))
    assert reasons(at_once) == reasons(too_early) == {"GPU requires restart"}
    assert later["memory_used_bytes"] == 31 * GIB
    assert later["uuid"] == "GPU-1b"


@needs_compiler
@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({"init": "!9"}, "Driver Not Loaded"),
        ({"init": "!4"}, "Insufficient Permissions"),
        ({"init": "!18"}, "RM has detected an NVML/RM version mismatch."),
        ({"init": "!12"}, "NVML Shared Library Not Found"),
        ({"count": "!999"}, "Unknown Error"),
        ({"count": 0}, "the driver lists no GPUs"),
    ],
)
def test_a_driver_without_gpus_to_read_says_why(read, state, word):
    (poll,) = read(Step(state, 7.0))
    assert only(poll) == {"kind": "GpuUnavailable", "at": 7.0, "host": "node1", "reason": word}


@needs_compiler
def test_a_driver_is_tried_again_only_after_a_while(read):
    absent = {"init": "!9"}
    steps = [
        Step(absent, 1000.0),
        Step(ONE, 1002.0),
        Step(ONE, 1000.0 + RETRY_SECONDS - 0.5),
        Step(ONE, 1000.0 + RETRY_SECONDS),
    ]
    kinds = [only(poll)["kind"] for poll in read(*steps)]
    assert kinds == ["GpuUnavailable"] * 3 + ["GpuSample"]


@needs_compiler
def test_a_clock_that_is_set_back_does_not_put_the_next_try_off(read):
    polls = read(Step({"init": "!9"}, 1_000_000.0), Step(ONE, 5.0))
    assert [only(poll)["kind"] for poll in polls] == ["GpuUnavailable", "GpuSample"]


@needs_compiler
@pytest.mark.parametrize(
    ("code", "word"),
    [(9, "Driver Not Loaded"), (18, "RM has detected an NVML/RM version mismatch.")],
)
def test_a_driver_that_goes_while_it_is_watched_is_named_and_comes_back(read, code, word):
    gone = {**ONE, "all": f"!{code}", "init": f"!{code}"}
    steps = [Step(ONE, 0.0), Step(gone, 2.0), Step(gone, 40.0), Step(ONE, 80.0)]
    before, at_once, later, back = (only(poll) for poll in read(*steps))
    assert before["kind"] == back["kind"] == "GpuSample"
    assert at_once["reason"] == later["reason"] == word
    assert back["memory_used_bytes"] == 31 * GIB


@needs_compiler
def test_gpus_that_appear_after_a_driver_without_any_are_listed(read):
    polls = read(Step({"count": 0}, 0.0), Step(TWO, RETRY_SECONDS))
    assert [len(poll) for poll in polls] == [1, 2]
    assert polls[1][1]["uuid"] == "GPU-1b"


@needs_compiler
def test_processes_that_compute_and_draw_are_told_once_with_what_is_known_of_them(read):
    state = {
        **ONE,
        "gpu0.compute": "4000002:na,4000001:2048",
        "gpu0.graphics": "4000003:7,4000001:na",
    }
    (poll,) = read(Step(state))
    assert [(entry["pid"], entry["used_bytes"]) for entry in only(poll)["processes"]] == [
        (4_000_001, 2048),
        (4_000_002, {"reason": "Not Available"}),
        (4_000_003, 7),
    ]


@needs_compiler
def test_graphics_processes_that_cannot_be_listed_do_not_hide_the_computing_ones(read):
    (poll,) = read(Step({**ONE, "gpu0.graphics": "!3"}))
    assert [entry["pid"] for entry in only(poll)["processes"]] == [4_000_001]


@needs_compiler
def test_processes_are_kept_between_reads_and_then_read_anew(read):
    idle = {**ONE, "gpu0.compute": ""}
    steps = [Step(ONE, 0.0), *(Step(idle, 2.0 * turn) for turn in range(1, PROCESS_POLLS + 1))]
    counts = [len(only(poll)["processes"]) for poll in read(*steps)]
    assert counts == [1] * PROCESS_POLLS + [0]


@needs_compiler
def test_more_processes_than_expected_are_all_listed(read):
    listed = ",".join(f"{4_000_001 + number}:1" for number in range(100))
    (poll,) = read(Step({**ONE, "gpu0.compute": listed}))
    assert len(only(poll)["processes"]) == 100


@needs_compiler
@pytest.mark.skipif(
    str(Path("/proc/self/ns/pid").readlink()) != "pid:[4026531836]",
    reason="in a container the driver's pids may be another's: no names are told",
)
def test_a_process_of_this_host_is_named(read):
    (poll,) = read(Step({**ONE, "gpu0.compute": f"{os.getpid()}:1"}))
    (entry,) = only(poll)["processes"]
    assert entry["name"] == Path("/proc/self/comm").read_text().strip()


@needs_compiler
def test_an_old_driver_is_read_by_its_older_functions(old_library, tmp_path):
    (poll,) = poll_all(old_library, tmp_path / "state", [Step(ONE)])
    sample = only(poll)
    assert sample["memory_used_bytes"] == 32 * GIB  # it counts what it keeps for itself as used
    assert [entry["pid"] for entry in sample["processes"]] == [4_000_001]


@needs_compiler
def test_a_function_that_the_driver_lacks_is_a_missing_value(tmp_path):
    # A library that starts and lists a GPU, and nothing else.
    bare = tmp_path / "bare"
    bare.mkdir()
    source = tmp_path / "bare.c"
    source.write_text(
        "int nvmlInitWithFlags(unsigned f) { (void)f; return 0; }\n"
        "int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return 0; }\n"
        "int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) { (void)i; *d = d; return 0; }\n"
    )
    build(bare, source=source)
    (poll,) = poll_all(bare, tmp_path / "state", [Step({})])
    assert reasons(only(poll)) == {"Function Not Found"}


def test_a_library_that_is_none_is_not_found(tmp_path):
    (tmp_path / LIBRARY).write_bytes(b"not an ELF file\0" * 10)
    (poll,) = poll_all(tmp_path, tmp_path / "state", [Step({})])
    assert only(poll)["kind"] == "GpuUnavailable"
    assert only(poll)["reason"] == "NVML Shared Library Not Found"


@pytest.mark.skipif(
    ctypes.util.find_library("nvidia-ml") is not None, reason="this machine has NVIDIA's driver"
)
def test_a_machine_without_the_library_says_so(tmp_path):
    polls = poll_all(tmp_path, tmp_path / "state", [Step({}, 0.0), Step({}, RETRY_SECONDS)])
    assert [only(poll)["reason"] for poll in polls] == ["NVML Shared Library Not Found"] * 2


def test_a_binding_that_cannot_be_imported_is_no_gpu_and_no_crash(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    source = NvmlGpus("node1")
    (seen,) = source.poll(0.0)
    source.close()
    assert isinstance(seen, GpuUnavailable)
    assert seen.reason.startswith("nvidia-ml-py cannot be imported")
