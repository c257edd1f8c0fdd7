"""Counting frames: small rectangles, spread over a stack such that each pixel is as likely in one.

This is systematic uniform random sampling. Slices are cut into equal tiles without a rest, so that
nothing at the borders is rarer than elsewhere. Going through the tiles slice by slice, every so
many of them starts another frame, from a random one on: so frames are spread over the slices.
Which tiles of a slice they are is chosen likewise, in an order that goes through the field quarter
by quarter, from a start that moves on by the golden section from slice to slice: so they are
spread over the field, too. The order of the quarters in each is drawn at random: frames at regular
distances would meet, or miss, again and again what repeats in the image.

References
----------
H. J. G. Gundersen and E. B. Jensen, The efficiency of systematic sampling in stereology and its
prediction, J. Microsc. 147 (1987) 229-263.
C. V. Howard and M. G. Reed, Unbiased Stereology, 2nd ed. 2005.
D. L. Stevens and A. R. Olsen, Spatially balanced sampling of natural resources, J. Am. Stat.
Assoc. 99 (2004) 262-278: the random order by quarters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from ..base import InputError
from .checks import SliceShapes
from .grids import CountingGrid, nodes_in
from .proportions import Box, Region

_GOLDEN = (math.sqrt(5) - 1) / 2


def lay_frames(
    shape: tuple[int, int, int] | SliceShapes,
    n: int,
    size_px: int,
    nodes_per_side: int,
    *,
    rng: np.random.Generator,
    beside: Iterable[CountingGrid] = (),
) -> tuple[CountingGrid, ...]:
    """Lay counting frames over a stack by systematic uniform random sampling.

    Every pixel has the same probability to lie in a frame, ``n`` over the number of tiles. Each
    frame has nodes at a random phase of its own; none is judged yet.

    Count the frames in the order in which they come: then those that are done by the time that a
    person stops are a fair sample, too, spread over the stack, whose order is shuffled such that
    each slice may come first. To a grid, a frame is a `CountingGrid` with a ``box``: mark nodes by
    `CountingGrid.with_class`, and finish by ``replace(class_index=..., is_done=True)``. Frames that
    are open give no fraction, though their judged nodes are labels. They are kept with the grids
    of whole slices in ``Annotations.grids``, where `CountingGrid.region` tells them apart, and
    their order is that of the files.

    Parameters
    ----------
    shape : tuple of int, or Stack
        (Z, Y, X) in pixels; or anything with ``n_slices`` and ``shape_of(z)``, whose slices may
        differ in size.
    n : int
        Number of frames.
    size_px : int
        About the side of a frame: the tiles of a slice are as many along each side as make them
        most nearly this wide.
    nodes_per_side : int
        K: nodes along the side of a square of a frame's area, about K² in all, and exactly as many
        in frames that are square.
    rng : numpy.random.Generator
        Draws the frames and the phases.
    beside : iterable of CountingGrid
        Frames that were laid before, which the new ones do not overlap; those of the same size,
        with the new ones, are a fair sample again. Grids over whole slices do not matter.

    Returns
    -------
    tuple of CountingGrid
        In the order in which they should be counted.

    Raises
    ------
    InputError
        If a number is below 1, a frame is larger than a slice, there are more nodes than pixels
        along a frame's side, or there is no room for so many frames.

    Examples
    --------
    >>> frames = lay_frames((20, 1024, 1024), 8, 256, 8, rng=np.random.default_rng(0))
    >>> [(frame.slice, frame.n_nodes) for frame in frames[:3]]
    [(9, 64), (19, 64), (14, 64)]
    """
    shapes = _shapes(shape)
    _check(shapes, n, size_px, nodes_per_side)
    laid = [grid.region for grid in beside if grid.box is not None]
    of_shape = {one: _by_quarters(one, size_px, rng) for one in dict.fromkeys(shapes)}
    room = [of_shape[one] for one in shapes]
    for z in {region.slice for region in laid} & set(range(len(room))):
        room[z] = [box for box in room[z] if not any(Region(z, box).meets(one) for one in laid)]
    n_tiles = sum(map(len, room))
    if n > n_tiles:
        raise InputError(
            f"{n} frames of {size_px} px do not fit: there is room for {n_tiles}"
            + (" more" if laid else "")
            + "; lay fewer or smaller ones.",
            field="n",
        )
    chosen = [
        (z, room[z][index])
        for z, indices in _chosen([len(one) for one in room], n, rng)
        for index in indices
    ]
    start = int(rng.integers(n))
    return tuple(_frame(*chosen[(start + place) % n], nodes_per_side, rng) for place in _halving(n))


def _shapes(shape: tuple[int, int, int] | SliceShapes) -> list[tuple[int, int]]:
    """(Y, X) of every slice."""
    if isinstance(shape, tuple):
        if len(shape) != 3:
            raise InputError(
                f"shape {shape} has not three numbers; give slices, rows and columns (1 slice of a "
                "2D image), or a stack."
            )
        return [shape[1:]] * shape[0]
    return [shape.shape_of(z) for z in range(shape.n_slices)]


def _check(shapes: Sequence[tuple[int, int]], n: int, size_px: int, nodes_per_side: int) -> None:
    for name, what, value in (
        ("n", "number of frames", n),
        ("size_px", "size of a frame", size_px),
        ("nodes_per_side", "number of nodes along a frame", nodes_per_side),
    ):
        if value < 1:
            raise InputError(f"the {what}, {value}, is below 1; choose at least 1.", field=name)
    if nodes_per_side > size_px:
        raise InputError(
            f"{nodes_per_side} nodes along a frame are more than its {size_px} px; choose at most "
            f"{size_px}.",
            field="nodes_per_side",
        )
    z = min(range(len(shapes)), key=lambda z: min(shapes[z]))
    if size_px > min(shapes[z]):
        raise InputError(
            f"a frame of {size_px} px is larger than slice {z}, which is {shapes[z][0]} x "
            f"{shapes[z][1]} px (y, x); choose at most {min(shapes[z])} px.",
            field="size_px",
        )


def tiles(shape: tuple[int, int], tile_px: int) -> list[Box]:
    """Cover a slice with boxes of nearly equal size, about ``tile_px`` wide, in reading order."""
    edges = [
        np.linspace(0, length, max(1, round(length / tile_px)) + 1).round().astype(int).tolist()
        for length in shape
    ]
    return [(y0, x0, y1, x1) for y0, y1 in pairwise(edges[0]) for x0, x1 in pairwise(edges[1])]


def widest_frame_px(stack: SliceShapes) -> int:
    """Tell how wide frames may be so that several find room in each slice, and 16 in all.

    How much frames differ tells how precise their mean is; a few tell it badly, a single one not
    at all.
    """
    narrowest = min(min(stack.shape_of(z)) for z in range(stack.n_slices))
    return max(1, narrowest // max(2, math.ceil(math.sqrt(16 / stack.n_slices))))


def _by_quarters(shape: tuple[int, int], size_px: int, rng: np.random.Generator) -> list[Box]:
    """Tiles of a slice, quarter by quarter of the field, those of each in random order."""
    found = tiles(shape, size_px)
    rows, columns = np.divmod(np.arange(len(found)), sum(box[0] == 0 for box in found))
    around, ranks = np.zeros((2, len(found)), dtype=np.int64)
    for level in reversed(range(int(max(rows[-1], columns[-1])).bit_length())):
        quarters = 2 * (rows >> level & 1) + (columns >> level & 1)
        places, place = np.unique(around, return_inverse=True)
        orders = rng.permuted(np.tile(np.arange(4), (len(places), 1)), axis=1)
        ranks = 4 * ranks + orders[place, quarters]
        around = 4 * around + quarters
    return [found[place] for place in np.argsort(ranks).tolist()]


def _chosen(
    n_tiles: Sequence[int], n: int, rng: np.random.Generator
) -> Iterator[tuple[int, list[int]]]:
    """Slices with frames, ascending, and which of their tiles; ``n_tiles`` is of every slice."""
    places = (rng.random() + np.arange(n)) * (sum(n_tiles) / n)
    slices = np.searchsorted(np.cumsum(n_tiles), places, side="right").clip(max=len(n_tiles) - 1)
    start = rng.random()
    for turn, (z, count) in enumerate(zip(*np.unique(slices, return_counts=True), strict=True)):
        phase = (start + turn * _GOLDEN) % 1
        step = n_tiles[z] / count
        yield int(z), [min(int((phase + i) * step), n_tiles[z] - 1) for i in range(count)]


def _frame(z: int, box: Box, nodes_per_side: int, rng: np.random.Generator) -> CountingGrid:
    y0, x0, y1, x1 = box
    height, width = y1 - y0, x1 - x0
    spacing_px = min(
        max(math.sqrt(height * width) / nodes_per_side, 1.0), float(min(height, width))
    )
    return nodes_in(Region(z, box), (height, width), spacing_px, rng)


def _halving(n: int) -> list[int]:
    """0 to n - 1 in an order of which each beginning is spread over the whole (van der Corput)."""
    mirrored = [int(f"{place:b}"[::-1], 2) / (1 << place.bit_length()) for place in range(n)]
    ranks: list[int] = np.argsort(np.argsort(mirrored)).tolist()
    return ranks
