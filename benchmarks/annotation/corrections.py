"""Clicks on the worst errors of labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_spss.core.annotations import Keypoint
from napari_spss.core.images import IGNORE
from napari_spss.core.simulation.clicks import depth_px, pixel_inside

from .images import Mask


@dataclass(frozen=True)
class _Error:
    """A connected area of wrong pixels: where to click it, and how bad it is."""

    badness: float
    click: Keypoint


def correction_clicks(
    found: Sequence[Mask],
    truth: Sequence[Mask],
    n: int,
    *,
    rng: np.random.Generator,
    off_centre: float = 0.0,
) -> tuple[Keypoint, ...]:
    """Click the worst errors of labels, as a user does who corrects them; the worst come first.

    An error is a connected area of one true class that bears another label. The worst are those
    that a user notices: the sum over their pixels of the distance to the area's boundary is
    largest, so that a missed object counts for more than the rim of a found one.

    Parameters
    ----------
    found, truth : sequence of ndarray of uint8, (Y, X)
        Class indices of each slice; errors where ``truth`` is 255 do not count.
    n : int
        Number of clicks, fewer if there are fewer errors.
    rng : numpy.random.Generator
        Chooses among equally good pixels.
    off_centre : float
        0: the pixel farthest from the boundary of the error; 1: any of its pixels.
    """
    errors: list[_Error] = []
    for z, (labels, true) in enumerate(zip(found, truth, strict=True)):
        in_slice = _slice_errors(z, labels, true, n, off_centre=off_centre, rng=rng)
        errors = sorted([*errors, *in_slice], key=lambda error: -error.badness)[:n]
    return tuple(error.click for error in errors)


def _slice_errors(
    z: int, labels: Mask, true: Mask, n: int, *, off_centre: float, rng: np.random.Generator
) -> Iterator[_Error]:
    """Find the worst errors of one slice, at most ``n`` per true class."""
    for index in np.unique(true):
        is_wrong = (true == index) & (labels != index)
        if index == IGNORE or not is_wrong.any():
            continue
        numbers, _ = ndimage.label(is_wrong)
        boxes = ndimage.find_objects(numbers)
        badness = np.bincount(numbers.reshape(-1), weights=depth_px(is_wrong).reshape(-1))[1:]
        for number in np.argsort(-badness, kind="stable")[:n]:
            box = boxes[number]
            y, x = pixel_inside(numbers[box] == number + 1, off_centre, rng)
            click = Keypoint(z, float(y + box[0].start), float(x + box[1].start), int(index))
            yield _Error(float(badness[number]), click)
