"""The difference estimator: a fraction of labels, corrected by nodes at which a person looked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .estimates import effective_interval

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CheckedNodes:
    """Nodes of a check count, with what labels say there.

    Parameters
    ----------
    said, labelled : ndarray of int, (N,)
        Class by a person, and of the labels.
    weights : ndarray of float, (N,)
        Area that each stands for.
    clusters : ndarray of int, (N,)
        Frame, slice or image of each.
    n_classes : int
    outside : int or None
        Class that counts in no fraction.
    """

    said: npt.NDArray[np.integer]
    labelled: npt.NDArray[np.integer]
    weights: Floats
    clusters: npt.NDArray[np.integer]
    n_classes: int
    outside: int | None = None

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return len(np.unique(self.clusters))

    def estimate(self, mapped: Floats) -> Floats:
        """Fractions, and the ends of their intervals; see `estimate_fractions`.

        Parameters
        ----------
        mapped : ndarray of float, (C,)
            Fractions of the labels over all pixels, the class outside included.

        Returns
        -------
        ndarray of float, (3, C)
            nan of the class outside, and of all if all lies outside; an interval is nan for a
            single cluster.
        """
        one_hot = np.eye(self.n_classes)
        differences = one_hot[self.said] - one_hot[self.labelled]
        counting = np.arange(self.n_classes) != self.outside
        corrected = mapped + np.average(differences, axis=0, weights=self.weights)
        inside = float(corrected[counting].sum())
        values = np.full((3, self.n_classes), math.nan)
        for index in np.flatnonzero(counting) if inside > 0 else ():
            fraction = float(corrected[index]) / inside
            # linear in the nodes, around the ratio that was found
            errors = differences[:, index] - fraction * differences[:, counting].sum(axis=1)
            below, above = self._reach(errors)
            ends = fraction - below / inside, fraction + above / inside
            values[:, index] = fraction, *np.clip(ends, 0.0, 1.0)
        return values

    def _reach(self, errors: Floats) -> tuple[float, float]:
        """How far below and above the mean of errors its interval reaches (Newcombe)."""
        if self.n_clusters == 1:
            return math.nan, math.nan
        ends = []
        for part in (np.maximum(errors, 0.0), np.maximum(-errors, 0.0)):
            mean = self._mean(part)
            low, high = effective_interval(mean, self._variance(part), len(part), self.n_clusters)
            ends.append((mean - low, high - mean))
        (below_missed, above_missed), (below_made_up, above_made_up) = ends
        return math.hypot(below_missed, above_made_up), math.hypot(above_missed, below_made_up)

    def _variance(self, values: Floats) -> float:
        """Variance of a mean, from the spread between clusters."""
        sums = np.bincount(self.clusters, weights=self.weights * (values - self._mean(values)))
        k = self.n_clusters
        return k / (k - 1) * float((sums**2).sum()) / float(self.weights.sum()) ** 2

    def _mean(self, values: Floats) -> float:
        return min(1.0, float(np.average(values, weights=self.weights)))
