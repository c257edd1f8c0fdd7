"""Click simulation: in objects and on background."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..annotations import Keypoint
from ..base import InputError

Mask: TypeAlias = npt.NDArray[np.uint8]
Pixel: TypeAlias = tuple[int, int]


def place_clicks(
    slice: int,
    mask: Mask,
    shares: Mapping[int, int],
    *,
    off_centre: float = 0.0,
    rng: np.random.Generator,
) -> list[Keypoint]:
    """Click pixels of each class, as many as asked for and there is room.

    Parameters
    ----------
    slice : int
        Slice index of the keypoints.
    mask : ndarray of uint8, (Y, X)
        True class indices, 255 = ignore: never clicked.
    shares : mapping of int to int
        Clicks per class index.
    off_centre : float
        0: the pixel of an object farthest from its boundary; 1: any of its pixels; between: any
        pixel at least ``1 - off_centre`` times as far from the boundary as the farthest.
    rng : numpy.random.Generator
        Chooses objects (large ones more likely, each once before any twice) and pixels. Clicks on
        class 0 fall anywhere on it.

    Returns
    -------
    list of Keypoint
        At different pixels.

    Raises
    ------
    InputError
        If ``off_centre`` lies outside 0-1.
    """
    if not 0.0 <= off_centre <= 1.0:
        raise InputError(
            f"off_centre {off_centre:g} is out of range; choose 0 to 1.", field="off_centre"
        )
    clicks: list[Keypoint] = []
    for index, n_clicks in sorted(shares.items()):
        is_class = mask == index
        if n_clicks < 1 or not is_class.any():
            continue
        pixels = (
            _anywhere(is_class, n_clicks, rng)
            if index == 0
            else _in_objects(is_class, n_clicks, off_centre, rng)
        )
        clicks += [Keypoint(slice, float(y), float(x), index) for y, x in pixels]
    return clicks


def _anywhere(is_class: npt.NDArray[np.bool_], n: int, rng: np.random.Generator) -> list[Pixel]:
    """Different pixels of a class, all equally likely."""
    flat = np.flatnonzero(is_class)
    chosen = rng.choice(flat, size=min(n, flat.size), replace=False)
    places = np.stack(np.unravel_index(chosen, is_class.shape), axis=1)
    return [(int(y), int(x)) for y, x in places]


def _in_objects(
    is_class: npt.NDArray[np.bool_], n: int, off_centre: float, rng: np.random.Generator
) -> list[Pixel]:
    """Pixels inside objects; once every object was clicked, again anywhere inside them."""
    numbers, n_objects = ndimage.label(is_class)
    boxes = ndimage.find_objects(numbers)
    areas = np.bincount(numbers.reshape(-1))[1:].astype(float)
    chosen: dict[Pixel, None] = {}
    n = min(n, int(areas.sum()))
    while len(chosen) < n:
        is_first_round = not chosen
        order = rng.choice(n_objects, size=n_objects, replace=False, p=areas / areas.sum())
        for number in order[: n - len(chosen)]:
            box = boxes[number]
            is_object = numbers[box] == number + 1
            top, left = box[0].start, box[1].start
            for y, x in chosen:
                if box[0].start <= y < box[0].stop and box[1].start <= x < box[1].stop:
                    is_object[y - top, x - left] = False
            if is_object.any():
                y, x = pixel_inside(is_object, off_centre if is_first_round else 1.0, rng)
                chosen[(y + top, x + left)] = None
    return list(chosen)


def pixel_inside(
    is_object: npt.NDArray[np.bool_], off_centre: float, rng: np.random.Generator
) -> Pixel:
    """One pixel of an object, at least so far from its boundary as ``off_centre`` allows."""
    depth = depth_px(is_object)
    candidates = np.argwhere(is_object & (depth >= (1.0 - off_centre) * depth.max()))
    y, x = candidates[rng.integers(len(candidates))]
    return int(y), int(x)


def depth_px(is_object: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Distance to the boundary in pixels; the array's edge is a boundary too."""
    depth: npt.NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(is_object, 1))
    return depth[1:-1, 1:-1]
