"""Painted labels of a project: a TIFF per painted slice, so that only what changed is written."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..base import InputError, set_aside, write_atomically

PAINTED_FOLDER = "painted"

_NAME = re.compile(r"slice_(\d+)\.tif")


class PaintedSlices:
    """Labels on disk, by slice, and those that could not be written yet.

    The folder is made when the first slice is written. Names of files begin with the prefix, where
    there are several such in a folder.
    """

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self._folder, self._prefix = folder, prefix
        self._digests: dict[int, str] = {}
        self._waiting: dict[int, NDArray[np.integer] | None] = {}

    @property
    def waiting(self) -> dict[int, NDArray[np.integer] | None]:
        """Slices that were noted, and are not on disk yet."""
        return dict(self._waiting)

    def note(self, slices: Mapping[int, NDArray[np.integer] | None]) -> None:
        """Take slices that the next `write` is to bring to disk; the arrays must not change."""
        self._waiting.update(slices)

    def write(self) -> tuple[str, ...]:
        """Write what waits, as far as it changed; nothing but 0, or None, removes the file.

        What cannot be written keeps waiting for the next time.

        Raises
        ------
        RunError
            If a file cannot be written.
        OSError
            If the folder cannot be made, or a file cannot be removed.
        """
        changed = []
        for z, labels in sorted(self._waiting.items()):
            array = None if labels is None or not np.any(labels) else np.ascontiguousarray(labels)
            digest = "" if array is None else _digest(array)
            path = self._path(z)
            if self._digests.get(z, "") != digest or path.exists() != (array is not None):
                if array is None:
                    path.unlink(missing_ok=True)
                else:
                    self._folder.mkdir(exist_ok=True)
                    write_atomically(path, _encoded(array), makes_folder=False)
                self._digests[z] = digest
                changed.append(f"{self._folder.name}/{path.name}")
            del self._waiting[z]
        return tuple(changed)

    def read(
        self, stack_shape: tuple[int, int, int] | None = None
    ) -> tuple[dict[int, NDArray[np.integer]], list[str]]:
        """Read all slices, and say which ones cannot be read; their files are kept aside.

        The labels must fit the image, (Z, Y, X), if its shape is given.
        """
        labels: dict[int, NDArray[np.integer]] = {}
        problems = []
        is_there = self._folder.is_dir()
        paths = sorted(self._folder.glob(f"{self._prefix}slice_*.tif")) if is_there else []
        for path in paths:
            found = _NAME.fullmatch(path.name.removeprefix(self._prefix))
            if found is None:
                continue
            z = int(found.group(1))
            try:
                if stack_shape is not None and z >= stack_shape[0]:
                    raise InputError(f"{path} is of no slice: the image has {stack_shape[0]}.")
                array = _read(path, None if stack_shape is None else stack_shape[1:])
            except InputError as error:
                self._digests.pop(z, None)
                kept = set_aside(path).name
                problems.append(f"{error} It is kept as {kept}; its labels are missing.")
                continue
            labels[z] = array
            self._digests[z] = _digest(array)
        return labels, problems

    def _path(self, z: int) -> Path:
        return self._folder / f"{self._prefix}slice_{z:05d}.tif"


def _read(path: Path, shape: tuple[int, int] | None) -> NDArray[np.integer]:
    """Read the labels of a file; InputError if it is damaged or of another shape."""
    from .tiff import open_tiff  # late: few projects that are opened have painted labels

    pixels = open_tiff(path).array
    wanted = pixels.shape if shape is None else shape
    if pixels.shape != wanted or len(wanted) != 2 or np.dtype(pixels.dtype).kind not in "iu":
        raise InputError(
            f"{path} cannot be read (shape {pixels.shape}, {pixels.dtype}: not labels of this "
            "slice)."
        )
    return np.asarray(pixels[:, :])


def _digest(array: NDArray[np.integer]) -> str:
    start = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.blake2b(start + array.tobytes(), digest_size=16).hexdigest()


def _encoded(array: NDArray[np.integer]) -> bytes:
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, array, compression="zlib", photometric="minisblack")
    return stream.getvalue()
