"""Objects of one class in an array: connected parts, of which touching ones are split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..base import UNKNOWN_VOXEL, InputError, VoxelSize, least_pixels, merge_voxel_size
from ..images import class_indices

Bools = npt.NDArray[np.bool_]
Instances = npt.NDArray[np.int32]

_NEVER = math.log(1e-9)  # of the background, below all depths


def find_objects(
    labels: npt.ArrayLike,
    class_index: int = 1,
    *,
    per_slice: bool = False,
    voxel_size_um: VoxelSize | None = None,
    min_size: float | str = 1,
    split: float | None = None,
    go_on: Callable[[], object] = lambda: None,
) -> Instances:
    """Number the objects of a class: its connected parts, or what these are split into.

    All objects are kept, also those that touch the border, of which :func:`object_table` tells.

    Parameters
    ----------
    labels : array of int, (Y, X) or (Z, Y, X)
        Class indices. Pixels join across edges, slices across faces.
    class_index : int
        The class.
    per_slice : bool
        Whether every slice of a stack stands alone.
    voxel_size_um : tuple of float or None, optional
        (z, y, x) size of a voxel in micrometres; needed for a size in physical units.
    min_size : float or str
        Smaller objects are left out: a number of pixels or voxels, or a text such as "0.01 um3",
        or "0.2 um2" for objects of single slices. Parts of a split object count on their own.
    split : float, optional
        Split objects at necks that are narrower than this part, 0-1, of the narrower side; about
        0.7 suits round objects. By default touching objects are one.
    go_on : callable, optional
        Called before each object; what it raises ends the search.

    Returns
    -------
    ndarray of int32
        0 = none; objects are numbered 1..n.

    Raises
    ------
    InputError
        If the labels have another shape, a size is none, or ``split`` is not between 0 and 1.

    Examples
    --------
    >>> find_objects(np.array([[1, 0, 1], [1, 0, 2]])).tolist()
    [[1, 0, 2], [1, 0, 0]]
    """
    check_split(split)
    if not isinstance(class_index, int | np.integer):
        raise InputError(
            f"class_index {class_index!r} is no whole number; give the place of the class, 0 for "
            "the background."
        )
    is_class = np.asarray(class_indices(labels, {2, 3})) == class_index
    is_flat = per_slice or is_class.ndim == 2
    edges = merge_voxel_size(voxel_size_um, UNKNOWN_VOXEL)[1 if is_flat else 0 :]
    least = least_pixels(min_size, edges)
    joins = ndimage.generate_binary_structure(is_class.ndim, 1)
    if is_class.ndim == 3 and is_flat:
        joins[[0, 2]] = False
    numbers, _ = ndimage.label(is_class, joins)
    n_found = 0
    found: Instances = np.zeros(is_class.shape, dtype=np.int32)
    # a margin, where there is one, since an edge of the image is no edge of an object
    margins = (0, 1, 1) if is_flat and is_class.ndim == 3 else (1,) * is_class.ndim
    for number, tight in enumerate(ndimage.find_objects(numbers), start=1):
        go_on()
        box = tuple(
            slice(max(0, one.start - margin), one.stop + margin)
            for one, margin in zip(tight, margins, strict=True)
        )
        is_object = numbers[box] == number
        parts = is_object.astype(np.int32)
        if split is not None:
            parts = split_object(is_object[0] if margins[0] == 0 else is_object, split, edges)
            parts = parts.reshape(is_object.shape)
        sizes = np.bincount(parts[is_object])
        is_kept = sizes >= least
        is_kept[0] = False
        new = np.where(is_kept, np.cumsum(is_kept) + n_found, 0)
        found[box][is_object] = new[parts[is_object]]
        n_found += int(is_kept.sum())
    return found


def check_split(split: float | None) -> None:
    """Refuse what is no part of a width.

    Raises
    ------
    InputError
        If it is not between 0 and 1.
    """
    if split is not None and not 0 < split < 1:
        raise InputError(
            f"split {split} is not between 0 and 1; give the part of the width below which a neck "
            "is cut, such as 0.7.",
            field="split",
        )


def sampling_of(n_axes: int, edges_um: Sequence[float | None] | None) -> list[float]:
    """Edges of a voxel; of a cube if one is not known."""
    known = [edge for edge in edges_um or () if edge is not None and edge > 0]
    return known if len(known) == n_axes else [1.0] * n_axes


def split_object(
    is_object: Bools, split: float, edges_um: Sequence[float | None] | None = None
) -> Instances:
    """Split a connected object at its necks, by a watershed on the distance to its boundary.

    Two basins stay apart if the distance at the neck between them is less than ``split`` times
    that at the middle of the narrower one. One pixel is added to all distances, so that the steps
    of a boundary do not count as necks.

    Parameters
    ----------
    is_object : ndarray of bool, (Y, X) or (Z, Y, X)
        The object; its array ends with the image, or a pixel beyond it.
    split : float
        0-1.
    edges_um : sequence of float or None, optional
        Edges of a pixel or voxel; cubes if one is not known.

    Returns
    -------
    ndarray of int32
        0 = none; parts are numbered 1..n, n at least 1.

    References
    ----------
    Beucher and Meyer, The morphological approach to segmentation: the watershed transformation,
    in: Mathematical Morphology in Image Processing, 1993, 433-481.
    """
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    if is_object.all():  # no boundary to measure a distance from
        return is_object.astype(np.int32)
    sampling = sampling_of(is_object.ndim, edges_um)
    distance = ndimage.distance_transform_edt(is_object, sampling=sampling)
    depth = np.full(is_object.shape, _NEVER)
    depth[is_object] = np.log(distance[is_object] / min(sampling) + 1.0)
    shallow = depth + math.log(split)
    domes = reconstruction(shallow, depth)  # type: ignore[no-untyped-call, unused-ignore]
    is_top = local_maxima(domes) & is_object  # type: ignore[no-untyped-call, unused-ignore]
    markers, n_parts = ndimage.label(is_top, np.ones((3,) * is_object.ndim))
    if n_parts < 2:
        return is_object.astype(np.int32)
    parts: Instances = watershed(  # type: ignore[no-untyped-call, unused-ignore]
        -distance, markers, mask=is_object
    )
    return parts
