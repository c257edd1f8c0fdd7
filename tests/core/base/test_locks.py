"""Locks of folders: one holder, told by name, and none that outlives its process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest

from napari_spss.core.base import LOCK_FILES, FolderLock, FolderLocked, RunError, hold_folder

LOCK, OWNER = LOCK_FILES

# Ask for the folders of standard input, a line each; say what came of it; hold until the next line.
HOLD = """
import sys
from pathlib import Path
from napari_spss.core.base import FolderLocked, hold_folder
for line in sys.stdin:
    try:
        with hold_folder(Path(line.strip())):
            print("held", flush=True)
            sys.stdin.readline()
    except FolderLocked as error:
        print(error, flush=True)
        sys.stdin.readline()
    print("free", flush=True)
"""


class Other:
    """Another process that can hold folders."""

    def __init__(self):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=pipe, stdout=pipe, text=True, bufsize=1
        )

    def ask(self, text):
        self.process.stdin.write(f"{text}\n")

    def answer(self):
        return self.process.stdout.readline().strip()


@pytest.fixture
def others():
    with contextlib.ExitStack() as stack:

        def start():
            other = Other()
            stack.callback(other.process.communicate)
            return other

        yield start


def test_exactly_one_of_two_processes_holds_a_folder(tmp_path, others):
    first, second = others(), others()
    for number in range(100):
        folder = tmp_path / str(number)
        if number % 3 == 0:  # what a crash leaves behind
            folder.mkdir()
            (folder / LOCK).write_text("{")
        for one in (first, second):
            one.ask(folder)
        said = [one.answer() for one in (first, second)]
        assert said.count("held") == 1, said
        for one in (first, second):
            one.ask("")
        assert [one.answer() for one in (first, second)] == ["free", "free"]
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_who_holds_it_is_told(tmp_path, others):
    other = others()
    other.ask(tmp_path)
    assert other.answer() == "held"
    with pytest.raises(
        FolderLocked, match=rf"in use by process {other.process.pid} since 20\d\d-.* close it there"
    ):
        FolderLock(tmp_path).acquire()
    other.ask("")
    assert other.answer() == "free"
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert lock.is_held
    lock.release()


def test_a_killed_holder_does_not_block(tmp_path, others):
    other = others()
    other.ask(tmp_path)
    assert other.answer() == "held"
    other.process.kill()
    other.process.wait()
    assert (tmp_path / OWNER).exists()
    with hold_folder(tmp_path) as lock:
        assert lock.is_held
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()


def test_a_holder_on_another_computer_is_told_with_the_way_out(tmp_path):
    with hold_folder(tmp_path):
        owner = {"pid": 7, "host": "elsewhere", "since": "2026-01-02T03:04:05+01:00"}
        (tmp_path / OWNER).write_text(json.dumps(owner))
        with pytest.raises(
            FolderLocked,
            match=r"process 7 on the computer 'elsewhere' since 2026-01-02 03:04.*\.lock",
        ):
            FolderLock(tmp_path).acquire()


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b"[" * 9999, b'{"pid": NaN}', b'{"pid": 1, "host": 2}']
)
def test_a_note_that_cannot_be_read_names_nobody(tmp_path, content):
    with hold_folder(tmp_path):
        (tmp_path / OWNER).write_bytes(content)
        with pytest.raises(FolderLocked, match="in use by another process"):
            FolderLock(tmp_path).acquire()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are Unix's")
def test_pipes_in_place_of_the_files_do_not_block(tmp_path):
    os.mkfifo(tmp_path / LOCK)
    with contextlib.suppress(RunError), hold_folder(tmp_path):  # some versions refuse a pipe
        pass
    (tmp_path / LOCK).unlink(missing_ok=True)
    with hold_folder(tmp_path):
        (tmp_path / OWNER).unlink()
        os.mkfifo(tmp_path / OWNER)
        with pytest.raises(FolderLocked, match="in use by another process"):
            FolderLock(tmp_path).acquire()


@pytest.mark.parametrize("name", ["", "deep/er"])
def test_a_folder_that_stayed_empty_goes_again(tmp_path, name):
    folder = tmp_path / "new" / name
    with hold_folder(folder) as lock:
        assert lock.is_held
    assert not list(tmp_path.iterdir())
    with hold_folder(folder):
        (folder / "kept").touch()
    assert os.listdir(folder) == ["kept"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    told = r"file could not be written .*writable folder"
    with pytest.raises(RunError, match=told), hold_folder(tmp_path / "file"):
        pass
    assert (tmp_path / "file").exists()


def test_a_lock_without_its_file_is_lost_and_leaves_that_of_another(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert not first.is_lost
    first.acquire()
    (tmp_path / LOCK).unlink()
    assert first.is_lost
    second.acquire()
    assert first.is_lost
    assert second.is_held
    first.release()
    assert second.is_held
    second.release()
    assert not list(tmp_path.iterdir())
