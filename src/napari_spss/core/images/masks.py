"""Masks as class indices: binary masks, grey values, colours, and labels that we wrote.

Grey values and colours are matched to the nearest one that is listed, since masks are often
resampled or saved with loss.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..annotations import COLOUR_EXAMPLE, EXAMPLE, ClassSpec, Colour, parse_classes, show_values
from ..base import InputError
from .axes import guess_axes
from .files import open_image_files
from .labels import IGNORE, strips
from .stack_base import Box, Pixels, Stack
from .tiff import Palette

__all__ = ["ClassSpec", "Colour", "Masks", "open_indices", "open_masks", "parse_classes"]

Labels: TypeAlias = npt.NDArray[np.uint8]

_MAX_UNLISTED = 16


@dataclass(frozen=True)
class Masks:
    """Class indices of a stack of masks, read on demand; made by `open_masks`.

    Parameters
    ----------
    classes : ClassSpec
        Names, and the values as they were found or given.
    stack : Stack
        The masks as stored.
    """

    classes: ClassSpec
    stack: Stack = field(repr=False)
    _encode: Callable[[Pixels, str], Labels] = field(repr=False)

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return self.stack.n_slices

    @property
    def names(self) -> tuple[str, ...]:
        """Per slice the file's name, or its index as text."""
        return self.stack.names

    @property
    def source(self) -> str:
        """Path, or "array"."""
        return self.stack.source

    def shape_of(self, z: int) -> tuple[int, int]:
        """(Y, X) of slice ``z`` in pixels."""
        return self.stack.shape_of(z)

    def read(self, z: int, box: Box | None = None) -> Labels:
        """Read a slice, or the half-open box (y0, x0, y1, x1) of it.

        Returns
        -------
        ndarray
            (Y, X) uint8 class indices; 255 = ignore.

        Raises
        ------
        InputError
            If the file is damaged or holds values that stand for no class.
        """
        return self._encode(self.stack.read(z, box), f"slice {z} of {self.source}")


def open_masks(path_or_array: Any, *, classes: ClassSpec | None = None) -> Masks:
    """Open masks lazily.

    Parameters
    ----------
    path_or_array : path-like, array or Stack
        Whatever `open_stack` opens; in a folder bool, 1-bit and 8-bit files, grey and RGB may be
        mixed. Or an array, (Y, X) or (Z, Y, X), or with a last axis of 3 colours.
    classes : ClassSpec, optional
        How the classes are marked. With grey values: the nearest one, from the first channel.
        With colours: the same, else the nearest; pure black that is not listed is ignored. With
        names only: two classes are 0 and anything else; more are indices 0, 1, ... (255 = ignore)
        or, if there are as many values as names, the sorted values. None: 0 and anything else if
        there are two values with 0 among them, otherwise the sorted values, at most 16, become
        "background", "class_1" and so on. All values are looked up, a part at a time, for None
        and for names only of more than two classes.

    Raises
    ------
    InputError
        If the masks cannot be opened, or their values do not fit the classes.
    """
    palette: Palette = "index"
    if classes is None or classes.is_coloured:
        palette = "rgb"
    stack = _open(path_or_array, palette)
    if classes is None:
        return _with_found_values(stack)
    if classes.is_coloured:
        if stack.dtype != np.uint8:
            raise InputError(
                f"{stack.source} holds {stack.dtype}, but colours are matched in 8-bit images; "
                "save the masks as 8-bit RGB, or list grey values.",
                field="classes",
            )
        return Masks(classes, stack, _colour_encoder(classes))
    if classes.values is not None:
        return Masks(classes, stack, _nearest_encoder(classes))
    if len(classes.names) == 2:
        return Masks(classes, stack, _encode_binary)
    return _with_named_values(stack, classes)


def open_indices(path_or_array: Any, names: Sequence[str]) -> Masks:
    """Open labels lazily that hold the index of each class, and 255 where nothing is said.

    Parameters
    ----------
    path_or_array : path-like, array or Stack
        As for `open_masks`.
    names : sequence of str
        Class names, background first.

    Raises
    ------
    InputError
        If the labels cannot be opened.
    """
    spec = ClassSpec(tuple(names), tuple(range(len(names))))
    return Masks(spec, _open(path_or_array, "index"), _index_encoder(len(names)))


def _open(path_or_array: Any, palette: Palette) -> Stack:
    if isinstance(path_or_array, Stack):
        return path_or_array
    if isinstance(path_or_array, (str, os.PathLike)):
        return open_image_files(Path(path_or_array), palette=palette, is_strict=False)
    from .stack import stack_from_array

    array = path_or_array if hasattr(path_or_array, "shape") else np.asarray(path_or_array)
    axes = guess_axes(array.shape, np.dtype(array.dtype), source="the array of masks")
    return stack_from_array(array, axes=axes, source="the array of masks")


def _with_found_values(stack: Stack) -> Masks:
    """Masks whose values say which classes there are."""
    binary = ClassSpec(("background", "class_1"))
    if stack.dtype == np.bool_:
        return Masks(binary, stack, _encode_binary)
    found = _find_values(stack, _MAX_UNLISTED)
    zero = (0, 0, 0) if isinstance(found[0], tuple) else 0
    if len(found) == 1 or (len(found) == 2 and zero in found):
        return Masks(binary, stack, _encode_binary)
    if len(found) > _MAX_UNLISTED:
        raise InputError(
            f"{stack.source} holds more than {_MAX_UNLISTED} values ({show_values(found[:5])}, "
            "...), too many for classes that are not listed. For a mask of one structure, where "
            "anything but 0 counts, list two names, such as --classes background,mitochondria; "
            f"else values, such as --classes {EXAMPLE}: the nearest one is taken.",
            field="classes",
        )
    names = ("background", *(f"class_{i}" for i in range(1, len(found))))
    spec = ClassSpec(names, tuple(found))
    return Masks(spec, stack, _colour_encoder(spec) if spec.is_coloured else _nearest_encoder(spec))


def _with_named_values(stack: Stack, classes: ClassSpec) -> Masks:
    """Masks of three or more named classes: indices, or the sorted values."""
    n_classes = len(classes.names)
    found = _find_values(stack, max(n_classes, _MAX_UNLISTED))
    labels = set(found) - {IGNORE}
    is_clear = IGNORE not in found or not labels <= {0}
    if labels <= set(range(n_classes)) and is_clear:
        spec = ClassSpec(classes.names, tuple(range(n_classes)))
        return Masks(spec, stack, _index_encoder(n_classes))
    if len(found) == n_classes and not isinstance(found[0], tuple):
        spec = ClassSpec(classes.names, tuple(found))
        return Masks(spec, stack, _nearest_encoder(spec))
    raise InputError(
        f"{stack.source} holds the values {show_values(found[:_MAX_UNLISTED])}: which of them "
        f"stand for {', '.join(classes.names)} is not clear; give each of the classes its value, "
        f"such as --classes {EXAMPLE} or {COLOUR_EXAMPLE}.",
        field="classes",
    )


def _find_values(stack: Stack, limit: int) -> list[Any]:
    """Sorted grey values or colours, read strip by strip; not more than ``limit`` and a few."""
    colours: set[tuple[int, ...]] = set()
    for z in range(stack.n_slices):
        for box in strips(stack.shape_of(z)):
            pixels = stack.read(z, box)
            is_colour = stack.channel_axis_is_rgb or pixels.shape[0] == 3
            flat = pixels[: 3 if is_colour else 1].reshape(3 if is_colour else 1, -1)
            colours.update(_unique_columns(flat))
            if len(colours) > limit:
                break
    if not colours:
        raise InputError(f"{stack.source} holds no values, only NaN; choose another file.")
    if all(len(set(colour)) == 1 for colour in colours):
        return sorted({colour[0] for colour in colours})
    return sorted({colour * 3 if len(colour) == 1 else colour for colour in colours})


def _unique_columns(pixels: Pixels) -> list[tuple[int, ...]]:
    """Distinct columns of (C, n) pixels, whole numbers as int; NaN, which is no value, left out."""
    if len(pixels) == 1:
        values = np.unique(pixels[0])
        return [(_whole(value),) for value in values[~np.isnan(values)].tolist()]
    if pixels.dtype == np.uint8:
        return [_unpack(code) for code in np.unique(_pack(pixels)).tolist()]
    return [tuple(map(_whole, column)) for column in np.unique(pixels, axis=1).T.tolist()]


def _whole(value: float) -> Any:
    return int(value) if float(value).is_integer() else value


def _pack(pixels: Pixels) -> npt.NDArray[np.int32]:
    red, green, blue = (channel.astype(np.int32) for channel in pixels)
    packed: npt.NDArray[np.int32] = (red << 16) | (green << 8) | blue
    return packed


def _unpack(code: int) -> Colour:
    return code >> 16, (code >> 8) & 255, code & 255


def _encode_binary(pixels: Pixels, name: str) -> Labels:
    labels = (pixels != 0).any(axis=0).astype(np.uint8)
    return _ignore_nan(labels, pixels)


def _ignore_nan(labels: Labels, pixels: Pixels) -> Labels:
    if pixels.dtype.kind == "f":
        labels[np.isnan(pixels[0])] = IGNORE
    return labels


def _nearest_encoder(spec: ClassSpec) -> Callable[[Pixels, str], Labels]:
    """Nearest grey value; halfway between two, the lower one."""
    values = np.array(spec.values, np.float64)
    order = np.argsort(values).astype(np.uint8)
    edges = (values[order][1:] + values[order][:-1]) / 2

    def encode(pixels: Pixels, name: str) -> Labels:
        return _ignore_nan(order[np.searchsorted(edges, pixels[0])], pixels)

    return encode


def _index_encoder(n_classes: int) -> Callable[[Pixels, str], Labels]:
    def encode(pixels: Pixels, name: str) -> Labels:
        plane = pixels[0]
        is_known = (plane >= 0) & (plane < n_classes)
        stray = plane[~is_known & (plane != IGNORE)]
        if stray.size:
            raise InputError(
                f"{name} holds the value {stray[0]}, which is no index of {n_classes} classes; "
                f"give each class its value, such as --classes {EXAMPLE}.",
                field="classes",
            )
        return np.where(is_known, plane, IGNORE).astype(np.uint8)

    return encode


def _colour_encoder(spec: ClassSpec) -> Callable[[Pixels, str], Labels]:
    """Equal colour, else ignored if black, else the nearest in RGB."""
    colours = np.array(spec.values, np.int32)
    codes = _pack(colours.T)

    def encode(pixels: Pixels, name: str) -> Labels:
        rgb = pixels if len(pixels) == 3 else np.repeat(pixels[:1], 3, axis=0)
        packed = _pack(rgb)
        labels = np.full(packed.shape, IGNORE, np.uint8)
        is_open = packed != 0
        for index, code in enumerate(codes):
            is_same = packed == code
            labels[is_same] = index
            is_open &= ~is_same
        others, places = np.unique(packed[is_open], return_inverse=True)
        if others.size:
            stray = np.array([_unpack(code) for code in others.tolist()])
            distances = ((stray[:, np.newaxis] - colours) ** 2).sum(axis=2)
            labels[is_open] = distances.argmin(axis=1).astype(np.uint8)[places]
        return labels

    return encode
