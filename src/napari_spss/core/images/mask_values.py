"""Values of a mask: those that it holds, and those that were meant where they are spread.

JPEG, smoothing and resampling leave grey values beside those that mark classes. Inside an area
that is marked with one value neighbours are equal, at blurred edges they are not: a value most of
whose pixels have equal neighbours is a *level*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..base import InputError
from .labels import strips
from .raw import Pixels
from .stack import Box, Stack

_MOST_VALUES = 256  # that are looked up
_N_BINS = 256
_LEAST_SOLID = 0.1  # of a level's pixels have four equal neighbours; at edges none have
_LEAST_AREA = 1e-5  # of all such pixels: fewer are chance
_MOST_IN_DOUBT = 0.5  # pixels between levels, of those of the smallest level
_N_STEPS = 16  # from one level to the next
_BUMP = 3.0  # times as many pixels as on both sides: a class of thin objects
_LEAST_THIN = 0.02  # of the smallest level's pixels
_WIDE_RANGE = 64
_CROWDED = 0.03  # of the range
_SAMPLED_SLICES = 8


@dataclass(frozen=True)
class Levels:
    """Values that areas are marked with, in a mask that may hold more.

    Attributes
    ----------
    values : tuple of numbers
        Sorted.
    n_values : int
        How many grey values there are in all; at most 256 are told apart.
    moved : float
        Part of the pixels that hold another value, 0-1.
    are_clear : bool
        Whether the other values lie around these, as JPEG and smoothing leave them.
    """

    values: tuple[float, ...]
    n_values: int
    moved: float
    are_clear: bool


def find_values(stack: Stack) -> tuple[list[Any], bool]:
    """Sorted grey values or colours, at most 256 and a few, and whether there is NaN beside them.

    InputError if all is NaN.
    """
    colours: set[tuple[Any, ...]] = set()
    has_nan, is_float = False, stack.dtype.kind == "f"
    for pixels in _pixels(stack):
        has_nan = has_nan or (is_float and bool(np.isnan(pixels).any()))
        if len(colours) <= _MOST_VALUES:
            is_colour = stack.channel_axis_is_rgb or pixels.shape[0] == 3
            flat = pixels[: 3 if is_colour else 1].reshape(3 if is_colour else 1, -1)
            colours.update(_unique_columns(flat))
        if len(colours) > _MOST_VALUES and has_nan == is_float:
            break
    if not colours:
        raise InputError(f"{stack.source} holds no values, only NaN; choose another file.")
    if all(len(set(colour)) == 1 for colour in colours):
        return sorted({colour[0] for colour in colours}), has_nan
    return sorted({colour * 3 if len(colour) == 1 else colour for colour in colours}), has_nan


def find_levels(stack: Stack) -> Levels:
    """Find the values that were meant in a mask of grey values; its first channel counts."""
    is_8_bit = stack.dtype == np.uint8
    low, high = (0.0, 255.0) if is_8_bit else value_range(stack)
    if not low < high:
        return Levels((), 1, 0.0, are_clear=False)
    n_digits = 9 if stack.dtype.kind == "f" else 0
    step = (high - low) / (_N_BINS - 1)
    counts, solid = np.zeros(_N_BINS, np.int64), np.zeros(_N_BINS, np.int64)
    for pixels in _pixels(stack):
        plane = pixels[0]
        if not is_8_bit:
            plane = np.where(np.isfinite(plane), plane, low)
            plane = np.rint((plane - low) / step).astype(np.uint8)
        counts += np.bincount(plane.ravel(), minlength=_N_BINS)
        solid += np.bincount(plane[1:-1, 1:-1][_is_solid(plane)], minlength=_N_BINS)
    found = np.flatnonzero(counts)
    is_level = solid[found] >= np.maximum(_LEAST_SOLID * counts[found], _LEAST_AREA * solid.sum())
    levels, others = found[is_level], found[~is_level]
    return Levels(
        tuple(_whole(round(low + float(level) * step, n_digits)) for level in levels),
        len(found),
        float(counts[others].sum() / counts.sum()),
        are_clear=len(levels) > 1 and _are_clear(levels, others, counts),
    )


def _are_clear(
    levels: npt.NDArray[np.intp], others: npt.NDArray[np.intp], counts: npt.NDArray[np.int64]
) -> bool:
    """Whether other values lie around all levels, few far from them, and fewer the farther."""
    if np.diff(levels).min() < _N_STEPS:
        return False
    nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, others)
    if len(set(nearest.tolist())) < len(levels):
        return False
    above = np.searchsorted(levels, others).clip(1, len(levels) - 1)
    distance = np.abs(others - levels[nearest]) / (levels[above] - levels[above - 1])
    smallest = (counts[levels] + np.bincount(nearest, weights=counts[others])).min()
    in_doubt = counts[others[distance > 1 / 4]].sum()
    return bool(in_doubt <= _MOST_IN_DOUBT * smallest) and not any(
        _has_bump(counts[low + 1 : high], _LEAST_THIN * smallest)
        for low, high in pairwise(levels.tolist())
    )


def _has_bump(counts: npt.NDArray[np.int64], least: float) -> bool:
    """Whether values between two levels gather away from both: a class of thin objects."""
    where = np.arange(1, len(counts) + 1) * _N_STEPS // (len(counts) + 1)
    steps = np.bincount(where, weights=counts, minlength=_N_STEPS)
    return any(
        here > max(least, _BUMP * max(steps[1:i].min(), steps[i + 1 : -1].min()))
        for i, here in enumerate(steps[2:-2], start=2)
    )


def _is_solid(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which inner pixels have the same value as their four neighbours."""
    inner = plane[1:-1, 1:-1]
    is_solid: npt.NDArray[np.bool_] = inner == plane[:-2, 1:-1]
    is_solid &= inner == plane[2:, 1:-1]
    is_solid &= inner == plane[1:-1, :-2]
    is_solid &= inner == plane[1:-1, 2:]
    return is_solid


def value_range(stack: Stack) -> tuple[float, float]:
    """Return the lowest and the highest finite value of the first channel."""
    low, high = np.inf, -np.inf
    for pixels in _pixels(stack):
        plane = pixels[0][np.isfinite(pixels[0])]
        if plane.size:
            low, high = min(low, float(plane.min())), max(high, float(plane.max()))
    return _whole(low), _whole(high)


def are_crowded(values: list[Any]) -> bool:
    """Whether some of few grey values lie closer together than anybody would choose for classes.

    Examples
    --------
    >>> are_crowded([0, 1, 254, 255]), are_crowded([0, 127, 255]), are_crowded([0, 1, 2])
    (True, False, False)
    """
    span = values[-1] - values[0]
    return bool(span >= _WIDE_RANGE and np.diff(values).min() < _CROWDED * span)


def without_crowds(values: Sequence[Any]) -> tuple[Any, ...]:
    """Sorted grey values without those that lie close above another.

    Examples
    --------
    >>> without_crowds((0, 127, 128, 255))
    (0, 127, 255)
    """
    kept = list(values[:1])
    for value in values[1:]:
        if value - kept[-1] >= _CROWDED * (values[-1] - values[0]):
            kept.append(value)
    return tuple(kept)


def look_like_ids(stack: Stack, values: list[Any]) -> bool:
    """Whether values look like ids of objects: low, whole, and one or two areas a slice each."""
    inside = [value for value in values if value != 0]
    if stack.dtype.kind not in "ui" or values[0] != 0 or not 2 <= values[-1] < _WIDE_RANGE:
        return False
    n_areas = n_found = 0
    for z in sampled_slices(stack):
        plane = stack.read(z, next(strips(stack.shape_of(z))))[0]
        for value in inside:
            n = ndimage.label(plane == value)[1]
            n_areas += n
            n_found += n > 0
        if n_areas > 4 * n_found:
            return False  # to look on would cost seconds
    return n_areas <= 2 * n_found


def sampled_slices(stack: Stack) -> list[int]:
    """Return some slices from the first to the last, to be looked at where all would take long."""
    n_looked_at = min(stack.n_slices, _SAMPLED_SLICES)
    slices = np.linspace(0, stack.n_slices - 1, n_looked_at).round().astype(int)
    found: list[int] = slices.tolist()
    return found


def mask_pixels(stack: Stack, z: int, box: Box | None = None) -> Pixels:
    """Read a slice or box of masks (C, Y, X); of a file of bools among others as 0 and 255."""
    pixels = stack.read(z, box)
    is_other = pixels.dtype == np.bool_ and stack.dtype != np.bool_
    return pixels * np.uint8(255) if is_other else pixels


def _pixels(stack: Stack) -> Iterator[Pixels]:
    """All pixels of a stack, a strip (C, rows, X) at a time."""
    for z in range(stack.n_slices):
        for box in strips(stack.shape_of(z)):
            yield mask_pixels(stack, z, box)


def _unique_columns(pixels: Pixels) -> list[tuple[Any, ...]]:
    """Distinct columns of (C, n) pixels, whole numbers as int; NaN, which is no value, left out."""
    if len(pixels) == 1 and pixels.dtype in (np.uint8, np.uint16):
        return [(value,) for value in np.flatnonzero(np.bincount(pixels[0])).tolist()]
    if len(pixels) == 1:
        values = np.unique(pixels[0])
        return [(_whole(value),) for value in values[~np.isnan(values)].tolist()]
    if pixels.dtype == np.uint8:
        return [unpack(code) for code in np.unique(pack(pixels)).tolist()]
    return [tuple(map(_whole, column)) for column in np.unique(pixels, axis=1).T.tolist()]


def _whole(value: float) -> Any:
    return int(value) if float(value).is_integer() else value


def pack(pixels: Pixels) -> npt.NDArray[np.int32]:
    """One number for each column of (3, ...) colours; black is 0."""
    red, green, blue = (channel.astype(np.int32) for channel in pixels)
    packed: npt.NDArray[np.int32] = (red << 16) | (green << 8) | blue
    return packed


def unpack(code: int) -> tuple[int, int, int]:
    """Colour of a number that `pack` gave."""
    return code >> 16, (code >> 8) & 255, code & 255
