"""Results of benchmark runs on disk: one JSON file a run, written once, never half.

Two processes may work through the same list side by side: a run that one of them has claimed is
left out by the other. The claim of a process that has ended does not count.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from napari_spss import __version__ as VERSION
from napari_spss.core.base import write_atomically

Record = dict[str, Any]

_GRACE_S = 10.0  # a claim that cannot be read may be one that is just being written
_LONGEST_S = 24 * 3600.0  # of a run; a claim of another computer does not count for longer
_SAME_START_S = 2.0


def stored(
    path: Path,
    compute: Callable[[], Record],
    *,
    data: str,
    is_complete: Callable[[], bool] = lambda: True,
) -> Record | None:
    """Read a result; or compute and store it, with version, commit and hash of the data.

    Parameters
    ----------
    path : Path
        The JSON file.
    compute : callable
        Gives the record.
    data : str
        Hash of the data, see `data_hash`.
    is_complete : callable
        Whether what belongs to the record beside its file is there as well; else it is computed
        again.

    Returns
    -------
    dict or None
        None if another process is computing it.
    """
    if path.is_file() and is_complete():
        return read(path)
    with claimed(path) as is_ours:
        if not is_ours:
            return None
        if path.is_file() and is_complete():  # stored since we looked
            return read(path)
        record = compute() | {"version": VERSION, "commit": commit(), "data_hash": data}
        write(path, record)
        return record


def read(path: Path) -> Record:
    """Read a record."""
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


def write(path: Path, record: Record) -> None:
    """Write a record, atomically; its lists of numbers stay on one line each."""
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items()]
    write_atomically(path, "{\n" + ",\n".join(lines) + "\n}\n")


def number(value: float) -> float | None:
    """Round a score for a record; JSON has no nan, which becomes None."""
    return None if math.isnan(value) else round(float(value), 6)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Claim the file ``path`` for this process while the block runs; False if another has it."""
    claim = path.with_name(f"{path.name}.claim")
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_stale(claim):
        claim.unlink(missing_ok=True)
    try:
        with claim.open("x", encoding="utf-8") as stream:
            json.dump(_this_process(), stream)
    except FileExistsError:
        yield False
        return
    try:
        yield True
    finally:
        claim.unlink(missing_ok=True)


def _this_process() -> dict[str, Any]:
    started_s = psutil.Process().create_time()
    return {"host": socket.gethostname(), "pid": os.getpid(), "started_s": started_s}


def _is_stale(claim: Path) -> bool:
    """Whether the process that made the claim has ended, or nobody can know."""
    try:
        age_s = time.time() - claim.stat().st_mtime
        owner = json.loads(claim.read_text(encoding="utf-8"))
        pid, host, started_s = int(owner["pid"]), owner["host"], float(owner["started_s"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        return age_s > _GRACE_S
    if host != socket.gethostname():
        return age_s > _LONGEST_S
    try:
        return bool(abs(psutil.Process(pid).create_time() - started_s) > _SAME_START_S)
    except psutil.NoSuchProcess:
        return True


@cache
def commit() -> str:
    """Commit of the code when first asked, "-dirty" behind it if a source differs; or "unknown"."""
    git = ["git", "-C", str(Path(__file__).parent)]
    found = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if not found:
        return "unknown"
    changed = subprocess.run(
        [*git, "status", "--porcelain", "-uno", "--", "../src/napari_spss/core", "*.py"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return f"{found}-dirty" if changed else found


def data_hash(images: Iterable[np.ndarray]) -> str:
    """Short hash of the pixels of images, in their order."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:16]
