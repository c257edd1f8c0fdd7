"""Memory: arrays that may be larger than it, and how what is freed is used again."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import RunError

_IN_MEMORY_BYTES = 1 << 26
_ROOM_BYTES = 1 << 28  # that stay free on the disk
_PART_PX = 1 << 22
# names and numbers of glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_HEAP = {_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: 2**25, _M_TRIM_THRESHOLD: 2**27}

_files: weakref.WeakKeyDictionary[mmap.mmap, int] = weakref.WeakKeyDictionary()


def keep_freed_memory() -> None:
    """Let what is freed serve what comes next, in all threads, where the C library is glibc's.

    Else each thread holds memory of its own, as those that unpack chunks of Zarr. Large parts go
    back to the system, and their pages come anew: for each tile that takes a sixth of the time of
    a forward pass.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            for option, value in _HEAP.items():
                ctypes.CDLL(None).mallopt(option, value)


def scratch_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return zeros: in memory or, where they are many, in a file that goes with the array."""
    if math.prod(shape) * np.dtype(dtype).itemsize <= _IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix="napari-spss-") as file:
        array = np.memmap(file, dtype=dtype, mode="w+", shape=shape)
        mapped = _mapped(array)
        if mapped is not None and hasattr(os, "pwrite"):
            _files[mapped] = os.dup(file.fileno())
            weakref.finalize(mapped, os.close, _files[mapped])
        return array


def write_into(target: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
    """Write values of the same shape into `scratch_zeros`, or a view of it, and forget its pages.

    Where that is possible they go to the file straight away: it takes half the time, since the
    system need not map a page for each 4 kB.
    """
    mapped = _mapped(target)
    if mapped is not None and mapped in _files and target.flags.c_contiguous:
        # the array begins where the file does
        start = target.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
        data = np.ascontiguousarray(values, target.dtype).reshape(-1).view(np.uint8).data
        while data:
            n_bytes = os.pwrite(_files[mapped], data, start)
            data, start = data[n_bytes:], start + n_bytes
    else:
        target[...] = values
    forget_pages(target)


def check_room(array: npt.NDArray[Any], n_bytes: int) -> None:
    """See that so much can be written into `scratch_zeros`: a full disk would end the program.

    Raises
    ------
    RunError
        If the array is in a file, and there is not enough room on its disk.
    """
    if not isinstance(array, np.memmap):
        return
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < n_bytes + _ROOM_BYTES:
        raise RunError(
            f"maps and labels do not fit into {folder}, where {free / 1e9:.1f} GB are free; free "
            "some space there, or set the variable TMPDIR to another folder and start again."
        )


def forget_pages(array: npt.NDArray[Any]) -> None:
    """Take what was written into `scratch_zeros`, or a view of it, out of memory; it is on disk."""
    mapped = _mapped(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _mapped(array: npt.NDArray[Any]) -> mmap.mmap | None:
    """The mapped file of `scratch_zeros`, or of a view of it; None in memory."""
    base: Any = array if isinstance(array, np.memmap) and array.mode == "w+" else None
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    return base


def in_parts(*planes: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """Go through planes of one shape by some rows at a time, whose pages are then forgotten."""
    n_parts = planes[0].size // _PART_PX + 1
    for parts in zip(*(np.array_split(one, n_parts) for one in planes), strict=True):
        yield parts
        for part in parts:
            forget_pages(part)
