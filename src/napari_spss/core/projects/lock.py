"""A lock file that says who has a project open; one left by a dead process does not count."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from ..base import InputError

__all__ = ["LOCK_FILE", "LockOwner", "ProjectLock", "ProjectLocked"]

LOCK_FILE = ".lock"

_GRACE_S = 10.0  # a lock that cannot be read may be one that is just being written
_SAME_START_S = 2.0
_ours: set[str] = set()


@dataclass(frozen=True)
class LockOwner:
    """The process that holds a lock.

    Parameters
    ----------
    pid : int
        Process id.
    host : str
        Name of the computer.
    process_start_s, since_s : float
        When the process started and when it took the lock, in seconds since 1970.
    token : str
        Tells locks of one process apart.
    """

    pid: int
    host: str
    process_start_s: float
    since_s: float
    token: str

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this computer."""
        return self.host == socket.gethostname()

    @property
    def is_dead(self) -> bool:
        """Whether the process has certainly ended; never certain of another computer's."""
        if not self.is_here:
            return False
        if self.pid == os.getpid():
            return self.token not in _ours
        try:
            started_s: float = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False
        # Process ids are used again, after a restart of the computer for instance.
        return abs(started_s - self.process_start_s) > _SAME_START_S


class ProjectLocked(InputError):
    """The project is open elsewhere.

    Parameters
    ----------
    folder : Path
        The project's folder.
    owner : LockOwner or None
        Who has it open; None if the lock does not say.
    """

    def __init__(self, folder: Path, owner: LockOwner | None) -> None:
        self.folder = folder
        self.owner = owner
        super().__init__(_message(folder, owner), field="project")


def _message(folder: Path, owner: LockOwner | None) -> str:
    lock = folder / LOCK_FILE
    if owner is None:
        return f"{folder} is open elsewhere; close it there, or delete {lock} if it is not."
    since = f"{datetime.fromtimestamp(owner.since_s):%Y-%m-%d %H:%M}"
    if not owner.is_here:
        return (
            f"{folder} has been open on the computer {owner.host!r} since {since}; close it "
            f"there, or delete {lock} if it is not open any more."
        )
    if owner.pid == os.getpid():
        return f"{folder} is already open in this napari; close it there, or choose another folder."
    return (
        f"{folder} has been open in another napari (process {owner.pid}) since {since}; "
        "close it there, or choose another folder."
    )


class ProjectLock:
    """Holds the lock of a folder from :meth:`acquire` to :meth:`release`.

    Parameters
    ----------
    folder : Path
        Must exist when the lock is acquired.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = folder / LOCK_FILE
        self._folder = folder
        self._clock = clock
        self._token = ""

    @property
    def is_held(self) -> bool:
        """Whether the lock on disk is ours."""
        if not self._token:
            return False
        owner = self._read()
        return owner is not None and owner.token == self._token

    @property
    def is_lost(self) -> bool:
        """Whether we had taken the lock, and somebody took it away."""
        return bool(self._token) and not self.is_held

    def acquire(self, *, take_over: bool = False) -> None:
        """Take the lock.

        Parameters
        ----------
        take_over : bool
            Take it even if somebody else holds it.

        Raises
        ------
        ProjectLocked
            If a living process, or another computer, holds it.
        OSError
            If the folder cannot be written.
        """
        if not take_over and self.path.exists() and not self._is_stale():
            raise ProjectLocked(self._folder, self._read())
        owner = LockOwner(
            pid=os.getpid(),
            host=socket.gethostname(),
            process_start_s=psutil.Process().create_time(),
            since_s=self._clock(),
            token=uuid.uuid4().hex,
        )
        self._remove()
        try:
            with self.path.open("x", encoding="utf-8") as stream:
                json.dump(asdict(owner), stream)
        except FileExistsError as error:  # somebody was faster
            raise ProjectLocked(self._folder, self._read()) from error
        self._token = owner.token
        _ours.add(owner.token)

    def release(self) -> None:
        """Give the lock back; one that was taken over stays. Harmless if it is not held.

        Raises
        ------
        OSError
            If the file cannot be removed. The lock is dead all the same.
        """
        is_held = self.is_held
        _ours.discard(self._token)
        self._token = ""
        if is_held:
            self._remove()

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _read(self) -> LockOwner | None:
        try:
            return LockOwner(**json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _is_stale(self) -> bool:
        """Whether the process that left the lock is dead, or nobody knows which one it was."""
        owner = self._read()
        if owner is not None:
            return owner.is_dead
        try:
            age_s = self._clock() - self.path.stat().st_mtime
        except OSError:
            return True
        return age_s > _GRACE_S
