"""The working scale: the reduced, normalised slice that a network sees, and the way back.

``reduction`` k is an integer: a working pixel is the mean of a k x k block of data pixels, so
reading strip by strip gives exactly what reading the whole slice gives. Working pixel (i, j) is
centred at data pixel ``i * k + (k - 1) / 2``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ..base import InputError, counted
from .stack import Box, check_memory

if TYPE_CHECKING:
    from .stack import Stack

GreyRange: TypeAlias = npt.NDArray[np.floating[Any]]
"""(2, C or 1, 1, 1): grey value that becomes 0, and distance from it of that which becomes 1."""

_Moments: TypeAlias = tuple[int, npt.NDArray[np.float64], npt.NDArray[np.float64]]
_Ends: TypeAlias = tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]]

_STRIP_PX = 2**21
_HELD_PX = 2**22  # a slice of more working pixels is read twice, rather than held
_HANDED_PX = 2**17  # working pixels of a strip
_CHUNK_PX = 2**16  # that are computed with at a time, as fit a cache
_SUM_TYPES = (np.dtype(np.uint16), np.dtype(np.uint32))
_ROUNDING = 1e-7  # of float32, relative
_SEEN_PX = 512
_LEAST_STEPS = 8  # of single precision in a deviation, so that rounding is as noise
_LARGEST_GREY = 1e20  # what is beyond may mark a missing pixel, such as -1e30
_MOST_CONTRAST = 2.0**24  # of single precision: beside a larger value others are all one
_N_BINS = 2**16  # of grey values, to find saturated spots in
_FAR = 6.0  # deviations from the mean, where no specimen is
_LEAST_SATURATED = 1e-4  # of a slice: fewer pixels of one value change the deviation little
_LEAST_ALIKE = 0.5  # of what is so far, of one value: saturated, or drawn
_MOST_SEEN = 10.0  # deviations from the mean; what is beyond is brought nearer
_PADDING_PX = 16  # working pixels of one value from an edge on; fewer may be chance


class SliceGreys(NamedTuple):
    """What reading a whole slice at working scale tells of it."""

    range: GreyRange
    padded: float
    """Share of the slice that is padding."""
    image: npt.NDArray[np.float32] | None = None
    """(C, y, x), not normalised; None of a slice that is too large to be held."""


def resample_slice(
    stack: Stack,
    z: int,
    reduction: int,
    normalisation: str | None,
    *,
    box: Box | None = None,
    greys: GreyRange | None = None,
) -> npt.NDArray[np.float32]:
    """Read slice ``z``, or a box of it, as the network sees it, strip by strip.

    Blocks at the far edges that the image does not fill are averaged over the pixels they have.

    Parameters
    ----------
    stack : Stack
        The image.
    z : int
        Which slice.
    reduction : int
        Data pixels a working pixel.
    normalisation : str or None
        See `grey_range`; None leaves the grey values as they are.
    box : (int, int, int, int), optional
        Half-open (y0, x0, y1, x1) in working pixels; needs ``greys``, if it is normalised.
    greys : ndarray, optional
        Those of the whole slice, from `slice_greys`; by default they are those of what is read.

    Returns
    -------
    ndarray
        (C, y, x) float32; of a whole slice (C, ceil(Y / k), ceil(X / k)).

    Raises
    ------
    InputError
        If the slice cannot be read, does not fit into memory, or holds what is no
        number, as for `grey_range`.
    """
    height, width = stack.shape_of(z)
    k, name = reduction, f"slice {z} of {stack.source}"
    top, left, bottom, right = box or (0, 0, -(-height // k), -(-width // k))
    shape = (stack.n_channels, bottom - top, right - left)
    check_memory(4 * math.prod(shape), f"{name}, reduced by {k},")
    image = np.empty(shape, np.float32)
    for y, stop, strip in _read_strips(stack, z, k, (top, left, bottom, right)):
        _reduce(strip, k, image[:, y - top : stop - top])
    if normalisation is None:
        return image
    return normalise(image, normalisation, np.dtype(stack.dtype), name=name, greys=greys)


def working_strips(
    stack: Stack,
    z: int,
    reduction: int,
    normalisation: str,
    *,
    box: Box,
    greys: GreyRange,
    image: npt.NDArray[np.float32] | None = None,
) -> Iterator[npt.NDArray[np.float32]]:
    """Read a box of slice ``z`` as the network sees it, and hand out strips of it.

    They are parts of what `resample_slice` gives of the whole slice. Grey values, and the slice
    where it is held, are those of `slice_greys`.
    """
    top, left, bottom, right = box
    parts = _read_strips(stack, z, reduction, box)
    if image is not None:
        reduction, parts = 1, iter([(top, bottom, image[:, top:bottom, left:right])])
    n_rows = max(1, _HANDED_PX // (right - left))
    for first, last, pixels in parts:
        for y in range(first, last, n_rows):
            strip = np.empty((len(pixels), min(last, y + n_rows) - y, right - left), np.float32)
            _reduce(pixels[:, (y - first) * reduction :], reduction, strip)
            yield normalise(strip, normalisation, np.dtype(stack.dtype), greys=greys)


def _read_strips(
    stack: Stack, z: int, k: int, box: Box
) -> Iterator[tuple[int, int, npt.NDArray[np.generic]]]:
    """Read a box in working pixels: from which working row to which, and the pixels of these."""
    height, width = stack.shape_of(z)
    top, left, bottom, right = box
    n_rows = max(1, _STRIP_PX // max(1, width) // k)
    for y in range(top, bottom, n_rows):
        stop = min(bottom, y + n_rows)
        box = (y * k, left * k, min(height, stop * k), min(width, right * k))
        yield y, stop, stack.read(z, box)


def slice_greys(stack: Stack, z: int, reduction: int, normalisation: str) -> SliceGreys:
    """Read a whole slice at working scale for its grey values, see `grey_range`."""
    height, width = stack.shape_of(z)
    if -(-height // reduction) * -(-width // reduction) > _HELD_PX:
        return SliceGreys(*streamed_greys(stack, z, reduction, normalisation))
    image = resample_slice(stack, z, reduction, None)
    name = f"slice {z} of {stack.source}"
    greys = grey_range(image, normalisation, np.dtype(stack.dtype), name=name)
    padded = sum(int(run.sum()) for run in _padding_runs(image)) / image[0].size
    return SliceGreys(greys, padded, image)


def streamed_greys(stack: Stack, z: int, reduction: int, mode: str) -> tuple[GreyRange, float]:
    """Work out those of `slice_greys` but for rounding, and hold no more than a strip."""
    height, width = stack.shape_of(z)
    n_rows = max(1, _STRIP_PX // max(1, width) // reduction)
    shape, dtype = (-(-height // reduction), -(-width // reduction)), np.dtype(stack.dtype)
    low, high = np.full((2, stack.n_channels, 1, 1), np.inf, np.float32)
    high *= -1

    def strips() -> Iterator[npt.NDArray[np.float32]]:
        for y in range(0, shape[0], n_rows):
            box = (y, 0, min(shape[0], y + n_rows), shape[1])
            yield resample_slice(stack, z, reduction, None, box=box)

    def moments(has_padding: bool, ends: _Ends | None = None) -> _Moments:
        n, mean, squares = 0, np.zeros(1), np.zeros(1)
        for strip in strips():
            grey_range(strip, "range", dtype, name=f"slice {z} of {stack.source}")  # refuses NaN
            np.minimum(low, strip.min(axis=(1, 2), keepdims=True), out=low)
            np.maximum(high, strip.max(axis=(1, 2), keepdims=True), out=high)
            size, own, squares_here = _moments(strip, has_padding, ends)
            # merging means and sums of squared differences, as in Chan, Golub and LeVeque 1979
            squares = squares + squares_here
            squares += (own - mean) ** 2 * n * size / max(1, n + size)
            n, mean = n + size, mean + (own - mean) * size / max(1, n + size)
        return n, mean, squares

    first = moments(True)
    padded = 1 - first[0] / math.prod(shape)
    if mode != "slice":
        ends = np.array([[[low.min(), high.max()]]])
        return grey_range(ends, mode, dtype), padded
    return _greys(moments, strips, first, (low, high)), padded


def _greys(
    moments: Callable[[bool, _Ends | None], _Moments],
    strips: Callable[[], Iterable[npt.NDArray[np.float32]]],
    first: _Moments,
    extremes: _Ends,
) -> GreyRange:
    """Mean and deviation without padding, unless nothing else varies, and without artefacts.

    A saturated spot makes the deviation so large that little is left of the contrast of all else.
    It is of one value, so that nothing is lost with it; spots that vary may be what is looked for.

    Parameters
    ----------
    moments : callable
        Those of `_moments`.
    strips : callable
        Returns the slice, strip by strip.
    first : tuple
        Moments without padding.
    extremes : tuple of ndarray, (C, 1, 1)
        Lowest and highest value of each channel.
    """
    low, high = extremes
    has_padding, whole = True, _of_moments(*first)
    if np.isinf(whole[1]).all() and (low < high).any():
        has_padding = False
        whole = _of_moments(*moments(False, None))
    reach = _FAR * whole[1]
    if (whole[0] - reach <= low).all() and (high <= whole[0] + reach).all():
        return whole
    counts = np.zeros((len(low), _N_BINS), np.int64)
    alike = np.zeros((2, len(low)), np.int64)
    n_pixels, step = 0, np.maximum(high - low, np.finfo(np.float32).tiny) / (_N_BINS - 1)
    for strip in strips():
        n_pixels += strip[0].size
        alike += [(strip == one).sum(axis=(1, 2)) for one in extremes]  # padding may be one, too
        runs = _padding_runs(strip) if has_padding else None
        for pixels in _counting_pixels(strip, runs):
            bins = ((pixels - low[:, 0]) / step[:, 0]).astype(np.intp)
            counts += [np.bincount(one, minlength=_N_BINS) for one in bins]
    found = [_ends_without_spots(one, tuple(alike[:, c]), n_pixels) for c, one in enumerate(counts)]
    if not np.isfinite(found).any():
        return whole
    ends = low + np.array(found).T[:, :, None, None] * step
    greys = _of_moments(*moments(has_padding, (ends[0], ends[1])))
    return whole if (np.isinf(greys[1]) > np.isinf(whole[1])).any() else greys


def _ends_without_spots(
    counts: npt.NDArray[np.int64], alike: tuple[int, ...], n_pixels: int
) -> tuple[float, float]:
    """First and last bin of a histogram that are no saturated spots; infinite without any.

    ``alike`` are the numbers of pixels of the lowest and the highest value.
    """
    bins, ends, n = np.arange(len(counts)), (-math.inf, math.inf), int(counts.sum())
    while True:  # one artefact may hide another
        inside = (ends[0] <= bins) & (bins <= ends[1])
        mean = np.average(bins[inside], weights=counts[inside])
        variance = np.average((bins[inside] - mean) ** 2, weights=counts[inside])
        reach = _FAR * math.sqrt(variance + 1)  # a bin is not told apart
        found = [-math.inf, math.inf]
        for side, (limit, beyond) in enumerate(
            ((mean - reach, bins < mean - reach), (mean + reach, bins > mean + reach))
        ):
            n_far = counts[beyond].sum()
            least = max(_LEAST_SATURATED * n_pixels, _LEAST_ALIKE * n_far)
            if n_far and alike[side] >= least:
                found[side] = float(limit)
        n_left = int(counts[(found[0] <= bins) & (bins <= found[1])].sum())
        if n_left >= n:
            return ends
        ends, n = (found[0], found[1]), n_left


def _of_moments(
    size: int, mean: npt.NDArray[np.float64], squares: npt.NDArray[np.float64]
) -> GreyRange:
    deviation = np.sqrt(squares / max(1, size))
    # relative, since images in physical units may vary by less than any fixed number
    deviation[deviation <= _ROUNDING * np.abs(mean)] = np.inf
    return np.stack([mean, deviation])[:, :, None, None]


def _moments(
    image: npt.NDArray[np.float32], has_padding: bool, ends: _Ends | None = None
) -> _Moments:
    """Number of pixels, mean of each channel, and sum of squared differences; padding left out.

    So are pixels beyond ``ends``, of which any channel is. All are 0 if nothing is left.
    """
    runs = _padding_runs(image) if has_padding else None
    parts = partial(_counting_pixels, image, runs, ends)
    size = sum(pixels.shape[1] for pixels in parts())
    total = sum(pixels.sum(axis=1, dtype=np.float64) for pixels in parts())
    mean = total / max(1, size)
    squares = sum(np.square(pixels - mean[:, None]).sum(axis=1) for pixels in parts())
    return size, mean, squares


def _counting_pixels(
    image: npt.NDArray[np.float32],
    runs: tuple[npt.NDArray[np.intp], ...] | None,
    ends: _Ends | None = None,
) -> Iterator[npt.NDArray[np.float32]]:
    """Go through the pixels (C, n) that are neither padding nor beyond ``ends`` in any channel."""
    left, right = runs or (np.zeros(image.shape[1], np.intp),) * 2
    columns, width = np.arange(image.shape[2]), image.shape[2]
    for part in _chunks(image):
        pixels = image[:, part]
        if ends is not None or (left[part] | right[part]).any():
            is_inside = (left[part, None] <= columns) & (columns < width - right[part, None])
            if ends is not None:
                is_inside &= ((ends[0] <= pixels) & (pixels <= ends[1])).all(axis=0)
            yield pixels[:, is_inside]
        else:
            yield pixels.reshape(len(image), -1)


def _padding_runs(image: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.intp], ...]:
    """Pixels of each row of an image (C, y, x) that are padding, from the left and the right on.

    They are of one grey value up to the edge, and so are those of a row beside it, as aligning
    slices leaves them. A row that is so throughout counts once.
    """
    width = image.shape[2]
    left, right = runs = tuple(np.zeros(image.shape[1], np.intp) for _ in range(2))
    if width < _PADDING_PX:
        return runs
    for run, part in ((left, image), (right, image[:, :, ::-1])):
        near, edge = part[:, :, :_PADDING_PX], part[:, :, :1]
        is_flat = (near == edge).all(axis=(0, 2)) & (left < width)
        goes_on = is_flat[1:] & is_flat[:-1] & (edge[:, 1:] == edge[:, :-1]).all(axis=(0, 2))
        rows = np.flatnonzero(np.append(goes_on, False) | np.append(False, goes_on))
        for some in np.array_split(rows, len(rows) * width // _CHUNK_PX + 1):
            differs = (part[:, some] != edge[:, some]).any(axis=0)
            run[some] = np.where(differs.any(axis=1), differs.argmax(axis=1), width)
    return runs


def _reduce(image: npt.NDArray[np.generic], k: int, means: npt.NDArray[np.float32]) -> None:
    """Work out means of blocks of k x k pixels; those of small integers are summed as integers."""
    if k == 1:
        means[...] = image[:, : means.shape[1]]
        return
    wide: np.dtype[Any] = np.dtype(np.float32)
    if image.dtype.kind == "u":
        most = k * k * int(np.iinfo(image.dtype.name).max)
        wide = next((d for d in _SUM_TYPES if most <= np.iinfo(d).max), wide)
    for part in _chunks(means):
        pixels = image[:, part.start * k : part.stop * k]
        height, width = pixels.shape[1:]
        padded = np.pad(pixels, ((0, 0), (0, -height % k), (0, -width % k)))
        rows = padded[:, ::k].astype(wide)
        for i in range(1, k):
            rows += padded[:, i::k]
        sums = rows[:, :, ::k].copy()
        for i in range(1, k):
            sums += rows[:, :, i::k]
        counts = (np.minimum(k, n - np.arange(0, n, k)) for n in (height, width))
        means[:, part] = sums / np.outer(*counts)


def _chunks(image: npt.NDArray[Any]) -> Iterator[slice]:
    """Some rows of an image (C, y, x) after the other."""
    n_rows = max(1, _CHUNK_PX // image.shape[2])
    for y in range(0, image.shape[1], n_rows):
        yield slice(y, min(image.shape[1], y + n_rows))


def normalise(
    image: npt.NDArray[np.float32],
    mode: str,
    dtype: np.dtype[np.generic],
    *,
    name: str = "the image",
    greys: GreyRange | None = None,
) -> npt.NDArray[np.float32]:
    """Bring grey values to the network's range: by ``greys``, or those of the image itself.

    What is far from all else is brought nearer, by its logarithm, lest it outweigh the rest.
    The other parameters, and what is raised, are those of `grey_range`.
    """
    if greys is None:
        greys = grey_range(image, mode, dtype, name=name)
    scaled = np.empty(image.shape, np.float32)
    for part in _chunks(image):
        scaled[:, part] = (image[:, part] - greys[0]) / greys[1]
        values = scaled[:, part]
        if max(values.max(), -values.min()) > _MOST_SEEN:
            sizes = np.abs(values)
            sizes = np.minimum(sizes, _MOST_SEEN) + np.log1p(np.maximum(sizes - _MOST_SEEN, 0))
            scaled[:, part] = np.copysign(sizes, values)
    return scaled


def grey_range(
    image: npt.NDArray[np.float32],
    mode: str,
    dtype: np.dtype[np.generic],
    *,
    name: str = "the image",
) -> GreyRange:
    """Work out what grey values are to become 0, and how far from them those that become 1.

    Parameters
    ----------
    image : ndarray
        (C, y, x) float32, a **whole** slice, so that no map depends on a tile's statistics.
    mode : {"slice", "range"}
        Zero mean and unit deviation per channel (all 0 if it does not vary) of what is no padding
        and no saturated spot, or of all if only these vary; or the dtype's range to 0-1. Float
        images in mode "range" are taken as they are if they lie in 0-1, else scaled by minimum and
        maximum.
    dtype : dtype
        The stack's own dtype.
    name : str
        What an error calls the image.

    Returns
    -------
    ndarray
        (2, C or 1, 1, 1).

    Raises
    ------
    InputError
        If the slice holds NaN or infinity, or huge values among others, as programs mark missing
        pixels.
    """
    if n_bad := _count_marks(image):
        raise InputError(
            f"{name} holds {counted(n_bad, 'value')} of NaN, infinity or beyond 1e20; "
            "replace them first, such as by numpy.where(abs(image) < 1e20, image, 0)."
        )
    if mode == "slice":
        moments = partial(_moments, image)
        extremes = (
            image.min(axis=(1, 2), keepdims=True),
            image.max(axis=(1, 2), keepdims=True),
        )
        return _greys(moments, lambda: [image], moments(True), extremes)
    if dtype.kind in "ui":
        info = np.iinfo(dtype.name)
        low, high = float(info.min), float(info.max)
    else:
        low, high = float(image.min()), float(image.max())
        if low >= 0 and high <= 1:
            low, high = 0.0, 1.0
    span = high - low if high > low else 1.0
    return np.array([low, span], np.float32).reshape(2, 1, 1, 1)


def _count_marks(image: npt.NDArray[np.float32]) -> int:
    """Count values that are no numbers, or huge beside all others, which may be due to the unit."""
    if image.min() > -_LARGEST_GREY and image.max() < _LARGEST_GREY:  # NaN is neither
        return 0
    sizes = np.abs(image)
    is_mark = ~(sizes < _LARGEST_GREY)
    if np.isfinite(image).all():
        most = float(sizes[~is_mark].max(initial=0))
        if not 0 < most * _MOST_CONTRAST < sizes[is_mark].min():
            return 0
    return int(np.count_nonzero(is_mark))


def lost_contrast(stack: Stack, z: int) -> Iterator[str]:
    """Say that grey values around the middle of a slice are too alike for single precision."""
    if np.can_cast(stack.dtype, np.float32):
        return
    height, width = stack.shape_of(z)
    y, x = (max(0, (edge - _SEEN_PX) // 2) for edge in (height, width))
    pixels = stack.read(z, (y, x, min(height, y + _SEEN_PX), min(width, x + _SEEN_PX)))
    values = pixels[np.isfinite(pixels)].astype(np.float64)
    if values.size and 0 < values.std() < _LEAST_STEPS * np.spacing(np.float32(abs(values).max())):
        yield (
            f"grey values of slice {z} lie about {values.mean():.6g} and differ by "
            f"{values.std():.2g} only, which single precision does not tell apart: subtract "
            f"{values.min():.6g} and save the image again."
        )


def resample_points(coordinate: npt.ArrayLike, reduction: int) -> npt.NDArray[np.float64]:
    """Data-pixel coordinates to working-pixel coordinates (pixel centres are integers)."""
    return (np.asarray(coordinate, np.float64) - (reduction - 1) / 2) / reduction


def enlarge(
    maps: torch.Tensor, shape: tuple[int, int], reduction: int, rows: tuple[int, int] | None = None
) -> torch.Tensor:
    """Enlarge maps from working scale to data pixels, bilinearly.

    Parameters
    ----------
    maps : Tensor
        (C, y, x) at working scale.
    shape : (int, int)
        (Y, X) of the slice in data pixels.
    reduction : int
        Data pixels a working pixel.
    rows : (int, int), optional
        Half-open range of data rows to compute; all by default. Strips join without a seam.

    Returns
    -------
    Tensor
        (C, rows, X).
    """
    row0, row1 = rows if rows is not None else (0, shape[0])
    if reduction == 1:
        return maps[:, row0:row1, : shape[1]]
    h = maps.shape[1]
    # one working row of context on each side makes a strip equal to the same rows of the whole
    w0 = max(0, row0 // reduction - 1)
    w1 = min(h, -(-row1 // reduction) + 1)
    part = F.interpolate(
        maps[None, :, w0:w1].float(),
        scale_factor=float(reduction),
        mode="bilinear",
        align_corners=False,
    )[0]
    start = row0 - w0 * reduction
    return part[:, start : start + row1 - row0, : shape[1]]
