"""Objects of a stack, found strip by strip: connected parts of a class, or what has one id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ..base import InputError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MAX_RUNS = 2**25  # in a slice; a gigabyte, which only noise and patterns of single pixels need

_IN_PLANE = ((0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, -1))
_ACROSS = tuple((1, dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
DIRECTIONS = np.array(_IN_PLANE + _ACROSS)
"""Steps (z, y, x) from a voxel to its neighbours, each pair once (13, 3); 4 lie in the plane."""

_BELOW, _NEXT = DIRECTIONS.tolist().index([0, 1, 0]), DIRECTIONS.tolist().index([1, 0, 0])
_N_MOMENTS = 10  # n, z, y, x, zz, zy, zx, yy, yx, xx
_SECOND = np.array([[4, 5, 6], [5, 7, 8], [6, 8, 9]])


@dataclass(frozen=True)
class Components:
    """Objects, one per row, in the order of their first pixel, or of their ids.

    Attributes
    ----------
    n_voxels : ndarray of int, (N,)
    low, high : ndarray of int, (N, 3)
        Half-open bounding boxes (z, y, x).
    first : ndarray of int, (N, 3)
        First voxel (z, y, x), from top to bottom and left to right.
    centroid : ndarray of float, (N, 3)
        Mean position (z, y, x) of the voxel centres.
    covariance : ndarray of float, (N, 3, 3)
        Of these positions.
    pairs : ndarray of int, (N, 13)
        How many voxels have a neighbour of the same object, by `DIRECTIONS`; in objects of single
        slices by those in the plane.
    means : ndarray of float, (N, k)
        Of each of the values that came with the strips.
    is_cut : ndarray of bool, (N,)
        Whether the object touches the edge of a slice or, in a stack, its first or last slice.
    ids : ndarray of int, (N,)
        Id of each object; 0 for connected parts.
    """

    n_voxels: Ints
    low: Ints
    high: Ints
    first: Ints
    centroid: Floats
    covariance: Floats
    pairs: Ints
    means: Floats
    is_cut: Bools
    ids: Ints

    def take(self, rows: npt.NDArray[Any]) -> Self:
        """Return some of the objects, by index or by a mask."""
        return type(self)(*(getattr(self, one.name)[rows] for one in fields(self)))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return the objects of all parts, one after the other."""
        return cls(
            *(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls))
        )


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
    n_values : int
        How many values come with each pixel, of which the means are wanted.
    """

    def __init__(self, *, is_volume: bool, has_ids: bool = False, n_values: int = 0) -> None:
        self._is_volume = is_volume
        self._has_ids = has_ids
        self._z = -2
        self._shape = (0, 0)
        self._strips: list[tuple[Ints, Floats]] = []
        self._n_runs = 0
        # the last slice with the class: its index, and the starts, ends and parts of its runs
        nothing = np.zeros(0, dtype=np.int64)
        self._above: tuple[int, Ints, Ints, npt.NDArray[Any]] = -2, nothing, nothing, nothing
        self._n_parts = 0
        self._sums: list[Floats] = [np.zeros((0, _N_MOMENTS + n_values))]
        self._pairs: list[Ints] = [np.zeros((0, len(_IN_PLANE)), dtype=np.int64)]
        self._boxes: list[Ints] = [np.zeros((0, 3, 3), dtype=np.int64)]  # low, high, first
        self._cuts: list[Bools] = [np.zeros(0, dtype=bool)]
        self._ids: list[Ints] = [nothing]
        # parts that touch: two parts, the direction, the number of pairs of voxels
        self._touching: list[Ints] = [np.zeros((4, 0), dtype=np.int64)]

    def add(
        self,
        z: int,
        strip: npt.NDArray[Any],
        *,
        values: npt.NDArray[Any] | None = None,
        origin: tuple[int, int] = (0, 0),
        shape: tuple[int, int] | None = None,
    ) -> None:
        """Add rows of slice ``z``, from top to bottom, after all of lower slices.

        Strips without the class may be left out. Pixels join across edges, slices across faces.

        Parameters
        ----------
        strip : ndarray of bool, or of int, (rows, columns)
            Where the class is, or the ids, 0 = nothing.
        values : ndarray, (k, rows, columns), optional
            Values of which the mean over each object is wanted.
        origin : (int, int)
            Row and column of the strip's first pixel in the slice.
        shape : (int, int), optional
            Rows and columns of the slice; those of the strip by default.

        Raises
        ------
        InputError
            If the slice is in more pieces than any objects are.
        """
        if z != self._z:
            self._end_slice()
            self._z = z
            self._shape = shape or (len(strip), strip.shape[1])
        runs = _runs(strip)
        sums = np.zeros((runs.shape[1], 0 if values is None else len(values)))
        ends = (runs[0] * strip.shape[1] + runs[1:3]).T.reshape(-1)  # of each run, in turn
        for index, one in enumerate(() if values is None or not ends.size else values):
            # not differences of cumulative sums, in which a pixel elsewhere might leave its trace
            padded = np.append(one, 0.0).astype(np.float64, copy=False)
            sums[:, index] = np.add.reduceat(padded, ends)[::2]
        runs[:3] += np.array([origin[0], origin[1], origin[1]])[:, None]
        self._n_runs += runs.shape[1]
        if self._n_runs > _MAX_RUNS:
            raise InputError(
                f"slice {z} of the labels is in more than {_MAX_RUNS // 10**6} million pieces, as "
                "noise is; give labels of objects."
            )
        self._strips.append((runs, sums))

    def finish(self, n_slices: int) -> Components:
        """Join the parts of all slices, of a stack of ``n_slices``, into objects."""
        self._end_slice()
        ids = np.concatenate(self._ids)
        one, other, direction, n_pairs = np.concatenate(self._touching, axis=1)
        if not self._has_ids:
            is_face = direction == _NEXT
            n_found, whole = _connected(np.stack([one, other])[:, is_face], self._n_parts)
        elif self._is_volume:
            ids, whole = np.unique(ids, return_inverse=True)
            n_found = len(ids)
        else:
            n_found, whole = self._n_parts, np.arange(self._n_parts)
        sums = _sum_by(whole, n_found, np.concatenate(self._sums))
        low = np.full((n_found, 3), np.iinfo(np.int64).max)
        high = np.zeros((n_found, 3), dtype=np.int64)
        is_cut = np.zeros(n_found, dtype=bool)
        boxes = np.concatenate(self._boxes)
        np.minimum.at(low, whole, boxes[:, 0])
        np.maximum.at(high, whole, boxes[:, 1])
        np.logical_or.at(is_cut, whole, np.concatenate(self._cuts))
        if self._is_volume:
            is_cut |= (low[:, 0] == 0) | (high[:, 0] == n_slices)
        pairs = np.zeros((n_found, len(DIRECTIONS)), dtype=np.int64)
        np.add.at(pairs[:, : len(_IN_PLANE)], whole, np.concatenate(self._pairs))
        is_within = whole[one] == whole[other]
        np.add.at(pairs, (whole[one[is_within]], direction[is_within]), n_pairs[is_within])
        means = sums / sums[:, :1]
        centroid = means[:, 1:4]
        return Components(
            n_voxels=sums[:, 0].astype(np.int64),
            low=low,
            high=high,
            first=boxes[np.unique(whole, return_index=True)[1], 2],
            centroid=centroid,
            covariance=means[:, _SECOND] - centroid[:, :, None] * centroid[:, None],
            pairs=pairs,
            means=means[:, _N_MOMENTS:],
            is_cut=is_cut,
            ids=ids if self._has_ids else np.zeros(n_found, dtype=np.int64),
        )

    def _end_slice(self) -> None:
        """Make 2D parts of the runs of a slice, and link them with those of the slice before."""
        if not self._strips:
            return
        row, start, stop, ids = np.concatenate([runs for runs, _ in self._strips], axis=1)
        values = np.concatenate([sums for _, sums in self._strips])
        self._strips, self._n_runs = [], 0
        width = self._shape[1]
        stride = width + 2  # what is shifted by a column ends in no other row
        first, last = row * stride + start, row * stride + stop
        beside = {
            d: _overlaps(first, last, dy * stride + dx, first, last)
            for d, (_, dy, dx) in enumerate(_IN_PLANE)
            if dy
        }
        if self._has_ids:
            found, part = np.unique(ids, return_inverse=True)
            n_found = len(found)
        else:
            n_found, part = _connected(beside[_BELOW][:2], len(row))
            found = np.zeros(n_found, dtype=np.int64)
        n_pixels = stop - start
        self._sums.append(
            _sum_by(part, n_found, np.hstack([_moments(self._z, row, start, stop), values]))
        )
        pairs = np.zeros((n_found, len(_IN_PLANE)), dtype=np.int64)
        np.add.at(pairs[:, 0], part, n_pixels - 1)
        for d, (one, other, n) in beside.items():
            is_within = part[one] == part[other]
            np.add.at(pairs[:, d], part[one[is_within]], n[is_within])
            if self._is_volume and not self._has_ids:  # they may be one object yet
                self._touch(
                    d, part[one] + self._n_parts, part[other] + self._n_parts, n, ~is_within
                )
        self._pairs.append(pairs)
        self._boxes.append(_boxes(part, n_found, self._z, row, start, stop))
        low, high = self._boxes[-1][:, 0, 1:], self._boxes[-1][:, 1, 1:]
        self._cuts.append((low == 0).any(axis=1) | (high == self._shape).any(axis=1))
        self._ids.append(found)
        part = part + self._n_parts
        self._n_parts += n_found
        if not self._is_volume:
            return
        above_z, *above = self._above
        if above_z == self._z - 1:
            known = np.concatenate(self._ids[-2:]) if self._has_ids else None
            for d, (_, dy, dx) in enumerate(_ACROSS, start=len(_IN_PLANE)):
                one, other, n = _overlaps(above[0], above[1], dy * stride + dx, first, last)
                p, q = above[2][one], part[other]
                is_same = np.ones(len(p), dtype=bool)
                if known is not None:
                    offset = self._n_parts - len(known)
                    is_same = known[p - offset] == known[q - offset]
                self._touch(d, p, q, n, is_same)
        self._above = self._z, first, last, part

    def _touch(self, direction: int, one: Ints, other: Ints, n: Ints, where: Bools) -> None:
        """Note how many pairs of voxels parts have in a direction."""
        keys, place = np.unique(one[where] * 2**31 + other[where], return_inverse=True)
        counts = np.bincount(place, weights=n[where], minlength=len(keys)).astype(np.int64)
        self._touching.append(
            np.stack([keys >> 31, keys & (2**31 - 1), np.full_like(keys, direction), counts])
        )


def _runs(strip: npt.NDArray[Any]) -> Ints:
    """Rows, starts, stops and values (4, n) of the stretches of equal pixels other than 0."""
    is_there = strip != 0
    is_edge = np.ones((strip.shape[0], strip.shape[1] + 1), dtype=bool)
    np.not_equal(strip[:, 1:], strip[:, :-1], out=is_edge[:, 1:-1])
    rows, starts = np.nonzero(is_edge[:, :-1] & is_there)
    stops = np.nonzero(is_edge[:, 1:] & is_there)[1] + 1
    return np.stack([rows, starts, stops, strip[rows, starts].astype(np.int64)])


def _moments(z: int, row: Ints, start: Ints, stop: Ints) -> Floats:
    """Sums over the voxels of each run: 1, z, y, x, and the products of two of z, y and x."""
    n, y = (stop - start).astype(float), row.astype(float)
    x = n * (start + stop - 1) / 2
    to_stop, to_start = ((m - 1.0) * m * (2 * m - 1) / 6 for m in (stop, start))
    squares = [n * z * z, n * z * y, x * z, n * y * y, x * y, to_stop - to_start]
    return np.stack([n, n * z, n * y, x, *squares], axis=1)


def _boxes(part: Ints, n_parts: int, z: int, row: Ints, start: Ints, stop: Ints) -> Ints:
    """Corners and first pixel (z, y, x) of parts, (n, 3, 3)."""
    boxes = np.full((n_parts, 3, 3), z, dtype=np.int64)
    boxes[:, 0, 1:], boxes[:, 1, 0], boxes[:, 1, 1:] = np.iinfo(np.int64).max, z + 1, 0
    for axis, (least, most) in enumerate(((row, row + 1), (start, stop)), start=1):
        np.minimum.at(boxes[:, 0, axis], part, least)
        np.maximum.at(boxes[:, 1, axis], part, most)
    runs = np.unique(part, return_index=True)[1]
    boxes[:, 2, 1], boxes[:, 2, 2] = row[runs], start[runs]
    return boxes


def _sum_by(group: npt.NDArray[Any], n_groups: int, rows: Floats) -> Floats:
    """Sum rows by their group."""
    n = len(rows)
    which = sparse.csr_matrix((np.ones(n), (group, np.arange(n))), shape=(n_groups, n))
    sums: Floats = which @ rows
    return sums


def _overlaps(first: Ints, last: Ints, shift: int, other_first: Ints, other_last: Ints) -> Ints:
    """Pairs of two sorted rows of intervals, the first of them shifted, that have pixels in common.

    Returns the indices of both, and how many pixels they have in common (3, n).
    """
    first, last = first + shift, last + shift
    begin = np.searchsorted(other_last, first, side="right")
    counts = np.searchsorted(other_first, last, side="left") - begin
    one = np.repeat(np.arange(len(first)), counts)
    other = np.arange(len(one)) + np.repeat(begin - np.cumsum(counts) + counts, counts)
    n = np.minimum(last[one], other_last[other]) - np.maximum(first[one], other_first[other])
    return np.stack([one, other, n])


def _connected(pairs: Ints, n: int) -> tuple[int, npt.NDArray[np.intp]]:
    """Count the groups of ``n`` things of which pairs are linked, and number them in order."""
    graph = sparse.coo_matrix((np.ones(pairs.shape[1], dtype=bool), tuple(pairs)), shape=(n, n))
    n_found, group = sparse.csgraph.connected_components(graph, directed=False)
    return n_found, group.astype(np.intp)
