"""Atomic writes, on real files, read-only places and a full disk."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from diagnostics.errors import StoreError
from diagnostics.runs.files import (
    MAX_JSON_BYTES,
    make_private_folder,
    read_json,
    write_atomic,
    write_json,
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_new_file_is_private_and_nothing_else_is_left(tmp_path):
    write_atomic(tmp_path / "a", b"text")
    assert (tmp_path / "a").read_bytes() == b"text"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_new_file_gets_the_mode_asked_for_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        write_atomic(tmp_path / "a", b"", mode=0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_replaced_file_keeps_its_mode(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_bytes(b"old")
    path.chmod(0o664)
    write_atomic(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o664)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_replaced_file_keeps_its_owner(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_bytes(b"old")
    os.chown(path, 65534, 65534)
    write_atomic(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


def test_a_symbolic_link_stays_one_and_its_target_is_written(tmp_path):
    (tmp_path / "configs").mkdir()
    real = tmp_path / "configs" / "train.yaml"
    real.write_bytes(b"old")
    link = tmp_path / "train.yaml"
    link.symlink_to("configs/train.yaml")
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file(disk):
    path = disk / "train.yaml"
    path.write_bytes(b"old")
    with pytest.raises(StoreError, match=r"train\.yaml: cannot be written: No space left"):
        write_atomic(path, b"x" * 128 * 1024)
    assert path.read_bytes() == b"old"
    assert [path.name for path in disk.iterdir()] == ["train.yaml"]


def test_a_read_only_disk_leaves_the_old_file(disk):
    path = disk / "train.yaml"
    path.write_bytes(b"old")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match=r"train\.yaml: cannot be written"):
        write_atomic(path, b"new")
    with pytest.raises(StoreError, match="Read-only file system"):
        write_atomic(disk / "another", b"new")
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_or_file_leaves_the_old_file(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(StoreError, match="read-only"):
        write_atomic(path, b"new")
    path.chmod(0o644)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StoreError, match="Permission denied"):
            write_atomic(path, b"new")
        assert path.read_bytes() == b"old"
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("name", ["file/train.yaml", "gone/train.yaml", "n" * 250])
def test_a_place_that_cannot_be_is_one_clear_error(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written: ") as caught:
        write_atomic(tmp_path / name, b"")
    assert caught.value.remedy.startswith("nothing was changed")


def test_a_folder_in_the_place_of_a_file_is_left_alone(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        write_atomic(tmp_path / "a", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_json_comes_back_with_bytes_that_are_not_utf_8(tmp_path):
    value = {"name": "训练", "path": os.fsdecode(b"/data/\xd6\xd0")}
    write_json(tmp_path / "a", value)
    assert read_json(tmp_path / "a") == value


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"a": 1}\0', b"null"],
)
def test_what_is_no_json_object_is_none(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    assert read_json(tmp_path / "a") is None


def test_a_file_too_large_or_absent_or_a_folder_is_none(tmp_path):
    large = json.dumps({"a": "x" * MAX_JSON_BYTES})
    (tmp_path / "a").write_text(large)
    assert read_json(tmp_path / "a") is None
    assert read_json(tmp_path / "a", max_bytes=len(large)) is not None
    assert read_json(tmp_path / "gone") is None
    assert read_json(tmp_path) is None


def test_a_private_folder_is_made_with_its_parents(tmp_path):
    make_private_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="set LLAMAVET_STATE_DIR"):
        make_private_folder(tmp_path / "file" / "b")
