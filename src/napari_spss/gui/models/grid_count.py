"""Counting on grids and in frames, without any widget: marks, history, tallies, what comes next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.annotations import (
    NOT_JUDGED,
    UNSURE,
    ClassStyle,
    CountingGrid,
    Look,
    Region,
    SliceShapes,
    lay_frames,
    lay_grid,
    tiles,
    wilson_interval,
)
from ...core.base import InputError, counted
from .class_changes import follow_classes
from .history import History

UNTOUCHED = NOT_JUDGED  # becomes background once the grid is done
BACKGROUND = 0


@dataclass(frozen=True)
class Tally:
    """Nodes on a class, of ``n`` nodes that count; None for a class outside the fractions."""

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


def tally(grid: CountingGrid, classes: Sequence[ClassStyle]) -> tuple[Tally, ...]:
    """Count per class; nodes on classes outside the fractions and unsure ones do not count.

    As long as the grid is not done, untouched nodes count as background, provisionally.
    """
    marks = _without_untouched(grid)
    hits = np.bincount(marks[marks >= 0], minlength=len(classes)).tolist()
    n = sum(hits[c] for c, one in enumerate(classes) if not one.is_outside)
    return tuple(Tally(hits[c], None if one.is_outside else n) for c, one in enumerate(classes))


def n_marked(grid: CountingGrid) -> int:
    """Number of nodes that have a class, or were left open on purpose."""
    return int(np.count_nonzero(grid.class_index != UNTOUCHED))


def n_unsure(grid: CountingGrid) -> int:
    """Number of nodes that were left open on purpose."""
    return int(np.count_nonzero(grid.class_index == UNSURE))


def _without_untouched(grid: CountingGrid) -> NDArray[np.int16]:
    """Class of each node, or `UNSURE`, if untouched ones are background."""
    return np.where(grid.class_index == UNTOUCHED, np.int16(BACKGROUND), grid.class_index)


def _followed(grid: CountingGrid, mapping: Sequence[int | None]) -> CountingGrid:
    """Copy in which the classes have new indices; nodes of lost classes are unsure."""
    table = np.array([UNSURE if new is None else new for new in mapping], dtype=np.int16)
    marks = grid.class_index.copy()
    judged = marks >= 0
    known = judged & (marks < len(table))
    marks[known] = table[marks[known]]
    marks[judged & ~known] = UNSURE
    return grid.replace(class_index=marks)


_Grids = Mapping[Region, CountingGrid]
_Change = tuple[Region, _Grids, _Grids]  # where, and all grids before and after


class GridBook:
    """The grids of a stack, at most one a slice, and its frames; with undo and redo over all.

    Frames keep the order in which they are to be counted.
    """

    def __init__(self) -> None:
        self._grids: _Grids = {}  # never changed in place: the history refers to it
        self._gone: dict[str, dict[Region, tuple[CountingGrid, NDArray[np.intp]]]] = {}
        self.history = History(self._put)

    def value(self) -> tuple[CountingGrid, ...]:
        """All grids by slice, then the frames in their order."""
        regions = (*map(Region, self.slices()), *self.frames())
        return tuple(self._grids[region] for region in regions)

    def set_value(self, grids: Iterable[CountingGrid]) -> None:
        """Replace all grids and begin a history; that of before is left as it is."""
        self._grids = {grid.region: grid for grid in grids}
        self._gone.clear()
        self.history = History(self._put)

    def slices(self) -> tuple[int, ...]:
        """Slices with a grid over the whole of them, ascending."""
        return tuple(sorted(region.slice for region in self._grids if region.box is None))

    def frames(self, *, is_open: bool = False) -> tuple[Region, ...]:
        """Frames in their order; all of them, or those that are not counted."""
        return tuple(
            region
            for region, grid in self._grids.items()
            if region.box is not None and not (is_open and grid.is_done)
        )

    def grid(self, region: Region) -> CountingGrid | None:
        """Grid of a slice or frame."""
        return self._grids.get(region)

    def counted(self) -> tuple[int, ...]:
        """Slices whose grid is done, ascending."""
        return tuple(z for z in self.slices() if self._grids[Region(z)].is_done)

    def next_frame(
        self, current: Region | None, *, step: int = 1, is_open: bool = False
    ) -> Region | None:
        """Frame that comes after the current one, or before it, going round; None if none does.

        Without a current one it is the first, or the last. With ``is_open`` those that are counted
        are passed by.
        """
        order = self.frames()[::step]
        start = order.index(current) + 1 if current in order else 0
        wanted = set(self.frames(is_open=is_open))
        return next((one for one in (*order[start:], *order[:start]) if one in wanted), None)

    def progress(self, current: Region | None) -> str:
        """Say in a line which frame this is, and how far the counting is."""
        frames = self.frames()
        n_done = len(frames) - len(self.frames(is_open=True))
        grid = None if current is None else self.grid(current)
        if grid is None or current not in frames:
            return f"{n_done} of {counted(len(frames), 'frame')} done."
        place = f"Frame {frames.index(current) + 1} of {len(frames)}, slice {current.slice}"
        so_far = f"{n_marked(grid)} of {counted(grid.n_nodes, 'node')} marked"
        return f"{place}: {'counted' if grid.is_done else so_far}; {n_done} done."

    def lay(
        self,
        slice_index: int,
        shape: tuple[int, int],
        *,
        n_side: int,
        rng: np.random.Generator,
        with_last: bool = False,
    ) -> None:
        """Lay a grid of about ``n_side`` nodes along a side, with a random offset, on a slice.

        The shape of the slice is (Y, X) in pixels. With ``with_last`` it is undone together with
        the step before it. InputError if the slice has a grid.
        """
        region = Region(slice_index)
        if region in self._grids:
            raise InputError(f"slice {slice_index} has a grid; remove it to lay another one.")
        grid = lay_grid(slice_index, shape, n_side=n_side, rng=rng)
        self._do(region, self._with(grid), with_last=with_last)

    def lay_frames(
        self, stack: SliceShapes, layout: FrameLayout, *, rng: np.random.Generator
    ) -> Region:
        """Lay frames beside those that are there, as one step; return the first one.

        Raises
        ------
        InputError
            If they cannot be laid, with the ``field`` of the layout that is to be changed.
        """
        new = lay_frames(
            stack,
            layout.n,
            layout.size_px,
            layout.nodes_per_side,
            rng=rng,
            beside=list(self._grids.values()),
        )
        self._do(new[0].region, self._with(*new))
        return new[0].region

    def take_in(self, grids: Sequence[CountingGrid]) -> int:
        """Add grids and frames, as one step; return how many went that lay at their places."""
        new = {grid.region: grid for grid in grids}
        left = {
            region: grid
            for region, grid in self._grids.items()
            if not any(region.meets(other) for other in new)
        }
        n_gone = len(self._grids) - len(left)
        self._do(grids[0].region, {**left, **new})
        return n_gone

    def mark(
        self,
        region: Region,
        nodes: Sequence[int] | NDArray[np.intp],
        mark: int,
        *,
        with_last: bool = False,
    ) -> bool:
        """Mark nodes of an open grid; return whether anything changed.

        ``with_last`` joins the step before, so that a stroke is undone as a whole.
        """
        grid = self._grids[region]
        if grid.is_done or np.all(grid.class_index[nodes] == mark):
            return False
        self._do(region, self._with(grid.with_class(nodes, mark)), with_last=with_last)
        return True

    def node_of(self, look: Look) -> int | None:
        """Node that was looked at again, or is to be; None if there is none by now."""
        grid = self._grids.get(look.region)
        return None if grid is None else grid.nearest(look.y, look.x)

    def has_node(self, look: Look) -> bool:
        """Whether a node to be looked at again is on a grid, or frame."""
        return self.node_of(look) is not None

    def verdict(self, look: Look) -> int | None:
        """Class of a node at its second look; None if it had none."""
        node = self.node_of(look)
        if node is None:
            return None
        grid = self._grids[look.region]
        return int(grid.class_index[node]) if grid.looks[node] else None

    def judge_again(self, look: Look, verdict: int) -> bool:
        """Give a node the class of its second look, be its grid done or not.

        Returns whether anything changed.
        """
        node = self.node_of(look)
        if node is None or self.verdict(look) == verdict:
            return False
        grid = self._grids[look.region].looked_at(node, verdict)
        self._do(look.region, self._with(grid))
        return True

    def finish(self, region: Region) -> None:
        """Mark a slice or frame as counted."""
        grid = self._grids[region]
        done = grid.replace(class_index=_without_untouched(grid), is_done=True)
        self._do(region, self._with(done))

    def reopen(self, region: Region) -> None:
        """Make a grid that is counted changeable again."""
        self._do(region, self._with(self._grids[region].replace(is_done=False)))

    def remove(self, *regions: Region) -> None:
        """Remove the grids of slices or frames, as one step."""
        left = {one: grid for one, grid in self._grids.items() if one not in regions}
        self._do(regions[0], left)

    def undo(self) -> Region | None:
        """Take the last step back; return where it was."""
        changes = self.history.take_back()
        return changes[0][0] if changes else None

    def redo(self) -> Region | None:
        """Repeat the step that was last taken back; return where it was."""
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
                    region: (grid, np.flatnonzero(grid.class_index == index))
                    for region, grid in self._grids.items()
                }
        n_before = self._n_unsure()
        grids = {region: _followed(grid, mapping) for region, grid in self._grids.items()}
        self._grids = grids
        self.history.clear()
        lost = self._n_unsure() - n_before
        for index, name in enumerate(new):
            for region, (before, nodes) in self._gone.pop(name, {}).items():
                now = grids.get(region)
                if now is not None and np.array_equal(now.y, before.y):
                    still = nodes[now.class_index[nodes] == UNSURE]
                    grids[region] = now.with_class(still, index)
        return lost

    def _n_unsure(self) -> int:
        return sum(map(n_unsure, self._grids.values()))

    def _with(self, *grids: CountingGrid) -> _Grids:
        return {**self._grids, **{grid.region: grid for grid in grids}}

    def _do(self, where: Region, after: _Grids, *, with_last: bool = False) -> None:
        self.history.do((where, self._grids, after), joins=with_last)

    def _put(self, change: _Change, is_back: bool) -> None:
        _, before, after = change
        self._grids = before if is_back else after


@dataclass(frozen=True)
class FrameLayout:
    """How frames are laid."""

    n: int = 16
    size_px: int = 256  # about the side of a frame
    nodes_per_side: int = 8

    @classmethod
    def proposed(
        cls,
        stack: SliceShapes,
        window_px: int,
        laid: Sequence[CountingGrid] = (),
        *,
        most_px: int | None = None,
    ) -> FrameLayout:
        """Propose a layout for a stack: 16 frames of 8 x 8 nodes that a network sees at a glance.

        No wider than half a slice, fewer if they would cover more than half of what is not framed
        yet, and like those that are there: then all together are a fair sample.

        Parameters
        ----------
        stack : Stack
            Anything with ``n_slices`` and ``shape_of(z)``.
        window_px : int
            Side of a window of training, in pixels of the image.
        laid : sequence of CountingGrid
            Frames that are there.
        most_px : int, optional
            How wide frames may be at most, where half a slice is too much.
        """
        shapes = Counter(stack.shape_of(z) for z in range(stack.n_slices))
        nodes = cls.nodes_per_side
        narrowest = min(min(shape) for shape in shapes)
        size_px = max(1, min(window_px, most_px or narrowest // 2))
        if laid and laid[0].box is not None:
            y0, x0, y1, x1 = laid[0].box
            size_px = min(narrowest, round(math.sqrt((y1 - y0) * (x1 - x0))))
            nodes = max(1, round(math.sqrt(laid[0].n_nodes)))
        n_tiles = sum(n * len(tiles(shape, size_px)) for shape, n in shapes.items())
        most = (n_tiles - len(laid)) // 2
        return cls(max(1, min(cls.n, most)), size_px, min(nodes, size_px))


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
