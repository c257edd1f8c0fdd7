"""What keypoints correct that a network has not learned: the errors that they lie on.

A small network does not learn each error by heart, and what is wrong in one place may be right in
all others that look like it. So errors that are left are corrected in maps of the image in which
they were clicked, and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import chain

import numpy as np
import numpy.typing as npt
from pydantic import Field, NonNegativeInt
from scipy import ndimage

from ..base import Record
from .samples import Box, SliceSamples

Predict = Callable[[npt.NDArray[np.float32], Box], npt.NDArray[np.float32]]
Span = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt]
"""Row, first column, end column in working pixels; class index."""

_AS_LIKELY = 0.5  # as the pixel of the keypoint, at least
_REACH = 1 / 3  # of an object's width: background is without end
_REACH_WITHIN = 1.0  # the object that is there wrongly has an end of its own


class Corrections(Record):
    """Places of one image, by slice, at which its maps are set right."""

    image: str = ""  # its identity
    n_keypoints: NonNegativeInt = 0  # that were not learned
    spans: dict[NonNegativeInt, tuple[Span, ...]] = Field(default_factory=dict)


def find_corrections(
    samples: Iterable[SliceSamples], predict: Predict, *, image: str, width_px: float
) -> tuple[Corrections, list[int]]:
    """Find the errors about keypoints that maps deny, and the places of these keypoints among all.

    ``predict`` gives the map (C, h, w) of a box (y0, x0, y1, x1) of an image (channels, y, x). Of
    each sample, the part around its keypoints is wanted. ``image`` is the identity of the image,
    ``width_px`` the width of an object in working pixels.
    """
    denied: list[int] = []
    spans: dict[int, tuple[Span, ...]] = {}
    for sample in samples:
        if not sample.keypoints:
            continue
        top, left = sample.origin
        places = np.array(list(sample.keypoints.values()))[:, :2] - (top, left)
        box = _box_around(places, sample.shape, math.ceil(width_px) + 1)
        probs = predict(sample.image, box)
        errors = errors_in(sample, probs, width_px=width_px, origin=(box[0] + top, box[1] + left))
        denied += [place for place, found in errors.items() if found]
        if any(errors.values()):
            before = spans.get(sample.slice, ())
            spans[sample.slice] = (*before, *chain.from_iterable(errors.values()))
    return Corrections(image=image, n_keypoints=len(denied), spans=spans), denied


def _box_around(places: npt.NDArray[np.float64], shape: tuple[int, int], margin_px: int) -> Box:
    """Part of a slice of some shape that holds places, (N, 2), and a margin."""
    (y0, y1), (x0, x1) = (
        (max(0, math.floor(at.min()) - margin_px), min(size, math.ceil(at.max()) + 1 + margin_px))
        for at, size in zip(places.T, shape, strict=True)
    )
    return y0, x0, y1, x1


def errors_in(
    sample: SliceSamples,
    probs: npt.NDArray[np.float32],
    *,
    width_px: float,
    origin: tuple[int, int] = (0, 0),
) -> dict[int, list[Span]]:
    """Find the pixels about each keypoint of a sample that a map denies, see `errors_at`.

    The keys are the places of the keypoints among all.
    """
    if not sample.keypoints:
        return {}
    points = np.array(list(sample.keypoints.values()))
    errors = errors_at(probs, points, width_px=width_px, origin=origin)
    return dict(zip(sample.keypoints, errors, strict=True))


def errors_at(
    probs: npt.NDArray[np.float32],
    keypoints: npt.NDArray[np.float64],
    *,
    width_px: float,
    origin: tuple[int, int],
) -> list[list[Span]]:
    """Find the pixels about keypoints that a map denies, where it errs alike.

    A map denies a keypoint if it shows another class there when it is enlarged bilinearly. The
    pixels are the keypoint's own, and if that is denied too, those that are connected with it, bear
    the same class in the map, are at least half as likely to be of the keypoint's class as it is,
    and nearer to the keypoint than to any of another class.

    Parameters
    ----------
    probs : ndarray, (C, H, W)
        Map of a part of a slice.
    keypoints : ndarray, (N, 3) float64
        Row, column and class index, in the slice; integers are centres of working pixels.
    width_px : float
        Of an object, in working pixels: how far from the keypoint errors reach, where the map shows
        an object; a third of it where the map shows background.
    origin : (int, int)
        First pixel of the part.

    Returns
    -------
    list of list of Span
        For each keypoint; none where the map heeds it.
    """
    labels = probs.argmax(axis=0)
    points = keypoints - (*origin, 0)
    shown = np.stack(
        [ndimage.map_coordinates(one, points[:, :2].T, order=1, mode="nearest") for one in probs]
    ).argmax(axis=0)
    spans: list[list[Span]] = []
    for (y, x, c), seen in zip(points.tolist(), shown.tolist(), strict=True):
        spans.append([])
        if seen == c:
            continue
        row, column, c = round(y), round(x), int(c)
        reach_px = width_px * (_REACH_WITHIN if labels[row, column] else _REACH)
        margin = math.ceil(reach_px)
        top, left = max(0, row - margin), max(0, column - margin)
        here = (slice(top, row + margin + 1), slice(left, column + margin + 1))
        rows, columns = np.indices(labels[here].shape) + np.array([top, left])[:, None, None]
        distance = np.hypot(rows - y, columns - x)
        is_error = (distance <= reach_px) & (labels[here] == labels[row, column])
        is_error &= (labels[here] != c) & (probs[c][here] >= _AS_LIKELY * probs[c, row, column])
        others = points[points[:, 2] != c]
        near = np.hypot(others[:, 0] - y, others[:, 1] - x) <= 2 * reach_px
        for other_y, other_x, _ in others[near].tolist():
            is_error &= distance < np.hypot(rows - other_y, columns - other_x)
        is_error[row - top, column - left] = True
        parts, _ = ndimage.label(is_error)
        mask = parts == parts[row - top, column - left]
        spans[-1] += _spans(mask, (origin[0] + top, origin[1] + left), c)
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
