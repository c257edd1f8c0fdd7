"""Objects of one class of a result: their numbers, pixel by pixel, and what is known of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from ...core.annotations import Region
from ...core.base import VoxelSize, least_pixels

if TYPE_CHECKING:
    import pandas as pd

    from ...core.images import Stack

BOX = ("z0", "y0", "x0", "z1", "y1", "x1")
_AROUND = 1.0  # extents of an object that are shown on each side of it
_LEAST_SHOWN_PX = 128


@dataclass(frozen=True)
class ObjectRequest:
    """Which objects are to be found; see `core.analysis.find_objects`."""

    class_index: int
    class_name: str
    per_slice: bool = False  # whether each slice stands alone
    min_size: str = "1"  # a number of pixels or voxels, or with a unit, such as "0.01 um3"
    split: float | None = None  # part of the width below which a neck is cut


@dataclass(eq=False)
class FoundObjects:
    """What was found, and what a person made of it; the array is the one that the viewer shows."""

    request: ObjectRequest  # for what was asked
    instances: npt.NDArray[np.int32]  # (Z, Y, X), the number of an object where it is, 0 elsewhere
    table: pd.DataFrame  # a row per object, with its number in the column ``object``
    version: int  # of the labels to which they belong
    judged: set[int] = field(default_factory=set)  # objects that a person kept, or changed
    # (Z, Y, X), voxels that a person took from an object
    removed: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0, 0), bool))
    # where the labels come from, see `origin_of`
    made_by: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what could not be measured, and why

    def __post_init__(self) -> None:
        if not self.removed.size:
            self.removed = np.zeros(self.instances.shape, bool)

    @classmethod
    def of_numbers(
        cls,
        request: ObjectRequest,
        slices: Mapping[int, npt.NDArray[np.integer]],
        shape: tuple[int, int, int],
        *,
        judged: Iterable[int],
        made_by: Mapping[str, Any],
    ) -> Self:
        """Restore objects from what `numbers` gave of each slice; the table has no rows yet."""
        import pandas as pd

        instances, removed = np.zeros(shape, np.int32), np.zeros(shape, bool)
        for z, numbers in slices.items():
            np.maximum(numbers, 0, out=instances[z], casting="same_kind")
            removed[z] = numbers < 0
        return cls(request, instances, pd.DataFrame(), -1, set(judged), removed, made_by)

    def numbers(self, z: int) -> npt.NDArray[np.int32] | None:
        """Numbers of a slice to be kept, -1 where a voxel was taken away; None for nothing."""
        plane, is_gone = self.instances[z], self.removed[z]
        if not (plane.any() or is_gone.any()):
            return None
        return np.where(is_gone & (plane == 0), np.int32(-1), plane)

    @property
    def is_edited(self) -> bool:
        """Whether a person said anything of them."""
        return bool(self.judged) or bool(self.removed.any())

    def origin(self) -> dict[str, Any]:
        """Where they come from as they are, see `origin_of` and `read_origin`."""
        is_edited = self.is_edited or self.made_by.get("is_edited", False)
        return {**self.made_by, **asdict(self.request), "is_edited": is_edited}

    def measure(
        self, stack: Stack, probs: npt.NDArray[np.floating] | None = None, **options: Any
    ) -> pd.DataFrame:
        """Return their table, or some rows, from image and map of the class; see `object_table`."""
        from ...core.analysis import object_table

        notes: list[str] = [] if options.get("numbers") is None else [*self.notes]
        table = object_table(
            self.instances,
            class_name=self.request.class_name,
            per_slice=self.request.per_slice,
            voxel_size_um=stack.voxel_size_um,
            image=stack,
            probs=probs,
            tell=notes.extend,
            **options,
        )
        self.notes = tuple(dict.fromkeys(notes))
        return table

    def copy(self) -> FoundObjects:
        """Return the same, which later edits leave as it is."""
        return replace(
            self,
            instances=self.instances.copy(),
            judged=set(self.judged),
            removed=self.removed.copy(),
        )

    def trusted(self, z: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Where a person said that the class is in a slice, and where it is not (Y, X)."""
        plane = self.instances[z]
        is_judged = np.zeros(int(plane.max(initial=0)) + 1, bool)
        is_judged[[number for number in self.judged if number < len(is_judged)]] = True
        return is_judged[plane], self.removed[z] & (plane == 0)

    def correct(self, z: int, labels: npt.NDArray[np.uint8], index: int) -> None:
        """Bring the labels (Y, X) of a slice into line with what a person said, in place."""
        is_there, is_gone = self.trusted(z)
        labels[is_gone & (labels == index)] = 0
        labels[is_there] = index

    def fits(self, labels: npt.NDArray[np.uint8], index: int, edges: VoxelSize) -> bool:
        """Whether labels (Z, Y, X) hold the class where the objects are, and only there.

        But for what is smaller than the smallest object that was asked for.
        """
        from scipy import ndimage

        is_left = np.zeros(labels.shape, bool)
        for z, plane in enumerate(self.instances):
            is_class = labels[z] == index
            if (is_class < (plane > 0)).any():
                return False
            is_left[z] = is_class > (plane > 0)
        if not is_left.any():
            return True
        is_flat = self.request.per_slice or len(labels) == 1
        joins = ndimage.generate_binary_structure(3, 1)
        joins[[0, 2]] &= not is_flat
        parts, _ = ndimage.label(is_left, joins)
        least = least_pixels(self.request.min_size, edges[1:] if is_flat else edges)
        return bool(np.bincount(parts.ravel())[1:].max() < least)

    def region_of(self, number: int, z: int = -1) -> Region | None:
        """Return where to look at an object: a slice, and a box around it.

        By default it is the slice that shows most of it. None if there is no such object.
        """
        rows = self.table[self.table["object"] == number]
        if rows.empty:
            return None
        z0, y0, x0, z1, y1, x1 = (int(rows[name].iloc[0]) for name in BOX)
        sections = self.instances[z0:z1, y0:y1, x0:x1] == number
        if not z0 <= z < z1:
            z = z0 + int(sections.sum(axis=(1, 2)).argmax())
        low, high = np.array([y0, x0]), np.array([y1, x1])
        half = np.maximum((0.5 + _AROUND) * (high - low), _LEAST_SHOWN_PX / 2)
        shape = np.array(self.instances.shape[1:])
        start = np.clip((low + high) / 2 - half, 0, shape - 1).astype(int)
        stop = np.clip((low + high) / 2 + half, start + 1, shape).astype(int)
        return Region(z, (int(start[0]), int(start[1]), int(stop[0]), int(stop[1])))
