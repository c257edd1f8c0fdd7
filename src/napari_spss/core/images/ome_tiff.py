"""Result stacks to disk, slice after slice: OME-TIFF, or a folder of them for an image set.

Pages are written in strips with zlib compression, which ImageJ, Fiji, napari and Bio-Formats
read without plugins. OME-TIFF knows no float16: such values are rounded to half precision and
stored as float32, which loses nothing more and compresses to about the size of float16.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from ..annotations import Classes
from ..base import InputError, RunError, VoxelSize, usable_cores
from .readers import natural_order
from .tiff import CLASS_KEY, CREATOR, OUTSIDE_KEY
from .writers import StackLayout, Writer

_STORED_AS: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(one): np.dtype("f4" if one == "f2" else one)
    for one in ("u1", "u2", "u4", "i4", "f2", "f4")
}
_CLASSIC_TIFF_BYTES = 2**32 - 2**25
_STRIP_BYTES = 2**18
_N_WAITING = 4  # strips of a page, while they are compressed
_N_THREADS = (usable_cores() - 1) // 2  # of two cores the network needs one
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
    layout : StackLayout
        What comes. ``dtype`` is uint8, uint16, uint32, int32, float16 (see above) or float32.
        Files of a set are named after their sources; if two would clash or their natural order
        would differ, all get their index in front.

    Attributes
    ----------
    path : Path
        Where the result stands.

    Raises
    ------
    InputError
        If the dtype cannot be written so, or something is in the way.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels.tif"
    >>> with StackWriter(path, StackLayout([(8, 8)] * 2)) as writer:
    ...     for z in range(2):
    ...         writer.write(z, np.zeros((8, 8), np.uint8))
    >>> path.exists()
    True
    """

    def __init__(self, path: str | os.PathLike[str], layout: StackLayout) -> None:
        if layout.dtype not in _STORED_AS:
            raise InputError(
                f"dtype {layout.dtype} cannot be written; choose one of "
                f"{', '.join(map(str, _STORED_AS))}."
            )
        self.path = Path(path)
        if layout.is_set:  # labels.tif and labels.ome.tif become the folder labels
            name = re.sub(r"(\.ome)?\.tiff?$", "", self.path.name, flags=re.IGNORECASE)
            self.path = self.path.with_name(name or self.path.name)
        self._layout = layout
        self._files = file_names(layout.names, ".tif")
        self._next = 0, 0  # slice and row
        self._is_open = False
        if os.path.lexists(self.path):
            raise InputError(f"{self.path} is there already; choose another output folder.")
        self._file: _OmeTiff | None = None
        with self._writing(is_start=True):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if layout.is_set:
                self.path.mkdir()
                self._is_open = True
            else:
                self._is_open = True
                self._file = self._new_file(self.path, range(layout.n_slices))

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
            See `StackLayout.after`.
        RunError
            If the disk is full or cannot be written to; nothing is left behind.
        """
        if not self._is_open:
            raise ValueError(f"slice {z} cannot be written: {self.path} is closed")
        due = self._layout.after(self._next, z, data, first_row)
        n_rows, width = data.shape[-2:]
        with self._writing():
            if self._file is None:
                self._file = self._new_file(self.path / self._files[z], range(z, z + 1))
            rows = data.reshape(-1, n_rows, width)
            self._file.write(rows.astype(self._layout.dtype, copy=False))
            if self._layout.is_set and due[1] == 0:
                self._file.close()
                self._file = None
        self._next = due

    def close(self) -> None:
        """Finish the file.

        Raises
        ------
        RunError
            If slices are missing, or the disk is full; nothing is left behind.
        """
        if not self._is_open:
            return
        if self._next[0] < self._layout.n_slices:
            self.abort()
            raise RunError(
                f"only {self._next[0]} of {self._layout.n_slices} slices of {self.path} were "
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
        if self._layout.is_set:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            with suppress(OSError):  # the first error is the one to report
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _new_file(self, path: Path, slices: range) -> _OmeTiff:
        title = self.path.name if len(slices) > 1 else path.stem
        return _OmeTiff(path, title, self._layout, slices)

    @contextmanager
    def _writing(self, *, is_start: bool = False) -> Iterator[None]:
        """Clean up after a system error, and say what it means."""
        try:
            yield
        except OSError as error:
            self.abort()
            if error.errno in _DISK_FULL:
                layout = self._layout
                n_values = sum(math.prod(layout.shape_of(z)) for z in range(layout.n_slices))
                n_bytes = n_values * _STORED_AS[layout.dtype].itemsize
                raise RunError(
                    f"the disk is full: slice {self._next[0]} of {self._layout.n_slices} of "
                    f"{self.path} could not be written, and nothing was kept. Free about "
                    f"{n_bytes / 1e6:.0f} MB, or choose an output folder on another disk."
                ) from error
            message = (
                f"{self.path} cannot be written ({error.strerror or error}); "
                "choose an output folder where you may write."
            )
            raise (InputError(message) if is_start else RunError(message)) from error


OME_TIFF = Writer(".ome.tif", StackWriter)


class _OmeTiff:
    """One OME-TIFF, written page after page: channels of slice 0, channels of slice 1, ..."""

    def __init__(self, path: Path, title: str, layout: StackLayout, slices: range) -> None:
        height, width = layout.shapes[slices[0]]
        voxel_size_um = layout.voxel_size_of(slices[0])
        self._dtype = dtype = _STORED_AS[layout.dtype]
        # the first level would not find the zeros that half precision leaves
        self._level = 2 if dtype.kind == "f" else 1
        shape = (len(slices), len(layout.channels or [""]), height, width)
        self._description: bytes | None = _ome_xml(title, shape, dtype, layout, voxel_size_um)
        _, y_um, x_um = voxel_size_um
        # pixels per centimetre along x and y, for programs that do not read OME-XML
        self._resolution = None if y_um is None or x_um is None else (1e4 / x_um, 1e4 / y_um)
        self._rows_per_strip = max(1, min(height, _STRIP_BYTES // (width * dtype.itemsize)))
        n_bytes = math.prod(shape) * dtype.itemsize
        with ExitStack() as opened:
            self._writer = opened.enter_context(
                tifffile.TiffWriter(
                    path, bigtiff=n_bytes > _CLASSIC_TIFF_BYTES, ome=False, shaped=False
                )
            )
            # pages follow each other in the file, while rows of all of them come together
            self._pages = [
                _Page(opened.enter_context(tempfile.TemporaryFile(dir=path.parent)))
                for _ in range(shape[1])
            ]
            self._pool = None
            if _N_THREADS:
                pool = ThreadPoolExecutor(_N_THREADS, "napari-spss-tiff")
                self._pool = opened.enter_context(pool)
            self._opened = opened.pop_all()
        self._shape = height, width
        self._strip = np.empty((shape[1], self._rows_per_strip, width), dtype)
        self._n_rows = 0

    def write(self, rows: npt.NDArray[Any]) -> None:
        """Write the next rows, (n, rows, X), of the pages of a slice; the last ones end it."""
        while rows.shape[1]:
            start = self._n_rows % self._rows_per_strip
            part, rows = np.split(rows, [self._rows_per_strip - start], axis=1)
            stop = start + part.shape[1]
            self._strip[:, start:stop] = part
            self._n_rows += part.shape[1]
            is_last = self._n_rows == self._shape[0]
            if is_last or stop == self._rows_per_strip:
                for page, strip in zip(self._pages, self._strip, strict=True):
                    copied = strip[:stop].tobytes()
                    if self._pool is None:
                        page.keep(_compressed(copied, self._level))
                    else:
                        page.coming.append(self._pool.submit(_compressed, copied, self._level))
                        page.keep_ready(is_last)
        if is_last:
            self._n_rows = 0
            for page in self._pages:
                self._end(page)

    def _end(self, page: _Page) -> None:
        page.file.seek(0)
        self._writer.write(
            (page.file.read(n_bytes) for n_bytes in page.strips),
            shape=self._shape,
            dtype=self._dtype,
            photometric="minisblack",
            compression="zlib",
            rowsperstrip=self._rows_per_strip,
            description=self._description,
            resolution=self._resolution,
            resolutionunit=None if self._resolution is None else "CENTIMETER",
            software=CREATOR,
            metadata=None,
        )
        self._description = None  # the first page speaks for all
        page.strips = []
        page.file.seek(0)

    def close(self) -> None:
        """Finish the file."""
        self._opened.close()


@dataclass
class _Page:
    """Strips of a page, compressed, that wait for their turn in an unnamed file."""

    file: IO[bytes]
    strips: list[int] = field(default_factory=list)  # how many bytes each takes
    coming: deque[Future[bytes]] = field(default_factory=deque)

    def keep(self, strip: bytes) -> None:
        """Write the next strip."""
        self.strips.append(self.file.write(strip))

    def keep_ready(self, is_last: bool) -> None:
        """Write strips that are ready, and all that were to be while newer ones are compressed."""
        while len(self.coming) > (0 if is_last else _N_WAITING):
            self.keep(self.coming.popleft().result())


def _compressed(strip: bytes, level: int) -> bytes:
    """On maps of trained networks a quarter of libdeflate's time, for a fifth more bytes."""
    return bytes(imagecodecs.zlibng_encode(strip, level=level))


def _ome_xml(
    title: str,
    shape: tuple[int, int, int, int],
    dtype: np.dtype[Any],
    layout: StackLayout,
    voxel_size_um: VoxelSize,
) -> bytes:
    """OME-XML of the pages, with physical sizes in micrometres and the names of classes."""
    channels, classes = layout.channels, layout.classes
    n_slices, n_channels, height, width = shape
    metadata: dict[str, Any] = {}
    for axis, size in zip("ZYX", voxel_size_um, strict=True):
        if size is not None:
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    if channels is not None:
        metadata["Channel"] = {"Name": list(channels)}
    if classes:
        names = {CLASS_KEY.format(index): name for index, name in enumerate(classes)}
        outside = classes.outside if isinstance(classes, Classes) else None
        metadata["MapAnnotation"] = names | ({} if outside is None else {OUTSIDE_KEY: outside})
    xml = tifffile.OmeXml(Creator=CREATOR)
    xml.addimage(
        dtype,
        shape,
        (n_slices * n_channels, 1, 1, height, width, 1),
        axes="TCYX" if layout.is_time_series else "ZCYX",
        Name=title,
        **metadata,
    )
    return xml.tostring().encode()


def file_names(names: Sequence[str], suffix: str) -> tuple[str, ...]:
    """Name the images of a set after their sources, so that they read back in that order."""
    files = [f"{_UNSAFE.sub('_', Path(name).stem) or 'image'}{suffix}" for name in names]
    is_unique = len({file.casefold() for file in files}) == len(files)
    if is_unique and [path.name for path in natural_order([Path(f) for f in files])] == files:
        return tuple(files)
    width = len(str(len(files) - 1))
    return tuple(f"{i:0{width}d}_{file}" for i, file in enumerate(files))
