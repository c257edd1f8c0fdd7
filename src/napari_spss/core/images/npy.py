"""NumPy's ``.npy`` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..base import InputError
from .raw import Pixels, RawPixels, SteadyFile, Where, reading
from .stack import ImageData


def open_npy(path: Path) -> ImageData:
    """Open a file whose axes follow from its shape."""
    file = SteadyFile(path)
    with reading(path):
        # mapped only to learn where the pixels lie: a map that is read ends in a bus error where
        # the file is cut short
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(mapped, np.memmap):
        raise InputError(f"{path} holds no single array; save one array with numpy.save.")
    shape, is_fortran = mapped.shape, mapped.flags.f_contiguous and not mapped.flags.c_contiguous
    stored = shape[::-1] if is_fortran else shape
    raw = RawPixels([(file, mapped.offset)], stored, stored, mapped.dtype)
    return ImageData(_Transposed(raw) if is_fortran else raw)


class _Transposed:
    """An array whose axes are stored in reverse, as Fortran does."""

    def __init__(self, stored: RawPixels) -> None:
        self.shape, self.dtype = stored.shape[::-1], stored.dtype
        self._stored = stored

    def __getitem__(self, index: Where) -> Pixels:
        return self._stored[index[::-1]].T
