"""From maps to labels: thresholds and cleaning."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..base import InputError
from ..images import IGNORE

Labels = npt.NDArray[np.uint8]

_N_BINS = 4096  # the precision of a threshold that is read from them
_NOTHING = 1.0 + 2.0**-9  # above 1 in half precision too


def labels_from_probs(probs: npt.NDArray[np.floating], threshold: float | None = None) -> Labels:
    """Turn maps into labels.

    Parameters
    ----------
    probs : array of float, (C, Y, X) or (C, Z, Y, X)
        Probabilities 0-1, background first.
    threshold : float, optional
        Two classes only: a pixel is class 1 where its probability is at least this; default 0.5.
        With more classes every pixel gets its most probable class.

    Returns
    -------
    ndarray of uint8
        Class indices.

    Raises
    ------
    InputError
        If there are fewer than two maps, or a threshold is given for more than two.

    Examples
    --------
    >>> import numpy as np
    >>> labels_from_probs(np.array([[[0.9, 0.5, 0.2]], [[0.1, 0.5, 0.8]]]))
    array([[0, 1, 1]], dtype=uint8)
    """
    n_classes = probs.shape[0]
    if n_classes < 2:
        raise InputError(
            f"{n_classes} map was given; labels need one map per class, background too."
        )
    if n_classes == 2:
        labels: Labels = (probs[1] >= (0.5 if threshold is None else threshold)).astype(np.uint8)
        return labels
    if threshold is not None:
        raise InputError(
            f"threshold {threshold} cannot be used with {n_classes} classes; leave it out: every "
            "pixel gets its most probable class."
        )
    most_probable: Labels = probs.argmax(axis=0).astype(np.uint8)
    return most_probable


class MapHistogram:
    """Collects, slice by slice, how often each probability occurs in the map of one class."""

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(_N_BINS, dtype=np.int64)

    def add(self, probs: npt.NDArray[np.floating]) -> None:
        """Add a map of any shape, probabilities 0-1."""
        values, often = probs.reshape(-1), None
        if values.dtype == np.float16:  # there are few of these: counted in a third of the time
            all_often = np.bincount(values.view(np.uint16))
            found = np.flatnonzero(all_often)
            values, often = found.astype(np.uint16).view(np.float16).astype(float), all_often[found]
        bins = np.clip((values * _N_BINS).astype(np.int64), 0, _N_BINS - 1)
        self.counts += np.bincount(bins, often, minlength=_N_BINS).astype(np.int64)


def matched_threshold(histogram: MapHistogram | npt.ArrayLike, fraction: float) -> float:
    """Find the threshold at which the labelled share of the pixels is the stated fraction.

    Where several thresholds do equally well, as on a map that is nearly binary, the one closest to
    0.5 is taken. A right fraction does not make a right mask.

    Parameters
    ----------
    histogram : MapHistogram or array of int
        Counts of class-1 probabilities in equal bins over 0-1, of the pixels that the fraction
        speaks about: of the slices that have a stated fraction, and no others.
    fraction : float
        Stated fraction of class 1 in these pixels, 0-1.

    Returns
    -------
    float
        Threshold; pixels at or above it are class 1. Just above 1 if nothing is to be labelled.

    Raises
    ------
    InputError
        If the fraction lies outside 0-1 or the histogram is empty.

    Examples
    --------
    >>> matched_threshold([6, 0, 2, 2], 0.2)
    0.75
    """
    counts = histogram.counts if isinstance(histogram, MapHistogram) else np.asarray(histogram)
    if not 0.0 <= fraction <= 1.0:
        raise InputError(f"fraction {fraction} lies outside 0-1; divide per cent by 100.")
    n_pixels = int(counts.sum())
    if n_pixels == 0:
        raise InputError("the histogram is empty; add the maps of the slices with a fraction.")
    n_bins = counts.size
    share_above = np.append(np.cumsum(counts[::-1])[::-1], 0) / n_pixels
    miss = np.abs(share_above - fraction)
    best = np.flatnonzero(np.isclose(miss, miss.min(), rtol=0.0, atol=1e-12))
    edge = int(best[np.argmin(np.abs(best - n_bins / 2))])
    return edge / n_bins if edge < n_bins else _NOTHING


def fill_holes(labels: Labels) -> Labels:
    """Give background that one class encloses within a slice to that class.

    Parameters
    ----------
    labels : ndarray of uint8, (Y, X) or (Z, Y, X)
        Class indices, 255 = ignore. Slices are filled one by one.

    Returns
    -------
    ndarray of uint8
        A new array. Only background changes; classes are filled in ascending order.
    """
    filled = labels.copy()
    for plane in filled if filled.ndim == 3 else filled[None]:
        for index in np.unique(plane):
            if index in (0, IGNORE):
                continue
            plane[ndimage.binary_fill_holes(plane == index) & (plane == 0)] = index
    return filled


def remove_small(labels: Labels, min_size_px: int) -> Labels:
    """Turn connected components with fewer than ``min_size_px`` pixels into background.

    Parameters
    ----------
    labels : ndarray of uint8, (Y, X) or (Z, Y, X)
        Class indices, 255 = ignore. Components join across faces, in 3D through the slices too.
    min_size_px : int
        Smallest size that stays, in pixels or voxels.

    Returns
    -------
    ndarray of uint8
        A new array.

    Raises
    ------
    InputError
        If ``min_size_px`` is negative.
    """
    if min_size_px < 0:
        raise InputError(f"min_size_px {min_size_px} is negative; give 0 or more.")
    cleaned = labels.copy()
    for index in np.unique(labels):
        if index in (0, IGNORE):
            continue
        is_class = labels == index
        cleaned[is_class & ~_large(is_class, min_size_px)] = 0
    return cleaned


def clean_labels(labels: Labels, *, fills_holes: bool = False, min_size_px: int = 0) -> Labels:
    """Fill holes of a slice, and then drop its small pieces, as far as it is asked for.

    Parameters
    ----------
    labels : ndarray of uint8, (Y, X)
        Class indices, 255 = ignore.
    fills_holes : bool
        Whether `fill_holes` is done.
    min_size_px : int
        See `remove_small`.
    """
    labels = fill_holes(labels) if fills_holes else labels
    return remove_small(labels, min_size_px) if min_size_px > 1 else labels


def _large(is_class: npt.NDArray[np.bool_], min_size_px: int) -> npt.NDArray[np.bool_]:
    """Pixels of the components with at least ``min_size_px`` pixels."""
    numbers, _ = ndimage.label(is_class)
    is_kept = np.bincount(numbers.reshape(-1)) >= min_size_px
    is_kept[0] = False
    kept: npt.NDArray[np.bool_] = is_kept[numbers]
    return kept
