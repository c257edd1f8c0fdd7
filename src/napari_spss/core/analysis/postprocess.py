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


def clean_labels(labels: Labels, *, fill_holes: bool = False, min_piece_px: int = 0) -> Labels:
    """Fill holes of a slice, and then drop its small pieces, as far as it is asked for.

    Parameters
    ----------
    labels : ndarray of uint8, (Y, X)
        Class indices, 255 = ignore.
    fill_holes : bool
        Whether background that one class encloses is given to it, in ascending order of classes.
    min_piece_px : int
        Connected pieces with fewer pixels become background.

    Returns
    -------
    ndarray of uint8
        A new array if anything is asked for.
    """
    if not fill_holes and min_piece_px <= 1:
        return labels
    cleaned = labels.copy()
    indices = [index for index in np.unique(labels) if index not in (0, IGNORE)]
    if fill_holes:
        for index in indices:
            cleaned[ndimage.binary_fill_holes(cleaned == index) & (cleaned == 0)] = index
    if min_piece_px > 1:
        for index in indices:
            pieces, _ = ndimage.label(cleaned == index)
            is_small = np.bincount(pieces.reshape(-1)) < min_piece_px
            is_small[0] = False
            cleaned[is_small[pieces]] = 0
    return cleaned
