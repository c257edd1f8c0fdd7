"""The lazy `Stack`: slices that are read when, and as far as, they are asked for."""

from __future__ import annotations

import hashlib
import operator
import struct
import threading
import tokenize
import zlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from ..base import UNKNOWN_VOXEL, InputError, VoxelSize
from .axes import AxisPlan

__all__ = [
    "ArrayLike",
    "ArrayStack",
    "Box",
    "Pixels",
    "Stack",
    "check_dtype",
    "reading",
]

Box: TypeAlias = tuple[int, int, int, int]
"""Half-open pixel box (y0, x0, y1, x1)."""

Pixels: TypeAlias = npt.NDArray[Any]

# What the libraries were seen to raise on files with wrong bytes.
_FAULTS_OF_FILES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,  # codecs
    SyntaxError,  # Pillow on PNGs
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,  # NumPy headers
    zlib.error,
)
_CACHE_BYTES = 2**28
_SAMPLED_SLICES = 16
_SAMPLE_PX = 32


class ArrayLike(Protocol):
    """The part of NumPy, dask, zarr and memory-mapped arrays that a stack uses."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each axis."""

    @property
    def dtype(self) -> Any:
        """Data type of an element."""

    def __getitem__(self, index: Any, /) -> Any: ...


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Turn whatever a file format's library raises on bad data into an InputError."""
    try:
        yield
    except InputError:
        raise
    except _FAULTS_OF_FILES as error:
        raise InputError(
            f"{source} cannot be read ({error or type(error).__name__}); the file may be damaged "
            "or incomplete: open it in another program, such as Fiji, and save it again."
        ) from error


def check_dtype(dtype: npt.DTypeLike, source: str) -> np.dtype[Any]:
    """Return the dtype in native byte order.

    Raises
    ------
    InputError
        Unless it is a bool, an integer or a real floating-point number.
    """
    try:
        checked = np.dtype(dtype)
    except TypeError as error:
        raise InputError(
            f"{source} has elements of type {dtype!r}; give a NumPy, dask or zarr array of numbers."
        ) from error
    if checked.kind == "c":
        raise InputError(
            f"{source} holds complex numbers ({checked}); save their magnitude as a real image."
        )
    if checked.kind not in "buif":
        raise InputError(f"{source} holds {checked}, not numbers; save it as a grey or RGB image.")
    return checked.newbyteorder("=")


class Stack(ABC):
    """Slices of an image stack, or the images of an image set, that are read on demand.

    Attributes
    ----------
    n_slices : int
        Number of slices, at least 1.
    n_channels : int
        Number of channels: 1 for grey images, 3 for RGB.
    dtype : numpy.dtype
        Type that `read` gives, in native byte order.
    is_set : bool
        Whether this is an image set, whose slices may differ in size.
    names : tuple of str
        Per slice the file's name, or its index as text.
    source : str
        Path, or "array".
    channel_axis_is_rgb : bool
        Whether the channels are red, green and blue.
    voxel_size_um : tuple
        (z, y, x) in micrometres; None = unknown, or not the same in all slices.
    """

    def __init__(
        self,
        *,
        n_slices: int,
        n_channels: int,
        dtype: np.dtype[Any],
        source: str,
        names: Sequence[str] | None = None,
        is_set: bool = False,
        channel_axis_is_rgb: bool = False,
        voxel_size_um: VoxelSize = UNKNOWN_VOXEL,
        is_file: bool = True,
    ) -> None:
        self.n_slices = n_slices
        self.n_channels = n_channels
        self.dtype = dtype
        self.source = source
        self.names = tuple(str(z) for z in range(n_slices)) if names is None else tuple(names)
        self.is_set = is_set
        self.channel_axis_is_rgb = channel_axis_is_rgb
        self.voxel_size_um = voxel_size_um
        self._is_file = is_file
        self._cache = _SliceCache()

    @abstractmethod
    def _shape(self, z: int) -> tuple[int, int]: ...

    @abstractmethod
    def _read(self, z: int, box: Box) -> Pixels:
        """(C, Y, X) of a valid box, in any byte order and memory layout."""

    def _decodes_whole(self, z: int) -> bool:
        """Whether the source decodes the whole slice for every box, so that keeping it pays."""
        return False

    def close(self) -> None:
        """Close the files that are held open, and forget decoded slices."""
        self._cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def shape_of(self, z: int) -> tuple[int, int]:
        """(Y, X) of slice ``z`` in pixels."""
        return self._shape(self._index(z))

    def pixel_size_um(self, z: int) -> float | None:
        """In-plane edge of a pixel of slice ``z`` in micrometres, None if unknown."""
        self._index(z)
        return _edge(self.voxel_size_um)

    def read(self, z: int, box: Box | None = None) -> Pixels:
        """Read a slice, or a box of it.

        Parameters
        ----------
        z : int
            Slice index, from 0.
        box : tuple of 4 ints, optional
            Half-open (y0, x0, y1, x1) inside the slice; only this part is read if the source
            allows it.

        Returns
        -------
        ndarray
            (C, Y, X) of ``dtype``; a copy that may be written to.

        Raises
        ------
        InputError
            If slice or box lie outside the stack, or the file is damaged.
        """
        index = self._index(z)
        height, width = self._shape(index)
        y0, x0, y1, x1 = whole = (0, 0, height, width)
        if box is not None:
            y0, x0, y1, x1 = (operator.index(edge) for edge in box)
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            raise InputError(
                f"box {(y0, x0, y1, x1)} is empty or outside slice {index} of {height} x {width} "
                "pixels; give half-open y0, x0, y1, x1 inside it."
            )
        with reading(f"slice {index} of {self.source}") if self._is_file else nullcontext():
            if self._decodes_whole(index):
                full = self._cache.get(index, lambda: self._read(index, whole))
                pixels = full[:, y0:y1, x0:x1]
            else:
                pixels = self._read(index, (y0, x0, y1, x1))
        dtype = pixels.dtype.newbyteorder("=")
        return np.array(pixels, dtype=dtype, order="C", copy=True, subok=False)

    def identity(self) -> str:
        """Short hash of shapes, dtype and sampled pixels: the same wherever the files lie."""
        digest = hashlib.sha256(f"{self.n_channels} {self.dtype.str[1:]}".encode())
        for z in range(self.n_slices):
            digest.update(b"%d x %d;" % self._shape(z))
        sampled = np.linspace(0, self.n_slices - 1, min(self.n_slices, _SAMPLED_SLICES))
        for i, z in enumerate(sampled.round().astype(int).tolist()):
            height, width = self._shape(z)
            for part in (i % 4, 2):  # the corners' inner neighbours in turn, and the middle
                y0, x0 = (_sample_start(n, part) for n in (height, width))
                box = (y0, x0, min(height, y0 + _SAMPLE_PX), min(width, x0 + _SAMPLE_PX))
                pixels = self.read(z, box)
                digest.update(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes())
        return digest.hexdigest()[:16]

    def _index(self, z: int) -> int:
        index = operator.index(z)
        if not 0 <= index < self.n_slices:
            raise InputError(
                f"slice {index} is outside {self.source}, which has {self.n_slices} "
                f"slice{'s' * (self.n_slices != 1)}; choose 0 to {self.n_slices - 1}."
            )
        return index


def _sample_start(extent: int, part: int) -> int:
    return max(0, (extent - _SAMPLE_PX) * (part + 1) // 5)


def _edge(voxel_size_um: VoxelSize) -> float | None:
    known = [edge for edge in voxel_size_um[1:] if edge is not None]
    return sum(known) / len(known) if known else None


class _SliceCache:
    """The most recently decoded slices, up to a number of bytes; at least one."""

    def __init__(self) -> None:
        self._slices: OrderedDict[int, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, z: int, decode: Callable[[], Pixels]) -> Pixels:
        with self._lock:
            if z not in self._slices:
                self._slices[z] = decode()
                while len(self._slices) > 1 and self._n_bytes() > _CACHE_BYTES:
                    self._slices.popitem(last=False)
            self._slices.move_to_end(z)
            return self._slices[z]

    def clear(self) -> None:
        with self._lock:
            self._slices.clear()

    def _n_bytes(self) -> int:
        return sum(pixels.nbytes for pixels in self._slices.values())


class ArrayStack(Stack):
    """A stack in one array with named axes, of which only the indexed part is read.

    Parameters
    ----------
    array : array
        NumPy, memory-mapped, dask or zarr.
    plan : AxisPlan
        What its axes mean.
    source : str
        Path, or "array".
    voxel_size_um : tuple
        (z, y, x) in micrometres.
    is_file : bool
        Whether what goes wrong in reading is the fault of a file, not of the caller's array.
    decodes_whole_slices : bool
        Whether reading a part decodes the whole slice, and the array never changes.
    on_close : callable, optional
        Closes the files behind the array.

    Raises
    ------
    InputError
        If the dtype is complex or no number.
    """

    def __init__(
        self,
        array: ArrayLike,
        plan: AxisPlan,
        *,
        source: str,
        voxel_size_um: VoxelSize = UNKNOWN_VOXEL,
        is_file: bool = True,
        decodes_whole_slices: bool = False,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(
            n_slices=plan.n_slices,
            n_channels=plan.n_channels,
            dtype=check_dtype(array.dtype, source),
            source=source,
            channel_axis_is_rgb=plan.is_rgb,
            voxel_size_um=voxel_size_um if plan.has_depth else (None, *voxel_size_um[1:]),
            is_file=is_file,
        )
        self._array = array
        self._plan = plan
        self._decodes_whole_slices = decodes_whole_slices
        self._on_close = on_close

    def _shape(self, z: int) -> tuple[int, int]:
        return self._plan.height, self._plan.width

    def _read(self, z: int, box: Box) -> Pixels:
        y0, x0, y1, x1 = box
        where: dict[str, int | slice] = {
            "z": z,
            "c": slice(0, self.n_channels),
            "y": slice(y0, y1),
            "x": slice(x0, x1),
            "dropped": 0,
        }
        roles = self._plan.roles
        pixels = np.asarray(self._array[tuple(where[role] for role in roles)])
        kept: list[str] = [role for role in roles if role in "cyx"]
        if "c" not in kept:
            kept, pixels = ["c", *kept], pixels[np.newaxis]
        return pixels.transpose([kept.index(role) for role in "cyx"])

    def _decodes_whole(self, z: int) -> bool:
        return self._decodes_whole_slices

    def close(self) -> None:
        """Close the files behind the array."""
        super().close()
        if self._on_close is not None:
            self._on_close()
