"""Area and volume fractions with intervals, and a table of objects, from labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..annotations import outside_class
from ..base import InputError, VoxelSize, counted, merge_voxel_size
from ..images import (
    IGNORE,
    LabelsLike,
    LabelSource,
    Masks,
    Stack,
    as_label_source,
    class_names,
    default_names,
    reading_notes,
    strips,
)
from .components import ComponentCollector, Components
from .estimates import FractionEstimate, estimate_fraction

__all__ = ["FractionEstimate", "Measurement", "estimate_fraction", "measure", "measure_masks"]

_NOTHING = FractionEstimate(math.nan, math.nan, math.nan, math.nan)


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
        A row per class: ``class``, ``fraction``, ``low``, ``high`` (95 % interval, see
        :func:`estimate_fraction`), ``slices``, ``effective_slices``, ``objects``, ``voxels``,
        ``volume_um3``; for sets and single images ``pixels`` and ``area_um2`` instead.
    objects : DataFrame
        A row per object: ``object``, ``class``, ``voxels`` and ``volume_um3`` (or ``pixels`` and
        ``area_um2``), ``equivalent_diameter_px`` and ``_um`` (of the sphere of that volume or the
        disc of that area; ``_px`` takes voxels as cubes), half-open bounding box
        ``z0,y0,x0,z1,y1,x1``, centroid ``z,y,x`` in pixels, ``slices`` (spanned),
        ``touches_border`` (of a slice, or of the stack); of instances also ``id``.
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


def measure(
    labels: LabelsLike,
    *,
    voxel_size_um: VoxelSize | None = None,
    pixel_sizes_um: Sequence[float | None] | None = None,
    is_set: bool | None = None,
    classes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    min_object_px: int = 1,
    outside: str | None = None,
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
    classes : sequence of str, optional
        Class names; default: those of the labels.
    names : sequence of str, optional
        Names of the images of a set.
    min_object_px : int
        Objects with fewer pixels or voxels are not listed; they stay in the fractions.
    outside : str, optional
        Class of what lies outside of the specimen: fractions are those of the rest, and it has
        none, nor objects.

    Returns
    -------
    Measurement

    Raises
    ------
    InputError
        If there is no slice, a size is not positive, a list has another length than the labels, or
        there is no class ``outside``.
    """
    task = _Task.of(labels, voxel_size_um, pixel_sizes_um, is_set, classes, names)
    counts, components = _read(task)
    class_list = task.classes or default_names(max(2, _n_used(counts)))
    if _n_used(counts) > len(class_list):
        raise InputError(
            f"the labels hold class {_n_used(counts) - 1}, but only {len(class_list)} classes are "
            f"named ({', '.join(class_list)}); name all classes."
        )
    counts = counts[:, : len(class_list)]
    outside_index = None if outside is None else outside_class(outside, class_list)
    if outside_index is not None:
        components.pop(outside_index, None)
    objects = _object_table(task, components, class_list, min_object_px)
    stack = _stack_table(task, counts, class_list, objects, outside_index)
    return Measurement(
        slices=_slice_table(task, counts, class_list, objects, outside_index),
        stack=stack,
        objects=objects,
        notes=(
            *reading_notes(task.source),
            *_notes(task, counts, class_list, outside_index),
            *_id_notes(objects),
            *_likeness_notes(stack),
        ),
        outside=None if outside_index is None else class_list[outside_index],
    )


def measure_masks(
    masks: Masks,
    *,
    stack: Stack | None = None,
    voxel_size_um: VoxelSize | None = None,
    outside: str | None = None,
) -> Measurement:
    """Measure masks with the names and sizes that they carry.

    The sizes of ``stack``, the image, go before those of the masks, a stated size before both.
    """
    stack, names = stack or masks.stack, masks.stack.names
    pixel_sizes = None
    if stack.is_set and voxel_size_um is None:
        pixel_sizes = [stack.pixel_size_um(z) for z in range(stack.n_slices)]
    return measure(
        masks,
        voxel_size_um=merge_voxel_size(voxel_size_um, stack.voxel_size_um),
        pixel_sizes_um=pixel_sizes,
        is_set=stack.is_set,
        names=names if stack.is_set else None,
        outside=outside,
    )


@dataclass(frozen=True)
class _Task:
    """Labels with their geometry, checked."""

    source: LabelSource
    is_set: bool
    slice_spacing_um: float
    pixel_areas_um2: npt.NDArray[np.float64]
    classes: tuple[str, ...] | None
    names: tuple[str, ...] | None

    @classmethod
    def of(
        cls,
        labels: LabelsLike,
        voxel_size_um: VoxelSize | None,
        pixel_sizes_um: Sequence[float | None] | None,
        is_set: bool | None,
        classes: Sequence[str] | None,
        names: Sequence[str] | None,
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
        z_um, y_um, x_um = (_size("voxel_size_um", value) for value in voxel_size_um or [None] * 3)
        areas = np.full(n_slices, y_um * x_um)
        if pixel_sizes_um is not None:
            areas = np.array([_size("pixel_sizes_um", value) ** 2 for value in pixel_sizes_um])
        if is_set is None:
            shapes = {source.shape_of(z) for z in range(n_slices)}
            is_set = len(shapes) > 1 or pixel_sizes_um is not None
        chosen = tuple(classes) if classes is not None else class_names(source)
        return cls(source, is_set, z_um, areas, chosen, None if names is None else tuple(names))

    @property
    def is_volume(self) -> bool:
        return not self.is_set and self.source.n_slices > 1

    @property
    def voxel_um3(self) -> float:
        """Volume of a voxel of a stack; nan if it is not known."""
        return self.slice_spacing_um * float(self.pixel_areas_um2[0])


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


def _read(task: _Task) -> tuple[npt.NDArray[np.int64], dict[int, Components]]:
    """Pixels per slice and class (n, 255), and the components of every foreground class."""
    counts = np.zeros((task.source.n_slices, IGNORE), dtype=np.int64)
    collectors: dict[int, ComponentCollector] = {}
    has_ids = getattr(task.source, "has_instances", False)
    read_ids = task.source.read_ids if has_ids else None  # type: ignore[attr-defined]
    for z in range(task.source.n_slices):
        shape = task.source.shape_of(z)
        for box in strips(shape):
            strip = task.source.read(z, box)
            found = np.bincount(strip.reshape(-1), minlength=IGNORE + 1)[:IGNORE]
            counts[z] += found
            for index in np.flatnonzero(found[1:]) + 1:
                fresh = ComponentCollector(is_volume=task.is_volume, has_ids=read_ids is not None)
                one = collectors.setdefault(int(index), fresh)
                objects = strip == index if read_ids is None else read_ids(z, box)
                one.add(z, objects, first_row=box[0], height=shape[0])
    n_slices = task.source.n_slices
    return counts, {index: one.finish(n_slices) for index, one in sorted(collectors.items())}


def _object_table(
    task: _Task, components: dict[int, Components], classes: Sequence[str], min_px: int
) -> pd.DataFrame:
    parts = [
        _class_objects(task, found, classes[index], min_px) for index, found in components.items()
    ]
    if not parts:
        nothing = np.zeros((0, 3), dtype=np.int64)
        empty = Components(
            nothing[:, 0], nothing, nothing, nothing.astype(float), nothing[:, 0] > 0
        )
        parts = [_class_objects(task, empty, "", min_px)]
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "object", np.arange(1, len(table) + 1))
    return table


def _class_objects(task: _Task, found: Components, name: str, min_px: int) -> pd.DataFrame:
    """Rows of one class, in order of first appearance."""
    is_kept = found.n_voxels >= min_px
    sizes, low, high = found.n_voxels[is_kept], found.low[is_kept], found.high[is_kept]
    if task.is_volume:
        physical = sizes * task.voxel_um3
        diameters = np.cbrt(6.0 * np.stack([sizes, physical]) / math.pi)
    else:
        physical = sizes * task.pixel_areas_um2[low[:, 0]]
        diameters = np.sqrt(4.0 * np.stack([sizes, physical]) / math.pi)
    size_name, physical_name = _size_columns(task)
    columns: dict[str, object] = {
        "class": np.full(len(sizes), name, dtype=object),
        size_name: sizes,
        physical_name: physical,
        "equivalent_diameter_px": diameters[0],
        "equivalent_diameter_um": diameters[1],
    }
    for suffix, corners in (("0", low), ("1", high)):
        for axis, letter in enumerate("zyx"):
            columns[letter + suffix] = corners[:, axis]
    for axis, letter in enumerate("zyx"):
        columns[letter] = found.centroid[is_kept, axis]
    columns["slices"] = high[:, 0] - low[:, 0]
    columns["touches_border"] = found.is_cut[is_kept]
    if found.ids is not None:
        columns["id"] = found.ids[is_kept]
    return pd.DataFrame(columns)


def _counting(counts: npt.NDArray[np.int64], outside: int | None) -> npt.NDArray[np.int64]:
    """Pixels per slice that count in the fractions (n,)."""
    labelled: npt.NDArray[np.int64] = counts.sum(axis=1)
    return labelled if outside is None else labelled - counts[:, outside]


def _slice_table(
    task: _Task,
    counts: npt.NDArray[np.int64],
    classes: Sequence[str],
    objects: pd.DataFrame,
    outside: int | None,
) -> pd.DataFrame:
    n_slices, n_classes = counts.shape
    labelled = _counting(counts, outside)[:, None]
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
    if not task.is_volume:
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
    classes: Sequence[str],
    objects: pd.DataFrame,
    outside: int | None,
) -> pd.DataFrame:
    size_name, physical_name = _size_columns(task)
    # Images of different pixel size weigh by their true area, where all of them are known.
    areas = task.pixel_areas_um2
    weights = areas if np.isfinite(areas).all() else np.ones(len(areas))
    totals = _counting(counts, outside) * weights
    physical = counts.sum(axis=0) * task.voxel_um3 if task.is_volume else areas @ counts
    rows = []
    for index, name in enumerate(classes):
        estimate = _NOTHING
        if index != outside:
            areas_of_class = counts[:, index] * weights
            estimate = estimate_fraction(areas_of_class, totals, is_ordered=task.is_volume)
        is_structure = index not in (0, outside)
        n_objects = int((objects["class"] == name).sum()) if is_structure else None
        rows.append(
            {
                "class": name,
                "fraction": estimate.fraction,
                "low": estimate.low,
                "high": estimate.high,
                "slices": int((totals > 0).sum()),
                "effective_slices": estimate.n_effective,
                "objects": n_objects,
                size_name: int(counts[:, index].sum()),
                physical_name: float(physical[index]),
            }
        )
    return pd.DataFrame(rows).astype({"objects": "Int64"})


def _size_columns(task: _Task) -> tuple[str, str]:
    return ("voxels", "volume_um3") if task.is_volume else ("pixels", "area_um2")


def _notes(
    task: _Task, counts: npt.NDArray[np.int64], classes: Sequence[str], outside: int | None
) -> tuple[str, ...]:
    notes = []
    absent = [name for name, n in zip(classes, counts.sum(axis=0), strict=True) if n == 0]
    if absent:
        notes.append(f"Nowhere in the labels: {', '.join(absent)}.")
    n_empty = int((_counting(counts, outside) == 0).sum())
    if n_empty:
        which = "" if outside is None else f" that is not {classes[outside]}"
        notes.append(
            f"{counted(n_empty, 'slice')} with no labelled pixel{which}: counted in no fraction."
        )
    if not np.isfinite(task.voxel_um3 if task.is_volume else task.pixel_areas_um2).all():
        notes.append("The pixel or voxel size is not known, so sizes are in pixels only.")
    if len(counts) == 1:
        notes.append("A single slice tells nothing about the spread between slices: no interval.")
    return tuple(notes)


def _id_notes(objects: pd.DataFrame) -> tuple[str, ...]:
    """Say that ids tell no objects apart."""
    if "id" not in objects or objects["id"].nunique() != 1:
        return ()
    return (
        "All objects have one id and count as one; without instances, connected parts are counted.",
    )


def _likeness_notes(stack: pd.DataFrame) -> tuple[str, ...]:
    """Say why an interval is wide where neighbouring slices tell much the same."""
    fewest, n_slices = float(stack["effective_slices"].min()), int(stack["slices"].iloc[0])
    if n_slices < 2 or fewest > n_slices / 2:
        return ()
    return (
        f"Neighbouring slices are so alike that {n_slices} of them tell as much as {fewest:.0f} "
        "independent ones would: the intervals are wide for that reason.",
    )
