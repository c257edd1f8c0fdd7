"""Bytes of files: uncompressed pixels where they lie, and what libraries raise on wrong bytes."""

from __future__ import annotations

import itertools
import math
import struct
import tokenize
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..base import InputError

Pixels: TypeAlias = npt.NDArray[Any]
Where: TypeAlias = tuple[int | slice, ...]
"""An index, or a slice with start and stop, for each axis."""

# What the libraries were seen to raise on files with wrong bytes.
_FAULTS_OF_FILES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # codecs
    SyntaxError,  # Pillow on PNGs
    SystemError,  # codecs in C
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,  # NumPy headers
    zlib.error,
)
_SHORT_ROW_BYTES = 2**16


@contextmanager
def reading(source: str | Path) -> Iterator[None]:
    """Turn whatever a file format's library raises on bad data into an InputError.

    Only calls of such a library belong inside: what goes wrong in code of ours is no fault of the
    file.
    """
    try:
        yield
    except InputError:
        raise
    except _FAULTS_OF_FILES as error:
        raise InputError(
            f"{source} cannot be read ({str(error) or type(error).__name__}); the file may be "
            "damaged or incomplete: open it in another program, such as Fiji, and save it again."
        ) from error


class SteadyFile:
    """A file that must stay as it is now; it is open only while it is read.

    So a folder of thousands can be open at once, and a file that is cut short or written anew in
    the meantime gives an error: neither other numbers nor, as a memory map would, a bus error. Its
    ``size`` is in bytes.

    Raises
    ------
    InputError
        If there is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path):
            state = path.stat()
        self.size = state.st_size
        self._state = state.st_size, state.st_mtime_ns

    def check_holds(self, needed: int) -> None:
        """Refuse a file that ends before byte ``needed``."""
        if self.size < needed:
            raise InputError(
                f"{self.path} is incomplete: it has {self.size} bytes of at least {needed}; copy "
                "it again."
            )

    @contextmanager
    def open(self) -> Iterator[BufferedReader]:
        """Open the file for reading, if it is still the same."""
        with reading(self.path), self.path.open("rb") as file:
            state = self.path.stat()
            if (state.st_size, state.st_mtime_ns) != self._state:
                raise self._changed()
            yield file

    def read(self, file: BufferedReader, start: int, n_bytes: int) -> npt.NDArray[np.uint8]:
        """Read exactly so many bytes from an open file."""
        self.check_holds(start + n_bytes)
        buffer = np.empty(n_bytes, np.uint8)
        view = buffer.data
        file.seek(start)
        while view:
            n_read = file.readinto(view)
            if not n_read:
                raise self._changed()
            view = view[n_read:]
        return buffer

    def _changed(self) -> InputError:
        return InputError(f"{self.path} has changed since it was opened; open it again.")


class RawPixels:
    """Uncompressed pixels in pages that lie anywhere in files, indexed as one array.

    Parameters
    ----------
    pages : sequence of (SteadyFile, int)
        File and first byte of each page.
    page_shape : tuple of int
        Shape of a page, in C order.
    shape : tuple of int
        Shape of the whole; ends with that of a page.
    dtype : numpy.dtype
        With its byte order.

    Raises
    ------
    InputError
        If a file is too short for its pages.
    """

    def __init__(
        self,
        pages: Sequence[tuple[SteadyFile, int]],
        page_shape: tuple[int, ...],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._pages, self._page_shape = pages, page_shape
        n_bytes = math.prod(page_shape) * dtype.itemsize
        for file, start in pages:
            file.check_holds(start + n_bytes)

    def __getitem__(self, index: Where) -> Pixels:
        n_outer = len(self.shape) - len(self._page_shape)
        outer, inner = index[:n_outer], index[n_outer:]
        numbers = np.arange(len(self._pages)).reshape(self.shape[:n_outer])[outer]
        parts = []
        for number in np.ravel(numbers).tolist():
            file, start = self._pages[number]
            with file.open() as stream:
                parts.append(self._part(file, stream, start, inner))
        shape = *np.shape(numbers), *parts[0].shape
        return (parts[0] if len(parts) == 1 else np.stack(parts)).reshape(shape)

    def _part(self, file: SteadyFile, stream: BufferedReader, start: int, where: Where) -> Pixels:
        """Read a part of one page, as few and as long runs of bytes as it is made of."""
        shape = list(self._page_shape)
        spans = [range(n)[i] if isinstance(i, slice) else range(i, i + 1)
                 for n, i in zip(shape, where, strict=True)]  # fmt: skip
        kept = [len(span) for span, i in zip(spans, where, strict=True) if isinstance(i, slice)]
        while len(shape) > 1 and len(spans[-1]) == shape[-1]:  # an axis read whole joins the last
            n = shape.pop()
            spans.pop()
            spans[-1] = range(spans[-1].start * n, spans[-1].stop * n)
            shape[-1] *= n
        run, columns, n_rows = spans.pop(), slice(None), 1
        if spans and shape[-1] * self.dtype.itemsize <= _SHORT_ROW_BYTES:
            rows, columns = spans.pop(), slice(run.start, run.stop)
            n_rows, run = len(rows), range(rows.start * shape[-1], rows.stop * shape[-1])
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(spans))]
        parts = []
        for place in itertools.product(*spans):
            first = run.start + sum(p * stride for p, stride in zip(place, strides, strict=True))
            at, n_bytes = start + first * self.dtype.itemsize, len(run) * self.dtype.itemsize
            pixels = file.read(stream, at, n_bytes).view(self.dtype)
            parts.append(pixels.reshape(n_rows, -1)[:, columns])
        return (parts[0] if len(parts) == 1 else np.stack(parts)).reshape(kept)
