"""Area and volume fractions with intervals, and a table of objects, from labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..annotations import Classes, match_class
from ..base import (
    UNKNOWN_VOXEL,
    InputError,
    VoxelSize,
    counted,
    least_pixels,
    merge_voxel_size,
    percent,
)
from ..images import (
    IGNORE,
    LabelsLike,
    LabelSource,
    Masks,
    Stack,
    as_label_source,
    check_stack,
    class_names,
    default_names,
    hint_to_turn,
    open_masks,
    reading_notes,
    stack_from_array,
    strips,
)
from .components import ComponentCollector, Components
from .densities import LineIntercepts, density_columns, numerical_density, surface_density
from .object_rows import ClassReader, ObjectSizes, PixelValues, object_rows
from .objects import check_split
from .ratio import NOTHING, estimate_fraction

_TIME_SERIES = (
    "The slices are time points: objects are those of each, and have areas. If they are slices of "
    "a volume, state their distance: --voxel-size Z,Y,X (voxel_size_um in Python; in napari name "
    "their axis z)."
)
_SERIES = (
    "The images are of one size, and taken for slices of one volume{}. If they are images of their "
    "own, such as of several animals, give --each."
)


@dataclass(frozen=True)
class Measurement:
    """What was measured, as three tables.

    Attributes
    ----------
    slices : DataFrame
        A row per slice and class: ``slice``, ``name`` (image sets), ``class``, ``pixels``,
        ``fraction`` (of the slice's labelled pixels that are not outside, 0-1), ``area_um2``; for
        sets and single images also ``objects``.
    stack : DataFrame
        A row per class: ``class``, ``fraction``, ``low``, ``high`` (of sets: 95 % interval, see
        :func:`estimate_fraction`), ``slices``, ``objects``, ``voxels``, ``volume_um3``; for sets
        and single images ``pixels`` and ``area_um2`` instead. Then, each with ``_low`` and
        ``_high``, ``surface_um2_per_um3`` (see `surface_density`; ``sections`` says for which
        kind) and ``objects_per_um3`` (see `numerical_density`; of objects in single slices
        ``objects_per_um2``).
    objects : DataFrame
        A row per object, see :func:`object_table`: ``object``, ``class``, and of instances ``id``.
    notes : tuple of str
        What the reader of the tables should know.
    outside : str or None
        Class that counts in no fraction: pixels and area alone are known of it.
    """

    slices: pd.DataFrame
    stack: pd.DataFrame
    objects: pd.DataFrame
    notes: tuple[str, ...]
    outside: str | None = None

    def summary(self) -> tuple[str, ...]:
        """A line for each class: fraction, interval, numbers and surface per volume."""
        lines = []
        for row in self.stack.iloc[1:].to_dict("records"):
            if row["class"] == self.outside:
                continue
            text = f"{row['class']}: {percent(row['fraction'])}"
            if not math.isnan(row["low"]):  # a single slice tells nothing about the spread
                text += f" (95 % interval {percent(row['low'])} to {percent(row['high'])})"
            lines.append(f"{text}, {counted(int(row['objects']), 'object')}")
            said = [
                f"{row[name]:.3g} per {unit}"
                for name, unit in (("objects_per_um3", "µm³"), ("objects_per_um2", "µm²"))
                if name in row and not math.isnan(row[name])
            ]
            if not math.isnan(surface := row["surface_um2_per_um3"]):
                said.append(f"surface {surface:.3g} µm²/µm³ ({row['sections']} sections)")
            if said:
                lines.append(f"  {', '.join(said)}")
        return tuple(lines)

    def by_slice(self, classes: Sequence[str]) -> npt.NDArray[np.float64]:
        """Fractions (slices, classes) of some classes; nan where there is none."""
        table = self.slices.pivot(index="slice", columns="class", values="fraction")
        found: npt.NDArray[np.float64] = table.reindex(columns=list(classes)).to_numpy(float)
        return found


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
        there is no class ``outside``; if image or maps do not fit the labels, or the image holds
        labels; if objects that have ids are to be split.
    """
    task = _Task.of(
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
    values = PixelValues(_over(task, image, "image"), _over(task, maps, "maps"))
    sizes = task.object_sizes(min_size, split)
    if outside is None and isinstance(task.classes, Classes):
        outside = task.classes.outside
    unseen = (
        None if outside is None else match_class(outside, task.classes or default_names(IGNORE))
    )
    intercepts = LineIntercepts(task.source.n_slices, unseen)
    counts, components = _read(task, sizes, values, intercepts, go_on)
    class_list = task.classes or default_names(max(2, _n_used(counts)))
    if _n_used(counts) > len(class_list):
        raise InputError(
            f"the labels hold class {_n_used(counts) - 1}, but only {len(class_list)} classes are "
            f"named ({', '.join(class_list)}); name all classes."
        )
    counts = counts[:, : len(class_list)]
    known = Classes(class_list, outside)
    if known.outside_index is not None:
        components.pop(known.outside_index, None)
    objects, object_notes = _object_table(task, components, known, sizes, values)
    stack = _stack_table(task, counts, known, objects)
    densities = [
        _densities(task, counts, known, objects, intercepts, index, is_vertical)
        for index in range(len(known))
    ]
    stack = pd.concat([stack, pd.DataFrame(densities)], axis=1)
    return Measurement(
        slices=_slice_table(task, counts, known, objects),
        stack=stack,
        objects=objects,
        notes=(
            *reading_notes(task.source),
            *_notes(task, counts, known, stack, objects),
            *object_notes,
        ),
        outside=known.outside,
    )


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
    if numbers is None:
        table = measure(
            masks,
            classes=classes,
            per_slice=per_slice,
            voxel_size_um=voxel_size_um,
            image=image,
            maps=probs,
            go_on=go_on,
        ).objects
    else:
        task = _Task.of(masks, voxel_size_um=voxel_size_um, classes=classes, per_slice=per_slice)
        values = PixelValues(_over(task, image, "image"), _over(task, probs, "maps"))
        sizes = task.object_sizes(1, None)
        found = _read_some(masks, sizes, values, numbers, within, go_on)
        table, _ = _object_table(task, {1: found}, classes, sizes, values)
    if "id" in table:
        table["object"] = table.pop("id")
    return table


@dataclass(frozen=True)
class _Task:
    """Labels with their geometry, checked."""

    source: LabelSource
    is_set: bool
    is_time_series: bool
    edges_um: npt.NDArray[np.float64]  # (n, 3), nan where not known
    per_slice: bool
    classes: tuple[str, ...] | None
    names: tuple[str, ...] | None
    instances: Mapping[int, npt.NDArray[np.integer]]

    @classmethod
    def of(
        cls,
        labels: LabelsLike,
        *,
        voxel_size_um: VoxelSize | None,
        classes: Sequence[str] | None,
        per_slice: bool,
        pixel_sizes_um: Sequence[float | None] | None = None,
        is_set: bool | None = None,
        is_time_series: bool = False,
        names: Sequence[str] | None = None,
        instances: Mapping[int, npt.NDArray[np.integer]] = MappingProxyType({}),
    ) -> _Task:
        source = as_label_source(labels)
        n_slices = source.n_slices
        if n_slices == 0:
            raise InputError("the labels hold no slices; give at least one.")
        for what, given in (("pixel sizes", pixel_sizes_um), ("names", names)):
            if given is not None and len(given) != n_slices:
                raise InputError(
                    f"{len(given)} {what} were given for {counted(n_slices, 'slice')}."
                )
        voxel = merge_voxel_size(voxel_size_um, UNKNOWN_VOXEL)
        edges = np.tile(np.array(voxel, dtype=float), (n_slices, 1))  # None is nan
        if pixel_sizes_um is not None:
            edges[:, 1] = [_size("pixel_sizes_um", value) for value in pixel_sizes_um]
            edges[:, 2] = edges[:, 1]
        if is_set is None:
            shapes = {source.shape_of(z) for z in range(n_slices)}
            is_set = len(shapes) > 1 or pixel_sizes_um is not None
        given = class_names(source) if classes is None else classes
        chosen = given if given is None or isinstance(given, tuple) else tuple(given)
        named = None if names is None else tuple(names)
        return cls(source, is_set, is_time_series, edges, per_slice, chosen, named, instances)

    @property
    def is_volume(self) -> bool:
        return not self.is_set and not self.is_time_series and self.source.n_slices > 1

    @property
    def has_volumes(self) -> bool:
        """Whether objects reach through slices."""
        return self.is_volume and not self.per_slice

    @property
    def has_ids(self) -> bool:
        """Whether pixels carry ids of objects."""
        return bool(getattr(self.source, "has_instances", False))

    def object_sizes(self, min_size: float | str, split: float | None) -> ObjectSizes:
        """Say which objects are listed, and whether they reach through slices."""
        check_split(split)
        if split is not None and self.has_ids:
            raise InputError(
                "objects that have ids are told apart already; leave out split, or instances.",
                field="split",
            )
        edges = self.edges_um[:, 0 if self.has_volumes else 1 :]
        known = [[None if math.isnan(edge) else edge for edge in one] for one in edges.tolist()]
        least = np.array([least_pixels(min_size, one) for one in known])
        return ObjectSizes(self.has_volumes, self.edges_um, least, split)

    @property
    def pixel_areas_um2(self) -> npt.NDArray[np.float64]:
        """Of each slice; nan where not known."""
        return self.edges_um[:, 1] * self.edges_um[:, 2]

    @property
    def voxel_um3(self) -> float:
        """Volume of a voxel of a stack; nan if it is not known."""
        return float(self.edges_um[0].prod())


def _size(name: str, value: float | None) -> float:
    if value is None:
        return math.nan
    if not (value > 0 and math.isfinite(value)):
        raise InputError(
            f"{name} {value} is no size; give micrometres above 0, or none if not known.",
            field=name,
        )
    return float(value)


def _n_used(counts: npt.NDArray[np.int64]) -> int:
    """Count the classes up to the highest that occurs."""
    return int(np.flatnonzero(counts.any(axis=0)).max(initial=0)) + 1


def _over(task: _Task, given: Stack | npt.ArrayLike | None, what: str) -> Stack | None:
    """Open an image that has to lie over the labels."""
    if given is None:
        return None
    if isinstance(given, Stack):
        stack = given
        if what == "image":
            check_stack(stack)
    else:
        array = given if hasattr(given, "shape") else np.asarray(given)
        stack = stack_from_array(array, axes="ZYX"[-np.ndim(array) :], source=f"the {what}")
    theirs = [stack.shape_of(z) for z in range(stack.n_slices)]
    ours = [task.source.shape_of(z) for z in range(task.source.n_slices)]
    if theirs != ours:
        raise InputError(
            f"{stack.source} has {counted(len(theirs), 'slice')} of {theirs[0]} pixels, but the "
            f"labels have {len(ours)} of {ours[0]}; give the {what} of the labels."
            f"{hint_to_turn(task.source, stack)}",
            field=what,
        )
    return stack


def _read(
    task: _Task,
    sizes: ObjectSizes,
    pixels: PixelValues,
    intercepts: LineIntercepts,
    go_on: Callable[[], object],
) -> tuple[npt.NDArray[np.int64], dict[int, Components]]:
    """Pixels per slice and class (n, 255), and the components of every foreground class."""
    counts = np.zeros((task.source.n_slices, IGNORE), dtype=np.int64)
    collectors: dict[int, ComponentCollector] = {}
    for z in range(task.source.n_slices):
        shape = task.source.shape_of(z)
        for box in strips(shape):
            go_on()
            strip = task.source.read(z, box)
            found = np.bincount(strip.reshape(-1), minlength=IGNORE + 1)[:IGNORE]
            counts[z] += found
            intercepts.add(z, strip)
            for index in (np.flatnonzero(found[1:]) + 1).tolist():
                reader = ClassReader(task.source, index, pixels, task.instances.get(index))
                has_ids = task.has_ids or index in task.instances
                fresh = ComponentCollector(
                    is_volume=sizes.is_volume, has_ids=has_ids, n_values=len(pixels.names)
                )
                where = reader.mask(z, box) if has_ids else strip == index
                collectors.setdefault(index, fresh).add(
                    z, where, values=reader.values(z, box), origin=(box[0], 0), shape=shape
                )
    n_slices = task.source.n_slices
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
    task: _Task,
    components: dict[int, Components],
    classes: Sequence[str],
    sizes: ObjectSizes,
    pixels: PixelValues,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    parts: list[pd.DataFrame] = []
    notes: tuple[str, ...] = ()
    for index, found in components.items():
        reader = ClassReader(task.source, index, pixels, task.instances.get(index))
        asked = sizes
        if index in task.instances:
            asked = replace(sizes, least=np.zeros_like(sizes.least), split=None)
        rows, said = object_rows(found, reader, asked, classes[index], pixels.names)
        parts.append(rows)
        notes += said
    if not parts:
        empty = ComponentCollector(is_volume=False, n_values=len(pixels.names)).finish(0)
        parts = [object_rows(empty, None, sizes, "", pixels.names)[0]]
    table = pd.concat(parts, ignore_index=True)
    if task.instances and "id" in table:
        table["id"] = table["id"].astype("Int64")
    table.insert(0, "object", np.arange(1, len(table) + 1))
    return table, notes


def _counting(counts: npt.NDArray[np.int64], classes: Classes) -> npt.NDArray[np.int64]:
    """Pixels per slice that count in the fractions (n,)."""
    labelled: npt.NDArray[np.int64] = counts.sum(axis=1)
    outside = classes.outside_index
    return labelled if outside is None else labelled - counts[:, outside]


def _slice_table(
    task: _Task,
    counts: npt.NDArray[np.int64],
    classes: Classes,
    objects: pd.DataFrame,
) -> pd.DataFrame:
    n_slices, n_classes = counts.shape
    labelled, outside = _counting(counts, classes)[:, None], classes.outside_index
    fractions = np.divide(counts, labelled, out=np.full(counts.shape, math.nan), where=labelled > 0)
    if outside is not None:
        fractions[:, outside] = math.nan
    columns: dict[str, object] = {"slice": np.repeat(np.arange(n_slices), n_classes)}
    if task.names is not None:
        columns["name"] = np.repeat(np.array(task.names, dtype=object), n_classes)
    columns |= {
        "class": np.tile(np.array(classes, dtype=object), n_slices),
        "pixels": counts.reshape(-1),
        "fraction": fractions.reshape(-1),
        "area_um2": (counts * task.pixel_areas_um2[:, None]).reshape(-1),
    }
    if not task.has_volumes:
        found = Counter(zip(objects["z0"], objects["class"], strict=True))
        columns["objects"] = pd.array(
            [
                None if index in (0, outside) else found[z, name]
                for z in range(n_slices)
                for index, name in enumerate(classes)
            ],
            dtype="Int64",
        )
    return pd.DataFrame(columns)


def _stack_table(
    task: _Task,
    counts: npt.NDArray[np.int64],
    classes: Classes,
    objects: pd.DataFrame,
) -> pd.DataFrame:
    in_px, in_um = ("voxels", "volume_um3") if task.is_volume else ("pixels", "area_um2")
    # Images of different pixel size weigh by their true area, where all of them are known.
    areas = task.pixel_areas_um2
    weights = areas if np.isfinite(areas).all() else np.ones(len(areas))
    totals = _counting(counts, classes) * weights
    physical = counts.sum(axis=0) * task.voxel_um3 if task.is_volume else areas @ counts
    rows = []
    for index, name in enumerate(classes):
        estimate = NOTHING
        if index != classes.outside_index:
            areas_of_class = counts[:, index] * weights
            estimate = estimate_fraction(areas_of_class, totals, is_sample=task.is_set)
        is_structure = index not in (0, classes.outside_index)
        n_objects = int((objects["class"] == name).sum()) if is_structure else None
        rows.append(
            {
                "class": name,
                "fraction": estimate.fraction,
                "low": estimate.low,
                "high": estimate.high,
                "slices": int((totals > 0).sum()),
                "objects": n_objects,
                in_px: int(counts[:, index].sum()),
                in_um: float(physical[index]),
            }
        )
    return pd.DataFrame(rows).astype({"objects": "Int64"})


def _densities(
    task: _Task,
    counts: npt.NDArray[np.int64],
    classes: Classes,
    objects: pd.DataFrame,
    intercepts: LineIntercepts,
    index: int,
    is_vertical: bool,
) -> dict[str, Any]:
    """Surface and number per volume of a class; nothing of the background and what is outside."""
    surface = number = NOTHING
    totals = _counting(counts, classes) * task.pixel_areas_um2
    if index not in (0, classes.outside_index):
        surface = surface_density(
            intercepts.changes[:, :, index],
            intercepts.pairs,
            task.edges_um[:, 1:],
            totals,
            is_vertical=is_vertical,
            is_sample=task.is_set,
        )
        shapes = [task.source.shape_of(z) for z in range(len(totals))]
        inner = np.array([(y - 1) * (x - 1) / (y * x) for y, x in shapes])
        depth = float(task.edges_um[0, 0]) if task.has_volumes else 1.0
        number = numerical_density(
            objects[objects["class"] == classes[index]],
            totals * inner * depth,
            is_volume=task.has_volumes,
            is_sample=task.is_set,
        )
    return {
        **density_columns("surface_um2_per_um3", surface),
        "sections": "vertical" if is_vertical else "isotropic",
        **density_columns("objects_per_um3" if task.has_volumes else "objects_per_um2", number),
    }


def _notes(
    task: _Task,
    counts: npt.NDArray[np.int64],
    classes: Classes,
    stack: pd.DataFrame,
    objects: pd.DataFrame,
) -> list[str]:
    """Say what was left out, and what the numbers assume."""
    notes = []
    if task.is_time_series:
        notes.append(_TIME_SERIES)
    absent = [name for name, n in zip(classes, counts.sum(axis=0), strict=True) if n == 0]
    if absent:
        notes.append(f"Nowhere in the labels: {', '.join(absent)}.")
    n_empty = int((_counting(counts, classes) == 0).sum())
    if n_empty:
        which = "" if classes.outside is None else f" that is not {classes.outside}"
        notes.append(
            f"{counted(n_empty, 'slice')} with no labelled pixel{which}: counted in no fraction."
        )
    n_known = int(np.isfinite(task.pixel_areas_um2).sum())
    if 0 < n_known < len(counts):
        n_left = len(counts) - n_known
        notes.append(
            f"The size of a pixel is not known of {n_left} of {counted(len(counts), 'image')}: in "
            "the fraction of all, images weigh by their pixels, not by their area."
        )
    elif not n_known:
        notes.append("The pixel or voxel size is not known, so sizes are in pixels only.")
    elif task.is_volume and not np.isfinite(task.voxel_um3):
        notes.append("The distance of slices is not known, so volumes are in voxels only.")
    if not task.is_set:
        notes.append(
            "All of it is measured and nothing sampled, so that the fractions have no interval; "
            "what the labels miss or make up, a check count tells (estimate)."
        )
    elif len(counts) == 1:
        notes.append("A single image tells nothing about the spread between images: no interval.")
    elif len(equal := stack.loc[stack["fraction"].notna() & stack["low"].isna(), "class"]):
        notes.append(
            f"All images have the same fraction of {', '.join(equal)}, by chance or not: no "
            "interval."
        )
    if stack["surface_um2_per_um3"].notna().any():
        sections = stack["sections"].iloc[0]
        notes.append(f"Surface per volume assumes right labels and {sections} sections.")
    if "objects_per_um3" in stack and stack["objects_per_um3"].notna().any():
        notes.append(
            "Objects per volume assume right labels, that no object lies between two slices, and "
            "a stack that was placed at random."
        )
    if task.has_ids and "id" in objects and objects["id"].nunique() == 1:
        notes.append(
            "All objects have one id and count as one; without instances, connected parts are "
            "counted."
        )
    return notes
