"""What a person does to objects that were found: merge, split and fill them, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage
from scipy.spatial import KDTree

from ..base import InputError
from .objects import sampling_of, split_object

Instances = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

_ODD = 2.5  # robust standard deviations
_JUMP = 4.0  # of changes from slice to slice, which have long tails
_LOW = 0.6  # mean probability
_NECK = 0.95  # see `split_object`


def merge_objects(instances: Instances, numbers: Sequence[int]) -> None:
    """Make several objects one, in place; it has the number of the first.

    Parameters
    ----------
    instances : ndarray of int, (Y, X) or (Z, Y, X)
        The number of an object where it is, 0 elsewhere.
    numbers : sequence of int
        Of the objects; they need not touch.

    Raises
    ------
    InputError
        If there is no such object.

    Examples
    --------
    >>> instances = np.array([[1, 2, 0, 3]])
    >>> merge_objects(instances, (1, 3))
    >>> instances.tolist()
    [[1, 2, 0, 1]]
    """
    for number in numbers:
        _box_of(instances, number)
    if not len(numbers):
        raise InputError("no object to merge; give the numbers of at least two.")
    instances[np.isin(instances, numbers)] = numbers[0]


def fill_object(instances: Instances, number: int) -> None:
    """Give an object the background that it encloses within a slice, in place.

    Parameters
    ----------
    instances : ndarray of int, (Y, X) or (Z, Y, X)
        See `merge_objects`.
    number : int
        Of the object.

    Raises
    ------
    InputError
        If there is no such object.
    """
    part = instances[_box_of(instances, number)]
    for plane in part if part.ndim == 3 else [part]:
        plane[ndimage.binary_fill_holes(plane == number) & (plane == 0)] = number


def split_at_points(
    instances: Instances,
    number: int,
    points: Sequence[Sequence[int]],
    *,
    edges_um: Sequence[float | None] | None = None,
    first_new: int | None = None,
) -> tuple[int, ...]:
    """Split an object into one part for each point, in place.

    The parts meet at the necks between the points, by a watershed on the distance to the boundary;
    where there is no neck between two points, in their middle.

    Parameters
    ----------
    instances : ndarray of int, (Y, X) or (Z, Y, X)
        See `merge_objects`.
    number : int
        Of the object; the part of the first point keeps it.
    points : sequence of (y, x) or (z, y, x)
        One in each part, at least two.
    edges_um : sequence of float or None, optional
        Edges of a pixel or voxel; cubes if one is not known.
    first_new : int, optional
        Number of the second part; by default the next that is free.

    Returns
    -------
    tuple of int
        The numbers of the parts.

    Raises
    ------
    InputError
        If there are fewer than two points, one is not on the object, or the type of the array has
        no number left for a part.
    """
    box = _box_of(instances, number)
    _check_axes(points, instances.ndim)
    corner = [one.start for one in box]
    is_object = instances[box] == number
    places: list[tuple[int, ...]] = []
    for point in points:
        place = tuple(int(p) - c for p, c in zip(point, corner, strict=True))
        is_within = all(0 <= p < n for p, n in zip(place, is_object.shape, strict=True))
        if not is_within or not is_object[place]:
            raise InputError(f"{_at(point)} is not on object {number}; put the point on it.")
        if place in places:
            raise InputError(f"two points are at {_at(point)}; put one in each part.")
        places.append(place)
    if len(points) < 2:
        raise InputError(f"{len(points)} point splits nothing; put one in each part.")
    sampling = sampling_of(is_object.ndim, edges_um)
    margin, inner = _margin(is_object.shape)
    necks = split_object(np.pad(is_object, margin), _NECK, sampling)[inner]
    markers = np.zeros(is_object.shape, np.int32)
    for part in {int(necks[place]) for place in places}:
        within = [index for index, place in enumerate(places) if necks[place] == part]
        voxels = np.argwhere(necks == part)
        tree = KDTree(np.array([places[index] for index in within]) * sampling)
        nearest = tree.query(voxels * sampling)[1]
        markers[tuple(voxels.T)] = np.array(within, np.int32)[nearest] + 1
    return _part(instances, number, box, markers, edges_um, first_new)


def split_along_line(
    instances: Instances,
    number: int,
    line: Sequence[Sequence[float]],
    *,
    edges_um: Sequence[float | None] | None = None,
    first_new: int | None = None,
) -> tuple[int, ...]:
    """Split an object along a line that was drawn through it in one slice, in place.

    In other slices the parts meet where they do by a watershed that starts from those of the slice.

    Parameters
    ----------
    instances : ndarray of int, (Y, X) or (Z, Y, X)
        See `merge_objects`.
    number : int
        Of the object; the largest part of the slice keeps it.
    line : sequence of (y, x) or (z, y, x)
        Corners of the line, all in one slice.
    edges_um, first_new
        See `split_at_points`.

    Returns
    -------
    tuple of int
        The numbers of the parts.

    Raises
    ------
    InputError
        If the line does not cut the object in two, or the type of the array has no number left for
        a part.
    """
    from skimage.draw import line as pixels_between

    box = _box_of(instances, number)
    _check_axes(line, instances.ndim)
    is_object = instances[box] == number
    corners = np.rint(line).astype(int) - [one.start for one in box]
    z = int(corners[0, 0]) if is_object.ndim == 3 else None
    if z is not None and (corners[:, 0] != z).any():
        raise InputError("the line goes through several slices; draw it within one.")
    if z is not None and not 0 <= z < len(is_object):
        raise InputError(f"the line does not cross object {number}; draw it right through.")
    section = is_object if z is None else is_object[z]
    is_cut = np.zeros(section.shape, dtype=bool)
    for start, stop in zip(corners[:-1, -2:], corners[1:, -2:], strict=True):
        pixels = pixels_between(*start, *stop)  # type: ignore[no-untyped-call, unused-ignore]
        places = np.stack(pixels)
        within = ((places >= 0) & (places < np.array(section.shape)[:, None])).all(axis=0)
        is_cut[tuple(places[:, within])] = True
    before, _ = ndimage.label(section)
    pieces, n_pieces = ndimage.label(section & ~is_cut)
    crossed = np.unique(before[is_cut & section])
    found, first, sizes = np.unique(pieces, return_index=True, return_counts=True)
    is_crossed = (found > 0) & np.isin(before.ravel()[first], crossed)
    of_crossed = found[is_crossed][np.argsort(-sizes[is_crossed], kind="stable")]
    if len(of_crossed) <= len(crossed):
        raise InputError(
            f"the line does not cut object {number} in two; draw it right through, from one side "
            "to the other."
        )
    order = np.zeros(n_pieces + 1, np.int32)
    order[of_crossed] = np.arange(1, len(of_crossed) + 1)
    markers = np.zeros(is_object.shape, np.int32)
    markers[... if z is None else z] = order[pieces]
    return _part(instances, number, box, markers, edges_um, first_new)


def doubtful_objects(
    table: pd.DataFrame, voxels_of_slices: npt.ArrayLike | None = None
) -> pd.DataFrame:
    """Order objects by how much each is worth a look, and say why.

    What counts is a low mean probability, a size unlike that of most (the robust z-score of its
    logarithm), and a first or a last slice where the fraction jumps from one slice to the next.

    Parameters
    ----------
    table : DataFrame
        Of :func:`object_table`.
    voxels_of_slices : array of int, (Z,), optional
        How many voxels of each slice belong to objects.

    Returns
    -------
    DataFrame
        ``object``, ``score`` (from 1 on something stands out), ``reason`` (empty below) and
        ``slice``, that of the jump (-1 where the reason is none), the highest score first.
    """
    sizes = table["voxels" if "voxels" in table else "pixels"].to_numpy(float)
    odd = _robust_z(np.log(np.maximum(sizes, 1)))
    scores = [np.abs(odd) / _ODD]
    texts = [np.where(odd > 0, "much larger than most", "much smaller than most")]
    if "mean_probability" in table:
        probability = table["mean_probability"].to_numpy(float)
        low = np.maximum(-_robust_z(probability) / _ODD, 1 + 10 * (_LOW - probability))
        scores.append(np.nan_to_num(low, nan=0.0))
        texts.append(np.array([f"mean probability {one:.2f}" for one in probability], dtype=str))
    at = np.full(len(table), -1)
    if voxels_of_slices is not None and np.size(voxels_of_slices) > 2:
        change = np.abs(_robust_z(np.diff(np.asarray(voxels_of_slices, float)))) / _JUMP
        change = np.concatenate([[0.0], change, [0.0]])  # at slice z: between z - 1 and z
        first, end = (table[name].to_numpy(int) for name in ("z0", "z1"))
        starts_here = change[first] >= change[end]
        jump = np.where(starts_here, change[first], change[end])
        scores.append(jump)
        at = np.where(jump < 1, -1, np.where(starts_here, first, end - 1))
        does = np.where(starts_here, "begins", "ends")
        told = zip(does, at, strict=True)
        texts.append(np.array([f"{does} at a jump of the fraction, slice {z}" for does, z in told]))
    score = np.max(scores, axis=0)
    reasons = [
        ", ".join(text[i] for text, one in zip(texts, scores, strict=True) if one[i] >= 1)
        for i in range(len(table))
    ]
    found = pd.DataFrame(
        {"object": table["object"].to_numpy(), "score": score, "reason": reasons, "slice": at}
    )
    return found.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def _robust_z(values: Floats) -> Floats:
    """How many standard deviations each value is off, by the median and the median deviation."""
    if not len(values):
        return values
    off = values - np.nanmedian(values)
    spread = 1.4826 * np.nanmedian(np.abs(off)) or 1.2533 * np.nanmean(np.abs(off))
    return off / spread if spread > 0 else np.zeros_like(off)


def _at(point: Sequence[int]) -> str:
    return f"({', '.join(str(int(p)) for p in point)})"


def _check_axes(points: Sequence[Sequence[float]], n_axes: int) -> None:
    """Refuse points that have more or fewer numbers than the array has axes."""
    for point in points:
        if len(point) != n_axes:
            raise InputError(
                f"point {tuple(point)} has {len(point)} numbers, but the array has {n_axes} axes; "
                f"give {'z, y, x' if n_axes == 3 else 'y, x'}."
            )


def _box_of(instances: Instances, number: int) -> tuple[slice, ...]:
    """Bounding box of an object that may be changed."""
    given: object = instances
    if not isinstance(given, np.ndarray) or given.dtype.kind not in "ui":
        raise InputError(
            "the numbers of objects must be a NumPy array of whole numbers, which is changed in "
            "place; give numpy.array(instances, int), and keep it."
        )
    if not instances.flags.writeable:
        raise InputError("the numbers of objects can only be read; give a copy, or open as 'r+'.")
    is_object = instances == number
    if number == 0 or not is_object.any():
        raise InputError(f"there is no object {number}; choose one of those that are there.")
    box: tuple[slice, ...] = ndimage.find_objects(is_object.astype(np.uint8))[0]
    return box


def _margin(shape: tuple[int, ...]) -> tuple[list[tuple[int, int]], tuple[slice, ...]]:
    """How far to pad the box of an object, and where it is then; a flat one has no top."""
    margin = [(int(n > 1),) * 2 for n in shape]
    return margin, tuple(slice(m, m + n) for (m, _), n in zip(margin, shape, strict=True))


def _part(
    instances: Instances,
    number: int,
    box: tuple[slice, ...],
    markers: npt.NDArray[np.int32],
    edges_um: Sequence[float | None] | None,
    first_new: int | None,
) -> tuple[int, ...]:
    """Split an object by a watershed from markers 1..n; what none of them reaches stays."""
    from skimage.segmentation import watershed

    is_object = instances[box] == number
    margin, inner = _margin(is_object.shape)
    distance = ndimage.distance_transform_edt(
        np.pad(is_object, margin), sampling=sampling_of(is_object.ndim, edges_um)
    )
    parts = watershed(  # type: ignore[no-untyped-call, unused-ignore]
        -distance[inner], markers, mask=is_object
    )
    new = int(instances.max()) + 1 if first_new is None else first_new
    numbers = (number, *range(new, new + int(markers.max()) - 1))
    if max(numbers) > (largest := np.iinfo(instances.dtype).max):
        raise InputError(
            f"number {max(numbers)} of a part does not fit into {instances.dtype}, which ends at "
            f"{largest}; give the numbers of objects as int32."
        )
    is_other = parts > 1
    instances[box][is_other] = np.array((0, *numbers), dtype=instances.dtype)[parts[is_other]]
    return numbers
