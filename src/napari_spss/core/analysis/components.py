"""Connected components of one class through a stack, found slice by slice and joined afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

__all__ = ["ComponentCollector", "Components"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Components:
    """Connected components, one per row, in the order of their first pixel.

    Attributes
    ----------
    n_voxels : ndarray of int, (N,)
    low, high : ndarray of int, (N, 3)
        Half-open bounding boxes (z, y, x).
    centroid : ndarray of float, (N, 3)
        Mean position (z, y, x) of the voxel centres.
    is_cut : ndarray of bool, (N,)
        Whether the object touches the edge of a slice or, in a stack, its first or last slice.
    """

    n_voxels: Ints
    low: Ints
    high: Ints
    centroid: Floats
    is_cut: Bools


class ComponentCollector:
    """Takes the slices of one class in order; holds two slices and a row per 2D component.

    Parameters
    ----------
    is_volume : bool
        Join components that overlap in neighbouring slices; else every slice stands alone.
    """

    def __init__(self, *, is_volume: bool) -> None:
        self._is_volume = is_volume
        self._n_parts = 0
        self._last_z = -2
        self._previous = np.zeros((0, 0), dtype=np.int64)
        self._areas: list[Ints] = [np.zeros(0, dtype=np.int64)]
        self._sums: list[Floats] = [np.zeros((0, 3))]
        self._lows: list[Ints] = [np.zeros((0, 3), dtype=np.int64)]
        self._highs: list[Ints] = [np.zeros((0, 3), dtype=np.int64)]
        self._cuts: list[Bools] = [np.zeros(0, dtype=bool)]
        self._links: list[Ints] = [np.zeros((0, 2), dtype=np.int64)]

    def add(self, z: int, is_class: Bools) -> None:
        """Add slice ``z``, (Y, X), after all lower ones; slices without the class may be left out.

        Pixels join across edges, slices across faces.
        """
        numbers, n_found = ndimage.label(is_class)
        boxes = ndimage.find_objects(numbers)
        low = np.array([[z, b[0].start, b[1].start] for b in boxes], dtype=np.int64).reshape(-1, 3)
        high = np.array([[z + 1, b[0].stop, b[1].stop] for b in boxes], dtype=np.int64)
        high = high.reshape(-1, 3)
        rows, columns = np.nonzero(numbers)
        found = numbers[rows, columns] - 1
        areas = np.bincount(found, minlength=n_found).astype(np.int64)
        y_sums = np.bincount(found, weights=rows, minlength=n_found)
        x_sums = np.bincount(found, weights=columns, minlength=n_found)
        self._areas.append(areas)
        self._sums.append(np.stack([areas * float(z), y_sums, x_sums], axis=1))
        self._lows.append(low)
        self._highs.append(high)
        self._cuts.append(
            (low[:, 1:] == 0).any(axis=1) | (high[:, 1:] == is_class.shape).any(axis=1)
        )
        # Numbers of this slice's parts among all parts, from 1.
        parts = np.where(numbers > 0, numbers.astype(np.int64) + self._n_parts, 0)
        if self._is_volume and z == self._last_z + 1:
            is_shared = (parts > 0) & (self._previous > 0)
            pairs = np.stack([self._previous[is_shared], parts[is_shared]], axis=1) - 1
            self._links.append(np.unique(pairs, axis=0))
        self._previous = parts
        self._n_parts += n_found
        self._last_z = z

    def finish(self, n_slices: int) -> Components:
        """Join the parts of all slices, of a stack of ``n_slices``, into components."""
        links = np.concatenate(self._links)
        graph = sparse.coo_matrix(
            (np.ones(len(links), dtype=bool), (links[:, 0], links[:, 1])),
            shape=(self._n_parts, self._n_parts),
        )
        n_found, component = sparse.csgraph.connected_components(graph, directed=False)
        n_voxels = np.zeros(n_found, dtype=np.int64)
        sums = np.zeros((n_found, 3))
        low = np.full((n_found, 3), np.iinfo(np.int64).max)
        high = np.zeros((n_found, 3), dtype=np.int64)
        is_cut = np.zeros(n_found, dtype=bool)
        np.add.at(n_voxels, component, np.concatenate(self._areas))
        np.add.at(sums, component, np.concatenate(self._sums))
        np.minimum.at(low, component, np.concatenate(self._lows))
        np.maximum.at(high, component, np.concatenate(self._highs))
        np.logical_or.at(is_cut, component, np.concatenate(self._cuts))
        if self._is_volume:
            is_cut |= (low[:, 0] == 0) | (high[:, 0] == n_slices)
        return Components(n_voxels, low, high, sums / n_voxels[:, None], is_cut)
