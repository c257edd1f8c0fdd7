"""The working scale: the reduced, normalised slice that a network sees, and the way back.

``reduction`` k is an integer: a working pixel is the mean of a k x k block of data pixels, so
reading strip by strip gives exactly what reading the whole slice gives. Working pixel (i, j) is
centred at data pixel ``i * k + (k - 1) / 2``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ..base import InputError
from .stack import check_memory

if TYPE_CHECKING:
    from .stack import Stack

__all__ = [
    "enlarge",
    "normalise",
    "resample_points",
    "resample_slice",
]

_STRIP_PX = 2**22
_ROUNDING = 1e-7  # of float32, relative


def resample_slice(
    stack: Stack, z: int, reduction: int, normalisation: str | None
) -> npt.NDArray[np.float32]:
    """Read slice ``z`` as the network sees it, strip by strip.

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
        See `normalise`; None leaves the grey values as they are.

    Returns
    -------
    ndarray
        (C, ceil(Y / k), ceil(X / k)) float32.

    Raises
    ------
    InputError
        If the slice cannot be read, does not fit into memory, or holds NaN or infinite values.
    """
    height, width = stack.shape_of(z)
    k, name = reduction, f"slice {z} of {stack.source}"
    shape = (stack.n_channels, -(-height // k), -(-width // k))
    check_memory(4 * math.prod(shape), f"{name}, reduced by {k},")
    image = np.empty(shape, np.float32)
    n_rows = max(1, _STRIP_PX // max(1, width) // k)  # working rows that are read at once
    for y in range(0, shape[1], n_rows):
        strip = stack.read(z, (y * k, 0, min(height, (y + n_rows) * k), width))
        image[:, y : y + n_rows] = _reduce(strip, k)
    if normalisation is None:
        return image
    return normalise(image, normalisation, np.dtype(stack.dtype), name=name)


def _reduce(image: npt.NDArray[np.generic], k: int) -> npt.NDArray[np.float32]:
    values = np.asarray(image, dtype=np.float32)
    if k == 1:
        return values
    starts_y = np.arange(0, values.shape[1], k)
    starts_x = np.arange(0, values.shape[2], k)
    sums = np.add.reduceat(np.add.reduceat(values, starts_y, axis=1), starts_x, axis=2)
    counts_y = np.diff(np.append(starts_y, values.shape[1]))
    counts_x = np.diff(np.append(starts_x, values.shape[2]))
    means: npt.NDArray[np.float32] = (sums / np.outer(counts_y, counts_x)).astype(np.float32)
    return means


def normalise(
    image: npt.NDArray[np.float32],
    mode: str,
    dtype: np.dtype[np.generic],
    *,
    name: str = "the image",
) -> npt.NDArray[np.float32]:
    """Bring grey values to the network's range.

    Parameters
    ----------
    image : ndarray
        (C, y, x) float32, a **whole** slice, so that no map depends on a tile's statistics.
    mode : {"slice", "range"}
        Zero mean and unit deviation per channel (all 0 if it does not vary), or the dtype's range
        to 0-1. Float images in mode "range" are taken as they are if they lie in 0-1, else scaled
        by minimum and maximum.
    dtype : dtype
        The stack's own dtype.
    name : str
        What an error calls the image.

    Raises
    ------
    InputError
        If the slice holds NaN or infinite values.
    """
    if not np.isfinite(image).all():
        n_bad = int(np.count_nonzero(~np.isfinite(image)))
        raise InputError(
            f"{name} holds {n_bad} NaN or infinite values; replace them first, such as by "
            "numpy.nan_to_num."
        )
    if mode == "slice":
        mean = image.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
        deviation = image.std(axis=(1, 2), keepdims=True, dtype=np.float64)
        # relative, since images in physical units may vary by less than any fixed number
        deviation[deviation <= _ROUNDING * np.abs(mean)] = np.inf
        scaled: npt.NDArray[np.float32] = ((image - mean) / deviation).astype(np.float32)
        return scaled
    if dtype.kind in "ui":
        info = np.iinfo(dtype.name)
        return (image - np.float32(info.min)) / np.float32(float(info.max) - float(info.min))
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high <= 1:
        return image
    span = np.float32(high - low) if high > low else np.float32(1)
    return (image - np.float32(low)) / span


def resample_points(coordinate: npt.ArrayLike, reduction: int) -> npt.NDArray[np.float64]:
    """Data-pixel coordinates to working-pixel coordinates (pixel centres are integers)."""
    return (np.asarray(coordinate, np.float64) - (reduction - 1) / 2) / reduction


def enlarge(
    maps: torch.Tensor,
    shape: tuple[int, int],
    reduction: int,
    rows: tuple[int, int] | None = None,
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
