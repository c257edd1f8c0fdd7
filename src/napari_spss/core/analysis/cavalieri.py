"""Cavalieri's estimator: the error of a sum over slices at equal distances, and of its nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..base import InputError

Smoothness = Literal[0, 1]

ALPHA: dict[Smoothness, float] = {0: 1 / 12, 1: 1 / 240}
"""By smoothness: areas that change roughly from slice to slice, and areas that change smoothly."""


@dataclass(frozen=True)
class CavalieriError:
    """Variance of a sum over slices, in two parts, and the sum.

    Parameters
    ----------
    total : float
        The sum.
    between_slices, nugget : float
        What is due to the slices between, of which nothing is known, and to counting within slices.
    smoothness : int
        See `cavalieri_error`.
    """

    total: float
    between_slices: float
    nugget: float
    smoothness: Smoothness

    @property
    def variance(self) -> float:
        """Of the sum."""
        return self.between_slices + self.nugget

    @property
    def coefficient_of_error(self) -> float:
        """Standard error of the sum, as a part of it; nan if the sum is 0."""
        return math.sqrt(self.variance) / self.total if self.total else math.nan


def cavalieri_error(
    values: npt.ArrayLike, *, nugget: float = 0.0, smoothness: Smoothness = 0
) -> CavalieriError:
    """Estimate the error of a sum over slices at equal distances, from their likeness.

    Of the sum of ``values``, with ``A``, ``B`` and ``C`` the sums of their products with
    themselves, with their neighbours and with the neighbours' neighbours, the variance is
    ``alpha (3 (A - nugget) - 4 B + C) + nugget``, with ``alpha`` 1/12 for smoothness 0 and 1/240
    for smoothness 1; its first part is at least 0.

    The slices are assumed to be at equal distances from a random start, and so near that neighbours
    are alike: of areas that differ from slice to slice by chance, the error is half of what it
    should be. Smoothness 1 assumes that areas change without jumps, as those of a compact object
    do; of structures that come and go from slice to slice it gives errors that are too small.

    Parameters
    ----------
    values : array of float, (n,)
        Areas or hits, slice by slice; of a ratio its residuals, hits less ratio times nodes.
    nugget : float
        Variance of the sum due to counting within slices.
    smoothness : {0, 1}

    Raises
    ------
    InputError
        If there are fewer than 3 slices, or another smoothness.

    References
    ----------
    Gundersen and Jensen, The efficiency of systematic sampling in stereology and its prediction,
    J. Microsc. 147 (1987) 229-263.
    Gundersen, Jensen, Kieu and Nielsen, The efficiency of systematic sampling in stereology -
    reconsidered, J. Microsc. 193 (1999) 199-211.

    Examples
    --------
    >>> round(cavalieri_error([10, 20, 20, 10]).coefficient_of_error, 4)
    0.068
    """
    if smoothness not in ALPHA:
        raise InputError(f"smoothness {smoothness} is neither 0 nor 1.", field="smoothness")
    areas = np.asarray(values, dtype=float)
    if len(areas) < 3:
        raise InputError(
            f"{len(areas)} slices do not tell how alike neighbours are; count at least 3.",
            field="values",
        )
    a, b, c = (float((areas[lag:] * areas[: len(areas) - lag]).sum()) for lag in range(3))
    between = max(0.0, ALPHA[smoothness] * (3 * (a - nugget) - 4 * b + c))
    return CavalieriError(float(areas.sum()), between, nugget, smoothness)
