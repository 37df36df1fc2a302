"""A config's bytes: read whole, but neither without end nor waiting for nobody."""

import os
import threading
from pathlib import Path

import pytest

from diagnostics.config.document import MAX_BYTES
from diagnostics.errors import ConfigError
from diagnostics.runs.config_file import read_config_bytes


def test_a_file_is_read_whole(tmp_path: Path):
    (tmp_path / "train.yaml").write_bytes(b"stage: sft\r\n\xff")

    assert read_config_bytes(tmp_path / "train.yaml") == b"stage: sft\r\n\xff"


def test_a_pipe_that_nobody_writes_to_is_empty_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "train.yaml")

    assert read_config_bytes(tmp_path / "train.yaml") == b""


def test_a_pipe_is_read_until_its_writer_closes_it():
    reading, writing = os.pipe()
    written = threading.Event()

    def write() -> None:
        written.wait()
        os.write(writing, b"stage: sft\n")
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        threading.Timer(0.05, written.set).start()
        assert read_config_bytes(Path(f"/dev/fd/{reading}")) == b"stage: sft\n"
    finally:
        written.set()
        writer.join()
        os.close(reading)


def test_of_a_file_without_end_no_more_is_read_than_tells_that_it_is_too_large():
    assert len(read_config_bytes(Path("/dev/zero"))) == MAX_BYTES + 1


def test_what_cannot_be_read_is_told_with_its_path_and_what_to_do(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory; name a file"):
        read_config_bytes(tmp_path, "name a file")
