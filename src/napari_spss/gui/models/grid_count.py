"""Counting on grids, without any widget: marks, history, tallies, and which slice comes next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.annotations import NOT_JUDGED, UNSURE, CountingGrid, lay_grid, wilson_interval
from ...core.base import InputError
from .class_changes import follow_classes
from .history import History

__all__ = ["UNSURE", "UNTOUCHED", "GridBook", "GridSheet", "Tally", "next_slice"]

UNTOUCHED = NOT_JUDGED  # becomes background once the grid is done
BACKGROUND = 0


@dataclass(frozen=True, eq=False)
class GridSheet:
    """A grid that is being counted.

    Parameters
    ----------
    grid : CountingGrid
        What is stored.
    """

    grid: CountingGrid

    @property
    def marks(self) -> NDArray[np.int16]:
        """Class index, `UNSURE` or `UNTOUCHED` per node, shape (N,); read-only."""
        return self.grid.class_index

    @property
    def is_done(self) -> bool:
        """Whether the slice is counted."""
        return self.grid.is_done

    @property
    def is_blank(self) -> bool:
        """Whether no node was judged yet."""
        return bool(np.all(self.marks == UNTOUCHED))

    @property
    def n_unsure(self) -> int:
        """Number of nodes that were left open on purpose."""
        return int(np.count_nonzero(self.marks == UNSURE))

    def marked(self, nodes: Sequence[int] | NDArray[np.intp], mark: int) -> GridSheet:
        """Copy in which some nodes have another mark."""
        marks = self.marks.copy()
        marks[nodes] = mark
        return self._with(marks, is_done=self.is_done)

    def done(self) -> GridSheet:
        """Return a counted copy, in which untouched nodes are background."""
        marks = np.where(self.marks == UNTOUCHED, BACKGROUND, self.marks).astype(np.int16)
        return self._with(marks, is_done=True)

    def reopened(self) -> GridSheet:
        """Copy that can be changed again."""
        return self._with(self.marks, is_done=False)

    def followed(self, mapping: Sequence[int | None]) -> GridSheet:
        """Copy in which the classes have new indices; nodes of lost classes are unsure."""
        table = np.array([UNSURE if new is None else new for new in mapping], dtype=np.int16)
        marks = self.marks.copy()
        judged = marks >= 0
        known = judged & (marks < len(table))
        marks[known] = table[marks[known]]
        marks[judged & ~known] = UNSURE
        return self._with(marks, is_done=self.is_done)

    def nearest(self, y: float, x: float, radius_px: float) -> int | None:
        """Node nearest to a position, if there is one within a radius."""
        if not self.marks.size:
            return None
        distance = np.hypot(self.grid.y - y, self.grid.x - x)
        node = int(np.argmin(distance))
        return node if distance[node] <= radius_px else None

    def along(
        self, start: tuple[float, float], end: tuple[float, float], radius_px: float
    ) -> NDArray[np.intp]:
        """Nodes within a radius of a line between two positions (y, x)."""
        y0, x0 = start
        dy, dx = end[0] - y0, end[1] - x0
        length2 = dy * dy + dx * dx
        along = (self.grid.y - y0) * dy + (self.grid.x - x0) * dx
        part = np.clip(along / length2, 0.0, 1.0) if length2 > 0 else np.zeros(self.marks.size)
        distance = np.hypot(self.grid.y - y0 - part * dy, self.grid.x - x0 - part * dx)
        return np.flatnonzero(distance <= radius_px)

    def tally(self, n_classes: int, outside: Collection[int] = ()) -> tuple[Tally, ...]:
        """Count per class; nodes on classes outside the fractions and unsure ones do not count.

        As long as the grid is not done, untouched nodes count as background, provisionally.
        """
        marks = np.where(self.marks == UNTOUCHED, BACKGROUND, self.marks)
        hits = np.bincount(marks[marks >= 0], minlength=n_classes)
        n = int(sum(hits[c] for c in range(n_classes) if c not in outside))
        return tuple(Tally(c, int(hits[c]), None if c in outside else n) for c in range(n_classes))

    def _with(self, marks: NDArray[np.int16], *, is_done: bool) -> GridSheet:
        return GridSheet(self.grid.replace(class_index=marks, is_done=is_done))


@dataclass(frozen=True)
class Tally:
    """Nodes on a class.

    Parameters
    ----------
    class_index : int
    hits : int
        Nodes on the class.
    n : int or None
        Nodes that count, the denominator; None for a class outside the fractions.
    """

    class_index: int
    hits: int
    n: int | None

    @property
    def fraction(self) -> float | None:
        """Hits over nodes; None if none counts."""
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson 95 % interval; None if no node counts."""
        return wilson_interval(self.hits, self.n) if self.n else None


_Change = tuple[int, GridSheet | None, GridSheet | None]  # slice, before, after


class GridBook:
    """The grids of a stack, at most one a slice, with undo and redo over all of them.

    Counting frames are kept beside them as they are.
    """

    def __init__(self) -> None:
        self._sheets: dict[int, GridSheet] = {}
        self._frames: tuple[GridSheet, ...] = ()
        self._gone: dict[str, dict[int, tuple[CountingGrid, NDArray[np.intp]]]] = {}
        self.history = History(self._put)

    def value(self) -> tuple[CountingGrid, ...]:
        """All grids, by slice, and frames."""
        sheets = (*(self._sheets[z] for z in self.slices()), *self._frames)
        return tuple(sheet.grid for sheet in sheets)

    def set_value(self, grids: Iterable[CountingGrid]) -> None:
        """Replace all grids and forget the history."""
        sheets = [GridSheet(grid) for grid in grids]
        self._sheets = {sheet.grid.slice: sheet for sheet in sheets if sheet.grid.box is None}
        self._frames = tuple(sheet for sheet in sheets if sheet.grid.box is not None)
        self._gone.clear()
        self.history.clear()

    def slices(self) -> tuple[int, ...]:
        """Slices with a grid, ascending."""
        return tuple(sorted(self._sheets))

    def sheet(self, slice_index: int) -> GridSheet | None:
        """Sheet of a slice."""
        return self._sheets.get(slice_index)

    def counted(self) -> tuple[int, ...]:
        """Slices whose grid is done, ascending."""
        return tuple(z for z in self.slices() if self._sheets[z].is_done)

    def lay(
        self,
        slice_index: int,
        shape: tuple[int, int],
        *,
        n_side: int,
        rng: np.random.Generator,
        with_last: bool = False,
    ) -> GridSheet:
        """Lay a grid with a random offset on a slice that has none.

        Parameters
        ----------
        slice_index : int
        shape : tuple of int
            (Y, X) of the slice in pixels.
        n_side : int
            About this many nodes along a side.
        rng : numpy.random.Generator
            Draws the offset.
        with_last : bool
            Undo this together with the step before it.

        Raises
        ------
        InputError
            If the slice has a grid.
        """
        if slice_index in self._sheets:
            raise InputError(f"slice {slice_index} has a grid; remove it to lay another one.")
        sheet = GridSheet(lay_grid(slice_index, shape, n_side=n_side, rng=rng))
        self._do(slice_index, sheet, with_last=with_last)
        return sheet

    def mark(
        self,
        slice_index: int,
        nodes: Sequence[int] | NDArray[np.intp],
        mark: int,
        *,
        with_last: bool = False,
    ) -> bool:
        """Mark nodes of an open grid; return whether anything changed.

        ``with_last`` joins the step before, so that a stroke is undone as a whole.
        """
        sheet = self._sheets[slice_index]
        if sheet.is_done or np.all(sheet.marks[nodes] == mark):
            return False
        self._do(slice_index, sheet.marked(nodes, mark), with_last=with_last)
        return True

    def finish(self, slice_index: int) -> None:
        """Mark a slice as counted."""
        self._do(slice_index, self._sheets[slice_index].done())

    def reopen(self, slice_index: int) -> None:
        """Make the grid of a counted slice changeable again."""
        self._do(slice_index, self._sheets[slice_index].reopened())

    def remove(self, slice_index: int) -> None:
        """Remove the grid of a slice."""
        self._do(slice_index, None)

    def undo(self) -> int | None:
        """Take the last step back; return the slice it was on."""
        changes = self.history.take_back()
        return changes[0][0] if changes else None

    def redo(self) -> int | None:
        """Repeat the step that was last taken back; return the slice it was on."""
        changes = self.history.repeat()
        return changes[0][0] if changes else None

    def follow_classes(self, old: Sequence[str], new: Sequence[str]) -> int:
        """Give the classes new indices; return how many judged nodes lost theirs.

        Nodes of a class that is gone are unsure, and come back with a class of its name. Forgets
        the history, whose classes are no more.
        """
        mapping = follow_classes(old, new)
        if tuple(mapping) == tuple(range(len(mapping))) and not self._gone:
            return 0
        for index, target in enumerate(mapping):
            if target is None:
                self._gone[old[index]] = {
                    z: (sheet.grid, np.flatnonzero(sheet.marks == index))
                    for z, sheet in self._sheets.items()
                }
        before = self._n_unsure()
        self._sheets = {z: sheet.followed(mapping) for z, sheet in self._sheets.items()}
        self._frames = tuple(sheet.followed(mapping) for sheet in self._frames)
        self.history.clear()
        lost = self._n_unsure() - before
        for index, name in enumerate(new):
            for z, (grid, nodes) in self._gone.pop(name, {}).items():
                sheet = self._sheets.get(z)
                if sheet is not None and np.array_equal(sheet.grid.y, grid.y):
                    still = nodes[sheet.marks[nodes] == UNSURE]
                    self._sheets[z] = sheet.marked(still, index)
        return lost

    def _n_unsure(self) -> int:
        return sum(sheet.n_unsure for sheet in (*self._sheets.values(), *self._frames))

    def _do(self, z: int, after: GridSheet | None, *, with_last: bool = False) -> None:
        self.history.do((z, self._sheets.get(z), after), joins=with_last)

    def _put(self, change: _Change, is_back: bool) -> None:
        z, before, after = change
        sheet = before if is_back else after
        if sheet is None:
            self._sheets.pop(z, None)
        else:
            self._sheets[z] = sheet


def next_slice(n_slices: int, counted: Collection[int]) -> int | None:
    """Suggest the slice that spreads the counted ones best over a stack.

    It is the one farthest from all counted slices and from both ends (those count as one step
    beyond the stack); None if all are counted.

    Examples
    --------
    >>> next_slice(9, [])
    4
    >>> next_slice(9, [4])
    1
    """
    free = np.array([z for z in range(n_slices) if z not in set(counted)])
    if not free.size:
        return None
    taken = np.array([-1, n_slices, *counted])
    distance = np.abs(free[:, None] - taken[None]).min(axis=1)
    return int(free[np.argmax(distance)])
