"""What keypoints correct that a network has not learned: the errors that they lie on.

A small network does not learn each error by heart, and what is wrong in one place may be right in
all others that look like it. So errors that are left are corrected in maps of the image in which
they were clicked, and nowhere else.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from pydantic import Field, NonNegativeInt
from scipy import ndimage

from ..base import Record

Span = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt]
"""Row, first column, end column in working pixels; class index."""

_AS_LIKELY = 0.5  # as the pixel of the keypoint, at least
_REACH = 1 / 3  # of an object's width: background is without end
_REACH_WITHIN = 1.0  # the object that is there wrongly has an end of its own


class Corrections(Record):
    """Places of one image at which its maps are set right.

    Parameters
    ----------
    image : str
        Identity of the image.
    n_keypoints : int
        That were not learned.
    spans : dict of int to tuple of Span
        By slice.
    """

    image: str = ""
    n_keypoints: NonNegativeInt = 0
    spans: dict[NonNegativeInt, tuple[Span, ...]] = Field(default_factory=dict)


def errors_at(
    probs: npt.NDArray[np.float32],
    keypoints: npt.NDArray[np.int64],
    *,
    width_px: float,
    origin: tuple[int, int],
) -> list[Span]:
    """Find the pixels about keypoints that a map denies, where it errs alike.

    Those are connected with the keypoint, bear the same class in the map, are at least half as
    likely to be of the keypoint's class as its own pixel, and nearer to it than to any keypoint of
    another class.

    Parameters
    ----------
    probs : ndarray, (C, H, W)
        Map of a part of a slice.
    keypoints : ndarray, (N, 3) int64
        Row, column and class index, in the slice.
    width_px : float
        Of an object, in working pixels: how far from the keypoint errors reach, where the map shows
        an object; a third of it where the map shows background.
    origin : (int, int)
        First pixel of the part.

    Returns
    -------
    list of Span
    """
    labels = probs.argmax(axis=0)
    points = keypoints - (*origin, 0)
    spans: list[Span] = []
    for y, x, c in points.tolist():
        if labels[y, x] == c:
            continue
        reach_px = width_px * (_REACH_WITHIN if labels[y, x] else _REACH)
        top, left = (max(0, at - math.ceil(reach_px)) for at in (y, x))
        here = (slice(top, y + math.ceil(reach_px) + 1), slice(left, x + math.ceil(reach_px) + 1))
        rows, columns = np.indices(labels[here].shape) + np.array([top, left])[:, None, None]
        distance = np.hypot(rows - y, columns - x)
        is_error = (distance <= reach_px) & (labels[here] == labels[y, x])
        is_error &= probs[c][here] >= _AS_LIKELY * probs[c, y, x]
        others = points[points[:, 2] != c]
        near = np.hypot(others[:, 0] - y, others[:, 1] - x) <= 2 * reach_px
        for other_y, other_x, _ in others[near].tolist():
            is_error &= distance < np.hypot(rows - other_y, columns - other_x)
        parts, _ = ndimage.label(is_error)
        mask = (parts == parts[y - top, x - left]) & is_error
        spans += _spans(mask, (origin[0] + top, origin[1] + left), c)
    return spans


def _spans(mask: npt.NDArray[np.bool_], origin: tuple[int, int], class_index: int) -> list[Span]:
    """Rows of a mask as spans."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    top, left = origin
    return [
        (int(row) + top, int(start) + left, int(end) + left, class_index)
        for (row, start), (_, end) in zip(starts, ends, strict=True)
    ]
