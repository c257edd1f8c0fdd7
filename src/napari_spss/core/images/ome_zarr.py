"""Zarr arrays and groups, and the images of OME-Zarr in them."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from natsort import natsorted
from pydantic import Field, TypeAdapter, ValidationError

from ..annotations import Classes, ClassStyle
from ..base import (
    UNKNOWN_VOXEL,
    InputError,
    Record,
    VoxelSize,
    fault_of,
    keep_freed_memory,
    length_um,
)
from .raw import Pixels, SteadyFile, Where, reading
from .stack import ImageData

_MARKS = ("zarr.json", ".zarray", ".zgroup")
_DIMENSIONS = "_ARRAY_DIMENSIONS"  # of xarray
_LETTERS = {name: name[0].upper() for name in ("t", "time", "c", "channel", "z", "y", "x")}
_MAX_NAMED = 20
_MAX_COUNTED = 50_000  # chunks, in a tenth of a second
_MAX_DEPTH = 3  # folders from a level to its image


class _Axis(Record):
    name: str
    unit: str | None = None


class _Transformation(Record):
    type: str
    scale: Any = None


class _Level(Record):
    path: str
    coordinateTransformations: list[_Transformation] = Field([])


class _Multiscale(Record):
    datasets: list[_Level] = Field(min_length=1)
    axes: list[_Axis | str] = Field([])
    coordinateTransformations: list[_Transformation] = Field([])


class _Well(Record):
    path: str


class _Plate(Record):
    wells: list[_Well] = Field([])


class _Metadata(Record):
    """What a group says of itself, as far as it matters here."""

    multiscales: list[_Multiscale] = Field([])
    plate: _Plate | None = None
    image_label: Any = Field(None, alias="image-label")


class _Class(Record):
    value: int = Field(alias="label-value")
    name: str = Field(alias="class")
    outside: bool = False


class _Colour(Record):
    value: int = Field(alias="label-value")
    rgba: list[Annotated[int, Field(ge=0, le=255)]] = Field(min_length=4, max_length=4)


class _Classes(Record):
    properties: list[_Class]
    colors: Any = None


class _ImageLabel(Record):
    """What labels that were written here say of their classes."""

    image_label: _Classes = Field(alias="image-label")


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or group."""
    return path.suffix.lower() == ".zarr" or any((path / name).is_file() for name in _MARKS)


def open_zarr(path: Path) -> ImageData:
    """Open an array, the only array of a group, or an OME-Zarr image at its finest level.

    Of a group of images, such as bioformats2raw writes, its only one. An array that is a level of
    an OME-Zarr image has the axes of that image, and its own voxel size.

    Raises
    ------
    InputError
        If there is no image, or there are several: the message names them.
    """
    import zarr  # half a second

    keep_freed_memory()
    with reading(path):
        node: Any = zarr.open(path, mode="r")
        is_array = isinstance(node, zarr.Array)
    if is_array:
        return _level_of_image(node, path)
    metadata = _metadata(node, path)
    if metadata.multiscales:
        return _finest_level(node, metadata, path)
    if metadata.plate is not None:
        wells = [well.path for well in metadata.plate.wells] or ["A/1"]
        raise InputError(
            f"{path} is a plate of {len(wells)} wells; choose the image of one of them, such as "
            f"{path / wells[0] / '0'}."
        )
    with reading(path):
        arrays, groups = dict(node.arrays()), dict(node.groups())
    found = {name: _metadata(group, path / name) for name, group in groups.items()}
    images = natsorted(name for name, one in found.items() if one.multiscales)
    if len(images) == 1 and not arrays:
        name = images[0]
        return _finest_level(groups[name], found[name], path / name)
    if len(arrays) == 1 and not images:
        return _plain(next(iter(arrays.values())), path)
    raise _unclear(path, natsorted(arrays), images, natsorted(groups))


def _unclear(path: Path, arrays: list[str], images: list[str], groups: list[str]) -> InputError:
    """Name what a group holds, since it is not one image."""
    found = images or arrays or groups
    if not found:
        return InputError(f"{path} is an empty Zarr group; choose a folder that holds an image.")
    kind = "OME-Zarr images" if images else "arrays" if arrays else "groups without an image"
    more = ", ..." if len(found) > _MAX_NAMED else ""
    return InputError(
        f"{path} is a Zarr group with {len(found)} {kind} ({', '.join(found[:_MAX_NAMED])}{more}); "
        f"choose the folder of one image, such as {path / found[0]}."
    )


def _metadata(group: Any, path: Path) -> _Metadata:
    with reading(path):
        attributes = dict(group.attrs)
    try:
        return TypeAdapter(_Metadata).validate_python(attributes.get("ome", attributes))
    except ValidationError as error:
        raise InputError(
            f"{path} has OME-Zarr metadata that are damaged ({fault_of(error)}); choose the folder "
            f"of one array, such as {path / '0'}."
        ) from error


def zarr_classes(path: Path) -> tuple[str, ...] | None:
    """Return the classes of labels that were written here; None if there are none.

    They have the colours that the labels keep, unless one colour stands for all of them.
    """
    import zarr

    try:
        with reading(path):
            attributes = dict(zarr.open_group(path, mode="r").attrs)
        label = TypeAdapter(_ImageLabel).validate_python(attributes.get("ome", attributes))
    except (InputError, ValidationError):
        return None  # whoever reads the pixels says what is wrong
    names = {one.value: one.name for one in label.image_label.properties}
    found = tuple(names.get(index, "") for index in range(len(names)))
    if len(found) < 2 or not all(found):
        return None
    outside = next((one.name for one in label.image_label.properties if one.outside), None)
    with contextlib.suppress(ValidationError, InputError):  # or names that no class can have
        found = Classes(found, outside) if outside is not None else found
        colours = TypeAdapter(list[_Colour]).validate_python(label.image_label.colors)
        of_value = {one.value: "#" + bytes(one.rgba[:3]).hex() for one in colours}
        if len(set(of_value.values())) > 1:
            styles = (ClassStyle(name, of_value.get(i, "")) for i, name in enumerate(found))
            return Classes(styles, outside)
    return found


def _level_of_image(array: Any, path: Path) -> ImageData:
    """An array, as the image above it describes it, if there is one that has it as a level."""
    import zarr

    place = Path(os.path.abspath(path))
    for folder in place.parents[:_MAX_DEPTH]:
        if not is_zarr(folder):
            break
        with contextlib.suppress(InputError):  # of no matter to who asks for the array
            with reading(folder):
                group: Any = zarr.open_group(folder, mode="r")
            metadata = _metadata(group, folder)
            for multiscale in metadata.multiscales:
                for level in multiscale.datasets:
                    if folder / level.path == place:
                        axes, size = _axes_of(multiscale, level, len(array.shape))
                        is_labels = _are_labels(metadata, folder)
                        image = _image(array, path, axes, size, is_labels=is_labels)
                        finest = min(multiscale.datasets, key=_step)
                        if is_labels and _step(level) > _step(finest):
                            note = (
                                f"{path} is a smaller copy of labels, in which what is small is "
                                f"lost; {folder / finest.path} has all of them."
                            )
                            image = replace(image, notes=(note,))
                        return image
    return _plain(array, path)


def _plain(array: Any, path: Path) -> ImageData:
    """An array of no image; its axes are known if all have names, as of Zarr 3 or xarray."""
    with reading(path):
        stated = getattr(array.metadata, "dimension_names", None) or array.attrs.get(_DIMENSIONS)
    names = stated if isinstance(stated, list | tuple) else ()
    letters = "".join(_LETTERS.get(str(name).casefold(), "") for name in names)
    is_known = len(set(letters)) == len(array.shape) and {"Y", "X"} <= set(letters)
    return _image(array, path, letters if is_known else None)


def _finest_level(group: Any, metadata: _Metadata, path: Path) -> ImageData:
    import zarr

    multiscale = metadata.multiscales[0]
    level = min(multiscale.datasets, key=_step)  # some list the coarsest first
    with reading(path):
        array = group[level.path]
        is_array = isinstance(array, zarr.Array)
    if not is_array:
        raise InputError(f"{path / level.path} is no array; restore it, or choose another folder.")
    axes, size = _axes_of(multiscale, level, len(array.shape))
    is_labels = _are_labels(metadata, path)
    return _image(array, path, axes, size, is_labels=is_labels)


def _image(
    array: Any,
    path: Path,
    axes: str | None,
    size: VoxelSize = UNKNOWN_VOXEL,
    *,
    is_labels: bool = False,
) -> ImageData:
    gaps = () if is_labels else tuple(_gaps(array, path))
    return ImageData(_StoredArray(array, path), axes, size, is_labels=is_labels, gaps=gaps)


def _gaps(array: Any, path: Path) -> Iterator[str]:
    """Say how many chunks have no file, unless there are too many to count at once."""
    folder = _folder(array)
    edges = getattr(array, "shards", None) or array.chunks
    n_chunks = math.prod(-(-n // edge) for n, edge in zip(array.shape, edges, strict=True))
    if n_chunks > _MAX_COUNTED:
        return
    n_files = sum(
        name not in _MARKS and not name.startswith(".")
        for _, _, names in os.walk(folder)
        for name in names
    )
    if n_files < n_chunks:
        yield (
            f"{n_chunks - n_files} of {n_chunks} chunks of {path} are missing and count as "
            f"{array.fill_value or 0}: either nothing is there, or the copy is incomplete."
        )


def _step(level: _Level) -> float:
    """How coarse a level says that it is, to compare it with others of its image."""
    scales = [one.scale for one in level.coordinateTransformations if one.type == "scale"]
    known = [one for one in scales if isinstance(one, list) and _are_steps(one, len(one))]
    return math.prod(math.prod(scale) for scale in known)


def _are_labels(metadata: _Metadata, path: Path) -> bool:
    """Whether an image says that it holds labels, or lies in the group of an image's labels."""
    above = Path(os.path.abspath(path)).parent
    return metadata.image_label is not None or (above.name == "labels" and is_zarr(above))


def _axes_of(multiscale: _Multiscale, level: _Level, ndim: int) -> tuple[str | None, VoxelSize]:
    """Axis letters, None if not stated, and voxel size of a level."""
    axes = [_Axis(name=axis) if isinstance(axis, str) else axis for axis in multiscale.axes]
    if not axes:  # images of before version 0.3 have these five
        return ("TCZYX" if ndim == 5 else None), UNKNOWN_VOXEL
    scales = [
        one.scale
        for part in (level, multiscale)
        for one in part.coordinateTransformations
        if one.type == "scale" and _are_steps(one.scale, len(axes))
    ]
    lengths = {
        axis.name.lower(): length_um(math.prod(scale[i] for scale in scales), axis.unit)
        for i, axis in enumerate(axes)
    }
    letters = "".join(axis.name[:1] for axis in axes)
    return letters, (lengths.get("z"), lengths.get("y"), lengths.get("x"))


def _are_steps(scale: object, n: int) -> bool:
    """Whether this is a number for each axis."""
    return isinstance(scale, list) and [type(step) in (int, float) for step in scale] == [True] * n


class _StoredArray:
    """An array on disk, whose faults are those of its files; not to be made anew meanwhile."""

    def __init__(self, array: Any, path: Path) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        self._array, self._path = array, path
        places = _folder(array), Path(array.store.root)  # the root may hold it for all in it
        marks = (place / name for place in places for name in (*_MARKS, ".zmetadata"))
        self._metadata = SteadyFile(next(mark for mark in marks if mark.is_file()))

    def __getitem__(self, index: Where) -> Pixels:
        with self._metadata.open(), reading(self._path):
            pixels: Pixels = self._array[index]
        return pixels


def _folder(array: Any) -> Path:
    folder: Path = Path(array.store.root) / array.path
    return folder
