"""What a person says about a stack: proportions of regions, keypoints and counting grids.

Coordinates are full-resolution data pixels in the order (slice, y, x); an integer coordinate is a
pixel's centre, so that pixel ``i`` covers ``[i - 0.5, i + 0.5)``. Class 0 is the background.
The files they are kept in are read and written by `napari_spss.core.annotations.tables`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import CellProblem, InputError, counted
from .checks import BOX, SliceShapes, StackExtent, box_point_faults, match_class, settle_index
from .class_style import Classes, ClassStyle
from .grids import NOT_JUDGED, UNSURE, CountingGrid
from .proportions import Fractions, Proportion, Region

_Fault = tuple[int | None, str | None, object, str, str, int | None]
"""Item, column, value, reason, remedy, and the earlier item whose line ends the reason."""


@dataclass(frozen=True)
class Keypoint:
    """A labelled position.

    Parameters
    ----------
    slice : int
        0-based slice index.
    y, x : float
        Position in full-resolution pixels; integers are pixel centres.
    class_index : int
        0 is the background.

    Raises
    ------
    InputError
        If the slice or class is no whole number or negative, or a coordinate is not finite.
    """

    slice: int
    y: float
    x: float
    class_index: int

    def __post_init__(self) -> None:
        settle_index(self, "slice", "slices count from 0")
        settle_index(self, "class_index", "classes count from 0, the background")
        if not (math.isfinite(self.y) and math.isfinite(self.x)):
            raise InputError(f"position ({self.y}, {self.x}) is not finite; give pixels.")

    @property
    def pixel(self) -> tuple[int, int]:
        """(row, column) of the pixel that holds the point."""
        return math.floor(self.y + 0.5), math.floor(self.x + 0.5)


def last_on_pixel(points: Iterable[Keypoint]) -> tuple[Keypoint, ...]:
    """Keep the last one of the keypoints that lie on the same pixel: it is the last word.

    Examples
    --------
    >>> last_on_pixel([Keypoint(0, 5, 5, 1), Keypoint(0, 8, 8, 1), Keypoint(0, 5.2, 4.9, 0)])
    (Keypoint(slice=0, y=8, x=8, class_index=1), Keypoint(slice=0, y=5.2, x=4.9, class_index=0))
    """
    last: dict[tuple[int, int, int], Keypoint] = {}
    for point in points:
        pixel = (point.slice, *point.pixel)
        last.pop(pixel, None)
        last[pixel] = point
    return tuple(last.values())


@dataclass(frozen=True)
class Annotations:
    """All that is said about a stack.

    Parameters
    ----------
    classes : Classes
        Background first, unique without regard to case; names, as a tuple, will do.
    proportions : tuple of Proportion
        Typed ones, each with as many fractions as there are classes. Counts stay in ``grids``.
    keypoints : tuple of Keypoint
    grids : tuple of CountingGrid
    notes : tuple of str
        What was changed or noticed while reading, for the user; not compared.
    outside : str, optional
        Class of what lies outside of the specimen, such as resin, if ``classes`` do not say so. It
        is learned like the others, but excluded from all fractions: they are fractions of what is
        not outside. Typed fractions of it are unknown (None).

    Raises
    ------
    InputError
        If a class name cannot be used, something refers to a class that does not exist, or a
        fraction of what is outside is stated.
    """

    classes: Classes
    proportions: tuple[Proportion, ...] = ()
    keypoints: tuple[Keypoint, ...] = ()
    grids: tuple[CountingGrid, ...] = ()
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    outside: str | None = None

    if TYPE_CHECKING:  # names will do as well

        def __init__(
            self,
            classes: Iterable[str | ClassStyle],
            proportions: Iterable[Proportion] = (),
            keypoints: Iterable[Keypoint] = (),
            grids: Iterable[CountingGrid] = (),
            notes: Iterable[str] = (),
            outside: str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", Classes(self.classes, self.outside))
        object.__setattr__(self, "outside", self.classes.outside)
        for name in ("proportions", "keypoints", "grids", "notes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, kind in (
            *(("proportions", Proportion), ("keypoints", Keypoint)),
            *(("grids", CountingGrid), ("notes", str)),
        ):
            strange = [one for one in getattr(self, name) if not isinstance(one, kind)]
            if strange:
                raise InputError(f"{name} hold {strange[0]!r}; give a {kind.__name__} for each.")
        n_classes = len(self.classes)
        for proportion in self.proportions:
            if len(proportion.fractions) != n_classes:
                raise InputError(
                    f"a proportion of {proportion.region} has "
                    f"{len(proportion.fractions)} fractions for {n_classes} classes."
                )
        for point in self.keypoints:
            if point.class_index >= n_classes:
                raise InputError(f"{point} refers to a class beyond the {n_classes} classes.")
        for grid in self.grids:
            grid.judged_counts(n_classes)
        index = self.outside_index
        if index is not None:
            stated = tuple(_blanked(one, index, self.classes[index]) for one in self.proportions)
            object.__setattr__(self, "proportions", stated)

    @property
    def outside_index(self) -> int | None:
        """Index of the class that counts in no fraction; None if there is none."""
        return self.classes.outside_index

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to learn from: no fraction, no keypoint, no judged node."""
        fractions = any(proportion.is_informative for proportion in self.proportions)
        return not (fractions or self.keypoints or any(grid.n_judged for grid in self.grids))

    def slices(self) -> tuple[int, ...]:
        """Return the indices of the slices that are annotated in any way, ascending."""
        used = {proportion.region.slice for proportion in self.proportions}
        used |= {point.slice for point in self.keypoints} | {grid.slice for grid in self.grids}
        return tuple(sorted(used))

    def counted_proportions(self) -> tuple[Proportion, ...]:
        """Proportions that done grids with at least one judged node give, a region each.

        The class outside has the fraction 0, and does not count as judged.
        """
        return tuple(
            grid.proportion(len(self.classes), outside=self.outside_index)
            for grid in self.grids
            if grid.is_done and grid.n_judged
        )

    def effective_proportions(self) -> tuple[Proportion, ...]:
        """Proportions to learn from: informative, normalised, and counted ones before typed ones.

        The count of a done grid replaces the typed proportion of its region: of its whole slice, or
        of the same rectangle. The class outside has the fraction 0.
        """
        found = self.counted_proportions()
        counted = {one.region: one for one in found if one.is_informative}
        typed = tuple(
            proportion.without(self.outside_index).normalised()
            for proportion in self.proportions
            if proportion.is_informative and proportion.region not in counted
        )
        return (*counted.values(), *typed)

    def validate_against(self, stack: SliceShapes | None) -> None:
        """Raise one InputError that lists all that cannot be true of the stack.

        Parameters
        ----------
        stack : Stack or None
            Anything with ``n_slices`` and ``shape_of(z)``; None checks only what needs no image:
            duplicates and sums of fractions.

        Raises
        ------
        InputError
            With ``problems``; their rows are the lines these annotations would have as files.
        """
        problems = self.problems(StackExtent(stack))
        if problems:
            raise InputError(problems=problems)

    def problems(
        self, extent: StackExtent, lines: Mapping[str, tuple[str, Sequence[int]]] | None = None
    ) -> list[CellProblem]:
        """All that cannot be true of a stack.

        ``lines`` has file and line of every proportion, keypoint and node, by "proportions",
        "keypoints" and "grid"; by default they are those that these would have as files.
        """
        found: list[CellProblem] = []
        for kind, faults in (
            ("proportions", self._proportion_faults(extent)),
            ("keypoints", self._keypoint_faults(extent)),
            ("grid", self._grid_faults(extent)),
        ):
            file, rows = (lines or {}).get(kind, (kind, None))
            for item, column, value, reason, remedy, earlier in faults:
                row, first = (
                    None if one is None else one + 2 if rows is None else rows[one]
                    for one in (item, earlier)
                )
                reason += "" if first is None else f" line {first}"
                found.append(CellProblem(file, row, column, str(value), reason, remedy))
        return found

    def _proportion_faults(self, extent: StackExtent) -> Iterator[_Fault]:
        """Regions outside the stack or stated twice, and fractions with an impossible sum."""
        first: dict[Region, int] = {}
        for item, one in enumerate(self.proportions):
            z, box = one.region.slice, one.region.box
            for column, value, fault in (
                ("slice", z, extent.slice_fault(z)),
                ("y1,x1", box, extent.box_fault(z, box)),
                (None, "", one.without(self.outside_index).sum_fault()),
            ):
                if fault is not None:
                    yield item, column, value, *fault, None
            if box is not None and box == (0, 0, *(extent.shape_of(z) or ())):
                box = None  # the same region in other words
            earlier = first.setdefault(Region(z, box), item)
            if earlier != item:
                reason = f"names the same {'slice' if box is None else 'box'} as"
                yield item, "slice", z, reason, "keep one of the two rows", earlier

    def _keypoint_faults(self, extent: StackExtent) -> Iterator[_Fault]:
        """Points outside the image, and pixels that are given two classes."""
        first: dict[tuple[int, int, int], int] = {}
        for item, point in enumerate(self.keypoints):
            fault = extent.slice_fault(point.slice)
            if fault is not None:
                yield item, "slice", point.slice, *fault, None
            for found in extent.point_faults(point.slice, point.y, point.x):
                yield item, *found, None
            earlier = first.setdefault((point.slice, *point.pixel), item)
            name, other = (
                self.classes[one.class_index] for one in (point, self.keypoints[earlier])
            )
            if name != other:
                reason = f"lies on the same pixel as the {other!r} of"
                yield item, "class", name, reason, "keep one of the two keypoints", earlier

    def _grid_faults(self, extent: StackExtent) -> Iterator[_Fault]:
        """Grids outside the stack, two over one region, nodes outside of theirs or laid twice."""
        start = 0
        laid: dict[int, list[tuple[Region, int]]] = {}
        for grid in self.grids:
            z, box, begin = grid.slice, grid.box, start if grid.n_nodes else None
            fault = extent.slice_fault(z)
            if fault is not None:
                yield begin, "slice", z, *fault, None
            fault = extent.box_fault(z, box)
            if fault is not None:
                yield begin, "y1,x1", box, *fault, None
            is_whole = box == (0, 0, *(extent.shape_of(z) or ()))  # in other words
            region = Region(z) if is_whole else grid.region
            others = laid.setdefault(z, [])
            earlier = next((item for other, item in others if region.meets(other)), None)
            if earlier is not None and region.box is None:
                yield begin, "slice", z, "has two counting grids", "keep one grid a slice", None
            elif earlier is not None:
                reason, remedy = "overlaps the frame of", "move or remove one of the two frames"
                yield begin, ",".join(BOX), box, reason, remedy, earlier
            others.append((region, start))
            yield from _node_faults(grid, start, extent)
            start += grid.n_nodes

    def settled(self) -> Annotations:
        """Let the last word count where something is said twice.

        That is of a pixel by keypoints, of a region by fractions, of a slice by grids, and of any
        part of it by frames.
        """
        grids: list[CountingGrid] = []
        for grid in self.grids:
            grids = [*(one for one in grids if not one.region.meets(grid.region)), grid]
        return self.replace(
            proportions=tuple({one.region: one for one in self.proportions}.values()),
            keypoints=last_on_pixel(self.keypoints),
            grids=tuple(grids),
        )

    def with_classes(self, classes: tuple[str, ...]) -> Annotations:
        """Return the annotations with the classes in another order, or with more of them.

        Raises
        ------
        InputError
            If a class of these annotations is missing from ``classes``.
        """
        places = []
        for name in self.classes:
            new = match_class(name, classes)
            if new is None:
                raise InputError(f"class {name!r} is annotated, but not among {list(classes)}.")
            places.append(new)
        # the last two serve the indices that stand for no class
        new_index = np.array([*places, NOT_JUDGED, UNSURE], dtype=np.int16)

        def moved(values: Fractions) -> Fractions:
            result: list[float | None] = [None] * len(classes)
            for new, value in zip(places, values, strict=True):
                result[new] = value
            return tuple(result)

        return Annotations(
            self.classes.named(classes),
            tuple(one.mapped(moved) for one in self.proportions),
            tuple(
                dataclasses.replace(point, class_index=int(new_index[point.class_index]))
                for point in self.keypoints
            ),
            tuple(grid.replace(class_index=new_index[grid.class_index]) for grid in self.grids),
            self.notes,
        )

    def replace(self, **changes: Any) -> Annotations:
        """Copy with other values of the named fields."""
        return dataclasses.replace(self, **changes)

    def summary(self) -> str:
        """Short text such as "4 grids (1020 nodes, 61 hits), 16 fractions, 12 keypoints".

        A grid that is not done is told apart, with the nodes that are judged by now; so is a
        fraction in whose place a count is learned from.
        """
        frames = [grid for grid in self.grids if grid.box is not None]
        grids = [grid for grid in self.grids if grid.box is None]
        parts = [*_tally(grids, "grid"), *_tally(frames, "frame")]
        typed = [one.region for one in self.proportions if one.is_informative]
        counts = {one.region for one in self.counted_proportions() if one.is_informative}
        if typed:
            n_replaced = sum(region in counts for region in typed)
            told = f" ({n_replaced} replaced by counts)" if n_replaced else ""
            parts.append(f"{counted(len(typed), 'fraction')}{told}")
        if self.keypoints:
            parts.append(counted(len(self.keypoints), "keypoint"))
        return ", ".join(parts) or "no annotations"


def _node_faults(grid: CountingGrid, start: int, extent: StackExtent) -> Iterator[_Fault]:
    """Nodes outside the image or their frame, and those that are laid twice."""
    first: dict[tuple[float, float], int] = {}
    for item, place in enumerate(zip(grid.y.tolist(), grid.x.tolist(), strict=True), start):
        faults = list(extent.point_faults(grid.slice, *place))
        for found in faults or box_point_faults(grid.box, *place):
            yield item, *found, None
        earlier = first.setdefault(place, item)
        if earlier != item:
            reason, remedy = "is the same node as that of", "keep one of the two rows"
            yield item, "y,x", place, reason, remedy, earlier


def _tally(grids: Sequence[CountingGrid], noun: str) -> Iterator[str]:
    """Say how many are done, and how many are not."""
    done = [grid for grid in grids if grid.is_done]
    if done:
        nodes = sum(grid.n_nodes for grid in done)
        hits = sum(int(np.count_nonzero(grid.class_index > 0)) for grid in done)
        yield f"{counted(len(done), noun)} ({counted(nodes, 'node')}, {counted(hits, 'hit')})"
    if len(done) < len(grids):
        judged = sum(grid.n_judged for grid in grids if not grid.is_done)
        what = f"{counted(len(grids) - len(done), noun)} still open"
        yield f"{what} ({counted(judged, 'node')} judged)"


def _blanked(proportion: Proportion, outside: int, name: str) -> Proportion:
    """Leave the fraction of what is outside unknown; refuse one that is not 0."""
    parts = (proportion.fractions, proportion.low, proportion.high)
    if any(part is not None and part[outside] for part in parts):
        raise InputError(
            f"a fraction of {name!r} is stated for {proportion.region}, but it lies outside and "
            "counts in no fraction; leave it out, and state the others as fractions of the rest.",
            field="outside",
        )
    return proportion.blanked(outside)
