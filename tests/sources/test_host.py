"""The host source on this very host, and its reading of trees of cgroups."""

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnostics.observations import HostSample, Missing
from diagnostics.sources.host import Host, memory_cgroup, read_memory_cgroup

GIB = 1024**3
V1_NO_LIMIT = 9_223_372_036_854_771_712


def sample(host: Host, now: float = 0.0) -> HostSample:
    (seen,) = host.poll(now)
    assert isinstance(seen, HostSample)
    return seen


def let_cpu_time_pass() -> None:
    """Return when the kernel's counters of CPU time have moved, however this machine is loaded."""
    before = sum(psutil.cpu_times())
    while sum(psutil.cpu_times()) <= before:
        time.sleep(0.02)


def group(folder: Path, **files: object) -> None:
    """Write a cgroup's files; two underscores in a name stand for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_memory_and_disk_of_this_host_are_told_in_bytes(tmp_path):
    seen = sample(Host(tmp_path, "node1"), 12.5)
    assert (seen.at, seen.host) == (12.5, "node1")
    assert seen.memory_total_bytes == psutil.virtual_memory().total
    assert isinstance(seen.memory_available_bytes, int)
    assert 0 < seen.memory_available_bytes <= seen.memory_total_bytes
    assert seen.disk_total_bytes == psutil.disk_usage(str(tmp_path)).total
    assert isinstance(seen.disk_free_bytes, int)
    assert 0 <= seen.disk_free_bytes <= seen.disk_total_bytes
    assert isinstance(seen.swap_used_bytes, int)
    assert 0 <= seen.swap_used_bytes <= psutil.swap_memory().total


def test_the_cpu_share_is_that_of_the_time_between_two_polls(tmp_path):
    host = Host(tmp_path)
    let_cpu_time_pass()
    share = sample(host).cpu_pct
    assert isinstance(share, float)
    assert 0.0 <= share <= 100.0


def test_a_busy_cpu_is_seen_by_the_first_poll_of_another_thread(tmp_path):
    # The monitor makes its sources in one thread and polls them in another.
    host = Host(tmp_path)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        used = psutil.Process(busy.pid)
        while sum(used.cpu_times()[:2]) < 0.2:
            time.sleep(0.02)
        seen: list[HostSample] = []
        thread = Thread(target=lambda: seen.append(sample(host)))
        thread.start()
        thread.join()
    finally:
        busy.kill()
        busy.wait()
    assert isinstance(seen[0].cpu_pct, float)
    assert seen[0].cpu_pct > 0.0


def test_two_polls_at_one_moment_claim_no_cpu_share(tmp_path):
    host = Host(tmp_path)
    shares: list[float | Missing] = []
    while not shares or not isinstance(shares[-1], Missing):
        shares.append(sample(host).cpu_pct)
    assert shares[-1] == Missing("no time since the last sample")


def test_an_output_folder_that_is_not_there_yet_is_on_the_disk_of_its_nearest_parent(tmp_path):
    seen = sample(Host(tmp_path / "saves" / "qwen" / "lora"))
    assert seen.disk_total_bytes == psutil.disk_usage(str(tmp_path)).total


def test_a_relative_folder_is_looked_for_where_this_program_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = sample(Host(Path("saves/lora")))
    assert seen.disk_total_bytes == psutil.disk_usage(str(tmp_path)).total


def test_a_file_in_the_folders_place_does_not_hide_the_disk(tmp_path):
    (tmp_path / "saves").write_text("a file")
    seen = sample(Host(tmp_path / "saves" / "lora"))
    assert seen.disk_total_bytes == psutil.disk_usage(str(tmp_path)).total


def test_no_output_folder_is_a_reason_and_the_rest_is_told():
    seen = sample(Host(None))
    assert seen.disk_free_bytes == seen.disk_total_bytes == Missing("no output folder")
    assert isinstance(seen.memory_total_bytes, int)


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000])
def test_a_name_that_no_folder_can_have_is_a_reason(tmp_path, name):
    seen = sample(Host(tmp_path / name))
    assert isinstance(seen.disk_free_bytes, Missing)
    assert seen.disk_free_bytes.reason


def test_a_v2_group_gives_its_limit_and_its_kills(tmp_path):
    group(
        tmp_path / "slurm" / "job_7",
        memory__max=64 * GIB,
        memory__events="low 0\nhigh 0\nmax 812\noom 3\noom_kill 2\noom_group_kill 0",
    )
    seen = memory_cgroup("0::/slurm/job_7\n", tmp_path)
    assert (seen.limit_bytes, seen.oom_kills) == (64 * GIB, 2)


def test_the_tightest_limit_of_the_groups_around_counts(tmp_path):
    group(tmp_path / "user", memory__max=8 * GIB, memory__events="oom_kill 9")
    group(tmp_path / "user" / "inner", memory__max="max", memory__events="oom_kill 0")
    seen = memory_cgroup("0::/user/inner", tmp_path)
    assert (seen.limit_bytes, seen.oom_kills) == (8 * GIB, 0)


def test_a_v1_group_goes_before_a_v2_one_without_the_memory_controller(tmp_path):
    folder = tmp_path / "memory" / "docker" / "5e"
    group(
        folder,
        memory__limit_in_bytes=32 * GIB,
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 4",
    )
    membership = "12:cpu,cpuacct:/docker/5e\n9:memory:/docker/5e\n1:name=systemd:/\n0::/\n"
    seen = memory_cgroup(membership, tmp_path)
    assert (seen.limit_bytes, seen.oom_kills) == (32 * GIB, 4)


def test_a_container_that_sees_only_its_own_part_reads_it_at_the_root(tmp_path):
    group(tmp_path / "memory", memory__limit_in_bytes=GIB, memory__oom_control="oom_kill 1")
    for path in ("/docker/5e/of-the-host", "/../../5e"):
        seen = memory_cgroup(f"9:memory:{path}", tmp_path)
        assert (seen.limit_bytes, seen.oom_kills) == (GIB, 1)


def test_a_group_outside_of_the_namespace_does_not_lead_outside_of_the_tree(tmp_path):
    group(tmp_path / "elsewhere", memory__max=1, memory__events="oom_kill 99")
    (tmp_path / "root").mkdir()
    seen = memory_cgroup("0::/../elsewhere", tmp_path / "root")
    assert (seen.limit_bytes, seen.oom_kills) == (Missing("no cgroup limit"), Missing("no cgroup"))


def test_the_two_ways_to_say_no_limit_are_no_limit(tmp_path):
    group(tmp_path / "a", memory__max="max")
    group(tmp_path / "memory" / "a", memory__limit_in_bytes=V1_NO_LIMIT)
    for membership in ("0::/a", "9:memory:/a"):
        assert memory_cgroup(membership, tmp_path).limit_bytes == Missing("no cgroup limit")


@given(membership=st.text(), content=st.binary(max_size=200))
def test_whatever_the_files_hold_the_readings_are_numbers_or_reasons(
    tmp_path_factory, membership, content
):
    root = tmp_path_factory.mktemp("cgroups")
    for name in ("memory.max", "memory.events"):
        (root / name).write_bytes(content)
    for text in (membership, f"0::/{membership}", f"9:memory:{membership}"):
        seen = memory_cgroup(text, root)
        assert isinstance(seen.limit_bytes, int | Missing)
        assert isinstance(seen.oom_kills, int | Missing)


def test_the_cgroup_of_a_process_that_is_gone_is_missing_with_the_kernels_word():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    seen = read_memory_cgroup(child.pid)
    assert isinstance(seen.limit_bytes, Missing)
    assert seen.limit_bytes == seen.oom_kills
    assert seen.limit_bytes.reason in {"No such file or directory", "No such process"}


def test_a_sample_carries_the_cgroup_of_the_process_it_was_asked_for(tmp_path):
    seen = sample(Host(tmp_path, pid=os.getpid()))
    own = read_memory_cgroup()
    assert (seen.cgroup_limit_bytes, seen.cgroup_oom_kills) == (own.limit_bytes, own.oom_kills)
