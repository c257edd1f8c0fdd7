"""Proofreading: what a person does to the objects of a result, step by step, and takes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...core.base import InputError
from .history import History
from .objects import BOX, FoundObjects

if TYPE_CHECKING:
    import pandas as pd

_Box = tuple[slice, slice, slice]
_Ints = npt.NDArray[np.int64]
_GONE = -1
_MAX_STEPS = 200  # each keeps the voxels that it changed


@dataclass(frozen=True)
class _Change:
    """Numbers of some voxels, and which objects are judged, before and after.

    A voxel that was taken from an object by hand has -1, so that it is known to be background.
    """

    places: _Ints  # in the flat array
    before: npt.NDArray[np.int32]
    after: npt.NDArray[np.int32]
    judged: tuple[tuple[int, bool, bool], ...]


class ObjectEdits:
    """Changes found objects in place and keeps their table in line with them.

    Parameters
    ----------
    found : FoundObjects
    measure : callable
        Returns the rows of some objects, from their numbers and the box where they are.
    edges_um : sequence of float or None
        Edges (z, y, x) of a voxel.
    told : callable
        Called with the flat places that changed, after each step and after it is taken back.
    """

    def __init__(
        self,
        found: FoundObjects,
        measure: Callable[[Sequence[int], _Box], pd.DataFrame],
        edges_um: Sequence[float | None],
        told: Callable[[_Ints], object],
    ) -> None:
        self._found = found
        self._measure = measure
        self._edges = edges_um
        self._told = told
        self._n_in_slices = np.array([np.count_nonzero(one) for one in found.instances])
        # of the object that is added next
        self.next_number = int(found.table["object"].max()) + 1 if len(found.table) else 1
        self._order: pd.DataFrame | None = None
        self._ordered: pd.DataFrame | None = None  # table of which it is the order
        self.history = History(self._put, _MAX_STEPS)

    # -- what is done ----------------------------------------------------------------------------

    def keep(self, number: int) -> None:
        """Say that an object is right as it is."""
        self._row(number)
        self._do(np.zeros(0, np.int64), np.zeros(0, np.int32), [number])

    def delete(self, number: int) -> None:
        """Make an object background, which is said to be right."""
        self._edit([number], lambda part: part.__setitem__(part == number, 0), [])

    def merge(self, number: int, other: int) -> None:
        """Make two objects one, with the number of the first.

        InputError if they are the same, or lie in different slices where each slice stands alone.
        """
        from ...core.analysis import merge_objects

        if number == other:
            raise InputError(f"{number} is the same object; click on another one.")
        is_apart = self._row(number)["z0"] != self._row(other)["z0"]
        if self._found.request.per_slice and is_apart:
            raise InputError(
                f"objects {number} and {other} lie in different slices, and each slice stands "
                "alone; find objects in the volume to merge them."
            )
        self._edit([number, other], lambda part: merge_objects(part, (number, other)), [number])

    def fill(self, number: int) -> None:
        """Fill the holes of an object; InputError if there are none."""
        from ...core.analysis import fill_object

        self._edit([number], lambda part: fill_object(part, number), [number])

    def split_at_points(self, points: Sequence[Sequence[int]]) -> None:
        """Split the object on which some points (z, y, x) lie, into a part for each.

        Raises
        ------
        InputError
            If they are fewer than two, or do not lie on one object.
        """
        from ...core.analysis import split_at_points

        found = [self.number_at(one) for one in points]
        if not found or 0 in found or len(set(found)) > 1:
            raise InputError("the points are not all on one object; click once on each part.")
        self._split(found[0], split_at_points, points)

    def split_along(self, line: Sequence[Sequence[float]]) -> None:
        """Split the object that is most under a line of corners (z, y, x).

        InputError if it does not cut one in two.
        """
        from ...core.analysis import split_along_line

        corners, steps = np.asarray(line, float), np.linspace(0, 1, 500)[:, None]
        places = np.concatenate([one + steps * (other - one) for one, other in pairwise(corners)])
        under = [number for number in map(self.number_at, np.rint(places)) if number]
        if not under:
            raise InputError("the line crosses no object; draw it right through one.")
        self._split(int(np.bincount(under).argmax()), split_along_line, line)

    def take_paint(self, places: _Ints, before: npt.NDArray[Any]) -> None:
        """Take note of numbers that somebody painted in the array.

        The places are in the flat array, each once; ``before`` is what was there. Where each slice
        stands alone, what is painted in another slice is another object.
        """
        found, per_slice = self._found, self._found.request.per_slice
        flat = found.instances.reshape(-1)
        after = flat[places].copy()
        flat[places] = before
        self.next_number = max(self.next_number, int(after.max(initial=0)) + 1)
        if per_slice:
            zs = places // found.instances[0].size
            first = dict(zip(found.table["object"], found.table["z0"], strict=True))
            for z, number in np.unique(np.stack([zs, after]), axis=1).T.tolist():
                if number and first.setdefault(number, z) != z:
                    after[(zs == z) & (after == number)] = self.next_number
                    self.next_number += 1
        by_hand = np.unique(np.where(after > 0, after, before))
        self._do(places, after, [int(number) for number in by_hand if number])

    # -- what is to be looked at -----------------------------------------------------------------

    def queue(self) -> pd.DataFrame:
        """Objects that nobody judged, what stands out first; see `doubtful_objects`."""
        from ...core.analysis import doubtful_objects

        if self._order is None or self._ordered is not self._found.table:
            self._ordered = self._found.table
            self._order = doubtful_objects(self._ordered, self._n_in_slices)
        return self._order[~self._order["object"].isin(self._found.judged)]

    def after(self, number: int) -> tuple[int, int] | None:
        """Return the object to be looked at after another one, and in which slice (-1 for any).

        None if all are judged.
        """
        queue = self.queue()
        numbers = queue["object"].tolist()
        if not numbers:
            return None
        place = (numbers.index(number) + 1) % len(numbers) if number in numbers else 0
        return int(numbers[place]), int(queue["slice"].iloc[place])

    def number_at(self, place: Iterable[float]) -> int:
        """Number of the object at (z, y, x); 0 if there is none."""
        index = tuple(int(one) for one in place)
        shape = self._found.instances.shape
        is_within = all(0 <= i < n for i, n in zip(index, shape, strict=True))
        return int(self._found.instances[index]) if is_within else 0

    # -- inside ----------------------------------------------------------------------------------

    def _row(self, number: int) -> pd.Series[Any]:
        rows = self._found.table[self._found.table["object"] == number]
        if rows.empty:
            raise InputError("No object is chosen; click on one.")
        return rows.iloc[0]

    def _box(self, numbers: Iterable[int]) -> tuple[list[int], list[int]] | None:
        """Corners of the box around some objects, by the table."""
        rows = self._found.table[self._found.table["object"].isin(list(numbers))]
        if rows.empty:
            return None
        low, high = (rows[list(names)].to_numpy(int) for names in (BOX[:3], BOX[3:]))
        return low.min(axis=0).tolist(), high.max(axis=0).tolist()

    def _split(
        self, number: int, split: Callable[..., tuple[int, ...]], where: Sequence[Sequence[float]]
    ) -> None:
        """Split an object by a function of the core, within its box."""
        low, _ = self._box([number]) or ([0, 0, 0], None)
        places = np.asarray(where) - low
        new: list[int] = []
        self._edit(
            [number],
            lambda part: new.extend(
                split(part, number, places, edges_um=self._edges, first_new=self.next_number)
            ),
            new,
        )
        self.next_number = max(self.next_number, max(new) + 1)

    def _edit(
        self,
        numbers: Sequence[int],
        act: Callable[[npt.NDArray[np.int32]], object],
        judged: Sequence[int],
    ) -> None:
        """Change objects within their box."""
        for number in numbers:
            self._row(number)
        low, high = self._box(numbers) or ([], [])
        view = self._found.instances[tuple(map(slice, low, high))]
        part = view.copy()
        act(part)
        inside = np.nonzero(part != view)
        if not len(inside[0]):
            raise InputError(f"object {numbers[0]} has no hole that it encloses within a slice.")
        index = tuple(one + start for one, start in zip(inside, low, strict=True))
        places = np.ravel_multi_index(index, self._found.instances.shape)
        self._do(places.astype(np.int64), part[inside], judged)

    def _do(self, places: _Ints, after: npt.NDArray[np.int32], judged: Sequence[int]) -> None:
        found = self._found
        before = found.instances.reshape(-1)[places]
        is_gone = found.removed.reshape(-1)[places] & (before == 0)
        self.history.do(
            _Change(
                places,
                np.where(is_gone, _GONE, before),
                np.where(after == 0, _GONE, after),
                tuple((number, number in found.judged, True) for number in judged),
            )
        )

    def _put(self, change: _Change, is_back: bool) -> None:
        found = self._found
        numbers = change.before if is_back else change.after
        found.instances.reshape(-1)[change.places] = np.maximum(numbers, 0)
        found.removed.reshape(-1)[change.places] = numbers == _GONE
        for number, was, is_now in change.judged:
            (found.judged.add if (was if is_back else is_now) else found.judged.discard)(number)
        if len(change.places):
            self._measure_again(change)
        self._told(change.places)

    def _measure_again(self, change: _Change) -> None:
        """Put the rows of changed objects into the table, as another one."""
        import pandas as pd

        found, shape = self._found, self._found.instances.shape
        numbers = np.unique(np.concatenate([change.before, change.after]))
        numbers = numbers[numbers > 0].tolist()
        corners = np.stack(np.unravel_index(change.places, shape))
        low, high = corners.min(axis=1), corners.max(axis=1) + 1
        if box := self._box(numbers):
            low, high = np.minimum(low, box[0]), np.maximum(high, box[1])
        z, y, x = map(slice, low.tolist(), high.tolist())
        rows = self._measure(numbers, (z, y, x))
        others = found.table[~found.table["object"].isin(numbers)]
        parts = [one for one in (others, rows) if len(one)] or [rows]
        found.table = pd.concat(parts).sort_values("object", kind="stable", ignore_index=True)
        for index in range(z.start, z.stop):
            self._n_in_slices[index] = np.count_nonzero(found.instances[index])
