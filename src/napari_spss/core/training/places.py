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

from .samples import Box, SliceSamples

__all__ = ["Places"]

_CELL_PX = 16  # labels as near as this are shown together

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Where windows of one slice begin: in one of N ranges, anywhere in it.

    Parameters
    ----------
    shape : (int, int)
        Of a window, (y, x) in working pixels.
    low, high : ndarray, (N, 2) int64
        First and last row and column at which a window may begin.
    shares : ndarray, (N,) float64
        Part of the windows that each range gets.
    n_windows : float
        Windows that show all of it about once.
    least_chance : float
        That of being shown, if windows lay anywhere. A pixel at the border is shown more rarely,
        but its label must not weigh as much as all others.
    """

    shape: tuple[int, int]
    low: Ints
    high: Ints
    shares: Floats
    n_windows: float
    least_chance: float

    @classmethod
    def of(cls, sample: SliceSamples, shape: tuple[int, int], outside: int | None = None) -> Places:
        """Look where something is said.

        Windows show all of a region that is not larger than they are, and lie within one that is.
        Of labels beside those, each class gets as many windows as another. The whole slice, parts
        of it, and labels get the same part of the windows, as far as there are such. Nodes of a
        finished grid are all over its region, and need no windows of their own, unless there is a
        class ``outside``: batches of nothing but resin teach little, and their statistics, by which
        a network normalises, are unlike those of the specimen.
        """
        whole = (0, 0, *sample.shape)
        is_left = sample.target >= 0
        for nodes in sample.nodes.values() if outside is None else ():
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
        low, high = np.minimum(first, end - shape), np.maximum(first, end - shape)
        least = min(1.0, math.prod(shape) / math.prod(sample.shape))
        n_windows = np.maximum(1, (end - first).prod(axis=1) / math.prod(shape)).sum()
        return cls(
            shape,
            low.clip(0),
            high.clip(0, np.maximum(0, np.subtract(sample.shape, shape))),
            np.concatenate([shares for _, shares in kinds]) / len(kinds),
            min(float(n_windows), 1 / least),
            least,
        )

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """First row and column of a window."""
        one = rng.choice(len(self.shares), p=self.shares)
        y0, x0 = rng.integers(self.low[one], self.high[one] + 1).tolist()
        return y0, x0

    def chances(self, y: Ints, x: Ints) -> Floats:
        """Probability (n,) that a window shows each of some pixels, bounded from below."""
        found = np.ones((y.size, len(self.shares)))
        for axis, place in enumerate((y, x)):
            low, high = self.low[:, axis], self.high[:, axis]
            first = np.maximum(low, place[:, None] - self.shape[axis] + 1)
            n_shown = np.minimum(high, place[:, None]) - first + 1
            found *= n_shown.clip(min=0) / (high - low + 1)
        chances: Floats = (found @ self.shares).clip(self.least_chance)
        return chances


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
