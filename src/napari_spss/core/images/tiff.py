"""TIFF files of all kinds: plain, ImageJ, OME and BigTIFF.

tifffile says what is where; pixels are then read page by page, the compressed ones strip by strip
or tile by tile, so that no file stays open. Grey values are those in the file: neither a colour
table nor "white is zero" changes them, as in napari and ImageJ, where both are a matter of display.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path, PureWindowsPath
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import tifffile

from ..base import UNKNOWN_VOXEL, InputError, VoxelSize, length_um, printed_pixel_um
from .pictures import Palette
from .raw import Pixels, RawPixels, SteadyFile, Where, reading
from .stack import ArrayLike, ImageData

CREATOR = "napari-spss"
CLASS_KEY, OUTSIDE_KEY = "class {}", "outside"
"""Under which key the OME-XML of labels names the class of an index."""

_MAX_PLANES = 2**24
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
_GREY = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
_NO_RGB = ("SEPARATED", "CIELAB", "ICCLAB", "ITULAB", "YCBCR", "LOGLUV")
_UNIT_OF_TAG = {2: "inch", 3: "cm"}


def open_tiff(path: Path, palette: Palette = "display") -> ImageData:
    """Open the one image of a file.

    Parameters
    ----------
    path : Path
        The file.
    palette : {"display", "rgb", "index"}
        "rgb" gives the colours of a colour table; the others the values in the file.

    Raises
    ------
    InputError
        If it is no TIFF, is damaged, holds images of several sizes, or names files outside of its
        folder.
    """
    with _what_is_logged() as logged:
        image = _open(path, palette)
    if logged:
        note = f"{path.name} is unusual or damaged ({logged[0]}): check its size and pixels."
        image = replace(image, notes=(*image.notes, note))
    return image


@contextlib.contextmanager
def _what_is_logged() -> Iterator[list[str]]:
    """Collect what tifffile finds wrong, which else goes to standard error."""
    found: list[str] = []
    here = threading.get_ident()
    handler = logging.Handler(logging.WARNING)
    handler.addFilter(lambda record: record.thread == here)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def _open(path: Path, palette: Palette) -> ImageData:
    with reading(path):
        tif = tifffile.TiffFile(path)
    with tif:
        _check_chain(tif, path)
        ome, notes = _ome(tif, path)
        try:
            with reading(path):
                len(tif.series)
        except InputError as error:
            notes = [
                f"{path.name} has metadata that cannot be read ({error.__cause__}): its pages are "
                "read as slices, and its pixel size is that of its tags, if any."
            ]
        else:
            return _image_data(tif, path, palette, ome, notes)
    with reading(path):
        plain = tifffile.TiffFile(path, is_shaped=False, is_imagej=False, is_ome=False)
    with plain:
        return _image_data(plain, path, palette, None, notes)


def _image_data(
    tif: tifffile.TiffFile,
    path: Path,
    palette: Palette,
    ome: ElementTree.Element | None,
    notes: Sequence[str],
) -> ImageData:
    series, more_notes = _only_image(tif, path)
    _check_colours(series.keyframe, path)
    if series.keyframe.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        more_notes.append(
            "Grey values are as stored, but 0 is white by the file: dark and bright are swapped "
            "beside a file in which 0 is black."
        )
    voxel_size_um, size_notes = _voxel_size(tif, series.index, ome, path)
    pixels, axes = _pixels(series, path), series.axes
    is_whole = isinstance(pixels, _Segments) and pixels.has_one_segment
    colours = _colour_table(series.keyframe, path) if palette == "rgb" else None
    if colours is not None and pixels.dtype.kind == "u" and "S" not in axes:
        pixels, axes = _Coloured(pixels, colours, path), f"{axes}S"
    return ImageData(
        pixels,
        axes,
        voxel_size_um,
        decodes_whole_slices=is_whole,
        notes=(*notes, *more_notes, *size_notes),
        is_labels=ome is not None and _says_classes(ome),
        axes_notes=tuple(_doubts_of_axes(series, ome)),
    )


# ---- what the file says


@dataclass(frozen=True)
class _Series:
    """An image as tifffile found it; ``pages`` are not looked up where ``first_byte`` is known."""

    kind: str
    index: int
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    keyframe: tifffile.TiffPage
    first_byte: int | None  # of pixels that lie in the file as one array
    pages: tuple[Any, ...]

    @property
    def are_single_pages(self) -> bool:
        """Whether the pages are grey or colour slices in one row."""
        page = self.keyframe
        n_outer = len(self.shape) - len(page.shape)
        return (
            self.kind in ("shaped", "generic", "uniform")
            and page.axes in ("YX", "YXS")
            and self.shape[n_outer:] == page.shape
            and n_outer <= 1
            and "C" not in self.axes
            and len(self.pages) == math.prod(self.shape[:n_outer])
        )


def _only_image(tif: tifffile.TiffFile, path: Path) -> tuple[_Series, list[str]]:
    """Return the one image of a file; smaller copies of it, such as thumbnails, do not count."""
    with reading(path):
        full = [(i, one) for i, one in enumerate(tif.series) if one.size and one.dtype is not None]
        found = [(i, one) for i, one in full if not one.keyframe.is_reduced] or full
        # pages of other files, or of several images, are looked up one by one
        offsets = [
            one.dataoffset
            if len(found) == 1 and one.keyframe.parent is tif and not one.is_multifile
            else None
            for _, one in found
        ]
        pages = [
            () if offset is not None else tuple(one.pages)
            for (_, one), offset in zip(found, offsets, strict=True)
        ]
        n_stated, n_pages = _planes_of_imagej(tif), len(tif.pages)
    images = [
        _Series(
            one.kind, index, _letters(one), tuple(one.shape), np.dtype(one.dtype),
            one.keyframe, offset, parts,
        )
        for (index, one), offset, parts in zip(found, offsets, pages, strict=True)
    ]  # fmt: skip
    if not images:
        raise InputError(f"{path} holds no image; choose a file with pixels.")
    if any(page is None for image in images for page in image.pages):
        raise _incomplete(path)
    if len(images) > 1:
        return _joined(images, path)
    n_read = len(images[0].pages) or n_pages
    if n_stated > n_read and not (images[0].kind == "imagej" and images[0].first_byte is not None):
        raise InputError(
            f"{path} is incomplete: it states {n_stated} images in its ImageJ metadata, but holds "
            f"{n_read}; copy it again, or save it again in Fiji."
        )
    series, notes = images[0], []
    if "S" in str(found[0][1].axes) and series.axes == "ZYX":
        notes.append(
            f"{path.name} holds {series.shape[0]} planes that are marked as the colours of one "
            "image, as some programs mark slices; they are slices unless the axes CYX are stated."
        )
    return series, notes


def _joined(images: Sequence[_Series], path: Path) -> tuple[_Series, list[str]]:
    """Take images of one size that were appended one by one as the slices of one."""
    first = images[0]
    sizes = {(image.keyframe.shape, image.dtype, image.keyframe.photometric) for image in images}
    if len(sizes) > 1 or not all(image.are_single_pages for image in images):
        shapes = ", ".join("x".join(map(str, image.shape)) for image in images[:4])
        raise InputError(
            f"{path} holds {len(images)} images of different kinds ({shapes}); save the ones that "
            "you need as separate files in one folder."
        )
    pages = sorted((page for image in images for page in image.pages), key=lambda page: page.index)
    axes, shape = f"Z{first.keyframe.axes}", (len(pages), *first.keyframe.shape)
    note = (
        f"{path.name} holds {len(images)} images of one size that were appended one by one; they "
        "are read as one stack."
    )
    return replace(first, axes=axes, shape=shape, pages=tuple(pages)), [note]


def _check_chain(tif: tifffile.TiffFile, path: Path) -> None:
    """See that the chain of pages has an end, and does not break off or turn back before."""
    with reading(path):
        # tifffile leaves pages behind a break out, and goes round for ever where nobody counted
        len(tif.pages)
        tif.filehandle.seek(tif.pages.next_page_offset or 0)
        end = tif.filehandle.read(tif.tiff.offsetsize)
    if end.strip(b"\x00") or len(end) < tif.tiff.offsetsize:
        raise _incomplete(path)


def _incomplete(path: Path) -> InputError:
    return InputError(
        f"{path} is incomplete: it names pages that are missing; copy it again, with all the "
        "files that belong to it."
    )


def _planes_of_imagej(tif: tifffile.TiffFile) -> int:
    """How many images ImageJ's metadata state; 0 if they state none."""
    metadata = (tif.imagej_metadata if tif.is_imagej else None) or {}
    counts = [metadata.get(key, 1) for key in ("channels", "slices", "frames")]
    return math.prod(counts) if metadata and all(isinstance(n, int) for n in counts) else 0


def _letters(series: Any) -> str:
    """Axes as the file states them, with S only for colours and alpha."""
    axes, page = str(series.axes), series.keyframe
    if "S" not in axes:
        return axes
    if series.kind == "shaped" and axes.index("S") < axes.index("Y"):
        # tifffile, and napari through it, stores 3 or 4 grey slices as planes of one RGB image
        return axes.replace("S", "Z" if len(axes) == 3 else "C")
    is_colour = page.photometric not in _GREY
    has_alpha = page.samplesperpixel == 2 and any(e in _ALPHA for e in page.extrasamples)
    return axes if is_colour or has_alpha else axes.replace("S", "C")


def _ome(tif: tifffile.TiffFile, path: Path) -> tuple[ElementTree.Element | None, list[str]]:
    """Read OME-XML; refuse files outside of the folder, and more planes than any file holds."""
    with reading(path):
        text = tif.ome_metadata if tif.is_ome else None
    if not text:
        return None, []
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        return None, [
            f"{path.name} has OME-XML that cannot be read ({error}): its pages are read as slices, "
            "and its pixel size is not known."
        ]
    for element in root.iterfind(".//{*}UUID"):
        name = element.get("FileName", "")
        if not _is_inside(name):
            raise InputError(
                f"{path} names a file outside of its folder ({name!r}), which is not followed; "
                "put all its files into one folder, and save it again with names alone."
            )
    for pixels in root.iterfind(".//{*}Pixels"):
        sizes = [pixels.get(f"Size{axis}", "1") for axis in "ZCT"]
        counts = [one.get(key, "0") for one in pixels.iterfind("{*}TiffData")
                  for key in ("IFD", "NumPlanes", "PlaneCount")]  # fmt: skip
        n_planes = math.prod(int(n) for n in sizes if n.isdecimal())
        most = max([n_planes, *(int(n) for n in counts if n.isdecimal())])
        if most > _MAX_PLANES:
            raise InputError(
                f"{path} states {most} planes in its OME-XML, more than a file can hold; save it "
                "again in another program, such as Fiji."
            )
    if root.find("{*}BinaryOnly") is not None:
        return root, [
            f"{path.name} leaves its metadata to another file, which is not read: its pages are "
            "read as slices, and its pixel size is not known."
        ]
    return root, []


def _says_classes(ome: ElementTree.Element) -> bool:
    """Whether OME-XML is that of labels, written here."""
    first = CLASS_KEY.format(0)
    is_ours = ome.get("Creator") == CREATOR
    return is_ours and any(one.get("K") == first for one in ome.iterfind(".//{*}M"))


def _is_inside(name: str) -> bool:
    """Whether a file name stays in its folder, whichever system it is meant for."""
    parts = PureWindowsPath(name)  # knows both kinds of slashes
    return not (parts.drive or parts.root or ".." in parts.parts)


def _check_colours(page: tifffile.TiffPage, path: Path) -> None:
    """Refuse colours of which the samples are not red, green and blue, nor decoded as such."""
    name = getattr(page.photometric, "name", "")
    is_decoded = name == "YCBCR" and page.compression in tifffile.TIFF.IMAGE_COMPRESSIONS
    if name in _NO_RGB and not is_decoded:
        kind = "CMYK" if name == "SEPARATED" else name
        raise InputError(
            f"{path} holds {kind} colours, which cannot be read; save it as a grey or RGB image, "
            "such as in GIMP."
        )


def _doubts_of_axes(series: _Series, ome: ElementTree.Element | None) -> Iterator[str]:
    """Say that channels of one slice may be meant as slices."""
    extents = dict(zip(series.axes, series.shape, strict=True))
    is_named = ome is not None and any(one.get("Name") for one in ome.iterfind(".//{*}Channel"))
    n_channels, others = extents.pop("C", 1), [n for axis, n in extents.items() if axis not in "YX"]
    if n_channels > 1 and not is_named and all(n == 1 for n in others):
        yield (
            f"The {n_channels} planes of the file are channels of one slice by its metadata; if "
            "they are slices, state the axes (--axes ZYX), or swap them in Fiji (Image > "
            "Hyperstacks > Re-order Hyperstack)."
        )


def _colour_table(page: tifffile.TiffPage, path: Path) -> Pixels | None:
    """(n, 3) uint8 colours of a palette image, else None."""
    with reading(path):
        if page.photometric != tifffile.PHOTOMETRIC.PALETTE or page.colormap is None:
            return None
        table: Pixels = (np.asarray(page.colormap).T // 257).astype(np.uint8)
    return table if table.ndim == 2 and table.shape[1] == 3 else None


# ---- pixel sizes


def _voxel_size(
    tif: tifffile.TiffFile, index: int, ome: ElementTree.Element | None, path: Path
) -> tuple[VoxelSize, list[str]]:
    """(z, y, x) in micrometres from whichever metadata the file has."""
    if ome is not None:
        return _ome_voxel_size(ome, index), []
    try:
        with reading(path):
            tags = {name: tag.value for name in ("XResolution", "YResolution", "ResolutionUnit")
                    if (tag := tif.pages.first.tags.get(name)) is not None}  # fmt: skip
            imagej = tif.imagej_metadata if tif.is_imagej else None
            fei = tif.fei_metadata if tif.is_fei else None
            zeiss = tif.sem_metadata if tif.is_sem else None
    except InputError as error:
        return UNKNOWN_VOXEL, [
            f"{path.name} has metadata that cannot be read ({error.__cause__}): its pixel size is "
            "not known."
        ]
    size = _imagej_size(tags, imagej) or _fei_size(fei) or _zeiss_size(zeiss)
    if size is None:
        stated = tags.get("ResolutionUnit", 2)
        unit = _UNIT_OF_TAG.get(stated) if isinstance(stated, int) else None
        y, x = (_pixel_um(tags.get(f"{axis}Resolution"), unit) for axis in "YX")
        size = None, y, x
    return size, []


def _pixel_um(tag: Any, unit: str | None) -> float | None:
    """Pixel edge from a tag that counts pixels per unit."""
    is_ratio = isinstance(tag, tuple) and len(tag) == 2 and all(isinstance(n, int) for n in tag)
    if not (is_ratio and min(tag) > 0):
        return None
    length = length_um(tag[1] / tag[0], unit)
    return printed_pixel_um(length) if unit in ("inch", "cm", None) else length


def _imagej_size(tags: Mapping[str, Any], metadata: object) -> VoxelSize | None:
    if not isinstance(metadata, Mapping):
        return None
    units = {key: value for key in ("unit", "yunit", "zunit")
             if isinstance(value := metadata.get(key), str)}  # fmt: skip
    unit = units.get("unit")
    y = _pixel_um(tags.get("YResolution"), units.get("yunit", unit))
    x = _pixel_um(tags.get("XResolution"), unit)
    if y is None or x is None:
        return None
    return length_um(metadata.get("spacing"), units.get("zunit", unit)), y, x


def _fei_size(metadata: object) -> VoxelSize | None:
    scan = metadata.get("Scan") if isinstance(metadata, Mapping) else None
    if not isinstance(scan, Mapping):
        return None
    return None, length_um(scan.get("PixelHeight"), "m"), length_um(scan.get("PixelWidth"), "m")


def _zeiss_size(metadata: object) -> VoxelSize | None:
    for key in ("ap_image_pixel_size", "ap_pixel_size"):
        entry = metadata.get(key) if isinstance(metadata, Mapping) else None
        if isinstance(entry, tuple) and len(entry) == 3 and isinstance(entry[2], str):
            size = length_um(entry[1], entry[2])
            return None, size, size
    return None


def _ome_voxel_size(root: ElementTree.Element, index: int) -> VoxelSize:
    pixels = root.findall("{*}Image/{*}Pixels")
    if index >= len(pixels):
        return UNKNOWN_VOXEL
    found = pixels[index].attrib
    z, y, x = (
        length_um(found.get(f"PhysicalSize{axis}"), found.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "ZYX"
    )
    return z, y, x


# ---- pixels


def _pixels(series: _Series, path: Path) -> ArrayLike:
    """Pixels of an image, from where they lie.

    Raises
    ------
    InputError
        If they are cut short, lie in another folder, or are stored in a way that is not
        understood.
    """
    keyframe, shape = series.keyframe, series.shape
    with reading(path):
        raw_type = series.dtype.newbyteorder(keyframe.parent.byteorder)
        are_final = all(page.keyframe.is_final for page in series.pages)
    if series.first_byte is not None:
        return RawPixels([(SteadyFile(path), series.first_byte)], shape, shape, raw_type)
    page_shape = tuple(keyframe.shape)
    n_outer = len(shape) - len(page_shape)
    pages = _pages(series, path)
    if shape[n_outer:] != page_shape or len(pages) != math.prod(shape[:n_outer]):
        raise _not_understood(path)
    n_bytes = math.prod(page_shape) * raw_type.itemsize
    if are_final and all(page.is_one_run(n_bytes) for page in pages):
        places = [(page.file, int(page.starts[0])) for page in pages]
        return RawPixels(places, page_shape, shape, raw_type)
    return _Segments(pages, shape, series.dtype)


def _not_understood(path: Path) -> InputError:
    return InputError(
        f"{path} stores its pixels in a way that is not understood; save it again in another "
        "program, such as Fiji."
    )


@dataclass(frozen=True)
class _Layout:
    """How a page is cut into strips or tiles, over (plane, depth, row, column)."""

    axes: str  # of the page, such as "YX", "YXS" or, with separate planes, "SYX"
    # extent of the page, and of a strip or tile
    size: tuple[int, ...]
    segment: tuple[int, ...]
    n_samples: int  # samples of a pixel that lie side by side
    # of tifffile: bytes and number of a segment to (depth, rows, columns, samples)
    decode: Callable[..., tuple[Pixels | None, object, object]]
    missing: float  # value where the file leaves out a segment

    @classmethod
    def of(cls, page: tifffile.TiffPage, path: Path) -> _Layout:
        with reading(path):
            axes, shaped, decode, missing = page.axes, page.shaped, page.decode, page.nodata
            rows = 1, 1, page.rowsperstrip, page.imagewidth
            tile = 1, page.tiledepth, page.tilelength, page.tilewidth
            segment = tile if page.is_tiled else rows
        if min(*segment, *shaped) < 1 or not set(axes) <= set("SZYX"):
            raise _not_understood(path)
        return cls(axes, tuple(shaped[:4]), segment, shaped[4], decode, missing)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many strips or tiles there are along each axis."""
        return tuple(-(-n // step) for n, step in zip(self.size, self.segment, strict=True))

    def spans(self, where: Where) -> list[range]:
        """Ranges of planes, depths, rows, columns and samples that an index stands for."""
        spans = [*(range(n) for n in self.size), range(self.n_samples)]
        place = {"S": 0 if self.size[0] > 1 else 4, "Z": 1, "Y": 2, "X": 3}
        for axis, i in zip(self.axes, where, strict=True):
            full = spans[place[axis]]
            spans[place[axis]] = full[i] if isinstance(i, slice) else range(i, i + 1)
        return spans


@dataclass(frozen=True)
class _Page:
    """Where the strips or tiles of a page lie."""

    file: SteadyFile
    starts: npt.NDArray[np.int64]
    n_bytes: npt.NDArray[np.int64]
    layout: _Layout
    tables: Mapping[str, bytes | None]  # for JPEG

    def is_one_run(self, n_bytes: int) -> bool:
        """Whether the pixels follow each other without a gap."""
        if len(self.starts) != len(self.n_bytes) or len(self.starts) == 0:
            return False
        ends = self.starts + self.n_bytes
        is_full = len(self.starts) == 1 or int(self.n_bytes.sum()) == n_bytes
        return is_full and bool((ends[:-1] == self.starts[1:]).all())

    def segment(self, stream: BufferedReader, number: int) -> Pixels | None:
        """(depth, rows, columns, samples) of a strip or tile; None if the file leaves it out."""
        path = self.file.path
        if number >= min(len(self.starts), len(self.n_bytes)):
            raise InputError(f"{path} is incomplete: it names too few strips; copy it again.")
        start, n_bytes = int(self.starts[number]), int(self.n_bytes[number])
        if start <= 0 or n_bytes <= 0:
            return None
        encoded = self.file.read(stream, start, n_bytes).tobytes()
        with reading(path):
            pixels, *_ = self.layout.decode(encoded, number, **self.tables)
        return pixels


def _pages(series: _Series, path: Path) -> list[_Page]:
    files: dict[str, SteadyFile] = {}
    layouts: dict[int, _Layout] = {}
    pages = []
    for page in series.pages:
        with reading(path):
            home, keyframe = page.parent.filehandle.path, page.keyframe
            starts = np.atleast_1d(np.asarray(page.dataoffsets, np.int64))
            n_bytes = np.atleast_1d(np.asarray(page.databytecounts, np.int64))
            tables = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
        if home not in files:
            # tifffile resolves links, and so must be what it is compared with
            if not Path(os.path.realpath(home)).is_relative_to(Path(os.path.realpath(path)).parent):
                raise InputError(
                    f"{path} has pixels in a file outside of its folder ({home}), which is not "
                    "followed; put all its files into one folder."
                )
            files[home] = SteadyFile(Path(home))
        if id(keyframe) not in layouts:
            layouts[id(keyframe)] = _Layout.of(keyframe, path)
        if len(starts) == len(n_bytes) > 0:
            files[home].check_holds(int((starts + n_bytes)[n_bytes > 0].max(initial=0)))
        pages.append(_Page(files[home], starts, n_bytes, layouts[id(keyframe)], tables))
    return pages


class _Segments:
    """Strips or tiles of pages, decoded when they are indexed, and no more of them than asked for.

    Parameters
    ----------
    pages : sequence of _Page
        In order.
    shape : tuple of int
        Of the whole; ends with that of a page.
    dtype : numpy.dtype
        Of the pixels.
    """

    def __init__(
        self, pages: Sequence[_Page], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.shape, self.dtype = shape, dtype.newbyteorder("=")
        self._pages = pages
        self._n_outer = len(shape) - len(pages[0].layout.axes)

    @property
    def has_one_segment(self) -> bool:
        """Whether a page is compressed as a whole, so that no part of it can be read alone."""
        return math.prod(self._pages[0].layout.counts[1:]) == 1

    def __getitem__(self, index: Where) -> Pixels:
        outer, inner = index[: self._n_outer], index[self._n_outer :]
        numbers = np.arange(len(self._pages)).reshape(self.shape[: self._n_outer])[outer]
        parts = [self._part(self._pages[number], inner) for number in np.ravel(numbers).tolist()]
        shape = *np.shape(numbers), *parts[0].shape
        return (parts[0] if len(parts) == 1 else np.stack(parts)).reshape(shape)

    def _part(self, page: _Page, where: Where) -> Pixels:
        layout = page.layout
        spans, counts = layout.spans(where), layout.counts
        part = np.full([len(span) for span in spans], layout.missing, self.dtype)
        grid = [
            range(span.start // step, -(-span.stop // step))
            for span, step in zip(spans, layout.segment, strict=False)
        ]
        with page.file.open() as stream:
            for place in itertools.product(*grid):
                number = 0
                for i, n in zip(place, counts, strict=True):
                    number = number * n + i
                segment = page.segment(stream, number)
                if segment is None:
                    continue
                target: list[int | slice] = [place[0] - spans[0].start]
                source: list[slice] = []
                corner = [i * step for i, step in zip(place[1:], layout.segment[1:], strict=True)]
                for span, first, n in zip(spans[1:], [*corner, 0], segment.shape, strict=True):
                    begin, end = max(span.start, first), min(span.stop, first + n)
                    target.append(slice(begin - span.start, end - span.start))
                    source.append(slice(begin - first, end - first))
                part[tuple(target)] = segment[tuple(source)]
        axes = zip(self.shape[self._n_outer :], where, strict=True)
        return part.reshape([len(range(n)[i]) for n, i in axes if isinstance(i, slice)])


class _Coloured:
    """The colours of a palette image, its last axis."""

    def __init__(self, indices: ArrayLike, colours: Pixels, path: Path) -> None:
        self.shape, self.dtype = (*indices.shape, 3), colours.dtype
        self._indices, self._colours, self._path = indices, colours, path

    def __getitem__(self, index: Where) -> Pixels:
        indices = np.asarray(self._indices[index[:-1]])
        if indices.size and int(indices.max()) >= len(self._colours):
            raise InputError(
                f"{self._path} has the value {indices.max()}, but a table of {len(self._colours)} "
                "colours; save it again in another program, such as Fiji."
            )
        colours: Pixels = self._colours[indices][..., index[-1]]
        return colours
