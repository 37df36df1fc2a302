"""Following a console log, and reading one whole."""

import gzip
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from diagnostics.history import History
from diagnostics.observations import (
    LogLine,
    Observation,
    Progress,
    RunFact,
    SourceFault,
    Traceback,
    TrainStep,
)
from diagnostics.sources import console as module
from diagnostics.sources import gzipped
from diagnostics.sources.backlog import Ends
from diagnostics.sources.console import ConsoleLog, read_console
from diagnostics.sources.tail import MAX_BYTES_A_POLL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stdout.log"


@pytest.fixture
def log(path: Path) -> Iterator[ConsoleLog]:
    follower = ConsoleLog(path)
    yield follower
    follower.close()


def lines(seen: object) -> list[str]:
    assert isinstance(seen, list | tuple)
    return [one.text for one in seen if isinstance(one, LogLine)]


def places_of(seen: Sequence[Observation], text: str) -> list[int]:
    return [one.line for one in seen if isinstance(one, LogLine) and one.text == text]


def restarts(seen: object) -> int:
    assert isinstance(seen, list | tuple)
    return sum(isinstance(one, RunFact) and one.name == "restart" for one in seen)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_what_is_appended_comes_once_and_half_lines_wait(path: Path, log: ConsoleLog):
    append(path, "one\ntw")
    assert lines(log.poll(1.0)) == ["one"]
    assert lines(log.poll(2.0)) == []
    append(path, "o\n")
    assert lines(log.poll(3.0)) == ["two"]
    assert list(log.poll(4.0)) == []


def test_observations_carry_the_name_and_the_time_of_the_poll(path: Path):
    append(path, "one\n")
    follower = ConsoleLog(path, "console")
    (line,) = follower.poll(7.0)
    follower.close()
    assert isinstance(line, LogLine)
    assert (line.source, line.at, line.line) == ("console", 7.0, 1)


def test_a_missing_file_is_a_fault_told_once_and_its_coming_is_read(path: Path, log: ConsoleLog):
    (fault,) = log.poll(1.0)
    assert isinstance(fault, SourceFault)
    assert fault.reason == "No such file or directory"
    assert list(log.poll(2.0)) == []
    append(path, "here\n")
    seen = log.poll(3.0)
    assert lines(seen) == ["here"]
    assert restarts(seen) == 0


def test_a_directory_is_a_fault_with_its_reason(path: Path, log: ConsoleLog):
    path.mkdir()
    (fault,) = log.poll(1.0)
    assert isinstance(fault, SourceFault)
    assert fault.reason == "is not a regular file"


def test_a_named_pipe_neither_blocks_nor_is_read(path: Path, log: ConsoleLog):
    os.mkfifo(path)
    (fault,) = log.poll(1.0)
    assert isinstance(fault, SourceFault)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's right to read anything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_one_may_not_read_is_a_fault_until_one_may(path: Path, log: ConsoleLog):
    append(path, "secret\n")
    path.chmod(0)
    with as_nobody():
        (fault,) = log.poll(1.0)
    assert isinstance(fault, SourceFault)
    assert fault.reason == "Permission denied"
    path.chmod(stat.S_IRUSR)
    assert lines(log.poll(2.0)) == ["secret"]


def test_a_cut_file_is_read_anew_with_new_line_numbers(path: Path, log: ConsoleLog):
    append(path, "one\ntwo\nthree\n")
    log.poll(1.0)
    path.write_text("new\n")
    seen = log.poll(2.0)
    assert restarts(seen) == 1
    assert lines(seen) == ["new"]
    assert [one.line for one in seen if isinstance(one, LogLine)] == [1]


def test_a_cut_file_whose_writer_goes_on_at_its_old_place_is_sparse(path: Path, log: ConsoleLog):
    with path.open("w") as writer:
        writer.write("x" * 20_000 + "\n")
        writer.flush()
        log.poll(1.0)
        os.truncate(path, 0)
        assert lines(log.poll(2.0)) == []
        writer.write("after\n")
        writer.flush()
        assert path.stat().st_size > 20_000
        assert lines(log.poll(3.0)) == ["after"]


def test_rotation_reads_the_old_file_to_its_end_and_then_the_new_one(path: Path, log: ConsoleLog):
    append(path, "one\n")
    log.poll(1.0)
    old = path.with_suffix(".1")
    path.rename(old)
    append(old, "last of the old\n")
    append(path, "first of the new\n")
    assert lines(log.poll(2.0)) == ["last of the old"]
    seen = log.poll(3.0)
    assert lines(seen) == ["first of the new"]
    assert restarts(seen) == 1


def test_a_renamed_file_without_successor_goes_on_being_read(path: Path, log: ConsoleLog):
    append(path, "one\n")
    log.poll(1.0)
    old = path.with_suffix(".1")
    path.rename(old)
    assert list(log.poll(2.0)) == []
    append(old, "two\n")
    assert lines(log.poll(3.0)) == ["two"]


def test_deletion_and_return_of_a_longer_file_is_a_restart(path: Path, log: ConsoleLog):
    append(path, "one\n")
    log.poll(1.0)
    path.unlink()
    assert list(log.poll(2.0)) == []
    append(path, "a longer file than before\n")
    seen = log.poll(3.0)
    assert restarts(seen) == 1
    assert lines(seen) == ["a longer file than before"]


def test_a_restart_is_not_lost_where_a_directory_stood_in_between(path: Path, log: ConsoleLog):
    append(path, "one\nhalf")
    log.poll(1.0)
    path.unlink()
    path.mkdir()
    assert isinstance(log.poll(2.0)[0], SourceFault)
    path.rmdir()
    append(path, "another and longer\n")
    seen = log.poll(3.0)
    assert restarts(seen) == 1
    assert lines(seen) == ["half", "another and longer"]


def test_a_renamed_file_is_read_on_while_its_successor_stays_empty(path: Path, log: ConsoleLog):
    append(path, "one\n")
    log.poll(1.0)
    old = path.with_suffix(".1")
    path.rename(old)
    path.touch()
    assert list(log.poll(2.0)) == []
    append(old, "two\n")
    assert lines(log.poll(3.0)) == ["two"]


def test_a_bar_is_seen_before_anything_is_drawn_over_it(path: Path, log: ConsoleLog):
    append(path, "\r 10%|\u2588         | 5/50 [00:05<00:45,  1.00s/it]")
    (bar,) = [one for one in log.poll(1.0) if isinstance(one, Progress)]
    assert (bar.done, bar.total) == (5, 50)
    assert list(log.poll(2.0)) == []


def test_a_large_backlog_is_read_in_bounded_pieces(path: Path, log: ConsoleLog):
    with path.open("wb") as file:
        file.write(b"begin\n")
        file.truncate(2 * MAX_BYTES_A_POLL + 100)
        file.seek(0, os.SEEK_END)
        file.write(b"\nend\n")
    assert lines(log.poll(1.0)) == ["begin"]
    assert lines(log.poll(2.0)) == []
    assert lines(log.poll(3.0)) == ["end"]


def test_a_traceback_at_the_end_is_told_though_no_line_follows(path: Path, log: ConsoleLog):
    append(path, 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n')
    log.poll(1.0)
    assert list(log.poll(2.0)) == []
    append(path, "ValueError: no\n")
    log.poll(3.0)
    (traceback,) = log.poll(4.0)
    assert isinstance(traceback, Traceback)
    assert traceback.frames == ("a.py:f",)


def test_binary_noise_is_read_without_raising(path: Path, log: ConsoleLog):
    path.write_bytes(bytes(range(256)) * 100)
    assert all(isinstance(one, LogLine) for one in log.poll(1.0))


def test_a_log_that_has_ended_is_read_with_its_last_half_line(path: Path):
    append(path, "one\ntwo")
    assert lines(list(read_console(path, 5.0))) == ["one", "two"]


def test_reading_a_log_that_is_not_there_is_an_error(path: Path):
    with pytest.raises(FileNotFoundError):
        list(read_console(path, 5.0))


def text_of_many_steps(steps: int) -> str:
    header = (
        "[INFO|trainer.py:1] 2026-01-02 06:10:29,780 >>   Num examples = 100000\n"
        "[INFO|trainer.py:1] 2026-01-02 06:10:29,780 >>   Total train batch size (w. x) = 10\n"
    )
    row = "{{'loss': 1.5, 'learning_rate': 1e-05, 'epoch': {epoch}}}\n" + "y" * 1000 + "\n"
    return header + "".join(row.format(epoch=n / 10_000) for n in range(1, steps + 1))


def test_in_the_middle_of_a_very_large_log_nothing_is_missed(path: Path):
    text = text_of_many_steps(4_000) + "Killed\n" + text_of_many_steps(4_000)
    path.write_text(text)
    assert path.stat().st_size > 2 * Ends().whole_bytes
    history = History(["^Killed$"])
    for seen in read_console(path, 5.0, patterns=["^Killed$"]):
        history.add(seen)
    snapshot = history.snapshot()
    (hit,) = snapshot.hits["^Killed$"]
    assert hit.line == 8_003
    assert [step.step for step in snapshot.steps] == list(range(1, 4_001))
    assert (snapshot.steps[0].line, snapshot.steps[-1].line) == (8_006, 16_004)


def test_of_a_very_large_log_far_fewer_lines_are_told_than_it_has(path: Path):
    path.write_text(text_of_many_steps(8_000))
    seen = list(read_console(path, 5.0, patterns=[]))
    assert len(lines(seen)) < 4_000
    assert lines(seen)[-1] == "y" * 1000


def test_without_the_rules_patterns_a_large_log_is_read_whole(path: Path):
    path.write_text(("x" * 999 + "\n") * 5_000)
    assert path.stat().st_size > Ends().whole_bytes
    assert len(lines(list(read_console(path, 5.0)))) == 5_000


def test_the_backlog_of_a_log_that_goes_on_is_skimmed_and_what_follows_read(path: Path):
    path.write_text(text_of_many_steps(8_000) + "Killed\n" + text_of_many_steps(4_000))
    follower = ConsoleLog(path, patterns=["^Killed$"])
    seen = [*follower.poll(1.0)]
    assert [one.line for one in seen if isinstance(one, LogLine) and one.text == "Killed"] == [
        16_003
    ]
    append(path, "more\n")
    assert lines(follower.poll(2.0)) == ["more"]
    follower.close()


def test_a_large_backlog_that_is_not_read_at_once_goes_on_with_the_next_poll(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "BACKLOG_BYTES_A_POLL", 4 * 1024 * 1024)
    path.write_text(text_of_many_steps(8_000))
    follower = ConsoleLog(path, patterns=["^Killed$"])
    counts = []
    for moment in range(6):
        seen = follower.poll(moment)
        counts.append(sum(isinstance(one, TrainStep) for one in seen))
    follower.close()
    assert sum(counts) == 8_000
    assert counts[0] < 8_000


def test_a_log_that_is_replaced_while_its_backlog_is_read_ends_and_begins_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "BACKLOG_BYTES_A_POLL", 1024 * 1024)
    path.write_text(text_of_many_steps(8_000))
    follower = ConsoleLog(path, patterns=["^Killed$"])
    first = follower.poll(1.0)
    path.write_text("new\n")
    seen = follower.poll(2.0)
    follower.close()
    assert restarts([*first, *seen]) == 1
    assert lines(seen)[-1] == "new"


def test_a_packed_log_is_read_as_the_log_itself(path: Path):
    text = text_of_many_steps(300) + "last"
    packed = path.with_suffix(".log.gz")
    packed.write_bytes(gzip.compress(text[:5000].encode()) + gzip.compress(text[5000:].encode()))
    path.write_text(text)
    assert list(read_console(packed, 5.0, "log")) == list(read_console(path, 5.0, "log"))


def test_a_large_packed_log_is_skimmed(path: Path):
    text = text_of_many_steps(4_000) + "Killed\n" + text_of_many_steps(4_000)
    path.write_bytes(gzip.compress(text.encode(), 1))
    seen = list(read_console(path, 5.0, patterns=["^Killed$"]))
    assert [one.line for one in seen if isinstance(one, LogLine) and one.text == "Killed"] == [
        8_003
    ]


def test_of_a_packed_log_that_is_cut_short_the_rest_is_read_and_the_fault_told(path: Path):
    packed = gzip.compress(text_of_many_steps(3000).encode())
    path.write_bytes(packed[: len(packed) // 2])
    *seen, fault = read_console(path, 5.0)
    assert len(lines(seen)) > 100
    assert isinstance(fault, SourceFault)
    assert fault.reason == "ends before its content does"


def test_of_a_packed_log_that_is_damaged_the_rest_is_read_and_the_fault_told(path: Path):
    packed = bytearray(gzip.compress(os.urandom(400_000).hex().encode()))
    middle = len(packed) // 2
    packed[middle : middle + 100] = b"\xff" * 100
    path.write_bytes(packed)
    *_, fault = read_console(path, 5.0)
    assert isinstance(fault, SourceFault)
    assert fault.reason.startswith("is damaged")


def test_what_is_packed_to_burst_is_read_only_so_far(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gzipped, "MAX_UNPACKED_BYTES", 10_000_000)
    path.write_bytes(gzip.compress(b"x\n" * 10_000_000))
    *seen, fault = read_console(path, 5.0, patterns=[])
    assert seen
    assert isinstance(fault, SourceFault)
    assert fault.reason == "unpacks to more than is read"
