"""The difference estimator: a fraction of labels, corrected by nodes at which a person looked."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .ratio import effective_interval, effective_number

Ints: TypeAlias = npt.NDArray[np.integer]
Floats: TypeAlias = npt.NDArray[np.float64]


def corrected_fractions(
    mapped: Floats, said: Ints, labelled: Ints, weights: Floats, clusters: Ints, outside: int | None
) -> Floats:
    """Fractions of labels that nodes of a check count correct; see `estimate_fractions`.

    Parameters
    ----------
    mapped : ndarray of float, (C,)
        Fractions of the labels over all pixels, the class outside included.
    said, labelled : ndarray of int, (N,)
        Class by a person, and of the labels, at each node.
    weights : ndarray of float, (N,)
        Area that each stands for.
    clusters : ndarray of int, (N,)
        Frame, slice or image of each.
    outside : int or None
        Class that counts in no fraction.

    Returns
    -------
    ndarray of float, (3, C)
        Fractions, and the ends of their intervals: nan of the class outside, and of all if all lies
        outside; an interval is nan for a single cluster.
    """
    one_hot = np.eye(len(mapped))
    differences = one_hot[said] - one_hot[labelled]
    counting = np.arange(len(mapped)) != outside
    corrected = mapped + np.average(differences, axis=0, weights=weights)
    inside = float(corrected[counting].sum())
    values = np.full((3, len(mapped)), math.nan)
    for index in np.flatnonzero(counting) if inside > 0 else ():
        fraction = float(corrected[index]) / inside
        # linear in the nodes, around the ratio that was found
        errors = differences[:, index] - fraction * differences[:, counting].sum(axis=1)
        below, above = _reach(errors, weights, clusters)
        ends = fraction - below / inside, fraction + above / inside
        values[:, index] = fraction, *np.clip(ends, 0.0, 1.0)
    return values


def _reach(errors: Floats, weights: Floats, clusters: Ints) -> tuple[float, float]:
    """How far below and above the mean of errors its interval reaches (Newcombe)."""
    k = len(np.unique(clusters))
    if k == 1:
        return math.nan, math.nan
    n_nodes = effective_number(weights)
    n_clusters = effective_number(np.bincount(clusters, weights=weights))
    ends = []
    for part in (np.maximum(errors, 0.0), np.maximum(-errors, 0.0)):
        mean = min(1.0, float(np.average(part, weights=weights)))
        sums = np.bincount(clusters, weights=weights * (part - mean))
        variance = k / (k - 1) * float((sums**2).sum()) / float(weights.sum()) ** 2
        low, high = effective_interval(mean, variance, n_nodes, n_clusters)
        ends.append((mean - low, high - mean))
    (below_missed, above_missed), (below_made_up, above_made_up) = ends
    return math.hypot(below_missed, above_made_up), math.hypot(above_missed, below_made_up)
