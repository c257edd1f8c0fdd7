"""Measure labels strip by strip: pixels of each class, intercepts and objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..annotations import Classes, match_class
from ..base import InputError, VoxelSize
from ..images import IGNORE, LabelsLike, Masks, Stack, default_names, open_masks, strips
from .components import ComponentCollector, Components
from .densities import LineIntercepts
from .fractions import Counts, Measurement
from .measured_labels import MeasuredLabels
from .object_rows import ClassReader, ObjectSizes, PixelValues, object_rows

_SERIES = (
    "The images are of one size, and taken for slices of one volume{}. If they are images of their "
    "own, such as of several animals, give --each."
)


def measure(
    labels: LabelsLike,
    *,
    voxel_size_um: VoxelSize | None = None,
    pixel_sizes_um: Sequence[float | None] | None = None,
    is_set: bool | None = None,
    is_time_series: bool = False,
    classes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    min_size: float | str = 1,
    split: float | None = None,
    per_slice: bool = False,
    image: Stack | npt.ArrayLike | None = None,
    maps: Stack | npt.ArrayLike | None = None,
    outside: str | None = None,
    is_vertical: bool = False,
    instances: Mapping[int, npt.NDArray[np.integer]] | None = None,
    go_on: Callable[[], object] = lambda: None,
) -> Measurement:
    """Measure labels strip by strip, so that not even a slice need fit into memory.

    Parameters
    ----------
    labels : Masks or array of int, (Y, X) or (Z, Y, X)
        Class indices, 0 = background. Pixels with 255 count in no fraction. In masks of
        instances whatever has one id is one object, connected or not.
    voxel_size_um : tuple of float or None, optional
        (z, y, x) size of a voxel in micrometres; None where it is not known.
    pixel_sizes_um : sequence of float or None, optional
        Image sets: edge of a pixel per image, in micrometres; wins over ``voxel_size_um``.
    is_set : bool, optional
        Whether the slices are separate images, not neighbours: objects then stay within a slice.
        Default: whether their sizes differ or ``pixel_sizes_um`` is given.
    is_time_series : bool
        Whether the slices are time points: objects then stay within one, too.
    classes : sequence of str, optional
        Class names; default: those of the labels.
    names : sequence of str, optional
        Names of the images of a set.
    min_size : float or str
        Smaller objects are not listed, but stay in the fractions: a number of pixels or voxels,
        or a text such as "0.01 um3" ("0.2 um2" for objects of single slices).
    split : float, optional
        Split touching objects as :func:`find_objects` does.
    per_slice : bool
        Whether the objects of a stack are those of each slice, instead of those of the volume.
    image : Stack or array, (Y, X) or (Z, Y, X), optional
        For the mean grey value of each object.
    maps : Stack or array, (Y, X) or (Z, Y, X), optional
        For the mean probability of each object: a channel for each class, as ``predict`` writes
        them, or that of class 1 alone.
    outside : str, optional
        Class of what lies outside of the specimen: fractions are those of the rest, and it has
        none, nor objects. By default the one that labels bring along.
    is_vertical : bool
        Whether the slices are vertical sections, whose axis is y; see `surface_density`.
    instances : mapping of int to array of int, (Z, Y, X), optional
        By class index, objects that are told apart already: the number of an object where it is.
        All of them are listed, whole, with their number as ``id``; other pixels are of none.
    go_on : callable, optional
        Called before each strip; what it raises ends the measurement.

    Returns
    -------
    Measurement

    Raises
    ------
    InputError
        If there is no slice, a size is not positive, a list has another length than the labels, or
        there is no class ``outside``; if image or maps do not fit the labels, or hold labels; if
        objects that have ids are to be split.
    """
    measured = MeasuredLabels.of(
        labels,
        voxel_size_um=voxel_size_um,
        pixel_sizes_um=pixel_sizes_um,
        is_set=is_set,
        is_time_series=is_time_series,
        classes=classes,
        names=names,
        per_slice=per_slice,
        instances=instances or {},
    )
    values = measured.pixel_values(image, maps)
    sizes = measured.object_sizes(min_size, split)
    if outside is None and isinstance(measured.classes, Classes):
        outside = measured.classes.outside
    unseen = (
        None if outside is None else match_class(outside, measured.classes or default_names(IGNORE))
    )
    intercepts = LineIntercepts(measured.source.n_slices, unseen)
    pixels, components = _read(measured, sizes, values, intercepts, go_on)
    n_used = int(np.flatnonzero(pixels.any(axis=0)).max(initial=0)) + 1
    class_list = measured.classes or default_names(max(2, n_used))
    if n_used > len(class_list):
        raise InputError(
            f"the labels hold class {n_used - 1}, but only {len(class_list)} classes are "
            f"named ({', '.join(class_list)}); name all classes."
        )
    known = Classes(class_list, outside)
    if known.outside_index is not None:
        components.pop(known.outside_index, None)
    objects, notes = _object_table(measured, components, known, sizes, values)
    pixels = pixels[:, : len(class_list)]
    return Counts(measured, known, pixels, objects, intercepts, is_vertical).measurement(notes)


def measure_masks(
    masks: Masks,
    *,
    stack: Stack | None = None,
    voxel_size_um: VoxelSize | None = None,
    **options: Any,
) -> Measurement:
    """Measure masks with the names and sizes that they carry.

    The sizes of ``stack``, the image, go before those of the masks, a stated size before both.
    Time points are taken for such unless the distance of slices is stated. The options are those
    of :func:`measure`.
    """
    image = options.get("image")
    stack, names = stack or masks.stack, masks.stack.names
    as_stated = [
        one.with_voxel_size(voxel_size_um)
        for one in (stack, masks.stack, image)
        if isinstance(one, Stack)
    ]
    pixel_sizes = None
    if stack.is_set and voxel_size_um is None:
        pixel_sizes = [stack.pixel_size_um(z) for z in range(masks.n_slices)]
    size_um = as_stated[0].voxel_size_um
    found = measure(
        masks,
        voxel_size_um=size_um,
        pixel_sizes_um=pixel_sizes,
        is_set=stack.is_set,
        is_time_series=any(one.is_time_series for one in as_stated),
        names=names if stack.is_set else None,
        **options,
    )
    if stack.is_series and stack.is_volume and size_um[0] is None:
        said = _SERIES.format("" if options.get("per_slice") else ", through which objects go on")
        return replace(found, notes=(said, *found.notes))
    return found


def sized_stack(labels: Stack, image: Stack | None) -> Stack:
    """Return the image if its pixels have a size that those of its labels lack, else the labels.

    These have the distance of its slices, if they say none.
    """

    def has_sizes(stack: Stack) -> bool:
        return any(stack.pixel_size_um(z) for z in range(stack.n_slices))

    if image is None or image.n_slices != labels.n_slices:
        return labels
    if not has_sizes(labels):
        return image if has_sizes(image) else labels
    distance = image.voxel_size_um[0] if labels.voxel_size_um[0] is None else None
    return labels if distance is None else labels.with_voxel_size((distance, None, None))


def object_table(
    instances: Masks | npt.ArrayLike,
    *,
    class_name: str = "object",
    per_slice: bool = False,
    voxel_size_um: VoxelSize | None = None,
    image: Stack | npt.ArrayLike | None = None,
    probs: Stack | npt.ArrayLike | None = None,
    numbers: Sequence[int] | None = None,
    within: tuple[slice, slice, slice] | None = None,
    go_on: Callable[[], object] = lambda: None,
    tell: Callable[[tuple[str, ...]], object] = lambda notes: None,
) -> pd.DataFrame:
    """Measure objects that have numbers, such as those of :func:`find_objects`.

    Parameters
    ----------
    instances : array of int, (Y, X) or (Z, Y, X), or Masks
        The number of an object where it is, 0 elsewhere. Whatever has one number is one object,
        connected or not.
    class_name : str
        For the column ``class``.
    per_slice : bool
        Whether the objects of a stack lie in single slices.
    voxel_size_um : tuple of float or None, optional
        (z, y, x) size of a voxel in micrometres; None where it is not known.
    image, probs : Stack or array, (Y, X) or (Z, Y, X), optional
        For the mean grey value, and for the mean probability of the class.
    numbers : sequence of int, optional
        Measure these objects only, such as those that were changed.
    within : tuple of slice (z, y, x), optional
        Where they are; nothing else is read then.
    go_on : callable, optional
        Called before each strip; what it raises ends the measurement.
    tell : callable, optional
        Called with the notes of what was left out, such as columns of other packages that fail.

    Returns
    -------
    DataFrame
        A row per object: ``object`` (its number), ``class``, ``voxels`` and ``volume_um3`` (or
        ``pixels`` and ``area_um2``), ``equivalent_diameter_px`` and ``_um`` (of the sphere of that
        volume or the disc of that area; ``_px`` takes voxels as cubes), ``surface_px2`` and
        ``_um2`` (or ``perimeter_px`` and ``_um``; Crofton's formula, of a cut object with the
        cut), ``axis_major``, ``axis_middle`` (volumes) and ``axis_minor`` in ``_px`` and ``_um``
        (of the ellipsoid or ellipse with the same moments), ``elongation`` (longest axis by
        shortest), ``mean_grey`` (of several channels together, and as ``mean_grey_0``, ... of
        each) and ``mean_probability`` where these were given, half-open
        bounding box ``z0,y0,x0,z1,y1,x1``, centroid ``z,y,x`` in pixels, ``slices`` (spanned),
        ``touches_border`` (of a slice, or of the stack), ``is_counted`` (touches neither the
        upper nor the left edge nor, in a volume, the first slice: so chosen, objects of all sizes
        have the same chance to count). Then the columns that other packages offer, see
        :func:`register_object_property`.

    Raises
    ------
    InputError
        If the numbers are none, or image or probabilities do not fit them.

    Examples
    --------
    >>> object_table(np.array([[1, 1, 0, 2]]))[["object", "pixels"]].to_numpy().tolist()
    [[1, 2], [2, 1]]
    """
    masks = instances if isinstance(instances, Masks) else open_masks(instances, instances=True)
    classes = ("background", class_name)
    measured = MeasuredLabels.of(
        masks, voxel_size_um=voxel_size_um, classes=classes, per_slice=per_slice
    )
    values, sizes = measured.pixel_values(image, probs), measured.object_sizes(1, None)
    if numbers is None:
        intercepts = LineIntercepts(masks.n_slices, None)
        _, components = _read(measured, sizes, values, intercepts, go_on)
    else:
        components = {1: _read_some(masks, sizes, values, numbers, within, go_on)}
    table, notes = _object_table(measured, components, classes, sizes, values)
    tell(notes)
    if "id" in table:
        table["object"] = table.pop("id")
    return table


def _read(
    measured: MeasuredLabels,
    sizes: ObjectSizes,
    pixels: PixelValues,
    intercepts: LineIntercepts,
    go_on: Callable[[], object],
) -> tuple[npt.NDArray[np.int64], dict[int, Components]]:
    """Pixels per slice and class (n, 255), and the components of every foreground class."""
    counts = np.zeros((measured.source.n_slices, IGNORE), dtype=np.int64)
    collectors: dict[int, ComponentCollector] = {}
    for z in range(measured.source.n_slices):
        shape = measured.source.shape_of(z)
        for box in strips(shape):
            go_on()
            strip = measured.source.read(z, box)
            found = np.bincount(strip.reshape(-1), minlength=IGNORE + 1)[:IGNORE]
            counts[z] += found
            intercepts.add(z, strip)
            for index in (np.flatnonzero(found[1:]) + 1).tolist():
                reader = ClassReader(measured.source, index, pixels, measured.instances.get(index))
                has_ids = measured.has_ids or index in measured.instances
                fresh = ComponentCollector(
                    is_volume=sizes.is_volume, has_ids=has_ids, n_values=len(pixels.names)
                )
                where = reader.mask(z, box) if has_ids else strip == index
                collectors.setdefault(index, fresh).add(
                    z, where, values=reader.values(z, box), origin=(box[0], 0), shape=shape
                )
    n_slices = measured.source.n_slices
    return counts, {index: one.finish(n_slices) for index, one in sorted(collectors.items())}


def _read_some(
    masks: Masks,
    sizes: ObjectSizes,
    pixels: PixelValues,
    numbers: Sequence[int],
    within: tuple[slice, slice, slice] | None,
    go_on: Callable[[], object],
) -> Components:
    """Components of some objects that have ids, of one class."""
    reader = ClassReader(masks, 1, pixels)
    collector = ComponentCollector(
        is_volume=sizes.is_volume, has_ids=True, n_values=len(pixels.names)
    )
    n_slices = masks.n_slices
    for z in range(n_slices) if within is None else range(*within[0].indices(n_slices)):
        shape = masks.shape_of(z)
        rows, columns = (slice(None),) * 2 if within is None else within[1:]
        (y0, y1, _), (x0, x1, _) = rows.indices(shape[0]), columns.indices(shape[1])
        go_on()
        ids = masks.read_ids(z, (y0, x0, y1, x1))
        ids = np.where(np.isin(ids, numbers), ids, 0)
        if ids.any():
            values = reader.values(z, (y0, x0, y1, x1))
            collector.add(z, ids, values=values, origin=(y0, x0), shape=shape)
    return collector.finish(n_slices)


def _object_table(
    measured: MeasuredLabels,
    components: dict[int, Components],
    classes: Sequence[str],
    sizes: ObjectSizes,
    pixels: PixelValues,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    parts: list[pd.DataFrame] = []
    notes: tuple[str, ...] = ()
    for index, found in components.items():
        reader = ClassReader(measured.source, index, pixels, measured.instances.get(index))
        asked = sizes
        if index in measured.instances:
            asked = replace(sizes, least=np.zeros_like(sizes.least), split=None)
        rows, said = object_rows(found, reader, asked, classes[index], pixels.names)
        parts.append(rows)
        notes += said
    if not parts:
        empty = ComponentCollector(is_volume=False, n_values=len(pixels.names)).finish(0)
        parts = [object_rows(empty, None, sizes, "", pixels.names)[0]]
    table = pd.concat(parts, ignore_index=True)
    if measured.instances and "id" in table:
        table["id"] = table["id"].astype("Int64")
    table.insert(0, "object", np.arange(1, len(table) + 1))
    return table, notes
