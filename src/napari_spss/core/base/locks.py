"""One holder of a folder at a time: the system's lock on a file in it, and a note on who holds it.

The system frees the lock of a process that ends, however it ends, so that no lock file ever blocks.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from .errors import InputError, RunError
from .files import write_atomically, write_errors
from .records import Record, read_record

_LOCK, _OWNER = ".lock", ".lock.json"
LOCK_FILES = (_LOCK, _OWNER)
"""Names in a folder that is held."""

# A holder that ends removes its file; who had opened that one just before tries again.
_PATIENCE_S, _RETRY_S = 0.05, 0.01


class _Owner(Record):
    """Who holds a folder."""

    pid: int
    host: str
    since: datetime


class FolderLocked(InputError):
    """Somebody else holds a folder, or, with ``is_ours``, this very process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_ours = False
        try:
            owner = read_record(_Owner, folder / _OWNER, remedy="")
        except InputError:
            who, remedy = "another process", ""
        else:
            is_here = owner.host == socket.gethostname()
            self.is_ours = is_here and owner.pid == os.getpid()
            who = "this program" if self.is_ours else f"process {owner.pid}"
            who += "" if is_here else f" on the computer {owner.host!r}"
            who += f" since {owner.since:%Y-%m-%d %H:%M}"
            remedy = "" if is_here else f", or delete {folder / _LOCK} if that computer is off"
        super().__init__(
            f"{folder} is in use by {who}; wait for it or close it there, or choose another "
            f"folder{remedy}."
        )


class FolderLock:
    """Holds a folder from :meth:`acquire`, when it must exist, to :meth:`release`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / _LOCK
        self._lock: BaseFileLock | None = None
        self._stamp: tuple[int, int] | None = None

    @property
    def is_held(self) -> bool:
        """Whether the lock was acquired, and still stands in the folder."""
        if self._lock is None:
            return False
        try:
            return _stamp(self._path) == self._stamp
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # the disk does not answer, which says nothing of the lock

    @property
    def is_lost(self) -> bool:
        """Whether the lock was acquired and its file is gone, so that another may have come."""
        return self._lock is not None and not self.is_held

    def acquire(self) -> None:
        """Hold the folder.

        Raises
        ------
        FolderLocked
            If somebody else does, in this process or another one.
        OSError
            If the folder cannot be written.
        """
        self.release()  # one that was lost with the folder
        # colleagues may find the file that a crash left behind
        lock: BaseFileLock = FileLock(self._path, mode=0o666, thread_local=False)
        try:
            lock.acquire(timeout=_PATIENCE_S, poll_interval=_RETRY_S)
        except Timeout:
            raise FolderLocked(self._folder) from None
        self._lock, self._stamp = lock, _stamp(self._path)
        owner = _Owner(
            pid=os.getpid(), host=socket.gethostname(), since=datetime.now().astimezone()
        )
        with contextlib.suppress(RunError):  # it only serves a message
            write_atomically(self._folder / _OWNER, owner.model_dump_json(), makes_folder=False)

    def release(self) -> None:
        """Let the folder go; harmless if it is not held."""
        is_held, lock = self.is_held, self._lock
        self._lock = None
        if lock is None:
            return
        if is_held:
            with contextlib.suppress(OSError):
                (self._folder / _OWNER).unlink(missing_ok=True)
                self._path.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def hold_folder(folder: Path, *, may_be_ours: bool = False) -> Iterator[FolderLock]:
    """Make a folder if need be and hold it; what was made and stayed empty goes at the end.

    With ``may_be_ours`` it is as good if another part of this process holds it.

    Raises
    ------
    FolderLocked
        If somebody else holds it.
    RunError
        If it cannot be made or written.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    lock = FolderLock(folder)
    try:
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except FolderLocked as error:
                if not (may_be_ours and error.is_ours):
                    raise
        yield lock
    finally:
        lock.release()
        for one in made:
            with contextlib.suppress(OSError):
                one.rmdir()


@contextlib.contextmanager
def turn_in_folder(folder: Path, kind: str) -> Iterator[None]:
    """Wait until no other process does work of a kind in a folder, which is made if need be.

    Raises
    ------
    RunError
        If it cannot be made or written.
    """
    lock: BaseFileLock = FileLock(folder / f".{kind}.lock", mode=0o666, thread_local=False)
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(poll_interval=_RETRY_S)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat(follow_symlinks=False)
    return found.st_dev, found.st_ino
