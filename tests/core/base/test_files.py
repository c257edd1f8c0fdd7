"""Files are replaced as a whole, and failures say what to do."""

from __future__ import annotations

import errno
import os

import pytest

from napari_spss.core.base import STALE_FILES, RunError, replacing, write_atomically, write_errors


def test_a_file_is_replaced_and_its_folder_made(tmp_path):
    path = tmp_path / "new" / "folder" / "note.txt"
    write_atomically(path, "first")
    write_atomically(path, "µm\n")
    assert path.read_text(encoding="utf-8") == "µm\n"
    assert os.listdir(path.parent) == ["note.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch, number):
    path = tmp_path / "note.txt"
    write_atomically(path, "old")

    def fail(*_):
        raise OSError(number, "full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RunError, match=r"the disk is full: .*note\.txt .*; free some space\."):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["note.txt"]


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file.note\.txt could not be written .*writable folder"):
        write_atomically(tmp_path / "file" / "note.txt", "text")


def test_a_folder_that_must_be_there_is_not_made(tmp_path):
    with pytest.raises(RunError, match=r"note\.txt could not be written: there is no such folder"):
        write_atomically(tmp_path / "none" / "note.txt", "text", makes_folder=False)
    assert not (tmp_path / "none").exists()


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "note.txt"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
        assert list(tmp_path.glob(STALE_FILES)) == [first]
    assert path.read_text() == "first"


def test_bytes_are_written_as_they_are(tmp_path):
    write_atomically(tmp_path / "data", b"\xff\r\n")
    assert (tmp_path / "data").read_bytes() == b"\xff\r\n"


def test_other_errors_pass_and_leave_nothing_behind(tmp_path):
    path = tmp_path / "note.txt"
    write_atomically(path, "old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["note.txt"]


def test_an_error_of_writing_keeps_its_cause(tmp_path):
    cause = PermissionError(errno.EACCES, "denied")
    with pytest.raises(RunError, match="denied") as e, write_errors(tmp_path / "x"):
        raise cause
    assert e.value.__cause__ is cause
