"""The two ways in which the paper degrades exact proportions (section 3.2), on any data."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2

from ..annotations import Annotations, Proportion
from ..base import InputError

Fractions: TypeAlias = npt.NDArray[np.float64]
_RESTARTS = 10
_ITERATIONS = 50


@dataclass(frozen=True)
class Degradation:
    """A parsed ``--degrade``: the kind, and its sigma or its number of clusters."""

    kind: Literal["eq5", "eq5-renorm", "kmeans"]
    amount: float


def parse_degradation(text: str) -> Degradation:
    """Parse "eq5:SIGMA", "eq5-renorm:SIGMA" or "kmeans:K".

    Raises
    ------
    InputError
        If the text has another form, sigma is negative, or K is no whole number of at least 1.

    Examples
    --------
    >>> parse_degradation("eq5:0.1")
    Degradation(kind='eq5', amount=0.1)
    """
    kind, _, number = text.partition(":")
    try:
        amount = float(number)
    except ValueError:
        amount = float("nan")
    if kind == "eq5" and 0 <= amount < float("inf"):
        return Degradation("eq5", amount)
    if kind == "eq5-renorm" and 0 <= amount < float("inf"):
        return Degradation("eq5-renorm", amount)
    if kind == "kmeans" and amount >= 1 and amount.is_integer():
        return Degradation("kmeans", amount)
    raise InputError(
        f"degradation {text!r} is unknown; write eq5:SIGMA or eq5-renorm:SIGMA (sigma 0 or more, "
        "such as 0.1), or kmeans:K (K a whole number from 1).",
        field="degrade",
    )


def degrade(
    annotations: Annotations, how: str | Degradation, rng: np.random.Generator
) -> Annotations:
    """Degrade the typed proportions of annotations; keypoints and grids stay as they are.

    Parameters
    ----------
    annotations : Annotations
        Proportions with an unknown class cannot be degraded: they are left, with a note.
    how : str or Degradation
        "eq5:SIGMA", "eq5-renorm:SIGMA" or "kmeans:K".
    rng : numpy.random.Generator
        Source of the noise, or of the clusters.

    Returns
    -------
    Annotations
        Degraded fractions without stated intervals, which no longer hold.

    Raises
    ------
    InputError
        If ``how`` is malformed or asks for more clusters than there are proportions.
    """
    outside = annotations.outside_index
    wanted = parse_degradation(how) if isinstance(how, str) else how
    complete: list[int] = []
    rows: list[list[float]] = []
    for index, proportion in enumerate(annotations.proportions):
        fractions = proportion.without(outside).normalised().fractions
        counting = [value for index, value in enumerate(fractions) if index != outside]
        known = [value for value in counting if value is not None]
        if len(known) == len(counting):
            complete.append(index)
            rows.append(known)
    if not rows:
        raise InputError("no proportion states every class, so there is nothing to degrade.")
    degraded = _METHODS[wanted.kind](np.array(rows), wanted.amount, rng)
    changed: list[Proportion] = list(annotations.proportions)
    for index, fractions in zip(complete, degraded, strict=True):
        region = changed[index].region
        values: list[float | None] = [float(value) for value in fractions]
        if outside is not None:
            values.insert(outside, None)
        changed[index] = Proportion(region, tuple(values))
    notes = list(annotations.notes)
    n_left = len(changed) - len(complete)
    if n_left:
        notes.append(f"{n_left} proportions with an unknown class were not degraded.")
    return annotations.replace(proportions=tuple(changed), notes=tuple(notes))


def degrade_eq5(
    fractions: npt.ArrayLike,
    sigma: float,
    rng: np.random.Generator,
    *,
    renormalise: Literal["softmax", "sum"] = "softmax",
) -> Fractions:
    """Add Gaussian noise to exact fractions and normalise them again (Eq. 5).

    Parameters
    ----------
    fractions : array of float, (N, C)
        Exact fractions, 0-1.
    sigma : float
        Standard deviation of the noise; 0.1 is the paper's "10 %".
    rng : numpy.random.Generator
        Source of the noise.
    renormalise : {"softmax", "sum"}
        "softmax" is the paper's words. It distorts even without noise: of six classes,
        (1, 0, 0, 0, 0, 0) becomes (.35, .13, .13, .13, .13, .13). "sum" clips at 0 and divides by
        the sum instead; where nothing is left above 0 it gives equal fractions.

    Returns
    -------
    ndarray of float64, (N, C)
        Rows that sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> degrade_eq5([[1.0, 0.0]], 0.0, np.random.default_rng(0)).round(3)
    array([[0.731, 0.269]])
    """
    exact = np.asarray(fractions, dtype=np.float64)
    noisy = exact + rng.normal(0.0, sigma, size=exact.shape)
    if renormalise == "softmax":
        powers = np.exp(noisy - noisy.max(axis=1, keepdims=True))
        softmax: Fractions = powers / powers.sum(axis=1, keepdims=True)
        return softmax
    clipped = np.clip(noisy, 0.0, None)
    total = clipped.sum(axis=1, keepdims=True)
    equal = np.full_like(clipped, 1.0 / exact.shape[1])
    renormalised: Fractions = np.divide(clipped, total, out=equal, where=total > 0)
    return renormalised


def degrade_kmeans(
    fractions: npt.ArrayLike, n_clusters: int, rng: np.random.Generator
) -> Fractions:
    """Give all members of a K-means cluster the fractions of one of them (section 3.2, Figure 7).

    Parameters
    ----------
    fractions : array of float, (N, C)
        Exact fractions, 0-1.
    n_clusters : int
        K. With as many clusters as there are different rows, nothing changes.
    rng : numpy.random.Generator
        Draws the starts of K-means (k-means++, best of ten) and the member of each cluster.

    Returns
    -------
    ndarray of float64, (N, C)
        At most K different rows, each of them a row of ``fractions``.

    Raises
    ------
    InputError
        If K is below 1 or exceeds N.
    """
    exact = np.asarray(fractions, dtype=np.float64)
    if not 1 <= n_clusters <= len(exact):
        raise InputError(
            f"{n_clusters} clusters cannot be made of {len(exact)} proportions; choose 1 to "
            f"{len(exact)}.",
            field="degrade",
        )
    if n_clusters >= len(np.unique(exact, axis=0)):
        return exact.copy()
    cluster = _cluster(exact, n_clusters, rng)
    degraded = exact.copy()
    for index in np.unique(cluster):
        members = np.flatnonzero(cluster == index)
        degraded[members] = exact[rng.choice(members)]
    return degraded


def _cluster(points: Fractions, n_clusters: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Cluster index per point: the best of several runs of K-means."""
    best_cost, best = np.inf, np.zeros(len(points), dtype=np.int64)
    for _ in range(_RESTARTS):
        starts = _spread_starts(points, n_clusters, rng)
        with warnings.catch_warnings():
            # A cluster that loses its last point is only left without members.
            warnings.simplefilter("ignore", UserWarning)
            centres, cluster = kmeans2(points, starts, iter=_ITERATIONS, minit="matrix")
        cost = float(((points - centres[cluster]) ** 2).sum())
        if cost < best_cost:
            best_cost, best = cost, cluster
    return best


def _spread_starts(points: Fractions, n_clusters: int, rng: np.random.Generator) -> Fractions:
    """Draw different points as starts, far ones more likely (k-means++)."""
    starts = [points[rng.integers(len(points))]]
    squared = ((points - starts[0]) ** 2).sum(axis=1)
    for _ in range(1, n_clusters):
        starts.append(points[rng.choice(len(points), p=squared / squared.sum())])
        squared = np.minimum(squared, ((points - starts[-1]) ** 2).sum(axis=1))
    return np.array(starts)


_Method: TypeAlias = Callable[[Fractions, float, np.random.Generator], Fractions]
_METHODS: dict[str, _Method] = {
    "eq5": degrade_eq5,
    "eq5-renorm": lambda rows, sigma, rng: degrade_eq5(rows, sigma, rng, renormalise="sum"),
    "kmeans": lambda rows, k, rng: degrade_kmeans(rows, int(k), rng),
}
