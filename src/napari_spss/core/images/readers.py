"""Which reader opens what: one registry of kinds of files and folders, and `open_stack`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from natsort import natsort_keygen, ns
from pydantic import Field

from ..base import (
    UNKNOWN_VOXEL,
    InputError,
    Record,
    Registry,
    VoxelSize,
    length_um,
    merge_voxel_size,
    read_record,
)
from .file_names import check_no_masks, count_several_things
from .mrc import open_mrc
from .npy import open_npy
from .ome_zarr import is_zarr, open_zarr
from .pictures import Palette, open_picture
from .stack import ImageData, Stack
from .tiff import open_tiff

_PACKED = (".zip", ".gz", ".bz2", ".xz", ".7z", ".tar")
_DIGITS = re.compile(r"\d+")
_ADDRESS = re.compile(r"\w\w+:[/\\]")  # a letter alone is a disk of Windows
_sort_key = natsort_keygen(alg=ns.IGNORECASE)


@dataclass(frozen=True)
class Reader:
    """A kind of files, or of folders that stand for one image.

    Parameters
    ----------
    name : str
        For messages, such as "TIFF".
    open : callable
        Path and what colour tables mean to `ImageData`. It reads no more than it must, and
        raises `InputError` for a file that cannot be read.
    suffixes : tuple of str
        Of its files, in lower case, such as ".tif".
    is_store : callable, optional
        Whether a folder is of this kind.
    is_slice : bool
        Whether a folder of such files is a stack, each a slice.
    """

    name: str
    open: Callable[[Path, Palette], ImageData]
    suffixes: tuple[str, ...] = ()
    is_store: Callable[[Path], bool] | None = None
    is_slice: bool = False


_readers = [
    Reader("TIFF", open_tiff, (".tif", ".tiff", ".btf", ".tf8", ".tf2"), is_slice=True),
    Reader("PNG", open_picture, (".png",), is_slice=True),
    Reader("JPEG", open_picture, (".jpg", ".jpeg"), is_slice=True),
    Reader("MRC", lambda path, _: open_mrc(path), (".mrc", ".rec", ".st", ".ali", ".map")),
    Reader("NumPy", lambda path, _: open_npy(path), (".npy",)),
    Reader("Zarr", lambda path, _: open_zarr(path), is_store=is_zarr),
]

READERS: Registry[Reader] = Registry(
    "reader", group="napari_spss.readers", built_in={}, field="image", expects=Reader
)
"""Readers that installed packages offer, by entry points of the group ``napari_spss.readers``."""


def register_reader(reader: Reader) -> None:
    """Add a kind of files or folders in this process, which goes before the built-in ones.

    A package that offers readers names them as entry points of the group ``napari_spss.readers``
    instead; then the command line and the dock know them too. These come after the built-in ones.

    Examples
    --------
    >>> def open_raw(path, palette):
    ...     return ImageData(np.fromfile(path, "u1").reshape(-1, 512, 512), "ZYX")
    >>> register_reader(Reader("raw", open_raw, (".raw",)))  # doctest: +SKIP
    """
    _readers.insert(0, reader)


def known_readers() -> tuple[Reader, ...]:
    """All readers that can be loaded, in the order in which they are asked."""
    return (*_readers, *READERS.usable())


def open_stack(
    path: str | os.PathLike[str],
    *,
    axes: str | None = None,
    voxel_size_um: Sequence[float | None] | None = None,
    palette: Palette = "display",
    strict: bool = True,
) -> Stack:
    """Open images lazily.

    Parameters
    ----------
    path : path-like
        A multi-page, ImageJ, OME- or BigTIFF; a folder of PNG, TIFF, JPEG or Zarr images, in
        natural order (a stack if all have one size, else an image set); one PNG or JPEG; an MRC
        file (``.mrc``, ``.rec``, ``.map``, ``.st``, ``.ali``); a NumPy ``.npy``; an (OME-)Zarr
        folder, or a level in it; or what a reader that was registered or installed opens.
    axes : str, optional
        A letter per axis of the data as stored, if the metadata are missing or wrong: "ZYX",
        "ZCYX", "YXC" and so on; T for time points. For a folder: the axes of each image, and T if
        these are time points.
    voxel_size_um : sequence of 3 floats or None, optional
        (z, y, x) in micrometres; goes before the metadata, which fill in what is None.
    palette : {"display", "rgb", "index"}
        What colour tables mean: images look as shown; colour masks need "rgb", index masks
        "index".
    strict : bool
        Whether it is an image, not masks: those of a folder must agree in type and number of
        channels, and slices that are a few pixels wide need axes.

    Raises
    ------
    InputError
        If there is nothing to read, or it cannot be read as such a stack: the message says why
        and what to do.
    """
    path = checked_path(path)
    if not path.exists():
        if _ADDRESS.match(str(path)):
            raise InputError(
                f"{path} is an address, and images are read from disks; download it, or open it "
                "in napari."
            )
        raise InputError(f"{path} does not exist; check the path.")
    if path.is_dir():
        store = next((one for one in known_readers() if one.is_store and one.is_store(path)), None)
        if store is None:
            return _open_folder(path, axes, voxel_size_um, palette, strict)
        images = [store.open(path, palette)]
    else:
        images = [_open_file(path, palette, SidecarSizes(path.parent))]
    return Stack(images, source=str(path), axes=axes, voxel_size_um=voxel_size_um, strict=strict)


def checked_path(path: object) -> Path:
    """Return a path; InputError for what is none, such as an array."""
    if isinstance(path, str | os.PathLike):
        return Path(path)
    raise InputError(
        f"a {type(path).__name__} is no path; give that of a file or folder, or, where a stack "
        "is taken, stack_from_array(array)."
    )


def _open_file(path: Path, palette: Palette, sidecars: SidecarSizes) -> ImageData:
    suffix = path.suffix.lower()
    reader = next((one for one in known_readers() if suffix in one.suffixes), None)
    if reader is None and suffix in _PACKED:
        raise InputError(
            f"{path} is packed ({suffix}), and cannot be read as it is; unpack it first."
        )
    if reader is None:
        for name in READERS.names():
            READERS.get(name)  # says what is wrong with one that cannot be loaded
        kinds = ", ".join(f"{one.name} ({', '.join(one.suffixes)})"
                          for one in known_readers() if one.suffixes)  # fmt: skip
        raise InputError(
            f"{path} is of a kind ({suffix or 'no extension'}) that cannot be read; convert it to "
            f"one of: {kinds}, .zarr; or give a folder of slices."
        )
    if not path.is_file() or path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy or export it again.")
    image = reader.open(path, palette)
    size = merge_voxel_size(image.voxel_size_um, sidecars.of(path))
    return replace(image, voxel_size_um=size, source=str(path))


def _open_folder(
    folder: Path,
    axes: str | None,
    voxel_size_um: Sequence[float | None] | None,
    palette: Palette,
    strict: bool,
) -> Stack:
    slices = {suffix for one in known_readers() if one.is_slice for suffix in one.suffixes}
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    paths = natural_order([p for p in visible if p.suffix.lower() in slices and p.is_file()])
    paths = paths or natural_order([p for p in visible if p.is_dir() and is_zarr(p)])
    if not paths:
        others = ", ".join(path.name for path in natural_order(visible)[:3])
        raise InputError(
            f"folder {folder} holds no images"
            + (f" of its own, only others such as {others}" if others else "; it is empty")
            + ". Choose a folder of PNG, TIFF or JPEG files."
        )
    if strict:
        check_no_masks(folder, [path.name for path in paths])
    sidecars = SidecarSizes(folder)
    images = [open_zarr(p) if p.is_dir() else _open_file(p, palette, sidecars) for p in paths]
    images[0] = replace(images[0], notes=(*images[0].notes, *_oddities(paths, visible)))
    return Stack(
        images,
        source=str(folder),
        names=[path.name for path in paths],
        axes=axes,
        voxel_size_um=voxel_size_um,
        strict=strict,
    )


def _oddities(paths: Sequence[Path], visible: Sequence[Path]) -> Iterator[str]:
    """Say what may be a slice and is not read, and what may be one slice and is read twice."""
    stems = Counter(path.stem for path in paths)
    patterns = {_DIGITS.sub("0", stem) for stem in stems}
    likely = [
        path
        for path in natural_order(visible)
        if path.is_file() and path.stem not in stems and _DIGITS.sub("0", path.stem) in patterns
    ]
    for what, found in (
        ("is no TIFF, PNG or JPEG and is not read as a slice", likely),
        ("has the name of another slice; both are read", [p for p in paths if stems[p.stem] > 1]),
    ):
        if found:
            more = f" (and {len(found) - 1} more like it)" if len(found) > 1 else ""
            yield f"{found[0].name} in {found[0].parent} {what}{more}."
    if count_several_things([path.name for path in paths]):
        yield (
            f"Names in {paths[0].parent} count more than one thing, such as slices and channels, "
            f"or tiles; all are read as slices, one after the other ({paths[0].name}, "
            f"{paths[1].name}, ...): if they are not, put what belongs together into a folder of "
            "its own."
        )


def natural_order(paths: Sequence[Path]) -> list[Path]:
    """Sort paths by name as people do: ``z2.png`` before ``z10.png``.

    Examples
    --------
    >>> [path.name for path in natural_order([Path("z10.png"), Path("z2.png")])]
    ['z2.png', 'z10.png']
    """
    return sorted(paths, key=lambda path: (_sort_key(path.stem), _sort_key(path.suffix), path.name))


class SidecarSizes:
    """Pixel sizes that the JSON files of a folder state; unusable files are passed over.

    Microscopy-BIDS puts them beside images: ``sub-1_sample-2_SEM.json`` speaks for
    ``sub-1_sample-2_SEM.png``, and so does ``sub-1_SEM.json``: its parts are a subset of the
    image's, and the last part is the same [1]_.

    References
    ----------
    .. [1] Bourget et al., Microscopy-BIDS, Frontiers in Neuroscience 16 (2022),
       doi:10.3389/fnins.2022.871228.
    """

    def __init__(self, folder: Path) -> None:
        sizes = []
        for path in sorted(folder.glob("*.json")):
            size = None if path.name.startswith(".") else _stated_size(path)
            if size is not None:
                sizes.append((path.stem.split("_"), size))
        self._sizes = sorted(sizes, key=lambda entry: len(entry[0]), reverse=True)

    def of(self, image: Path) -> VoxelSize:
        """(z, y, x) in micrometres from the most specific file that speaks for the image."""
        parts = image.stem.split("_")
        for stated_parts, size in self._sizes:
            if stated_parts[-1] == parts[-1] and set(stated_parts) <= set(parts):
                return size
        return UNKNOWN_VOXEL


class _Stated(Record):
    """What a file may state; numbers may be written as text."""

    sizes: tuple[float | str, ...] = Field(alias="PixelSize")
    unit: str | None = Field(default=None, alias="PixelSizeUnits")


def _stated_size(path: Path) -> VoxelSize | None:
    try:
        stated = read_record(_Stated, path, remedy="restore it")
    except InputError:
        return None
    lengths = [length_um(size, stated.unit) for size in stated.sizes]
    x, y, z = [*lengths, None, None, None][:3]
    return z, y, x
