"""OME-Zarr 0.5 on disk, block by block: a block is one shard of each level of the pyramid.

A level has half as many rows and columns as the one before, and as many slices: sections of
electron microscopy are mostly thicker than a pixel is wide, and are predicted one by one. A block
begins where all levels begin a shard, so blocks can be written in any order and by any process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..annotations import Classes
from ..base import RunError
from .ome_tiff import file_names
from .raw import Pixels
from .writers import StackLayout, Writer

BLOCK_PX = 2048
"""Edge of a block in pixels of the image."""

_SUFFIX = ".ome.zarr"
_SPOOLED_BYTES = 2**23  # of a band of blocks, that may wait in memory
_CHUNK_ROWS = 512  # of a block's width: with chunks of 512 x 512 zarr took half as long again
_BAND_VALUES = 2**18  # that are halved at a time: as fit a cache
_TOP_PX = 256  # up to this edge a level has no smaller one
_MAX_LEVELS = 6  # a shard of the last one has 64 pixels


class Pyramid:
    """An image that `create` has made, and its smaller copies."""

    def __init__(self, path: Path) -> None:
        import zarr  # half a second

        group: Any = zarr.open_group(path, mode="r+")
        metadata = group.attrs["ome"]
        # to look whether a chunk is empty took a quarter of the time of writing
        with zarr.config.set({"array.write_empty_chunks": True}):
            levels = metadata["multiscales"][0]["datasets"]
            self._levels = [group[level["path"]] for level in levels]
        self._is_time_first = metadata["multiscales"][0]["axes"][0]["type"] == "time"
        is_mode = metadata["multiscales"][0]["type"] == "mode"
        self._halve: Callable[[Pixels], Pixels] = _mode if is_mode else _mean

    @classmethod
    def create(cls, path: Path, layout: StackLayout, slices: range) -> Self:
        """Make an image of these slices, all 0 so far."""
        import zarr
        from zarr.codecs import ZstdCodec

        *lead, height, width = layout.shape_of(slices[0])

        def shape_of(n: int, *edges: int) -> tuple[int, ...]:
            return (n, *lead, *edges) if layout.is_time_series else (*lead, n, *edges)

        group: Any = zarr.create_group(path)
        levels = _level_sizes(height, width)
        for level, size in enumerate(levels):
            edge = BLOCK_PX >> level
            group.create_array(
                str(level),
                shape=shape_of(len(slices), *size),
                dtype=layout.dtype,
                chunks=(*[1] * len(lead), 1, min(edge, _CHUNK_ROWS), edge),
                shards=shape_of(1, edge, edge),
                # half the time of zarr's own level, for a seventh more bytes
                compressors=ZstdCodec(level=1),
                dimension_names=[axis["name"] for axis in _axes(layout, slices[0])],
            )
        title = path.name.removesuffix(_SUFFIX)
        group.attrs["ome"] = _metadata(title, layout, slices[0], len(levels))
        return cls(path)

    def put(self, z: int, corner: tuple[int, int], pixels: Pixels) -> None:
        """Write pixels, (C, rows, columns) or (rows, columns), of a slice into all levels.

        The corner (y, x) is one of a block; so is the opposite one, or an end of the slice.
        """
        y, x = corner
        for level in self._levels:
            height, width = pixels.shape[-2:]
            level[self._index(z, slice(y, y + height), slice(x, x + width))] = pixels
            n_rows = max(2, _BAND_VALUES * height // pixels.size // 2 * 2)
            bands = [pixels[..., top : top + n_rows, :] for top in range(0, height, n_rows)]
            pixels = np.concatenate([self._halve(band) for band in bands], axis=-2)
            y, x = y // 2, x // 2

    def read(self, z: int, rows: slice) -> Pixels:
        """Rows of a slice at full resolution."""
        pixels: Pixels = self._levels[0][self._index(z, rows, slice(None))]
        return pixels

    def _index(self, z: int, rows: slice, columns: slice) -> tuple[Any, ...]:
        return (z, ..., rows, columns) if self._is_time_first else (..., z, rows, columns)


class ZarrWriter:
    """Writes maps or labels as an OME-Zarr image, or a folder of them for an image set.

    There must be nothing at the path yet. Memory holds a block; where slices are wide, those beside
    it wait in an unnamed file.
    """

    def __init__(self, path: Path, layout: StackLayout) -> None:
        self._path, self._layout = path, layout
        self._images = [
            Pyramid.create(one, layout, slices) for one, slices in image_paths(path, layout)
        ]
        self._next = 0, 0  # slice and row
        with ExitStack() as opened:
            self._blocks = opened.enter_context(
                SpooledTemporaryFile(_SPOOLED_BYTES, dir=str(path.parent))
            )
            self._opened = opened.pop_all()

    def write(self, z: int, data: Pixels, first_row: int = 0) -> None:
        """Write the next slice, or its next rows: (C, rows, X), or (rows, X) without channels."""
        self._next = self._layout.after(self._next, z, data, first_row)
        height, last_row = self._layout.shapes[z][0], first_row + data.shape[-2]
        while first_row < last_row:
            top = first_row // BLOCK_PX * BLOCK_PX
            bottom = min(height, top + BLOCK_PX)
            part, data = np.split(data, [min(last_row, bottom) - first_row], axis=-2)
            part = part.astype(self._layout.dtype, copy=False).reshape(-1, *part.shape[-2:])
            for left, place in self._places(z, top, bottom):
                for c, rows in enumerate(part[..., left : left + BLOCK_PX]):
                    before = c * (bottom - top) + first_row - top
                    self._blocks.seek(place.start + before * rows[0].nbytes)
                    self._blocks.write(np.ascontiguousarray(rows).data)
            first_row += part.shape[-2]
            if first_row == bottom:
                self._put(z, top, bottom)

    def _put(self, z: int, top: int, bottom: int) -> None:
        image, index = (self._images[z], 0) if self._layout.is_set else (self._images[0], z)
        *lead, _, width = self._layout.shape_of(z)
        for left, place in self._places(z, top, bottom):
            self._blocks.seek(place.start)
            pixels = np.frombuffer(self._blocks.read(len(place)), self._layout.dtype)
            shape = *lead, bottom - top, min(BLOCK_PX, width - left)
            image.put(index, (top, left), pixels.reshape(shape))

    def _places(self, z: int, top: int, bottom: int) -> Iterator[tuple[int, range]]:
        """First column of each block of a band, and the bytes where it waits."""
        *lead, _, width = self._layout.shape_of(z)
        n_bytes = (bottom - top) * math.prod(lead) * self._layout.dtype.itemsize
        for left in range(0, width, BLOCK_PX):
            yield left, range(left * n_bytes, min(width, left + BLOCK_PX) * n_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._opened.close()
        if kind is None and self._next != (self._layout.n_slices, 0):
            raise RunError(
                f"only {self._next[0]} of {self._layout.n_slices} slices of {self._path} were "
                "written. Run it again."
            )


OME_ZARR = Writer(_SUFFIX, ZarrWriter)


def image_paths(path: Path, layout: StackLayout) -> list[tuple[Path, range]]:
    """Return path and slices of a stack's image, or of each image of a set."""
    if not layout.is_set:
        return [(path, range(layout.n_slices))]
    names = file_names(layout.names, _SUFFIX)
    return [(path / name, range(z, z + 1)) for z, name in enumerate(names)]


def _level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    sizes = [(height, width)]
    while max(sizes[-1]) > _TOP_PX and len(sizes) < _MAX_LEVELS:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def _axes(layout: StackLayout, z: int) -> list[dict[str, str]]:
    """Axes in the order that OME-Zarr demands: time, channel, space."""
    channel = [] if layout.channels is None else [{"name": "c", "type": "channel"}]
    space = [
        {"name": name, "type": "space"} | ({} if size is None else {"unit": "micrometer"})
        for name, size in zip("zyx", layout.voxel_size_of(z), strict=True)
    ]
    if layout.is_time_series:
        return [{"name": "t", "type": "time"}, *channel, *space[1:]]
    return channel + space


def _metadata(title: str, layout: StackLayout, z: int, n_levels: int) -> dict[str, Any]:
    """What an image says of itself, see https://ngff.openmicroscopy.org/0.5."""
    axes = _axes(layout, z)
    z_step, *steps = (1.0 if size is None else size for size in layout.voxel_size_of(z))
    before = [1.0] * (len(axes) - 3)  # of channels; time points have no distance either
    datasets = []
    for level in range(n_levels):
        times = 2**level
        scale = [*before, z_step, *(step * times for step in steps)]
        shift = [0.0] * (len(axes) - 2) + [step * (times - 1) / 2 for step in steps]
        datasets.append({
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": scale},
                *([{"type": "translation", "translation": shift}] if level else []),
            ],
        })  # fmt: skip
    is_numbers = layout.dtype == np.int32  # of objects
    kind = "mode" if layout.classes or is_numbers else "mean"
    multiscale = {"name": title, "axes": axes, "datasets": datasets, "type": kind}
    found: dict[str, Any] = {"version": "0.5", "multiscales": [multiscale]}
    if layout.channels is not None:
        largest = np.iinfo(layout.dtype).max if layout.dtype.kind in "ui" else 1
        window = {"min": 0, "max": largest, "start": 0, "end": largest}
        colours = _colours(layout.channels)
        found["omero"] = {"channels": [
            {"label": name, "color": colour[1:], "window": window, "active": True}
            for name, colour in zip(layout.channels, colours, strict=True)
        ]}  # fmt: skip
    if layout.classes:
        colours = _colours(layout.classes)
        outside = layout.classes.outside if isinstance(layout.classes, Classes) else None
        found["image-label"] = {
            "colors": [
                {"label-value": index, "rgba": [*bytes.fromhex(colour[1:]), 255 * (index > 0)]}
                for index, colour in enumerate(colours)
            ],
            "properties": [
                {"label-value": index, "class": name}
                | ({"outside": True} if name == outside else {})
                for index, name in enumerate(layout.classes)
            ],
        }
    return found


def _colours(names: Sequence[str]) -> Sequence[str]:
    return names.colours if isinstance(names, Classes) else ["#FFFFFF"] * len(names)


def _evened(pixels: Pixels) -> Pixels:
    """Pixels of even numbers of rows and columns: an odd edge is repeated."""
    odd = [(0, 0)] * (pixels.ndim - 2) + [(0, n % 2) for n in pixels.shape[-2:]]
    return np.pad(pixels, odd, mode="edge") if np.any(odd) else pixels


def _mean(pixels: Pixels) -> Pixels:
    """The mean of four pixels; of whole numbers the nearest, and of two the even one."""
    even = _evened(pixels)
    # pixels of two rows lie side by side, so that they are added first
    wide = np.uint16 if pixels.dtype == np.uint8 else np.float64
    pairs: npt.NDArray[Any] = even[..., ::2, :].astype(wide)
    pairs += even[..., 1::2, :]
    mean: Pixels = (pairs[..., ::2] + pairs[..., 1::2]) / np.float32(4)
    return (np.rint(mean, out=mean) if pixels.dtype.kind in "ui" else mean).astype(pixels.dtype)


def _mode(pixels: Pixels) -> Pixels:
    """The most frequent of four; of two by two, the first."""
    even = _evened(pixels)
    a, b, c, d = (np.ascontiguousarray(even[..., y::2, x::2]) for y in (0, 1) for x in (0, 1))
    is_alone = (a != b) & (a != c) & (a != d)
    mode = np.where(is_alone & (c == d), c, a)
    np.copyto(mode, b, where=is_alone & ((b == c) | (b == d)))
    return mode
