"""Writing files: as a whole or not at all, and with errors that say what to do."""

from __future__ import annotations

import codecs
import contextlib
import errno
import filecmp
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import InputError, RunError

STALE_FILES = ".*." + "[0-9a-f]" * 32 + ".tmp"
"""Pattern of the names that half-written files have after a crash."""

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_OPEN_ELSEWHERE = {5, 32, 33, 1224}
"""Codes of Windows: access denied, in use, locked, mapped."""


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
        elif isinstance(error, FileNotFoundError):
            text = f"{path} could not be written: there is no such folder; choose one that exists."
        else:
            is_open = getattr(error, "winerror", None) in _OPEN_ELSEWHERE
            closed = "close it in other programs, such as a spreadsheet, or " if is_open else ""
            text = f"{path} could not be written ({error}); {closed}choose a writable folder."
        raise RunError(text) from error


@contextlib.contextmanager
def replacing(path: Path, *, makes_folder: bool = True) -> Iterator[Path]:
    """Give a temporary path; what is written there takes the place of ``path`` at the end.

    If anything fails, ``path`` stays as it was and the temporary file goes.

    Parameters
    ----------
    path : Path
        The file.
    makes_folder : bool
        Whether its folder is made if need be; otherwise it must be there.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written; ``__cause__`` is the system's error.
    """
    # Not tempfile: its files are private, and these are shared between colleagues.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with write_errors(path):
            if makes_folder:
                path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes, *, makes_folder: bool = True) -> None:
    """Write a file, text in UTF-8, as a whole or not at all; see `replacing`.

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    with replacing(path, makes_folder=makes_folder) as temporary:
        temporary.write_bytes(data)


def remove_stale_files(folder: Path) -> None:
    """Remove what a crash left half written in a folder that nobody else writes into."""
    for path in folder.glob(STALE_FILES):
        path.unlink(missing_ok=True)


def check_links(folder: Path, names: Iterable[str]) -> None:
    """Refuse what a link leads out of a folder, so that nothing else is read or written.

    The folder may be a link itself.

    Raises
    ------
    InputError
        If one of the names is that of such a link, or of a folder that holds one.
    """
    root = folder.resolve()
    for name in names:
        top = folder / name
        for path in (top, *(top.rglob("*") if top.is_dir() else ())):
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise InputError(
                    f"{path} is a link that leads out of {folder}; put there what it leads to."
                )


def stamp_of(path: Path) -> str:
    """Size and time of change of a file, or of all files in a folder, as a short text.

    What has the same stamp was not written since; nothing is read.
    """
    found = hashlib.sha256()
    for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
        state = one.stat()
        if not one.is_dir():
            place = one.relative_to(path).as_posix()
            found.update(f"{place} {state.st_size} {state.st_mtime_ns};".encode(errors="replace"))
    return found.hexdigest()[:16]


def text_encoding(data: bytes) -> str:
    """Name the encoding of a text file: UTF-8 unless its byte order mark says UTF-16."""
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_wide else "utf-8-sig"


def set_aside(path: Path) -> Path:
    """Copy a file that will be overwritten to a free name, unless that was done before."""
    number = 1
    try:
        while (kept := path.with_name(f"{path.stem}.unreadable-{number}{path.suffix}")).exists():
            if filecmp.cmp(path, kept, shallow=False):
                return kept
            number += 1
        shutil.copyfile(path, kept)
    except OSError:
        return path
    return kept
