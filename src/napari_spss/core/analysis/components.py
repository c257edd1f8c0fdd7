"""Objects of a stack, found strip by strip: connected parts of a class, or what has one id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ..base import InputError

__all__ = ["ComponentCollector", "Components"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MAX_RUNS = 2**25  # in a slice; a gigabyte, which only noise and patterns of single pixels need


@dataclass(frozen=True)
class Components:
    """Objects, one per row, in the order of their first pixel, or of their ids.

    Attributes
    ----------
    n_voxels : ndarray of int, (N,)
    low, high : ndarray of int, (N, 3)
        Half-open bounding boxes (z, y, x).
    centroid : ndarray of float, (N, 3)
        Mean position (z, y, x) of the voxel centres.
    is_cut : ndarray of bool, (N,)
        Whether the object touches the edge of a slice or, in a stack, its first or last slice.
    ids : ndarray of int, (N,), or None
        Id of each object; None for connected parts.
    """

    n_voxels: Ints
    low: Ints
    high: Ints
    centroid: Floats
    is_cut: Bools
    ids: Ints | None = None


class ComponentCollector:
    """Takes the strips of one class in order; holds the runs of two slices and a row per 2D part.

    A run is a stretch of equal pixels in a row of the image, so that memory follows what is there,
    not the size of a slice.

    Parameters
    ----------
    is_volume : bool
        Join parts that overlap in neighbouring slices, or carry one id; else every slice stands
        alone.
    has_ids : bool
        Whether pixels carry ids of objects, which then need not be connected.
    """

    def __init__(self, *, is_volume: bool, has_ids: bool = False) -> None:
        self._is_volume = is_volume
        self._has_ids = has_ids
        self._z = -2
        self._shape = (0, 0)
        self._strips: list[Ints] = []
        self._n_runs = 0
        # the last slice with the class: its index, and the starts, ends and parts of its runs
        nothing = np.zeros(0, dtype=np.int64)
        self._above: tuple[int, Ints, Ints, npt.NDArray[Any]] = -2, nothing, nothing, nothing
        self._n_parts = 0
        self._areas: list[Ints] = [np.zeros(0, dtype=np.int64)]
        self._sums: list[Floats] = [np.zeros((0, 3))]
        self._lows: list[Ints] = [np.zeros((0, 3), dtype=np.int64)]
        self._highs: list[Ints] = [np.zeros((0, 3), dtype=np.int64)]
        self._cuts: list[Bools] = [np.zeros(0, dtype=bool)]
        self._links: list[Ints] = [np.zeros((2, 0), dtype=np.int64)]
        self._ids: list[Ints] = [np.zeros(0, dtype=np.int64)]

    def add(
        self, z: int, strip: npt.NDArray[Any], *, first_row: int = 0, height: int | None = None
    ) -> None:
        """Add rows of slice ``z``, from top to bottom, after all of lower slices.

        Strips without the class may be left out. Pixels join across edges, slices across faces.

        Parameters
        ----------
        strip : ndarray of bool, or of int, (rows, X)
            Where the class is, or the ids, 0 = nothing.
        first_row : int
            Of the strip, in the slice.
        height : int, optional
            Rows of the slice; those of the strip by default.

        Raises
        ------
        InputError
            If the slice is in more pieces than any objects are.
        """
        if z != self._z:
            self._end_slice()
            self._z = z
            self._shape = (height or len(strip), strip.shape[1])
        runs = _runs(strip)
        runs[0] += first_row
        self._n_runs += runs.shape[1]
        if self._n_runs > _MAX_RUNS:
            raise InputError(
                f"slice {z} of the labels is in more than {_MAX_RUNS // 10**6} million pieces, as "
                "noise is; give labels of objects."
            )
        self._strips.append(runs)

    def finish(self, n_slices: int) -> Components:
        """Join the parts of all slices, of a stack of ``n_slices``, into objects."""
        self._end_slice()
        ids = np.concatenate(self._ids)
        found: Ints | None = None
        if not self._has_ids:
            n_found, whole = _connected(np.concatenate(self._links, axis=1), self._n_parts)
        elif self._is_volume:
            found, whole = np.unique(ids, return_inverse=True)
            n_found = len(found)
        else:
            found, whole, n_found = ids, np.arange(self._n_parts), self._n_parts
        n_voxels = np.zeros(n_found, dtype=np.int64)
        sums = np.zeros((n_found, 3))
        low = np.full((n_found, 3), np.iinfo(np.int64).max)
        high = np.zeros((n_found, 3), dtype=np.int64)
        is_cut = np.zeros(n_found, dtype=bool)
        lows, highs = np.concatenate(self._lows), np.concatenate(self._highs)
        np.add.at(n_voxels, whole, np.concatenate(self._areas))
        np.add.at(sums, whole, np.concatenate(self._sums))
        np.minimum.at(low, whole, lows)
        np.maximum.at(high, whole, highs)
        np.logical_or.at(is_cut, whole, np.concatenate(self._cuts))
        if self._is_volume:
            is_cut |= (low[:, 0] == 0) | (high[:, 0] == n_slices)
        return Components(n_voxels, low, high, sums / n_voxels[:, None], is_cut, found)

    def _end_slice(self) -> None:
        """Make 2D parts of the runs of a slice, and link them with those of the slice before."""
        if not self._strips:
            return
        row, start, stop, ids = np.concatenate(self._strips, axis=1)
        self._strips, self._n_runs = [], 0
        height, width = self._shape
        first, last = row * width + start, row * width + stop
        if self._has_ids:
            values, part = np.unique(ids, return_inverse=True)
            self._ids.append(values)
            n_found = len(values)
        else:
            below = _overlaps(first, last, first + width, last + width)
            n_found, part = _connected(below, len(row))
        n_pixels = stop - start
        area = np.bincount(part, weights=n_pixels, minlength=n_found)
        y_sum = np.bincount(part, weights=n_pixels * row, minlength=n_found)
        x_sum = np.bincount(part, weights=n_pixels * (start + stop - 1) / 2, minlength=n_found)
        low = np.full((n_found, 3), self._z, dtype=np.int64)
        high = np.full((n_found, 3), self._z + 1, dtype=np.int64)
        low[:, 1:], high[:, 1:] = (height, width), 0
        for axis, (least, most) in enumerate(((row, row + 1), (start, stop)), start=1):
            np.minimum.at(low[:, axis], part, least)
            np.maximum.at(high[:, axis], part, most)
        self._areas.append(area.astype(np.int64))
        self._sums.append(np.stack([area * self._z, y_sum, x_sum], axis=1))
        self._lows.append(low)
        self._highs.append(high)
        self._cuts.append((low[:, 1:] == 0).any(axis=1) | (high[:, 1:] == self._shape).any(axis=1))
        part = part + self._n_parts
        self._n_parts += n_found
        if not self._is_volume or self._has_ids:
            return
        above_z, *above = self._above
        if above_z == self._z - 1:
            pairs = _overlaps(above[0], above[1], first, last)
            links = np.stack([above[2][pairs[0]], part[pairs[1]]])
            self._links.append(np.unique(links, axis=1))
        self._above = self._z, first, last, part


def _runs(strip: npt.NDArray[Any]) -> Ints:
    """Rows, starts, stops and values (4, n) of the stretches of equal pixels other than 0."""
    is_there = strip != 0
    is_edge = np.ones((strip.shape[0], strip.shape[1] + 1), dtype=bool)
    np.not_equal(strip[:, 1:], strip[:, :-1], out=is_edge[:, 1:-1])
    rows, starts = np.nonzero(is_edge[:, :-1] & is_there)
    stops = np.nonzero(is_edge[:, 1:] & is_there)[1] + 1
    return np.stack([rows, starts, stops, strip[rows, starts].astype(np.int64)])


def _overlaps(first: Ints, last: Ints, other_first: Ints, other_last: Ints) -> Ints:
    """Indices (2, n) of the pairs of two sorted rows of intervals that have pixels in common."""
    begin = np.searchsorted(other_last, first, side="right")
    counts = np.searchsorted(other_first, last, side="left") - begin
    one = np.repeat(np.arange(len(first)), counts)
    other = np.arange(len(one)) + np.repeat(begin - np.cumsum(counts) + counts, counts)
    return np.stack([one, other])


def _connected(pairs: Ints, n: int) -> tuple[int, npt.NDArray[np.intp]]:
    """Count the groups of ``n`` things of which pairs are linked, and number them in order."""
    graph = sparse.coo_matrix((np.ones(pairs.shape[1], dtype=bool), tuple(pairs)), shape=(n, n))
    n_found, group = sparse.csgraph.connected_components(graph, directed=False)
    return n_found, group.astype(np.intp)
