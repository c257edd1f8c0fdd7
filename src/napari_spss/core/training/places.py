"""Where random windows of a slice are drawn, and how likely each pixel is then shown.

A window that shows nothing of what was said teaches nothing. Labels that are shown more often than
others by this choice weigh less, by the inverse of their chance (Horvitz and Thompson, J. Am. Stat.
Assoc. 47 (1952) 663-685), so that their mean stays that of all labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..annotations import Classes
from .samples import Box, SliceSamples

_CELL_PX = 16  # labels as near as this are shown together

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Where windows of one slice begin: in one of N ranges, anywhere in it."""

    shape: tuple[int, int]  # of a window, (y, x) in working pixels
    # (N, 2), first and last row and column at which a window may begin
    low: Ints
    high: Ints
    # (N, 2), how far beyond the range a start is drawn, to be moved to its end: or else pixels at
    # the border of a large region would hardly be shown
    margin: Ints
    shares: Floats  # (N,), part of the windows that each range gets
    n_windows: float  # windows that show all of it about once

    @classmethod
    def of(
        cls, sample: SliceSamples, shape: tuple[int, int], classes: Classes | None = None
    ) -> Places:
        """Look where something is said.

        Windows show all of a region that is not larger than they are, and lie within one that is.
        Of labels beside those, each class gets as many windows as another. The whole slice, parts
        of it, and labels get the same part of the windows, as far as there are such. Nodes of a
        finished grid are all over its region, and need no windows of their own, unless one of the
        classes lies outside: batches of nothing but resin teach little, and their statistics, by
        which a network normalises, are unlike those of the specimen.
        """
        whole = (0, 0, *sample.shape)
        is_left = sample.target >= 0
        for nodes in () if classes and classes.outside else sample.nodes.values():
            is_left.flat[nodes] = False
        boxes = [bag.box for bag in sample.bags]
        for y0, x0, y1, x1 in boxes:
            if y1 - y0 <= shape[0] and x1 - x0 <= shape[1]:
                is_left[y0:y1, x0:x1] = False
        kinds = [_alike([box for box in boxes if box != whole])]
        if sample.is_mask or whole in boxes or not (boxes or is_left.any()):
            kinds.append(_alike([whole]))
        if not sample.is_mask:
            kinds.append(_cells(sample, is_left, min(_CELL_PX, *shape)))
        kinds = [(edges, shares) for edges, shares in kinds if len(edges)]
        first, end = np.split(np.concatenate([edges for edges, _ in kinds]), 2, axis=1)
        excess = end - first - shape  # a larger region lets a window move, a smaller one must fit
        n_windows = np.maximum(1, (end - first).prod(axis=1) / math.prod(shape)).sum()
        return cls(
            shape,
            np.minimum(first, first + excess).clip(0),
            np.maximum(first, first + excess).clip(
                0, np.maximum(0, np.subtract(sample.shape, shape))
            ),
            np.minimum(excess, shape).clip(0) // 2,
            np.concatenate([shares for _, shares in kinds]) / len(kinds),
            min(float(n_windows), max(1.0, math.prod(sample.shape) / math.prod(shape))),
        )

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """First row and column of a window."""
        one = rng.choice(len(self.shares), p=self.shares)
        low, high, margin = self.low[one], self.high[one], self.margin[one]
        y0, x0 = rng.integers(low - margin, high + margin + 1).clip(low, high).tolist()
        return y0, x0

    def chances(self, y: Ints, x: Ints) -> Floats:
        """Probability (n, m) that a window shows each pixel of n rows and m columns.

        Only ranges that can show one of them are looked at.
        """
        edges = np.array([[y.min(), x.min()], [y.max(), x.max()]])
        is_near = ((self.high > edges[0] - self.shape) & (self.low <= edges[1])).all(axis=1)
        rows, columns = (self._shown(axis, place, is_near) for axis, place in enumerate((y, x)))
        chances: Floats = (rows * self.shares[is_near]) @ columns.T
        return chances

    def _shown(self, axis: int, place: Ints, ranges: npt.NDArray[np.bool_]) -> Floats:
        """Part of the windows of each range that shows each row or column, (n, N)."""
        low, high, margin = (one[ranges, axis] for one in (self.low, self.high, self.margin))
        last = place[:, None]
        first = last - self.shape[axis] + 1  # starts of the windows that show it
        n_starts = (np.minimum(high, last) - np.maximum(low, first) + 1).clip(min=0)
        n_starts += margin * ((first <= low) & (low <= last))
        n_starts += margin * ((first <= high) & (high <= last))
        shown: Floats = n_starts / (high - low + 1 + 2 * margin)
        return shown


def _alike(boxes: Sequence[Box]) -> tuple[Ints, Floats]:
    """Boxes (N, 4), and the same share (N,) for each."""
    return np.array(boxes, np.int64).reshape(-1, 4), np.full(len(boxes), 1 / max(1, len(boxes)))


def _cells(sample: SliceSamples, is_left: npt.NDArray[np.bool_], edge: int) -> tuple[Ints, Floats]:
    """Boxes (N, 4) of neighbouring labels, and the part of the windows (N,) that each gets."""
    y, x = np.nonzero(is_left)
    n_columns = -(-sample.shape[1] // edge)
    cells, place = np.unique(y // edge * n_columns + x // edge, return_inverse=True)
    labels, weights = sample.target[y, x], sample.weight[y, x]
    shares = np.zeros(len(cells))
    present = np.unique(labels)
    for c in present:
        totals = np.bincount(place[labels == c], weights[labels == c], minlength=len(cells))
        shares += totals / totals.sum() / len(present)
    corners = np.stack(np.divmod(cells, n_columns), axis=1) * edge
    return np.hstack([corners, np.minimum(corners + edge, sample.shape)]), shares
