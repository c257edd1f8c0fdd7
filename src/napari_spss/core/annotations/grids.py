"""Counting grids over slices, and in frames: nodes, and the fraction that their hits estimate."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base import InputError
from .proportions import Box, Proportion, Region

UNSURE = -1
"""Class of a node that was looked at and left open on purpose."""

NOT_JUDGED = -2
"""Class of a node that nobody has looked at yet."""

_ARRAYS = {"y": np.float64, "x": np.float64, "class_index": np.int16, "looks": np.uint8}


@dataclass(frozen=True, eq=False)
class CountingGrid:
    """Nodes of a systematic grid over a slice or a frame in it, and what lies under each.

    A counting frame is a grid with a ``box``, see
    :func:`napari_spss.core.annotations.lay_frames`. Several may lie on one slice, beside a grid of
    the whole slice, as long as they do not overlap.

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
        Class under each node; -1 = unsure, -2 = not judged yet. Copied, read-only. In a grid that
        is done, nodes that were not judged are unsure.
    is_done : bool
        Whether the count is finished; only then it counts as a proportion.
    box : tuple of int, optional
        Half-open rectangle ``(y0, x0, y1, x1)`` of a frame; None for the whole slice.
    looks : ndarray, (N,) uint8
        How often each node was looked at again, in the light of a map; by default never, as nodes
        that were not judged. Copied, read-only.

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
    box: Box | None = None
    looks: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))

    def __post_init__(self) -> None:
        Region(self.slice, self.box)  # says what is wrong with them
        if not (math.isfinite(self.spacing_px) and self.spacing_px > 0):
            raise InputError(f"spacing_px {self.spacing_px} is not above 0; give it in pixels.")
        if not np.size(self.looks):
            object.__setattr__(self, "looks", np.zeros(np.shape(self.class_index), np.uint8))
        for name, dtype in _ARRAYS.items():
            array = np.array(getattr(self, name), dtype=dtype)
            if name == "class_index" and self.is_done:
                array[array == NOT_JUDGED] = UNSURE
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        shapes = {getattr(self, name).shape for name in _ARRAYS}
        if len(shapes) != 1 or self.y.ndim != 1:
            raise InputError(f"{', '.join(_ARRAYS)} of a grid have shapes {sorted(shapes)}.")
        looks = np.where(self.class_index == NOT_JUDGED, 0, self.looks).astype(np.uint8)
        looks.flags.writeable = False
        object.__setattr__(self, "looks", looks)
        offsets = (self.offset_y, self.offset_x)
        if not (np.isfinite(offsets).all() and np.isfinite([self.y, self.x]).all()):
            raise InputError("a grid's offsets and node positions must be finite; give pixels.")
        if self.class_index.size and self.class_index.min() < NOT_JUDGED:
            raise InputError(
                "class_index of a node is below -2; -1 means unsure, and -2 not judged yet."
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CountingGrid):
            return NotImplemented
        return self._numbers() == other._numbers() and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in _ARRAYS
        )

    def __hash__(self) -> int:
        return hash((*self._numbers(), self.y.size))

    def _numbers(self) -> tuple[Region, float, float, float, bool]:
        return self.region, self.spacing_px, self.offset_y, self.offset_x, self.is_done

    @property
    def region(self) -> Region:
        """What is counted: a slice, or a frame in it. No two grids of a stack share it."""
        return Region(self.slice, self.box)

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return int(self.y.size)

    @property
    def n_judged(self) -> int:
        """Number of nodes whose class is stated."""
        return int(np.count_nonzero(self.class_index >= 0))

    @property
    def to_look_at(self) -> NDArray[np.bool_]:
        """Whether each node was judged, and not looked at again, (N,)."""
        mask: NDArray[np.bool_] = (self.class_index >= 0) & (self.looks == 0)
        return mask

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Rows and columns (2, N) of the pixels that hold the nodes."""
        return np.floor(np.stack([self.y, self.x]) + 0.5).astype(np.int64)

    def nearest(self, y: float, x: float, radius_px: float = 0.25) -> int | None:
        """Index of the node nearest to a position, if there is one within a radius.

        By default it is less than half of the least distance of two nodes.
        """
        if not self.n_nodes:
            return None
        distances = np.hypot(self.y - y, self.x - x)
        node = int(distances.argmin())
        return node if distances[node] <= radius_px else None

    def along(
        self, start: tuple[float, float], end: tuple[float, float], radius_px: float
    ) -> NDArray[np.intp]:
        """Nodes within a radius of a line between two positions (y, x)."""
        y0, x0 = start
        dy, dx = end[0] - y0, end[1] - x0
        length2 = dy * dy + dx * dx
        along = (self.y - y0) * dy + (self.x - x0) * dx
        part = np.clip(along / length2, 0.0, 1.0) if length2 > 0 else np.zeros(self.n_nodes)
        distance = np.hypot(self.y - y0 - part * dy, self.x - x0 - part * dx)
        return np.flatnonzero(distance <= radius_px)

    def judged_counts(self, n_classes: int) -> NDArray[np.int64]:
        """Count the judged nodes per class, shape (C,).

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

    def proportion(self, n_classes: int, *, outside: int | None = None) -> Proportion:
        """Fractions of the region: hits over judged nodes, with Wilson 95 % intervals.

        The interval treats nodes as independent draws. Nodes of a systematic grid are spread
        evenly and err less than that, so the interval is conservative (too wide).
        Nodes on the class ``outside`` do not count; its own fraction is 0, without an interval.
        All fractions are None if no node counts.
        """
        counts = self.judged_counts(n_classes)
        if outside is not None:
            counts[outside] = 0
        n = int(counts.sum())
        if n == 0:
            return Proportion(self.region, (None,) * n_classes, source="grid")
        intervals = [wilson_interval(int(hits), n) for hits in counts]
        return Proportion(
            self.region,
            tuple(int(hits) / n for hits in counts),
            low=tuple(low for low, _ in intervals),
            high=tuple(high for _, high in intervals),
            source="grid",
        ).without(outside)

    def with_class(self, nodes: Any, class_index: int) -> CountingGrid:
        """Copy in which the given nodes (indices or mask) have another class; -1 = unsure."""
        changed = self.class_index.copy()
        changed[nodes] = class_index
        return self.replace(class_index=changed)

    def looked_at(self, node: int, class_index: int) -> CountingGrid:
        """Copy in which a node has the class of a second look, and its mark; -1 = unsure."""
        looks = self.looks.copy()
        looks[node] = max(1, looks[node])
        return self.with_class(node, class_index).replace(looks=looks)

    def replace(self, **changes: Any) -> CountingGrid:
        """Copy with other values of the named fields."""
        return dataclasses.replace(self, **changes)


def wilson_interval(hits: float, n: float, *, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a fraction.

    Parameters
    ----------
    hits, n : float
        Successes among independent draws; of draws that depend on each other, the effective
        numbers. ``n`` = 0 tells nothing: (0, 1).
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

    Examples
    --------
    >>> low, high = wilson_interval(16, 256)
    >>> f"{low:.3f} {high:.3f}"
    '0.039 0.099'
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
    slice: int, shape: tuple[int, int], *, n_side: int = 16, rng: np.random.Generator
) -> CountingGrid:
    """Lay a square grid with a random offset over a slice; no node is judged yet.

    Parameters
    ----------
    slice : int
        0-based slice index.
    shape : tuple of int
        (Y, X) of the slice in pixels.
    n_side : int
        Nodes along the side of a square of the slice's area: there are about ``n_side**2``.
    rng : numpy.random.Generator
        Draws the offset, uniform in [0, spacing), so that every position is equally likely.

    Returns
    -------
    CountingGrid
        Nodes in row-major order, each inside the image.

    Raises
    ------
    InputError
        If ``n_side`` is below 1.
    """
    height, width = shape
    if n_side < 1:
        raise InputError(f"n_side {n_side} is below 1; choose at least 1.")
    spacing_px = min(max(math.sqrt(height * width) / n_side, 1.0), float(min(height, width)))
    return nodes_in(Region(slice), shape, spacing_px, rng)


def nodes_in(
    region: Region, shape: tuple[int, int], spacing_px: float, rng: np.random.Generator
) -> CountingGrid:
    """Lay nodes over a region of (Y, X) pixels, at a random phase; none is judged yet."""
    top, left = region.box[:2] if region.box else (0, 0)
    phase_y, phase_x = (float(phase) for phase in rng.uniform(0.0, spacing_px, size=2))
    rows = top + _node_positions(phase_y, spacing_px, shape[0])
    columns = left + _node_positions(phase_x, spacing_px, shape[1])
    y, x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    return CountingGrid(
        region.slice,
        spacing_px,
        top + phase_y,
        left + phase_x,
        y,
        x,
        np.full(y.size, NOT_JUDGED, dtype=np.int16),
        box=region.box,
    )


def _node_positions(offset: float, spacing_px: float, length: int) -> NDArray[np.float64]:
    """All offset + k * spacing in the half-open extent [-0.5, length - 0.5) of the pixels."""
    steps = np.arange(-1, math.ceil(length / spacing_px) + 1, dtype=np.float64)
    positions: NDArray[np.float64] = offset + steps * spacing_px
    inside: NDArray[np.bool_] = (positions >= -0.5) & (positions < length - 0.5)
    return positions[inside]
