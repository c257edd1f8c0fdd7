"""Click simulation: in objects, on background, on the worst errors of a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..analysis import labels_from_probs
from ..annotations import Keypoint
from ..base import InputError
from ..images import IGNORE, LabelsLike, LabelSource, as_label_source

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
                y, x = _inside(is_object, off_centre if is_first_round else 1.0, rng)
                chosen[(y + top, x + left)] = None
    return list(chosen)


def _inside(is_object: npt.NDArray[np.bool_], off_centre: float, rng: np.random.Generator) -> Pixel:
    """One pixel of an object, at least so far from its boundary as ``off_centre`` allows."""
    depth = _depth(is_object)
    candidates = np.argwhere(is_object & (depth >= (1.0 - off_centre) * depth.max()))
    y, x = candidates[rng.integers(len(candidates))]
    return int(y), int(x)


def _depth(is_object: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Distance to the boundary in pixels; the array's edge is a boundary too."""
    depth: npt.NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(is_object, 1))
    return depth[1:-1, 1:-1]


@dataclass(frozen=True)
class _Error:
    """A connected area of wrong pixels: where to click it, and how bad it is."""

    badness: float
    click: Keypoint


def correction_clicks(
    found: LabelsLike | npt.NDArray[np.floating[Any]],
    truth: LabelsLike,
    n: int,
    *,
    rng: np.random.Generator,
    slices: Sequence[int] | None = None,
    threshold: float | None = None,
    off_centre: float = 0.0,
) -> tuple[Keypoint, ...]:
    """Click the worst errors of labels, as a user does who corrects them.

    An error is a connected area of one true class that bears another label. The worst are those
    that a user notices: the sum over their pixels of the distance to the area's boundary is
    largest, so that a missed object counts for more than the rim of a found one.

    Parameters
    ----------
    found : Masks or array
        Labels, whole numbers, (Y, X) or (Z, Y, X); or probabilities, float, (C, Y, X) of one
        slice or (Z, C, Y, X), which are turned into labels.
    truth : Masks or array of int, (Y, X) or (Z, Y, X)
        True class indices; errors where it is 255 do not count.
    n : int
        Number of clicks, fewer if there are fewer errors.
    rng : numpy.random.Generator
        Chooses among equally good pixels.
    slices : sequence of int, optional
        Slices that the user looks at; default: all.
    threshold : float, optional
        For probabilities of two classes; default 0.5.
    off_centre : float
        0: the pixel farthest from the boundary of the error; 1: any of its pixels.

    Returns
    -------
    tuple of Keypoint
        With the true class, worst error first.

    Raises
    ------
    InputError
        If the numbers or sizes of the slices differ.
    """
    labels, true = _as_labels(found, threshold), as_label_source(truth)
    if labels.n_slices != true.n_slices:
        raise InputError(
            f"the labels have {labels.n_slices} slices and the truth has {true.n_slices}; "
            "give the same slices of both."
        )
    errors: list[_Error] = []
    for z in range(true.n_slices) if slices is None else slices:
        in_slice = _slice_errors(z, labels.read(z), true.read(z), n, off_centre=off_centre, rng=rng)
        errors = sorted([*errors, *in_slice], key=lambda error: -error.badness)[:n]
    return tuple(error.click for error in errors)


def _as_labels(
    found: LabelsLike | npt.NDArray[np.floating[Any]], threshold: float | None
) -> LabelSource:
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
        return as_label_source(found)
    if found.ndim == 3:
        return as_label_source(labels_from_probs(found, threshold))
    if found.ndim != 4:
        raise InputError(
            f"probabilities of shape {found.shape} cannot be read; give (C, Y, X) or (Z, C, Y, X)."
        )
    return as_label_source(np.stack([labels_from_probs(probs, threshold) for probs in found]))


def _slice_errors(
    z: int, labels: Mask, true: Mask, n: int, *, off_centre: float, rng: np.random.Generator
) -> Iterator[_Error]:
    """Find the worst errors of one slice, at most ``n`` per true class."""
    if labels.shape != true.shape:
        raise InputError(
            f"slice {z} of the labels has shape {labels.shape}, that of the truth {true.shape}; "
            "give labels at full resolution."
        )
    for index in np.unique(true):
        is_wrong = (true == index) & (labels != index)
        if index == IGNORE or not is_wrong.any():
            continue
        numbers, _ = ndimage.label(is_wrong)
        boxes = ndimage.find_objects(numbers)
        badness = np.bincount(numbers.reshape(-1), weights=_depth(is_wrong).reshape(-1))[1:]
        for number in np.argsort(-badness, kind="stable")[:n]:
            box = boxes[number]
            y, x = _inside(numbers[box] == number + 1, off_centre, rng)
            click = Keypoint(z, float(y + box[0].start), float(x + box[1].start), int(index))
            yield _Error(float(badness[number]), click)
