"""Painted labels as the core reads them: class indices per slice, most pixels unlabelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.images import IGNORE

_N_SAMPLED = 8


@dataclass(frozen=True, eq=False)
class PaintedLabels:
    """Labels that someone painted; a `LabelSource`.

    Slices are read when asked for, from the array that the layer shows: what is painted later is
    seen by later reads. Knows no layer, so that it may be read in a thread.

    Parameters
    ----------
    data : array
        Label values at full resolution; NumPy, dask or zarr.
    axes : str
        Its axes, of "Z", "C", "Y", "X", and "Q" of length 1. A pixel that is painted in any
        channel is labelled.
    values : tuple of int
        Label value of each class, background first; 0 for a class that is not painted.
    levels : tuple of int
        Sorted values to the nearest of which each pixel's is rounded; none if they are exact.
    has_instances : bool
        Whether values are ids of objects; each then counts as 1.
    """

    data: Any
    axes: str
    values: tuple[int, ...]
    levels: tuple[int, ...] = ()
    has_instances: bool = False

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return int(self.data.shape[self.axes.index("Z")]) if "Z" in self.axes else 1

    def shape_of(self, z: int) -> tuple[int, int]:
        """(Y, X) of a slice in pixels."""
        shape = self.data.shape
        return int(shape[self.axes.index("Y")]), int(shape[self.axes.index("X")])

    def read(self, z: int, box: tuple[int, int, int, int] | None = None) -> NDArray[np.uint8]:
        """Read class indices (Y, X) of a slice or of a half-open box; 255 where nothing is said."""
        plane = self.plane(z, box)
        result = np.full(plane.shape, IGNORE, dtype=np.uint8)
        for index, value in enumerate(self.values):
            if value:
                result[plane == value] = index
        return result

    def slices(self) -> tuple[int, ...]:
        """Slices with labelled pixels; looks through all of them."""
        return tuple(z for z in range(self.n_slices) if (self.read(z) != IGNORE).any())

    def unknown(self, z: int) -> tuple[int, ...]:
        """Label values on a slice that stand for no class."""
        found = set(np.unique(self.plane(z)).tolist()) - {0, *self.values}
        return tuple(sorted(int(value) for value in found))

    def plane(
        self, z: int, box: tuple[int, int, int, int] | None = None
    ) -> NDArray[np.integer[Any]]:
        """Read label values (Y, X) of a slice or box."""
        y0, x0, y1, x1 = box or (0, 0, *self.shape_of(z))
        where = {"Z": z, "C": slice(None), "Q": 0, "Y": slice(y0, y1), "X": slice(x0, x1)}
        plane = np.asarray(self.data[tuple(where[axis] for axis in self.axes)])
        plane = plane.max(axis=0) if "C" in self.axes else plane
        if self.has_instances:
            return (plane != 0).astype(np.uint8)
        if self.levels:
            levels = np.array(self.levels)
            return levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, plane)]
        return plane


def sampled_values(labels: PaintedLabels, current: int) -> tuple[int, ...]:
    """Label values on the current slice and on a few others."""
    found = {int(v) for z in _sample(labels, current) for v in np.unique(labels.plane(z))}
    return tuple(sorted(found - {0}))


def spread_levels(labels: PaintedLabels, current: int) -> tuple[int, ...]:
    """Values that were meant where JPEG or smoothing left others, from a few slices; or none."""
    from ...core.images import find_levels, stack_from_array  # scipy, which opening the dock spares

    planes = np.stack([labels.plane(z) for z in _sample(labels, current)])
    levels = find_levels(stack_from_array(planes))
    return tuple(int(value) for value in levels.values) if levels.are_clear else ()


def _sample(labels: PaintedLabels, current: int) -> list[int]:
    spread = np.linspace(0, labels.n_slices - 1, _N_SAMPLED).astype(int).tolist()
    return sorted({current, *spread})


def guess_values(found: Sequence[int], n_classes: int) -> tuple[int, ...]:
    """Guess which label value stands for which class, background first; 0 = not painted.

    As a rule, value 1 is the background, 2 the first class, and so on, since 0 is unlabelled.
    Values for all classes but the background, which do not follow the rule, are those in order: a
    mask. Of more values than classes nothing is guessed.

    Examples
    --------
    >>> guess_values([1, 2], 2)
    (1, 2)
    >>> guess_values([255], 2), guess_values([-1, 1], 2), guess_values([127, 255], 3)
    ((0, 255), (0, 1), (0, 127, 255))
    >>> guess_values([1, 2, 3], 2)
    (0, 0)
    """
    above = tuple(value for value in found if value > 0)
    rule = tuple(range(1, n_classes + 1))
    if len(above) > n_classes:
        return (0,) * n_classes
    if len(above) == n_classes - 1 and (n_classes == 2 or not set(above) <= set(rule)):
        return (0, *above)
    return rule
