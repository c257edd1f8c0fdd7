"""TIFF files of all kinds as lazy stacks: plain, ImageJ, OME and BigTIFF.

Uncompressed data are memory-mapped; the others are read strip by strip or tile by tile through
tifffile's zarr interface. Grey values are those in the file: neither a colour table nor
"white is zero" changes them, as in napari and ImageJ, where both are a matter of display.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias
from xml.etree import ElementTree

import numpy as np
import tifffile

from ..base import (
    UNKNOWN_VOXEL,
    InputError,
    VoxelSize,
    length_um,
    merge_voxel_size,
    printed_pixel_um,
)
from .axes import resolve_axes
from .stack_base import ArrayLike, ArrayStack, Box, Pixels, Stack, reading

__all__ = ["Palette", "TiffImage", "open_tiff"]

Palette: TypeAlias = Literal["display", "rgb", "index"]
"""What a colour table means: what is shown ("display"), always RGB, or class indices."""

_MAX_CHANNELS = 16
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
_UNIT_OF_TAG = {2: "inch", 3: "cm"}


def open_tiff(
    path: Path,
    *,
    axes: str | None = None,
    voxel_size_um: Sequence[float | None] | None = None,
    palette: Palette = "display",
) -> Stack:
    """Open one TIFF file as a stack.

    Parameters
    ----------
    path : Path
        The file.
    axes : str, optional
        A letter per axis of the series, instead of those in the metadata.
    voxel_size_um : sequence of 3 floats or None, optional
        (z, y, x) in micrometres; goes before the metadata.
    palette : {"display", "rgb", "index"}
        "rgb" gives the colours of a colour table; the others the values in the file.

    Raises
    ------
    InputError
        If it is no TIFF, damaged, holds images of several sizes, or more axes than a stack has.
    """
    with reading(str(path)):
        tif = tifffile.TiffFile(path)
        try:
            colours = _colour_table(tif) if palette == "rgb" else None
            stack = _open_series(tif, path, axes, voxel_size_um)
        except BaseException:
            tif.close()
            raise
    return stack if colours is None else _ColouredStack(stack, colours)


def _open_series(
    tif: tifffile.TiffFile,
    path: Path,
    axes: str | None,
    voxel_size_um: Sequence[float | None] | None,
) -> ArrayStack:
    series = _only_series(tif, path)
    _check_pages(tif, series, path)
    plan = resolve_axes(axes or _letters(series), series.shape, source=str(path))
    if axes is None and plan.n_slices == 1 and plan.n_channels > _MAX_CHANNELS:
        raise InputError(
            f"{path} says that it has {plan.n_channels} channels and one slice; if these are "
            f"slices, give axes {_letters(series).replace('C', 'Z')}, or swap them in Fiji (Image "
            f"> Hyperstacks > Re-order Hyperstack); else give axes {_letters(series)}.",
            field="axes",
        )
    voxel = merge_voxel_size(voxel_size_um, _voxel_size(tif, series))
    mapped = _map_pixels(tif, series, path)
    if mapped is not None:
        tif.close()
        return ArrayStack(mapped, plan, source=str(path), voxel_size_um=voxel)
    stack = ArrayStack(
        _zarr_array(series),
        plan,
        source=str(path),
        voxel_size_um=voxel,
        decodes_whole_slices=_has_one_chunk(series.keyframe),
        on_close=tif.close,
    )
    weakref.finalize(stack, tif.close)
    return stack


def _only_series(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """Return the one image of a file; smaller copies of it, such as thumbnails, do not count."""
    found = [series for series in tif.series if series.size > 0]
    found = [series for series in found if not series.keyframe.is_reduced] or found
    if not found:
        raise InputError(f"{path} holds no image; choose a file with pixels.")
    if len(found) > 1:
        shapes = ", ".join("x".join(map(str, series.shape)) for series in found[:4])
        raise InputError(
            f"{path} holds {len(found)} images of different kinds ({shapes}); save the ones that "
            "you need as separate files in one folder."
        )
    return found[0]


def _check_pages(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> None:
    """Refuse a file whose chain of pages breaks off: tifffile leaves such pages out."""
    len(tif.pages)  # follows the chain to its end
    tif.filehandle.seek(tif.pages.next_page_offset or 0)
    end = tif.filehandle.read(tif.tiff.offsetsize)
    n_missing = sum(page is None for page in series.pages)
    if end.strip(b"\x00") or len(end) < tif.tiff.offsetsize or n_missing:
        raise InputError(
            f"{path} is incomplete: it names pages that are missing; copy it again, with all the "
            "files that belong to it."
        )


def _letters(series: tifffile.TiffPageSeries) -> str:
    """Axes as the file states them, with S only for colours and alpha."""
    axes, page = series.axes, series.keyframe
    if "S" not in axes:
        return axes
    if series.kind == "shaped" and axes.index("S") < axes.index("Y"):
        # tifffile, and napari through it, stores 3 or 4 grey slices as planes of one RGB image
        return axes.replace("S", "Z" if len(axes) == 3 else "C")
    is_colour = page.photometric not in (
        tifffile.PHOTOMETRIC.MINISBLACK,
        tifffile.PHOTOMETRIC.MINISWHITE,
    )
    has_alpha = page.samplesperpixel == 2 and any(e in _ALPHA for e in page.extrasamples)
    return axes if is_colour or has_alpha else axes.replace("S", "C")


def _map_pixels(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path
) -> ArrayLike | None:
    """Memory-map uncompressed pixels; None if they are compressed, tiled or in several files."""
    page = series.keyframe
    if series.is_multifile or not page.is_memmappable or series.dtype is None:
        return None
    dtype = series.dtype.newbyteorder(tif.byteorder)
    offset = series.dataoffset
    n_bytes = series.size * dtype.itemsize
    if offset is not None:
        _check_length(path, offset + n_bytes)
        return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=series.shape)
    offsets = []
    for single in series.pages:
        if single is None or not single.is_contiguous:
            return None
        offsets.append(single.dataoffsets[0])
    _check_length(path, max(offsets) + n_bytes // len(offsets))
    return _MappedPages(path, offsets, page.shape, series.shape, dtype)


def _check_length(path: Path, needed: int) -> None:
    length = path.stat().st_size
    if length < needed:
        raise InputError(
            f"{path} is incomplete: it has {length} bytes of at least {needed}; copy it again."
        )


class _MappedPages:
    """Memory-mapped pages that lie anywhere in a file, indexed as one array."""

    def __init__(
        self,
        path: Path,
        offsets: Sequence[int],
        page_shape: tuple[int, ...],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._page_shape = page_shape
        self._pages = np.arange(len(offsets)).reshape(shape[: len(shape) - len(page_shape)])
        self._offsets = offsets
        self._bytes = np.memmap(path, dtype=np.uint8, mode="r")

    def __getitem__(self, index: tuple[int | slice, ...]) -> Pixels:
        pages = np.asarray(self._pages[index[: self._pages.ndim]])
        within = index[self._pages.ndim :]
        parts = [self._page(i)[within] for i in pages.ravel().tolist()]
        return np.stack(parts).reshape(pages.shape + parts[0].shape)

    def _page(self, i: int) -> Pixels:
        start = self._offsets[i]
        n_bytes = int(np.prod(self._page_shape)) * self.dtype.itemsize
        raw = self._bytes[start : start + n_bytes]
        return raw.view(self.dtype).reshape(self._page_shape)


def _has_one_chunk(page: tifffile.TiffPage) -> bool:
    """Whether a page is compressed as a whole, so that no part of it can be read alone."""
    if page.is_tiled:
        return page.tilelength >= page.imagelength and page.tilewidth >= page.imagewidth
    return page.rowsperstrip >= page.imagelength


def _zarr_array(series: tifffile.TiffPageSeries) -> ArrayLike:
    import zarr  # half a second, and most files are mapped

    array: ArrayLike = zarr.open_array(series.aszarr(level=0), mode="r")
    return array


def _colour_table(tif: tifffile.TiffFile) -> Pixels | None:
    """(n, 3) uint8 colours of a palette image, else None."""
    page = tif.pages.first
    if page.photometric != tifffile.PHOTOMETRIC.PALETTE or page.colormap is None:
        return None
    return (np.asarray(page.colormap).T // 257).astype(np.uint8)


class _ColouredStack(Stack):
    """The colours of a palette image."""

    def __init__(self, indices: Stack, colours: Pixels) -> None:
        super().__init__(
            n_slices=indices.n_slices,
            n_channels=3,
            dtype=np.dtype(np.uint8),
            source=indices.source,
            channel_axis_is_rgb=True,
            voxel_size_um=indices.voxel_size_um,
        )
        self._indices, self._colours = indices, colours

    def _shape(self, z: int) -> tuple[int, int]:
        return self._indices.shape_of(z)

    def _read(self, z: int, box: Box) -> Pixels:
        return np.moveaxis(self._colours[self._indices.read(z, box)[0]], -1, 0)

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._indices.close()


class TiffImage(Stack):
    """A TIFF file of a folder, open only while it is read: a folder may hold thousands."""

    def __init__(
        self, path: Path, *, axes: str | None = None, palette: Palette = "display"
    ) -> None:
        self._path, self._axes, self._palette = path, axes, palette
        with self._open() as stack:
            super().__init__(
                n_slices=stack.n_slices,
                n_channels=stack.n_channels,
                dtype=stack.dtype,
                source=str(path),
                channel_axis_is_rgb=stack.channel_axis_is_rgb,
                voxel_size_um=stack.voxel_size_um,
            )
            self._yx = stack.shape_of(0)
            self._is_whole = stack._decodes_whole(0)

    def _open(self) -> Stack:
        return open_tiff(self._path, axes=self._axes, palette=self._palette)

    def _shape(self, z: int) -> tuple[int, int]:
        return self._yx

    def _read(self, z: int, box: Box) -> Pixels:
        with self._open() as stack:
            return stack.read(z, box)

    def _decodes_whole(self, z: int) -> bool:
        return self._is_whole


def _voxel_size(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> VoxelSize:
    """(z, y, x) in micrometres from whichever metadata the file has."""
    if tif.is_ome and tif.ome_metadata:
        return _ome_voxel_size(tif.ome_metadata, tif.series.index(series))
    if tif.is_imagej and tif.imagej_metadata:
        metadata = tif.imagej_metadata
        unit = metadata.get("unit")
        y = _tag_pixel_um(tif, "YResolution", metadata.get("yunit", unit))
        x = _tag_pixel_um(tif, "XResolution", unit)
        if y is not None and x is not None:
            return length_um(metadata.get("spacing"), metadata.get("zunit", unit)), y, x
    if tif.is_fei and isinstance(tif.fei_metadata, dict):
        scan = tif.fei_metadata.get("Scan", {})
        return None, length_um(scan.get("PixelHeight"), "m"), length_um(scan.get("PixelWidth"), "m")
    if tif.is_sem and tif.sem_metadata:
        for key in ("ap_image_pixel_size", "ap_pixel_size"):
            entry = tif.sem_metadata.get(key, ())
            if len(entry) == 3:
                size = length_um(entry[1], entry[2])
                return None, size, size
    tag = tif.pages.first.tags.get("ResolutionUnit")
    unit = _UNIT_OF_TAG.get(2 if tag is None else int(tag.value))
    return None, _tag_pixel_um(tif, "YResolution", unit), _tag_pixel_um(tif, "XResolution", unit)


def _tag_pixel_um(tif: tifffile.TiffFile, name: str, unit: str | None) -> float | None:
    """Pixel edge from a tag that counts pixels per unit."""
    tag = tif.pages.first.tags.get(name)
    value = (0, 1) if tag is None else tag.value
    if not (isinstance(value, tuple) and len(value) == 2 and value[0] > 0 and value[1] > 0):
        return None
    length = length_um(value[1] / value[0], unit)
    return printed_pixel_um(length) if unit in ("inch", "cm", None) else length


def _ome_voxel_size(xml: str, index: int) -> VoxelSize:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return UNKNOWN_VOXEL
    pixels = root.findall("{*}Image/{*}Pixels")
    if index >= len(pixels):
        return UNKNOWN_VOXEL
    found = pixels[index].attrib
    z, y, x = (
        length_um(found.get(f"PhysicalSize{axis}"), found.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "ZYX"
    )
    return z, y, x
