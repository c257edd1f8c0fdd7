"""What annotations must satisfy: names of classes, sums, duplicates, and the stack's extent.

Readers and forms use the same checks, so that a mistake is described in the same words wherever it
is made.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..base import CellProblem, InputError

if TYPE_CHECKING:
    from .grids import CountingGrid
    from .proportions import Proportion, Region
    from .records import Annotations, Keypoint

__all__ = [
    "MOST_CLASSES",
    "SUM_TOLERANCE",
    "UNSURE_TEXT",
    "Location",
    "SliceShapes",
    "StackExtent",
    "annotation_problems",
    "check_class_names",
    "class_name_fault",
    "grid_problems",
    "is_background",
    "keypoint_problems",
    "match_class",
    "nearest_class",
    "order_classes",
    "outside_class",
    "proportion_problems",
    "sum_fault",
]

SUM_TOLERANCE = 0.02 + 1e-9  # 0.98 and 1.02 themselves are accepted whatever the rounding

UNSURE_TEXT = "?"
"""What ``grid.csv`` says of a node that is left open on purpose."""

MOST_CLASSES = 255  # labels are uint8, in which 255 means "ignore"

_BACKGROUND = "background"
_BACKGROUND_NAMES = frozenset({_BACKGROUND, "bg"})
_RESERVED = frozenset({"slice", "y0", "x0", "y1", "x1"})


class SliceShapes(Protocol):
    """The part of a `Stack` that annotations are checked against."""

    @property
    def n_slices(self) -> int:
        """Number of slices."""

    def shape_of(self, z: int, /) -> tuple[int, int]:
        """(Y, X) of slice ``z`` in pixels."""


def is_background(name: str) -> bool:
    """Whether a class name means the background: "background" or "bg", in any case."""
    return name.strip().casefold() in _BACKGROUND_NAMES


def _key(name: str) -> str:
    return _BACKGROUND if is_background(name) else name.strip().casefold()


def match_class(name: str, classes: Sequence[str]) -> int | None:
    """Index of a class by name, without regard to case and surrounding blanks; None if unknown."""
    keys = [_key(known) for known in classes]
    return keys.index(_key(name)) if _key(name) in keys else None


def nearest_class(name: str, classes: Sequence[str]) -> str | None:
    """Return the known class whose name looks most like ``name``; None if none comes near."""
    keys = {_key(known): known for known in classes}
    found = difflib.get_close_matches(_key(name), keys, n=1)
    return keys[found[0]] if found else None


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return unique names in order of appearance, the background first, added if it is missing."""
    unique: dict[str, str] = {}
    for name in names:
        unique.setdefault(_key(name), name.strip())
    background = unique.pop(_BACKGROUND, _BACKGROUND)
    return (background, *unique.values())


def outside_class(name: str, classes: Sequence[str]) -> int:
    """Index of the class that is excluded from all fractions.

    Raises
    ------
    InputError
        If there is no class of that name, or it is the background.
    """
    index = match_class(name, classes)
    if index is None:
        raise InputError(
            f"outside {name!r} is not among the classes {', '.join(classes)}; name one of them, or "
            "add it to the classes.",
            field="outside",
        )
    if index == 0:
        raise InputError(
            f"outside {name!r} is the background, which counts in the fractions; name a class of "
            "its own.",
            field="outside",
        )
    return index


def class_name_fault(name: str) -> str | None:
    """Why a name cannot be that of a class; None if it can."""
    if not name.strip():
        return "is an empty class name"
    if name != name.strip() or not name.isprintable():
        return "is a class name with blanks at its ends or characters that cannot be shown"
    if name == UNSURE_TEXT:
        return "is what grid.csv says of a node that is unsure"
    if name.casefold() in _RESERVED or name.casefold().endswith(("_low", "_high")):
        return "is a class name that the columns of proportions.csv need for themselves"
    return None


def check_class_names(classes: Sequence[str]) -> None:
    """Raise InputError unless the names are usable, unique, and the background comes first."""
    for name in classes:
        fault = class_name_fault(name)
        if fault is not None:
            raise InputError(f"{name!r} {fault}; choose another name.", field="classes")
    keys = [_key(name) for name in classes]
    for name, key in zip(classes, keys, strict=True):
        if keys.count(key) > 1:
            raise InputError(f"class {name!r} is named twice; name each once.", field="classes")
    if len(keys) > MOST_CLASSES:
        raise InputError(
            f"{len(keys)} classes are too many; name at most {MOST_CLASSES}.", field="classes"
        )
    if not keys or keys[0] != _BACKGROUND:
        raise InputError(
            f"classes {list(classes)} do not start with the background; put 'background' first.",
            field="classes",
        )


@dataclass(frozen=True)
class Location:
    """Where items stand: the table's name and, per item, its 1-based line."""

    file: str
    lines: Sequence[int]

    def problem(
        self, item: int, column: str | None, *, value: object = "", reason: str, remedy: str
    ) -> CellProblem:
        """Problem of the item with this index."""
        return CellProblem(self.file, self.lines[item], column, str(value), reason, remedy)


def annotation_problems(annotations: Annotations, stack: SliceShapes | None) -> list[CellProblem]:
    """All problems of annotations in memory, with the lines they would have in their files."""
    grid_lines = [2]
    for grid in annotations.grids:
        grid_lines.append(grid_lines[-1] + grid.n_nodes)
    extent = StackExtent(stack)
    return [
        *proportion_problems(
            annotations.proportions,
            Location("proportions", range(2, 2 + len(annotations.proportions))),
            stack=extent,
            outside=annotations.outside_index,
        ),
        *keypoint_problems(
            annotations.keypoints,
            Location("keypoints", range(2, 2 + len(annotations.keypoints))),
            classes=annotations.classes,
            stack=extent,
        ),
        *grid_problems(
            annotations.grids,
            [
                range(first, first + grid.n_nodes)
                for first, grid in zip(grid_lines, annotations.grids, strict=False)
            ],
            file="grid",
            stack=extent,
        ),
    ]


class StackExtent:
    """Faults of positions in a stack; looks up the shape of each slice once.

    Parameters
    ----------
    stack : SliceShapes or None
        None knows no limits.
    """

    def __init__(self, stack: SliceShapes | None) -> None:
        self._stack = stack
        self._shapes: dict[int, tuple[int, int]] = {}

    @property
    def n_slices(self) -> int | None:
        """Number of slices; None if there is no stack."""
        return None if self._stack is None else self._stack.n_slices

    def shape_of(self, z: int) -> tuple[int, int] | None:
        """(Y, X) of a slice; None if there is no stack or no such slice."""
        if self._stack is None or not 0 <= z < self._stack.n_slices:
            return None
        if z not in self._shapes:
            self._shapes[z] = self._stack.shape_of(z)
        return self._shapes[z]

    def slice_fault(self, z: int) -> tuple[str, str] | None:
        """Reason and remedy if there is no slice ``z``."""
        if self._stack is None or 0 <= z < self._stack.n_slices:
            return None
        n = self._stack.n_slices
        if n == 1:
            return "is outside the image, which has one slice", "use slice 0"
        return (
            f"is outside the stack of {n} slices",
            f"use 0 to {n - 1}, as napari's slider shows (the first slice is 0)",
        )

    def box_fault(self, region: Region) -> tuple[str, str] | None:
        """Reason and remedy if a rectangle leaves the image."""
        shape = self.shape_of(region.slice)
        if shape is None or region.box is None:
            return None
        _, _, y1, x1 = region.box
        if y1 <= shape[0] and x1 <= shape[1]:
            return None
        return (
            f"leaves the image, which is {shape[0]} x {shape[1]} px (y, x)",
            f"use y1 of at most {shape[0]} and x1 of at most {shape[1]} (half-open box)",
        )

    def point_faults(self, z: int, y: float, x: float) -> Iterator[tuple[str, str, str]]:
        """Column, reason and remedy for each coordinate that lies outside the image."""
        shape = self.shape_of(z)
        if shape is None:
            return
        for column, value, axis in (("y", y, 0), ("x", x, 1)):
            pixel = math.floor(value + 0.5)
            if pixel < 0:
                yield column, "is outside the image", "pixels start at 0"
            elif pixel >= shape[axis]:
                yield (
                    column,
                    f"is outside the image, which is {shape[0]} x {shape[1]} px (y, x)",
                    f"use 0 to {shape[axis] - 1}, in pixels, with y (row) before x (column)",
                )


def proportion_problems(
    proportions: Sequence[Proportion],
    where: Location,
    *,
    stack: StackExtent,
    outside: int | None = None,
) -> Iterator[CellProblem]:
    """Regions outside the stack or named twice, and fractions with an impossible sum."""
    first_line: dict[Region, int] = {}
    for item, proportion in enumerate(proportions):
        region = proportion.region
        fault = stack.slice_fault(region.slice)
        if fault is not None:
            yield where.problem(item, "slice", value=region.slice, reason=fault[0], remedy=fault[1])
        fault = stack.box_fault(region)
        if fault is not None:
            yield where.problem(item, "y1,x1", value=region.box, reason=fault[0], remedy=fault[1])
        fault = sum_fault(proportion.without(outside))
        if fault is not None:
            yield where.problem(item, None, reason=fault[0], remedy=fault[1])
        if region.box is not None and region.box == (0, 0, *(stack.shape_of(region.slice) or ())):
            region = dataclasses.replace(region, box=None)  # the same region in other words
        line = first_line.setdefault(region, where.lines[item])
        if line != where.lines[item]:
            place = "box" if proportion.region.box is not None else "slice"
            yield where.problem(
                item,
                "slice",
                value=region.slice,
                reason=f"names the same {place} as line {line}",
                remedy="keep one of the two rows",
            )


def sum_fault(proportion: Proportion) -> tuple[str, str] | None:
    """Reason and remedy if the fractions of a region cannot belong together."""
    known = [value for value in proportion.fractions if value is not None]
    total = math.fsum(known)
    if len(known) == len(proportion.fractions) and abs(total - 1) > SUM_TOLERANCE:
        return (
            f"has fractions of all classes that sum to {total:.4g}",
            "change them so that they sum to 1 (100 %), or leave the background blank",
        )
    if total > 1 + SUM_TOLERANCE:
        return (
            f"has fractions that sum to {total:.4g}",
            "lower them so that they sum to at most 1 (100 %)",
        )
    bounds = proportion.bounds()
    ranges = [
        bound or (value or 0.0, 1.0 if value is None else value)
        for bound, value in zip(bounds, proportion.fractions, strict=True)
    ]
    lowest = math.fsum(low for low, _ in ranges)
    highest = math.fsum(high for _, high in ranges)
    if lowest > 1 + SUM_TOLERANCE:
        return (
            f"has fractions and lower bounds that sum to {lowest:.4g}",
            "lower them so that they sum to at most 1 (100 %)",
        )
    if highest < 1 - SUM_TOLERANCE:
        return (
            f"has fractions and upper bounds that sum to {highest:.4g}",
            "raise them so that they can sum to 1 (100 %)",
        )
    return None


def keypoint_problems(
    keypoints: Sequence[Keypoint],
    where: Location,
    *,
    classes: Sequence[str],
    stack: StackExtent,
) -> Iterator[CellProblem]:
    """Points outside the image, and pixels that are given two classes."""
    seen: dict[tuple[int, int, int], tuple[int, int]] = {}
    for item, point in enumerate(keypoints):
        fault = stack.slice_fault(point.slice)
        if fault is not None:
            yield where.problem(item, "slice", value=point.slice, reason=fault[0], remedy=fault[1])
        for column, reason, remedy in stack.point_faults(point.slice, point.y, point.x):
            value = point.y if column == "y" else point.x
            yield where.problem(item, column, value=value, reason=reason, remedy=remedy)
        line, class_index = seen.setdefault(
            (point.slice, *point.pixel), (where.lines[item], point.class_index)
        )
        if class_index != point.class_index:
            yield where.problem(
                item,
                "class",
                value=classes[point.class_index],
                reason=f"lies on the same pixel as the {classes[class_index]!r} of line {line}",
                remedy="keep one of the two keypoints",
            )


def grid_problems(
    grids: Sequence[CountingGrid],
    lines: Sequence[Sequence[int]],
    *,
    file: str,
    stack: StackExtent,
) -> Iterator[CellProblem]:
    """Grids outside the stack, two on a slice, nodes outside the image or laid twice."""
    seen: set[int] = set()
    for grid, node_lines in zip(grids, lines, strict=True):
        where = Location(file, node_lines if len(node_lines) else (2,))
        fault = stack.slice_fault(grid.slice)
        if fault is None and grid.slice in seen:
            fault = ("has two counting grids", "keep one grid a slice")
        seen.add(grid.slice)
        if fault is not None:
            yield where.problem(0, "slice", value=grid.slice, reason=fault[0], remedy=fault[1])
        yield from _node_problems(grid, where, stack)


def _node_problems(
    grid: CountingGrid, where: Location, stack: StackExtent
) -> Iterator[CellProblem]:
    """Problems of single nodes."""
    first_line: dict[tuple[float, float], int] = {}
    for node, position in enumerate(zip(grid.y.tolist(), grid.x.tolist(), strict=True)):
        for column, reason, remedy in stack.point_faults(grid.slice, *position):
            value = position[0] if column == "y" else position[1]
            yield where.problem(node, column, value=value, reason=reason, remedy=remedy)
        line = first_line.setdefault(position, where.lines[node])
        if line != where.lines[node]:
            yield where.problem(
                node,
                "y,x",
                value=position,
                reason=f"is the same node as that of line {line}",
                remedy="keep one of the two rows",
            )
