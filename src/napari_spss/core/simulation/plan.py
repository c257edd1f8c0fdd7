"""What to count in the minutes that there are: grids over slices, or frames in large fields."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..annotations import CountingGrid, SliceShapes, lay_frames, lay_grid, tiles, widest_frame_px
from ..base import InputError, counted
from .cost import Acts, Costs
from .protocols import evenly_spread

# Nodes a window of training from which on a grid over the slice is as dense as frames are. With
# fewer, the same nodes in frames taught more (docs/annotation_study.md).
_DENSE_ENOUGH = 64
_N_SIDE, _FRAME_NODES = 16, 8  # nodes along a side
_MOST_NODES = 24  # along a side: more tell little more of the same place
_NODES_PER_WINDOW = 40  # at most, along a side: four to an object's width
_GRID_SHARE = 0.8  # of the time, beside guesses of the other slices
# errors of a counted fraction beside those of independent nodes: measured with 16 frames
_FRAME_ERROR = 1.5


@dataclass(frozen=True)
class CountingPlan:
    """What to count.

    Parameters
    ----------
    kind : {"grids", "frames"}
        Grids over whole slices, or counting frames.
    n : int
        How many.
    nodes_per_side : int
        Nodes along a side of each, about the square of it in all.
    size_px : int or None
        About the side of a frame, in data pixels.
    n_guesses : int
        Fractions of other slices to state in the rest of the time.
    seconds : float
        That it takes a person.
    density : float
        Nodes of a grid over the whole slice that a window of training would show.
    fraction : float or None
        Fraction of the class of interest, if anything is known of it.
    """

    kind: Literal["grids", "frames"]
    n: int
    nodes_per_side: int
    size_px: int | None
    n_guesses: int
    seconds: float
    density: float
    fraction: float | None = None

    @property
    def n_nodes(self) -> int:
        """About how many nodes are judged in all."""
        return self.n * self.nodes_per_side**2

    def relative_error(self) -> float | None:
        """Half a 95 % interval of the counted fraction, as a part of it; None if none is known.

        That of independent nodes, t ((1 - f) / (f n))^1/2 (Howard and Reed, Unbiased Stereology),
        half as much again for frames, whose nodes are alike, with Student's t for the degrees of
        freedom that the frames or grids leave: of one there is no interval. Drawn again and again
        from stacks with 1 to 40 % of objects that are spread evenly, 98 of 100 counts and more come
        so near; of objects that crowd in a few places 60 to 90.
        """
        if not self.fraction or self.n < 2:
            return None
        from scipy.special import stdtrit  # which opening the dock spares

        t = float(stdtrit(self.n - 1, 0.975))
        error = t * math.sqrt((1 - self.fraction) / (self.fraction * self.n_nodes))
        return error * _FRAME_ERROR if self.kind == "frames" else error

    def messages(self, *, of: str = "") -> Iterator[str]:
        """Say in plain words what to do and why; ``of`` names the class of the fraction."""
        side = self.nodes_per_side
        cost = f"({self.n_nodes} nodes, about {self.seconds / 60:.1f} min)"
        if self.kind == "frames":
            yield (
                f"count {counted(self.n, 'frame')} of about {self.size_px} px, with {side} x "
                f"{side} nodes each {cost}"
            )
            yield (
                "why: the field is large; in what the network sees at a time a grid over the whole "
                f"slice has {self.density:.0f} nodes, a frame {side**2}"
                if self.density < _DENSE_ENOUGH
                else "why: spread over all there is, frames are a fair sample of it"
            )
        else:
            others = counted(self.n_guesses, "other slice")
            guesses = f", and state a rough fraction of {others}" if self.n_guesses else ""
            slices = counted(self.n, "slice")
            grids = "a grid" if self.n == 1 else "grids"
            yield f"count {grids} of {side} x {side} nodes on {slices}{guesses} {cost}"
            yield (
                "why: the field is small; in what the network sees at a time a grid over the whole "
                f"slice has {self.density:.0f} nodes"
            )
        if self.fraction:
            what = f" of {of}" if of else ""
            error = self.relative_error()
            known = (
                f"one {self.kind[:-1]} tells no interval"
                if error is None
                else f"the counted fraction is then known to about {100 * error:.0f} % of itself, "
                "95 times of 100; less well if objects crowd in a few places, which the interval "
                "of the count will tell"
            )
            yield f"expect{what}: about {self.fraction * self.n_nodes:.0f} hits; {known}"

    def lay(self, stack: SliceShapes, rng: np.random.Generator) -> tuple[CountingGrid, ...]:
        """Lay the grids or frames; no node is judged yet."""
        if self.size_px is not None:
            return lay_frames(stack, self.n, self.size_px, self.nodes_per_side, rng=rng)
        return tuple(
            lay_grid(z, stack.shape_of(z), n_side=self.nodes_per_side, rng=rng)
            for z in evenly_spread(stack.n_slices, self.n)
        )


def plan_counting(
    stack: SliceShapes,
    window_px: int,
    minutes: float,
    *,
    fraction: float | None = None,
    only_frames: bool = False,
) -> CountingPlan:
    """Propose what to count: frames where a grid over the slice would be thin in a window.

    Parameters
    ----------
    stack : Stack
        Or anything with ``n_slices`` and ``shape_of(z)``.
    window_px : int
        Side of a window of training in data pixels: the crop times the working scale, about ten
        objects.
    minutes : float
        That a person has.
    fraction : float, optional
        Of the class of interest, 0-1, as far as it is known.
    only_frames : bool
        Whether to propose frames in small fields, too, as for a check count.

    Raises
    ------
    InputError
        If the time allows no frame or grid, or a number is out of its range.

    Examples
    --------
    >>> plan = plan_counting(stack, window_px=256, minutes=4)  # doctest: +SKIP
    >>> plan.kind, plan.n, plan.nodes_per_side  # doctest: +SKIP
    ('frames', 16, 8)
    """
    costs = Costs()
    if not (math.isfinite(minutes) and minutes > 0):
        raise InputError(f"minutes {minutes:g} is no time; give minutes above 0.", field="minutes")
    if fraction is not None and not 0 <= fraction <= 1:
        raise InputError(
            f"fraction {fraction:g} is not between 0 and 1; 5 % is 0.05.", field="fraction"
        )
    shapes = [stack.shape_of(z) for z in range(stack.n_slices)]
    largest = max(shapes, key=math.prod)
    density = _N_SIDE**2 * math.prod(min(1.0, window_px / edge) for edge in largest)
    n_nodes = int(minutes * 60 / costs.node_s + 1e-6)
    is_framed = only_frames or density < _DENSE_ENOUGH
    size_px = min(window_px, widest_frame_px(stack) if only_frames else min(map(min, shapes)))
    side_px = size_px if is_framed else math.isqrt(math.prod(largest))
    most = max(1, min(_MOST_NODES, _NODES_PER_WINDOW * side_px // window_px))
    if is_framed:
        room = sum(len(tiles(shape, size_px)) for shape in shapes)
        n, side = _fitting(n_nodes, min(_FRAME_NODES, most), room, most)
        n_guesses = 0
    else:
        n_in_grids = max(int(_GRID_SHARE * n_nodes), min(n_nodes, _N_SIDE**2))
        n, side = _fitting(n_in_grids, min(_N_SIDE, most), stack.n_slices, most)
        left_s = minutes * 60 - n * side**2 * costs.node_s
        n_guesses = min(stack.n_slices - n, max(0, int(left_s / costs.guess_s)))
    if n == 0:
        least = (_FRAME_NODES if is_framed else _N_SIDE) ** 2 * costs.node_s / 60
        raise InputError(
            f"minutes {minutes:g} allow {n_nodes} nodes, which is no count; give at least "
            f"{math.ceil(least * 10) / 10:g}.",
            field="minutes",
        )
    acts = Acts(n_nodes=n * side**2, n_guesses=n_guesses)
    return CountingPlan(
        "frames" if is_framed else "grids",
        n,
        side,
        size_px if is_framed else None,
        n_guesses,
        acts.seconds(),
        density,
        fraction,
    )


def _fitting(n_nodes: int, side: int, room: int, most: int) -> tuple[int, int]:
    """How many counts of ``side**2`` nodes; with more nodes each where there is no more room."""
    n = n_nodes // side**2
    if n <= room:
        return n, side
    return room, min(most, math.isqrt(n_nodes // room))
