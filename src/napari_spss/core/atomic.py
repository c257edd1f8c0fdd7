"""Writing files: as a whole or not at all, and with errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import RunError

__all__ = ["replacing", "write_atomically", "write_errors"]

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors in writing ``path`` into one that the user can act on.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            text = f"the disk is full: {path} could not be written; free some space."
        else:
            text = f"{path} could not be written ({error}); choose a writable folder."
        raise RunError(text) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path; what is written there takes the place of ``path`` at the end.

    The folder is made if need be. If anything fails, ``path`` stays as it was and the temporary
    file goes.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file in UTF-8, as a whole or not at all.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
