"""What a person says about a stack: proportions of regions, keypoints and counting grids.

Coordinates are full-resolution data pixels in the order (slice, y, x); an integer coordinate is a
pixel's centre, so that pixel ``i`` covers ``[i - 0.5, i + 0.5)``. Class 0 is the background.
The files they are kept in are read and written by `napari_spss.core.tables`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_spss.core.annotation_checks import (
    SUM_TOLERANCE,
    SliceShapes,
    annotation_problems,
    check_class_names,
    match_class,
)
from napari_spss.core.errors import InputError

__all__ = [
    "Annotations",
    "CountingGrid",
    "Keypoint",
    "Proportion",
    "Region",
    "lay_grid",
    "wilson_interval",
]

Box = tuple[int, int, int, int]
Fractions = tuple[float | None, ...]

_EXACT = 1e-9  # a sum this close to 1 is rounding, not a deviation: it is left untouched


@dataclass(frozen=True)
class Region:
    """A slice, or a rectangle in it.

    Parameters
    ----------
    slice : int
        0-based slice index.
    box : tuple of int, optional
        Half-open rectangle ``(y0, x0, y1, x1)`` in pixels; None for the whole slice.

    Raises
    ------
    InputError
        If the slice is negative, or the box is empty or starts outside the image.
    """

    slice: int
    box: Box | None = None

    def __post_init__(self) -> None:
        if self.slice < 0:
            raise InputError(f"slice {self.slice} is negative; slices count from 0.")
        if self.box is None:
            return
        y0, x0, y1, x1 = self.box
        if y0 < 0 or x0 < 0:
            raise InputError(f"box {self.box} starts outside the image; y0 and x0 are at least 0.")
        if y1 <= y0 or x1 <= x0:
            raise InputError(f"box {self.box} is empty; y1 must exceed y0, and x1 must exceed x0.")


@dataclass(frozen=True)
class Proportion:
    """The fractions of a region's pixels that belong to each class, as far as they are known.

    Parameters
    ----------
    region : Region
        What they describe.
    fractions : tuple of float or None, length C
        0-1 per class, background first; None = unknown. A typed 0 is exact ("empty here").
    low, high : tuple of float or None, length C, optional
        Interval per class; None where no bound is stated, and for the whole if there is none.
        An interval may stand without a fraction, which then stays None.
    source : {"typed", "grid"}
        Who says so: a person's estimate, or the count of a grid. A 0 from a grid is *not* exact.

    Raises
    ------
    InputError
        If a number is not finite or not in 0-1, lengths differ, or low <= fraction <= high fails.
    """

    region: Region
    fractions: Fractions
    low: Fractions | None = None
    high: Fractions | None = None
    source: Literal["typed", "grid"] = "typed"

    def __post_init__(self) -> None:
        n_classes = len(self.fractions)
        for name in ("low", "high"):
            bounds = getattr(self, name)
            if bounds is not None and all(value is None for value in bounds):
                object.__setattr__(self, name, None)
            elif bounds is not None and len(bounds) != n_classes:
                raise InputError(f"{name} has {len(bounds)} values for {n_classes} fractions.")
        for value in (*self.fractions, *(self.low or ()), *(self.high or ())):
            if value is not None and not 0.0 <= value <= 1.0:
                raise InputError(f"fraction {value} is not between 0 and 1; write 30 % as 0.30.")
        for index in range(n_classes):
            stated = (self._bound("low", index), self.fractions[index], self._bound("high", index))
            known = [value for value in stated if value is not None]
            if known != sorted(known):
                raise InputError(f"low <= fraction <= high fails for {stated} (class {index}).")

    def _bound(self, name: Literal["low", "high"], index: int) -> float | None:
        values = self.low if name == "low" else self.high
        return None if values is None else values[index]

    @property
    def is_informative(self) -> bool:
        """Whether any fraction or bound is stated."""
        known = any(value is not None for value in self.fractions)
        return known or self.low is not None or self.high is not None

    def bounds(self) -> tuple[tuple[float, float] | None, ...]:
        """Interval (low, high) per class; None where neither bound is stated.

        Where only one bound is stated, the other one is 0 or 1.
        """
        result: list[tuple[float, float] | None] = []
        for index in range(len(self.fractions)):
            low, high = self._bound("low", index), self._bound("high", index)
            stated = low is not None or high is not None
            result.append(
                (0.0 if low is None else low, 1.0 if high is None else high) if stated else None
            )
        return tuple(result)

    def effective_fractions(self) -> Fractions:
        """One number per class where there is one: the fraction, else the interval's midpoint.

        A midpoint needs both bounds. An unstated background is the remainder if every other class
        has a number and they do not exceed 1.
        """
        values = list(self.fractions)
        for index, value in enumerate(values):
            low, high = self._bound("low", index), self._bound("high", index)
            if value is None and low is not None and high is not None:
                values[index] = (low + high) / 2
        return _with_remainder(values)

    def normalised(self) -> Proportion:
        """Fractions that sum to 1 as far as they are known: rescaled, with background filled in.

        Known fractions (and their bounds) are divided by their sum if it exceeds 1, or if all
        classes are known; a sum within 1e-9 of 1 is left untouched. Then an unknown background
        without interval is the remainder if all other fractions are known. A sum further from 1
        than the tolerance is an error that `Annotations.validate_against` reports; such fractions
        come back as they are.
        """
        known = [value for value in self.fractions if value is not None]
        total = math.fsum(known)
        deviates = total > 1 + _EXACT or (len(known) == len(self.fractions) and total < 1 - _EXACT)
        scaled = self
        if deviates and abs(total - 1) <= SUM_TOLERANCE:
            scaled = dataclasses.replace(
                self,
                fractions=_divided(self.fractions, total),
                low=None if self.low is None else _divided(self.low, total),
                high=None if self.high is None else _divided(self.high, total),
            )
        if scaled.bounds()[:1] != (None,):
            return scaled
        return dataclasses.replace(scaled, fractions=_with_remainder(list(scaled.fractions)))


def _divided(values: Fractions, total: float) -> Fractions:
    return tuple(None if value is None else min(value / total, 1.0) for value in values)


def _with_remainder(values: list[float | None]) -> Fractions:
    """Fill in an unknown background if all other classes are known and leave room for it."""
    others = [value for value in values[1:] if value is not None]
    if values and values[0] is None and others and len(others) == len(values) - 1:
        total = math.fsum(others)
        if total <= 1 + _EXACT:
            values[0] = max(0.0, 1.0 - total)
    return tuple(values)


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
        If the slice or class is negative, or a coordinate is not finite.
    """

    slice: int
    y: float
    x: float
    class_index: int

    def __post_init__(self) -> None:
        if self.slice < 0:
            raise InputError(f"slice {self.slice} is negative; slices count from 0.")
        if self.class_index < 0:
            raise InputError(f"class_index {self.class_index} is negative; classes count from 0.")
        if not (math.isfinite(self.y) and math.isfinite(self.x)):
            raise InputError(f"position ({self.y}, {self.x}) is not finite; give pixels.")

    @property
    def pixel(self) -> tuple[int, int]:
        """(row, column) of the pixel that holds the point."""
        return math.floor(self.y + 0.5), math.floor(self.x + 0.5)


@dataclass(frozen=True, eq=False)
class CountingGrid:
    """Nodes of a systematic grid over a slice, and what lies under each.

    Parameters
    ----------
    slice : int
        0-based slice index.
    spacing_px : float
        Distance of neighbouring nodes in y and in x.
    offset_y, offset_x : float
        Phase of the grid: nodes lie at ``offset + k * spacing_px``, ``k`` an integer.
    y, x : ndarray, (N,) float64
        Positions in full-resolution pixels. Copied, read-only.
    class_index : ndarray, (N,) int16
        Class under each node; -1 = unsure or not judged. Copied, read-only.
    is_done : bool
        Whether the count is finished; only then it counts as a proportion.

    Raises
    ------
    InputError
        If the arrays differ in length, or a number is out of its range or not finite.
    """

    slice: int
    spacing_px: float
    offset_y: float
    offset_x: float
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    class_index: NDArray[np.int16]
    is_done: bool = False

    def __post_init__(self) -> None:
        if self.slice < 0:
            raise InputError(f"slice {self.slice} is negative; slices count from 0.")
        if not (math.isfinite(self.spacing_px) and self.spacing_px > 0):
            raise InputError(f"spacing_px {self.spacing_px} is not above 0; give it in pixels.")
        for name, dtype in (("y", np.float64), ("x", np.float64), ("class_index", np.int16)):
            array = np.array(getattr(self, name), dtype=dtype)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        shapes = {self.y.shape, self.x.shape, self.class_index.shape}
        if len(shapes) != 1 or self.y.ndim != 1:
            raise InputError(f"y, x and class_index of a grid have shapes {sorted(shapes)}.")
        offsets = (self.offset_y, self.offset_x)
        if not (np.isfinite(offsets).all() and np.isfinite([self.y, self.x]).all()):
            raise InputError("a grid's offsets and node positions must be finite; give pixels.")
        if self.class_index.size and self.class_index.min() < -1:
            raise InputError("class_index of a node is below -1; -1 means unsure or not judged.")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CountingGrid):
            return NotImplemented
        return self._numbers() == other._numbers() and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("y", "x", "class_index")
        )

    def __hash__(self) -> int:
        return hash((*self._numbers(), self.y.size))

    def _numbers(self) -> tuple[int, float, float, float, bool]:
        return self.slice, self.spacing_px, self.offset_y, self.offset_x, self.is_done

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return int(self.y.size)

    @property
    def n_judged(self) -> int:
        """Number of nodes whose class is stated."""
        return int(np.count_nonzero(self.class_index >= 0))

    def judged_counts(self, n_classes: int) -> NDArray[np.int64]:
        """Number of judged nodes per class, shape (C,).

        Raises
        ------
        InputError
            If a node's class is not below ``n_classes``.
        """
        judged = self.class_index[self.class_index >= 0].astype(np.int64)
        if judged.size and judged.max() >= n_classes:
            raise InputError(
                f"a node of the grid on slice {self.slice} has class {judged.max()}, "
                f"but there are {n_classes} classes."
            )
        return np.bincount(judged, minlength=n_classes)

    def proportion(self, n_classes: int) -> Proportion:
        """Fractions of the slice: hits over judged nodes, with Wilson 95 % intervals.

        The interval treats nodes as independent draws. Nodes of a systematic grid are spread
        evenly and err less than that, so the interval is conservative (too wide).
        All fractions are None if no node is judged.
        """
        counts = self.judged_counts(n_classes)
        n = int(counts.sum())
        region = Region(self.slice)
        if n == 0:
            return Proportion(region, (None,) * n_classes, source="grid")
        intervals = [wilson_interval(int(hits), n) for hits in counts]
        return Proportion(
            region,
            tuple(int(hits) / n for hits in counts),
            low=tuple(low for low, _ in intervals),
            high=tuple(high for _, high in intervals),
            source="grid",
        )

    def with_class(self, nodes: Any, class_index: int) -> CountingGrid:
        """Copy in which the given nodes (indices or mask) have another class; -1 = unsure."""
        changed = self.class_index.copy()
        changed[nodes] = class_index
        return self.replace(class_index=changed)

    def replace(self, **changes: Any) -> CountingGrid:
        """Copy with other values of the named fields."""
        return dataclasses.replace(self, **changes)


def wilson_interval(hits: int, n: int, *, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a fraction.

    Parameters
    ----------
    hits, n : int
        Successes among independent draws. ``n`` = 0 tells nothing: (0, 1).
    z : float
        Normal quantile; 1.96 for 95 %.

    Returns
    -------
    low, high : float
        0 <= low <= hits / n <= high <= 1.

    Raises
    ------
    InputError
        Unless 0 <= hits <= n.

    References
    ----------
    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212.
    """
    if not 0 <= hits <= n:
        raise InputError(f"{hits} hits among {n} nodes; hits lie between 0 and the nodes.")
    if n == 0:
        return 0.0, 1.0
    fraction = hits / n
    scale = 1 + z * z / n
    centre = (fraction + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    # At 0 and n hits the bound is exactly 0 and 1; rounding must not move it past the fraction.
    low = 0.0 if hits == 0 else min(max(centre - half, 0.0), fraction)
    high = 1.0 if hits == n else max(min(centre + half, 1.0), fraction)
    return low, high


def lay_grid(
    slice: int,
    shape: tuple[int, int],
    *,
    spacing_px: float | None = None,
    n_side: int = 16,
    rng: np.random.Generator,
) -> CountingGrid:
    """Lay a square grid with a random offset over a slice; no node is judged yet.

    Parameters
    ----------
    slice : int
        0-based slice index.
    shape : tuple of int
        (Y, X) of the slice in pixels.
    spacing_px : float, optional
        Distance of neighbouring nodes; by default such that there are about ``n_side``\\ ² nodes.
    n_side : int
        Nodes along the side of a square of the slice's area; ignored if ``spacing_px`` is given.
    rng : numpy.random.Generator
        Draws the offset, uniform in [0, spacing), so that every position is equally likely.

    Returns
    -------
    CountingGrid
        Nodes in row-major order, each inside the image.

    Raises
    ------
    InputError
        If the spacing is below 1 px or exceeds a side of the image, or ``n_side`` is below 1.
    """
    height, width = shape
    if n_side < 1:
        raise InputError(f"n_side {n_side} is below 1; choose at least 1.")
    largest = float(min(height, width))
    if spacing_px is None:
        spacing_px = min(max(math.sqrt(height * width) / n_side, 1.0), largest)
    if not 1.0 <= spacing_px <= largest:
        raise InputError(
            f"spacing_px {spacing_px} does not suit an image of {height} x {width} px; "
            f"choose 1 to {largest:g}."
        )
    offset_y, offset_x = (float(offset) for offset in rng.uniform(0.0, spacing_px, size=2))
    rows = _node_positions(offset_y, spacing_px, height)
    columns = _node_positions(offset_x, spacing_px, width)
    y, x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    return CountingGrid(
        slice, float(spacing_px), offset_y, offset_x, y, x, np.full(y.size, -1, dtype=np.int16)
    )


def _node_positions(offset: float, spacing_px: float, length: int) -> NDArray[np.float64]:
    """All offset + k * spacing in the half-open extent [-0.5, length - 0.5) of the pixels."""
    steps = np.arange(-1, math.ceil(length / spacing_px) + 1)
    positions = offset + steps * spacing_px
    return positions[(positions >= -0.5) & (positions < length - 0.5)]


@dataclass(frozen=True)
class Annotations:
    """All that is said about a stack.

    Parameters
    ----------
    classes : tuple of str
        Names, background first; unique without regard to case.
    proportions : tuple of Proportion
        Typed ones, each with as many fractions as there are classes. Counts stay in ``grids``.
    keypoints : tuple of Keypoint
    grids : tuple of CountingGrid
    notes : tuple of str
        What was changed or noticed while reading, for the user; not compared.

    Raises
    ------
    InputError
        If a class name cannot be used, or something refers to a class that does not exist.
    """

    classes: tuple[str, ...]
    proportions: tuple[Proportion, ...] = ()
    keypoints: tuple[Keypoint, ...] = ()
    grids: tuple[CountingGrid, ...] = ()
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        for name in ("classes", "proportions", "keypoints", "grids", "notes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_class_names(self.classes)
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

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to learn from: no fraction, no keypoint, no judged node."""
        fractions = any(proportion.is_informative for proportion in self.proportions)
        return not (fractions or self.keypoints or any(grid.n_judged for grid in self.grids))

    def slices(self) -> tuple[int, ...]:
        """Indices of the slices that are annotated in any way, ascending."""
        used = {proportion.region.slice for proportion in self.proportions}
        used |= {point.slice for point in self.keypoints} | {grid.slice for grid in self.grids}
        return tuple(sorted(used))

    def effective_proportions(self) -> tuple[Proportion, ...]:
        """Proportions to learn from: informative, normalised, and counted ones before typed ones.

        The count of a done grid with at least one judged node replaces the typed proportion of its
        whole slice; typed proportions of rectangles stay.
        """
        counted = {
            grid.slice: grid.proportion(len(self.classes))
            for grid in self.grids
            if grid.is_done and grid.n_judged
        }
        typed = tuple(
            proportion.normalised()
            for proportion in self.proportions
            if proportion.is_informative
            and not (proportion.region.box is None and proportion.region.slice in counted)
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
        problems = annotation_problems(self, stack)
        if problems:
            raise InputError(problems=problems)

    def with_classes(self, classes: tuple[str, ...]) -> Annotations:
        """Same annotations with the classes in another order, or with more of them.

        Raises
        ------
        InputError
            If a class of these annotations is missing from ``classes``.
        """
        index = [match_class(name, classes) for name in self.classes]
        missing = [name for name, new in zip(self.classes, index, strict=True) if new is None]
        if missing:
            raise InputError(f"class {missing[0]!r} is annotated, but not among {list(classes)}.")
        new_index = np.array([*(-1 if new is None else new for new in index), -1], dtype=np.int16)

        def moved(values: Fractions) -> Fractions:
            result: list[float | None] = [None] * len(classes)
            for new, value in zip(new_index[:-1], values, strict=True):
                result[int(new)] = value
            return tuple(result)

        return Annotations(
            classes,
            tuple(
                dataclasses.replace(
                    one,
                    fractions=moved(one.fractions),
                    low=None if one.low is None else moved(one.low),
                    high=None if one.high is None else moved(one.high),
                )
                for one in self.proportions
            ),
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
        """Short text such as "4 grids (1020 nodes, 61 hits), 16 fractions, 12 keypoints"."""
        parts = []
        if self.grids:
            nodes = sum(grid.n_nodes for grid in self.grids)
            hits = sum(int(np.count_nonzero(grid.class_index > 0)) for grid in self.grids)
            parts.append(
                f"{_counted(len(self.grids), 'grid')} "
                f"({_counted(nodes, 'node')}, {_counted(hits, 'hit')})"
            )
        fractions = sum(proportion.is_informative for proportion in self.proportions)
        if fractions:
            parts.append(_counted(fractions, "fraction"))
        if self.keypoints:
            parts.append(_counted(len(self.keypoints), "keypoint"))
        return ", ".join(parts) or "no annotations"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
