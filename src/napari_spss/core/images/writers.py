"""Which writer makes files of which format: one registry by name, and what a writer is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from ..base import UNKNOWN_VOXEL, InputError, Registry, VoxelSize
from .stack import Stack

_UINT8 = np.dtype(np.uint8)


@dataclass(frozen=True)
class StackLayout:
    """A stack, or a set of images, that is to be written: maps, labels or an image.

    Parameters
    ----------
    shapes : sequence of (int, int)
        (Y, X) per slice in pixels; all the same unless ``is_set``.
    dtype : dtype
        Of the pixels.
    channels : sequence of str, optional
        Names along an axis C; None for slices without such an axis.
    classes : sequence of str
        Labels: names of the classes by index.
    voxel_size_um : tuple of 3 floats or None
        (z, y, x) in micrometres.
    is_set : bool
        Whether the slices are images of their own, which become a folder.
    is_time_series : bool
        Whether the slices are time points.
    names : sequence of str
        Per image of a set, the source's file name; by default its index.
    pixel_sizes_um : sequence of float or None, optional
        In-plane pixel size per image of a set, instead of the voxel size.

    Raises
    ------
    InputError
        If there are no slices, if those of a stack differ in size, or lists in length.
    """

    shapes: Sequence[tuple[int, int]]
    dtype: np.dtype[Any] = _UINT8
    channels: Sequence[str] | None = None
    classes: Sequence[str] = ()
    voxel_size_um: VoxelSize = UNKNOWN_VOXEL
    is_set: bool = False
    is_time_series: bool = False
    names: Sequence[str] = ()
    pixel_sizes_um: Sequence[float | None] | None = None

    def __post_init__(self) -> None:
        n_slices = len(self.shapes)
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        object.__setattr__(self, "names", tuple(self.names) or tuple(map(str, range(n_slices))))
        if not self.is_set and len(set(self.shapes)) > 1:
            raise InputError(
                f"slices of different sizes ({self.shapes[0]}, ...) do not fit one file; write a "
                "set."
            )
        if not self.shapes or {n_slices} != {len(self.names), len(self._voxels)}:
            raise InputError(
                f"shapes, names or pixel sizes do not fit {n_slices} images; give one per image."
            )

    @classmethod
    def of(cls, stack: Stack, slices: Sequence[int] | None = None, **others: Any) -> Self:
        """Lay out slices as they lie in a stack; by default all.

        Parameters
        ----------
        stack : Stack
            The image.
        slices : sequence of int, optional
            Those that are written, in this order.
        **others
            Fields that the image does not tell, such as ``dtype`` and ``classes``.
        """
        chosen = range(stack.n_slices) if slices is None else slices
        sizes = [stack.pixel_size_um(z) for z in chosen] if stack.is_set else None
        return cls(
            shapes=[stack.shape_of(z) for z in chosen],
            voxel_size_um=stack.voxel_size_um,
            is_set=stack.is_set,
            is_time_series=stack.is_time_series,
            names=[stack.names[z] for z in chosen],
            pixel_sizes_um=sizes,
            **others,
        )

    @property
    def n_slices(self) -> int:
        """Number of slices, or of images."""
        return len(self.shapes)

    @property
    def axes(self) -> str:
        """Axes of the whole: "ZYX" or "ZCYX", of a time series with T; a slice lacks the first."""
        return ("T" if self.is_time_series else "Z") + ("YX" if self.channels is None else "CYX")

    def shape_of(self, z: int) -> tuple[int, ...]:
        """(Y, X) of a slice, or (C, Y, X)."""
        return (*(() if self.channels is None else (len(self.channels),)), *self.shapes[z])

    def after(
        self, due: tuple[int, int], z: int, data: npt.NDArray[Any], first_row: int
    ) -> tuple[int, int]:
        """Slice and row that come next once these rows were written.

        Raises
        ------
        ValueError
            If it is not the turn of this slice or row, or shape or dtype do not fit.
        """
        if (z, first_row) != due or z >= self.n_slices:
            raise ValueError(
                f"row {first_row} of slice {z} cannot be written after {due[1]} of slice {due[0]}"
            )
        *lead, height, width = self.shape_of(z)
        last_row = first_row + data.shape[-2]
        is_fitting = data.shape == (*lead, last_row - first_row, width) and last_row <= height
        if not is_fitting or not np.can_cast(data.dtype, self.dtype, "same_kind"):
            raise ValueError(
                f"slice {z} from row {first_row} has shape {data.shape} and type {data.dtype}; "
                f"expected {self.shape_of(z)} and {self.dtype}"
            )
        return (z + 1, 0) if last_row == height else (z, last_row)

    def voxel_size_of(self, z: int) -> VoxelSize:
        """(z, y, x) of a slice, or of an image of a set, in micrometres."""
        return self._voxels[z]

    @property
    def _voxels(self) -> list[VoxelSize]:
        if self.pixel_sizes_um is None:
            return [self.voxel_size_um] * self.n_slices
        return [(None, size, size) for size in self.pixel_sizes_um]


class SliceWriter(Protocol):
    """Takes a stack slice after slice, each whole or some rows at a time, from top to bottom."""

    def write(self, z: int, data: npt.NDArray[Any], first_row: int = 0) -> None:
        """Write rows of slice ``z`` from ``first_row`` on: (C, rows, X), or (rows, X)."""


@dataclass(frozen=True)
class Writer:
    """A format of files, or of folders that stand for one image.

    Parameters
    ----------
    suffix : str
        Of its files, such as ".ome.tif".
    open : callable
        Path and `StackLayout` to a context manager that gives a `SliceWriter`. At its end
        everything is written. There is nothing yet at the path; for an image set it has no suffix
        and becomes a folder. What was begun is removed by the caller if anything fails.
    """

    suffix: str
    open: Callable[[Path, StackLayout], AbstractContextManager[SliceWriter]]


WRITERS: Registry[Writer] = Registry(
    "format",
    group="napari_spss.writers",
    built_in={
        "tif": "napari_spss.core.images.ome_tiff:OME_TIFF",
        "zarr": "napari_spss.core.images.multiscale:OME_ZARR",
    },
    field="format",
    expects=Writer,
)
"""All formats by name. Other packages add theirs by entry points of the group
``napari_spss.writers``, each a `Writer`."""


def register_writer(name: str, writer: Writer) -> None:
    """Make a format available by name in this process; a name of one's own may be given again.

    A package that offers formats names them as entry points of the group ``napari_spss.writers``
    instead; then the command line knows them too. Labels are read again to be measured: where no
    reader knows the format, add one by :func:`register_reader`.

    Parameters
    ----------
    name : str
        What ``format`` and ``--format`` will say.
    writer : Writer
        How its files are made.

    Raises
    ------
    InputError
        If the name is empty or belongs to a built-in format.

    Examples
    --------
    >>> class NpyFile:
    ...     def __init__(self, path, layout):
    ...         shape = (layout.n_slices, *layout.shape_of(0))
    ...         self._array = np.lib.format.open_memmap(path, "w+", layout.dtype, shape)
    ...     def __enter__(self):
    ...         return self
    ...     def __exit__(self, *_):
    ...         self._array.flush()
    ...     def write(self, z, data, first_row=0):
    ...         self._array[z, ..., first_row : first_row + data.shape[-2], :] = data
    >>> register_writer("npy", Writer(".npy", NpyFile))  # doctest: +SKIP
    """
    WRITERS.register(name, writer)
