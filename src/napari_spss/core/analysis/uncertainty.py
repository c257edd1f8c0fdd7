"""How uncertain maps are, pixel by pixel, and which slices to count next for that.

The uncertainty of a pixel is the entropy of its class probabilities over the largest one possible,
``-sum_c p_c log p_c / log C``: 0 where one class is certain, 1 where all are as likely.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..annotations import Proportion

_TINY = 1e-12
_STEP_PX = 4  # every so many rows and columns tell the mean of a map well enough


@dataclass(frozen=True)
class AcquisitionScore:
    """How much counting a slice would teach: the acquisition score."""

    slice: int
    uncertainty: float  # mean of the uncertainty of its pixels, 0-1
    # largest difference of a stated and a predicted fraction, 0-1; 0 if none is stated
    difference: float = 0.0

    @property
    def total(self) -> float:
        """Sum of both: roughly the share of the pixels that may be wrong."""
        return self.uncertainty + self.difference


def entropy(probs: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Uncertainty of every pixel, 0-1.

    Parameters
    ----------
    probs : array of float, (C, ...)
        Probabilities of at least two classes, summing to 1.

    Examples
    --------
    >>> entropy(np.array([[0.5, 1.0], [0.5, 0.0]])).tolist()
    [1.0, 0.0]
    """
    values = probs.astype(np.float32, copy=False)
    total = (values * -np.log(np.maximum(values, _TINY))).sum(axis=0)
    result: npt.NDArray[np.float32] = np.clip(total / np.log(len(probs)), 0, 1).astype(np.float32)
    return result


def mean_entropy(probs: npt.NDArray[np.floating]) -> float:
    """Mean uncertainty of a map (C, Y, X), from every fourth of its rows and columns."""
    return entropy_sum(probs) / n_summed(*probs.shape[1:])


def entropy_sum(probs: npt.NDArray[np.floating], first_row: int = 0) -> float:
    """Sum up the uncertainty of every fourth column of a map (C, Y, X), in every fourth row.

    Rows count from ``first_row``, so that the parts of a map give the sum of the whole.
    """
    part = probs[:, -first_row % _STEP_PX :: _STEP_PX, ::_STEP_PX]
    return float(entropy(part).sum(dtype=np.float64))


def n_summed(height: int, width: int) -> int:
    """Count the pixels of a map that :func:`entropy_sum` sums up."""
    return -(-height // _STEP_PX) * -(-width // _STEP_PX)


def acquisition_scores(
    uncertainty: Mapping[int, float],
    predicted: Mapping[int, Sequence[float]],
    stated: Sequence[Proportion],
    *,
    n_slices: int,
    is_set: bool = False,
) -> tuple[AcquisitionScore, ...]:
    """Order the slices that were not counted yet by what counting them would teach.

    Parameters
    ----------
    uncertainty : mapping of int to float
        Mean uncertainty of slices, 0-1.
    predicted : mapping of int to sequence of float
        Fractions of the classes in the labels of slices; not finite where there are none.
    stated : sequence of Proportion
        What is said about the stack; fractions of rectangles are not compared.
    n_slices : int
        Of the stack.
    is_set : bool
        Whether neighbours are no more alike than others.

    Returns
    -------
    tuple of AcquisitionScore
        See :func:`order_slices`.
    """
    counted = counted_slices(stated)
    differences: dict[int, float] = {}
    for one in stated:
        z = one.region.slice
        if one.region.box is None and z in predicted and z not in counted:
            pairs = zip(one.fractions, predicted[z], strict=False)
            known = [abs(a - b) for a, b in pairs if a is not None and np.isfinite(b)]
            differences[z] = max(known, default=0.0)
    found = {z: AcquisitionScore(z, u, differences.get(z, 0.0)) for z, u in uncertainty.items()}
    gains = {z: score.total for z, score in found.items() if z not in counted}
    apart = 1 if is_set else -(-n_slices // (2 * (len(counted) + 1)))
    return tuple(found[z] for z in order_slices(gains, counted=counted, apart=apart))


def counted_slices(stated: Sequence[Proportion]) -> set[int]:
    """Slices whose fractions come from a grid over the whole of them, not from frames alone."""
    return {one.region.slice for one in stated if one.source == "grid" and one.region.box is None}


def order_slices(
    gains: Mapping[int, float], *, counted: Collection[int] = (), apart: int = 1
) -> tuple[int, ...]:
    """Order slices by gain, so that those that come first are not neighbours.

    The best slice that is at least ``apart`` slices away from all that were counted or chosen
    before comes next; where none is left, half of that distance will do.

    Examples
    --------
    >>> order_slices({0: 0.1, 1: 0.9, 2: 0.8, 3: 0.3}, apart=2)
    (1, 3, 2, 0)
    """
    slices = np.array(sorted(gains, key=lambda z: (-gains[z], z)), np.int64)
    distance: npt.NDArray[np.float64] = np.full(len(slices), np.inf)
    for z in counted:
        distance = np.minimum(distance, np.abs(slices - z))
    order: list[int] = []
    is_left = np.ones(len(slices), bool)
    while is_left.any():
        free = np.flatnonzero(is_left & (distance >= apart))
        if not len(free):
            apart //= 2
            continue
        best = free[0]
        is_left[best] = False
        order.append(int(slices[best]))
        distance = np.minimum(distance, np.abs(slices - slices[best]))
    return tuple(order)
