"""Following a console log, and reading one whole."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diagnostics.observations import (
    LogLine,
    Observation,
    Progress,
    RunFact,
    SourceFault,
    Traceback,
    TrainStep,
)
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


@pytest.mark.parametrize("width", [10, 3000])
def test_of_a_very_large_log_both_ends_are_whole_and_lines_are_counted_between(
    path: Path, width: int
):
    header = (
        "[INFO|trainer.py:1] 2026-01-02 06:10:29,780 >>   Num examples = 1000\n"
        "[INFO|trainer.py:1] 2026-01-02 06:10:29,780 >>   Total train batch size (w. x) = 10\n"
    )
    count = 6_000_000 // (width + 1)
    path.write_text(header + (("y" * width) + "\n") * count + "{'loss': 1.5, 'epoch': 0.5}\nend\n")
    seen: list[Observation] = list(read_console(path, 5.0, patterns=()))
    found = [one for one in seen if isinstance(one, LogLine)]
    assert (found[0].line, found[-1].text, found[-1].line) == (1, "end", count + 4)
    (step,) = [one for one in seen if isinstance(one, TrainStep)]
    assert (step.step, step.line) == (50, count + 3)
    assert len(found) < count
