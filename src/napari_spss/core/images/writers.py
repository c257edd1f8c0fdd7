"""Result stacks to disk, slice after slice: OME-TIFF, or a folder of them for an image set.

Pages are written in strips with zlib compression, which ImageJ, Fiji, napari and Bio-Formats
read without plugins. OME-TIFF knows no float16: such values are rounded to half precision and
stored as float32, which loses nothing more and compresses to about the size of float16.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tifffile

from ..base import UNKNOWN_VOXEL, InputError, RunError, VoxelSize
from .readers import natural_order

__all__ = ["CLASS_KEY", "StackWriter"]

CLASS_KEY = "class {}"
"""Under which key the OME-XML of labels names the class of an index."""

_STORED_AS: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.uint8): np.dtype(np.uint8),
    np.dtype(np.uint16): np.dtype(np.uint16),
    np.dtype(np.uint32): np.dtype(np.uint32),
    np.dtype(np.int32): np.dtype(np.int32),
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.float32): np.dtype(np.float32),
}
_CLASSIC_TIFF_BYTES = 2**32 - 2**25
_STRIP_BYTES = 2**18
_CREATOR = "napari-spss"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


class StackWriter:
    """Writes a stack of maps or labels.

    Use it as a context manager: an error or an interrupt inside leaves nothing behind. What is to
    replace something is written elsewhere and then moved, see `ResultFiles`.

    Parameters
    ----------
    path : path-like
        The file (``maps.tif``), in a folder that is made if needed. For an image set a folder of
        this name without extension. There must be nothing yet.
    n_slices : int
        Number of slices, or of images.
    shapes : sequence of (int, int)
        (Y, X) per slice in pixels; all the same unless ``is_set``.
    dtype : dtype
        uint8, uint16, uint32, int32, float16 (see above) or float32.
    channels : sequence of str, optional
        Names of the channels, stored in the metadata; None for slices without a channel axis.
    classes : sequence of str, optional
        Labels: names of the classes by index, stored in the metadata.
    voxel_size_um : tuple of 3 floats or None
        (z, y, x) in micrometres.
    is_set : bool
        Whether to write a folder with one TIFF per image.
    names : sequence of str, optional
        Per image of a set, the source's file name: the result is named after it. If two would
        clash or their natural order would differ, all get their index in front.
    pixel_sizes_um : sequence of float or None, optional
        In-plane pixel size per image of a set, instead of the voxel size.

    Attributes
    ----------
    path : Path
        Where the result stands.

    Raises
    ------
    InputError
        If shapes, names or dtype cannot be written so, or something is in the way.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels.tif"
    >>> with StackWriter(path, n_slices=2, shapes=[(8, 8)] * 2, dtype=np.uint8) as writer:
    ...     for z in range(2):
    ...         writer.write(z, np.zeros((8, 8), np.uint8))
    >>> path.exists()
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        n_slices: int,
        shapes: Sequence[tuple[int, int]],
        dtype: npt.DTypeLike,
        channels: Sequence[str] | None = None,
        classes: Sequence[str] = (),
        voxel_size_um: VoxelSize = UNKNOWN_VOXEL,
        is_set: bool = False,
        names: Sequence[str] | None = None,
        pixel_sizes_um: Sequence[float | None] | None = None,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.path = _result_folder(Path(path)) if is_set else Path(path)
        self._shapes = [(int(y), int(x)) for y, x in shapes]
        self._channels = None if channels is None else tuple(channels)
        self._classes = tuple(classes)
        self._is_set = is_set
        self._n_written = 0
        self._n_rows = 0  # of the next slice
        self._rows: npt.NDArray[Any] = np.empty(0, self.dtype)
        self._is_open = False
        _check_layout(n_slices, self._shapes, self.dtype, is_set=is_set)
        self._voxels = [voxel_size_um] * n_slices
        if pixel_sizes_um is not None:
            self._voxels = [(None, size, size) for size in pixel_sizes_um]
        self._files = _file_names(names or [str(z) for z in range(n_slices)]) if is_set else ()
        if len(self._voxels) != n_slices or (is_set and len(self._files) != n_slices):
            raise InputError(
                f"names or pixel sizes do not fit {n_slices} images; give one per image."
            )
        if os.path.lexists(self.path):
            raise InputError(f"{self.path} is there already; choose another output folder.")
        self._file: _OmeTiff | None = None
        with self._writing(is_start=True):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if is_set:
                self.path.mkdir()
                self._is_open = True
            else:
                self._is_open = True
                self._file = self._new_file(self.path, range(n_slices))

    def write(self, z: int, data: npt.NDArray[Any], first_row: int = 0) -> None:
        """Write the next slice, or its next rows.

        Parameters
        ----------
        z : int
            Index of the slice; they are written in order.
        data : ndarray
            (C, rows, X), or (rows, X) without channels; of ``dtype`` or one that it holds.
        first_row : int
            Where the rows belong; those of a slice are written from top to bottom.

        Raises
        ------
        ValueError
            If it is not the turn of this slice or row, or shape or dtype do not fit.
        RunError
            If the disk is full or cannot be written to; nothing is left behind.
        """
        if not self._is_open or z != self._n_written or z >= len(self._shapes):
            raise ValueError(f"slice {z} cannot be written after {self._n_written} slices")
        lead = () if self._channels is None else (len(self._channels),)
        height, width = self._shapes[z]
        last_row = first_row + data.shape[-2]
        is_fitting = data.shape == (*lead, last_row - first_row, width) and last_row <= height
        if not is_fitting or not np.can_cast(data.dtype, self.dtype, "same_kind"):
            raise ValueError(
                f"slice {z} from row {first_row} has shape {data.shape} and type {data.dtype}; "
                f"expected {(*lead, height, width)} and {self.dtype}"
            )
        if first_row != self._n_rows:
            raise ValueError(f"row {first_row} of slice {z} cannot be written after {self._n_rows}")
        if last_row - first_row < height:
            if first_row == 0:
                self._rows = np.empty((*lead, height, width), self.dtype)
            self._rows[..., first_row:last_row, :] = data
            self._n_rows = last_row % height
            if last_row < height:
                return
            data, self._rows = self._rows, np.empty(0, self.dtype)
        with self._writing():
            file = self._file
            if file is None:
                file = self._new_file(self.path / self._files[z], range(z, z + 1))
            planes = data.reshape(-1, *self._shapes[z]).astype(self.dtype, copy=False)
            try:
                file.write(planes)
            finally:
                if self._is_set:
                    file.close()
        self._n_written += 1

    def close(self) -> None:
        """Finish the file.

        Raises
        ------
        RunError
            If slices are missing, or the disk is full; nothing is left behind.
        """
        if not self._is_open:
            return
        if self._n_written < len(self._shapes):
            self.abort()
            raise RunError(
                f"only {self._n_written} of {len(self._shapes)} slices of {self.path} were "
                "written; nothing was kept. Run it again."
            )
        with self._writing():
            if self._file is not None:
                self._file.close()
        self._is_open = False

    def abort(self) -> None:
        """Stop, and remove what was written; harmless after the end."""
        if not self._is_open:
            return
        self._is_open = False
        if self._file is not None:
            with suppress(OSError):  # a full disk fails again when the last bytes are flushed
                self._file.close()
        if self._is_set:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            with suppress(OSError):  # the first error is the one to report
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _new_file(self, path: Path, slices: range) -> _OmeTiff:
        return _OmeTiff(
            path,
            title=self.path.name if len(slices) > 1 else path.stem,
            shape=(len(slices), *self._shapes[slices[0]]),
            dtype=_STORED_AS[self.dtype],
            channels=self._channels,
            classes=self._classes,
            voxel_size_um=self._voxels[slices[0]],
        )

    @contextmanager
    def _writing(self, *, is_start: bool = False) -> Iterator[None]:
        """Clean up after a system error, and say what it means."""
        try:
            yield
        except OSError as error:
            self.abort()
            if error.errno in _DISK_FULL:
                raise RunError(
                    f"the disk is full: slice {self._n_written} of {len(self._shapes)} of "
                    f"{self.path} could not be written, and nothing was kept. Free about "
                    f"{self._n_bytes() / 1e6:.0f} MB, or choose an output folder on another disk."
                ) from error
            message = (
                f"{self.path} cannot be written ({error.strerror or error}); "
                "choose an output folder where you may write."
            )
            raise (InputError(message) if is_start else RunError(message)) from error

    def _n_bytes(self) -> int:
        n_channels = 1 if self._channels is None else len(self._channels)
        itemsize = _STORED_AS[self.dtype].itemsize
        return sum(y * x for y, x in self._shapes) * n_channels * itemsize


class _OmeTiff:
    """One OME-TIFF, written page after page: channels of slice 0, channels of slice 1, ..."""

    def __init__(
        self,
        path: Path,
        *,
        title: str,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        channels: tuple[str, ...] | None,
        classes: tuple[str, ...],
        voxel_size_um: VoxelSize,
    ) -> None:
        n_slices, height, width = shape
        n_pages = n_slices * (1 if channels is None else len(channels))
        self._dtype = dtype
        self._description: bytes | None = _ome_xml(
            title, shape, dtype, channels, classes, voxel_size_um
        )
        self._resolution = _resolution(voxel_size_um)
        self._rows_per_strip = max(1, min(height, _STRIP_BYTES // (width * dtype.itemsize)))
        n_bytes = n_pages * height * width * dtype.itemsize
        self._writer = tifffile.TiffWriter(
            path, bigtiff=n_bytes > _CLASSIC_TIFF_BYTES, ome=False, shaped=False
        )

    def write(self, planes: npt.NDArray[Any]) -> None:
        """Write pages (n, Y, X)."""
        for plane in planes:
            self._writer.write(
                plane.astype(self._dtype, copy=False),
                photometric="minisblack",
                compression="zlib",
                rowsperstrip=self._rows_per_strip,
                description=self._description,
                resolution=self._resolution,
                resolutionunit=None if self._resolution is None else "CENTIMETER",
                software=_CREATOR,
                metadata=None,
            )
            self._description = None  # the first page speaks for all

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def _ome_xml(
    title: str,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    channels: tuple[str, ...] | None,
    classes: tuple[str, ...],
    voxel_size_um: VoxelSize,
) -> bytes:
    """OME-XML of the pages, with physical sizes in micrometres and the names of classes."""
    n_slices, height, width = shape
    metadata: dict[str, Any] = {}
    for axis, size in zip("ZYX", voxel_size_um, strict=True):
        if size is not None:
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    n_channels = 1 if channels is None else len(channels)
    if channels is not None:
        metadata["Channel"] = {"Name": list(channels)}
    if classes:
        names = {CLASS_KEY.format(index): name for index, name in enumerate(classes)}
        metadata["MapAnnotation"] = names
    xml = tifffile.OmeXml(Creator=_CREATOR)
    xml.addimage(
        dtype,
        (n_slices, n_channels, height, width),
        (n_slices * n_channels, 1, 1, height, width, 1),
        axes="ZCYX",
        Name=title,
        **metadata,
    )
    return xml.tostring().encode()


def _resolution(voxel_size_um: VoxelSize) -> tuple[float, float] | None:
    """Pixels per centimetre along x and y, for programs that do not read OME-XML."""
    _, y, x = voxel_size_um
    return None if y is None or x is None else (1e4 / x, 1e4 / y)


def _check_layout(
    n_slices: int, shapes: Sequence[tuple[int, int]], dtype: np.dtype[Any], *, is_set: bool
) -> None:
    if n_slices < 1 or len(shapes) != n_slices:
        raise InputError(f"{len(shapes)} shapes for {n_slices} slices; give one for each.")
    if not is_set and len(set(shapes)) > 1:
        raise InputError(
            f"slices of different sizes ({shapes[0]}, ...) do not fit one file; write a set."
        )
    if dtype not in _STORED_AS:
        raise InputError(
            f"dtype {dtype} cannot be written; choose one of {', '.join(map(str, _STORED_AS))}."
        )


def _result_folder(path: Path) -> Path:
    """``labels.tif`` and ``labels.ome.tif`` of an image set become the folder ``labels``."""
    name = re.sub(r"(\.ome)?\.tiff?$", "", path.name, flags=re.IGNORECASE)
    return path.with_name(name or path.name)


def _file_names(names: Sequence[str]) -> tuple[str, ...]:
    """TIFF names that read back in the order of their sources."""
    files = [f"{_UNSAFE.sub('_', Path(name).stem) or 'image'}.tif" for name in names]
    is_unique = len({file.casefold() for file in files}) == len(files)
    if is_unique and [path.name for path in natural_order([Path(f) for f in files])] == files:
        return tuple(files)
    width = len(str(len(files) - 1))
    return tuple(f"{i:0{width}d}_{file}" for i, file in enumerate(files))
