"""Labels that are to be measured: their slices, and the sizes of their pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ..base import UNKNOWN_VOXEL, InputError, VoxelSize, counted, least_pixels, merge_voxel_size
from ..images import (
    LabelsLike,
    LabelSource,
    Stack,
    as_label_source,
    check_stack,
    class_names,
    hint_to_turn,
    stack_from_array,
)
from .object_rows import ObjectSizes, PixelValues
from .objects import check_split


@dataclass(frozen=True)
class MeasuredLabels:
    """Labels with their geometry, checked."""

    source: LabelSource
    is_set: bool  # whether the slices are separate images
    is_time_series: bool  # whether they are time points
    # (n, 3), edges (z, y, x) of a voxel of each slice in micrometres; nan where not known
    edges_um: npt.NDArray[np.float64]
    per_slice: bool  # whether the objects of a stack are those of each slice
    classes: tuple[str, ...] | None  # names of the classes, where they have some
    names: tuple[str, ...] | None  # of the images of a set
    # (Z, Y, X), by class index, objects that are told apart already
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
    ) -> MeasuredLabels:
        """Take labels as `measure` does.

        Raises
        ------
        InputError
            If there is no slice, a size is not positive, or a list has another length.
        """
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
            edges[:, 1] = [_size(value) for value in pixel_sizes_um]
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
        """Whether the slices are neighbours."""
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

    def pixel_values(
        self, image: Stack | npt.ArrayLike | None, maps: Stack | npt.ArrayLike | None
    ) -> PixelValues:
        """Open image and maps, which have to lie over them.

        Raises
        ------
        InputError
            If they do not, or hold labels.
        """
        return PixelValues(self._opened(image, "image"), self._opened(maps, "maps"))

    def _opened(self, given: Stack | npt.ArrayLike | None, what: str) -> Stack | None:
        """Open an image that has to lie over the labels."""
        if given is None:
            return None
        if isinstance(given, Stack):
            stack = given
            if what == "image":
                check_stack(stack)
            elif stack.is_labels:
                raise InputError(
                    f"{stack.source} says that it holds labels, not maps; name the maps.",
                    field=what,
                )
        else:
            array = given if hasattr(given, "shape") else np.asarray(given)
            stack = stack_from_array(array, axes="ZYX"[-np.ndim(array) :], source=f"the {what}")
        theirs = [stack.shape_of(z) for z in range(stack.n_slices)]
        ours = [self.source.shape_of(z) for z in range(self.source.n_slices)]
        if theirs != ours:
            raise InputError(
                f"{stack.source} has {counted(len(theirs), 'slice')} of {theirs[0]} pixels, but "
                f"the labels have {len(ours)} of {ours[0]}; give the {what} of the labels."
                f"{hint_to_turn(self.source, stack)}",
                field=what,
            )
        return stack

    @property
    def pixel_areas_um2(self) -> npt.NDArray[np.float64]:
        """Of each slice; nan where not known."""
        return self.edges_um[:, 1] * self.edges_um[:, 2]

    @property
    def voxel_um3(self) -> float:
        """Volume of a voxel of a stack; nan if it is not known."""
        return float(self.edges_um[0].prod())


def _size(value: float | None) -> float:
    if value is None:
        return math.nan
    if not (value > 0 and math.isfinite(value)):
        raise InputError(
            f"pixel_sizes_um {value} is no size; give micrometres above 0, or none if not known.",
            field="pixel_sizes_um",
        )
    return float(value)
