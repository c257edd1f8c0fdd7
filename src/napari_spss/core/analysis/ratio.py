"""The ratio estimator: a fraction with its interval, of areas in slices, or of counted nodes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from ..annotations import Annotations, CountingGrid, wilson_interval
from ..base import counted, percent
from ..images import Stack

_ROUNDING = 1e-9


@dataclass(frozen=True)
class FractionEstimate:
    """A fraction with its 95 % interval; the interval is nan where nothing tells one."""

    fraction: float
    low: float
    high: float


NOTHING = FractionEstimate(math.nan, math.nan, math.nan)
"""What is not known."""


def estimate_fraction(
    areas: npt.ArrayLike, totals: npt.ArrayLike, *, is_sample: bool, is_density: bool = False
) -> FractionEstimate:
    """Give the fraction of all slices or images together, as stereology does.

    The ratio estimator ``R = sum(areas) / sum(totals)`` (Delesse, Cavalieri). Images that were
    sampled have the variance ``sum((areas - R totals)^2) / (n (n - 1)) / mean(totals)^2``. The
    interval is Wilson's for as many independent nodes as would have it, as in `counted_fractions`,
    with Student's t for ``n - 1`` degrees of freedom, where images of strongly differing areas
    count as fewer of one area, see `effective_number`: it speaks about the tissue of which they are
    a sample. Of a stack every slice is measured and nothing is sampled, so it has none. The errors
    of the labels are in no interval, nor what differs between animals.

    Parameters
    ----------
    areas, totals : array of float, (n,)
        Area of the class, and of everything labelled, per slice; any one unit.
    is_sample : bool
        Whether these are images of an image set, independent of each other; False for a stack.
    is_density : bool
        Whether they are numbers or surfaces, with no largest value: then the interval is that of a
        rate, to which Wilson's comes where fractions are small.

    Returns
    -------
    FractionEstimate
        nan for no slice; interval nan for a stack, for one image, and where all images are equal:
        they tell no spread.

    References
    ----------
    Cochran, Sampling Techniques, 3rd ed. 1977, chapter 6 (ratio estimator).

    Examples
    --------
    >>> found = estimate_fraction([10, 12, 14], [100, 100, 100], is_sample=True)
    >>> print(f"{found.fraction:.2f}, {found.low:.2f} to {found.high:.2f}")
    0.12, 0.08 to 0.18
    """
    hits, sizes = np.asarray(areas, dtype=float), np.asarray(totals, dtype=float)
    hits, sizes = hits[sizes > 0], sizes[sizes > 0]
    n = len(sizes)
    if n == 0:
        return NOTHING
    fraction = float(hits.sum() / sizes.sum())
    if n == 1 or not is_sample:
        return FractionEstimate(fraction, math.nan, math.nan)
    residuals = (hits - fraction * sizes) / sizes.mean()
    variance = float((residuals**2).sum()) / (n * (n - 1))
    if math.sqrt(variance) <= _ROUNDING * fraction:
        return FractionEstimate(fraction, math.nan, math.nan)
    n_images = effective_number(sizes)
    if not is_density:
        return FractionEstimate(
            fraction, *effective_interval(fraction, variance, math.inf, n_images)
        )
    squared = _student_t(n_images) ** 2 * variance
    centre = fraction + squared / fraction / 2
    high = centre + math.sqrt(centre**2 - fraction**2)
    return FractionEstimate(fraction, fraction**2 / high, high)


@dataclass(frozen=True)
class CountedFractions:
    """Fractions of a whole stack, by counting.

    Parameters
    ----------
    classes : tuple of str
        Names, without the class outside, which counts in no fraction.
    fractions, standard_errors : tuple of float
        By class. The error is nan for a single frame or grid.
    intervals : tuple of (float, float)
        95 %; (nan, nan) for a single frame or grid.
    n_done, n_laid : int
        Frames, or grids if there are no frames, that are finished, and that there are.
    has_frames : bool
        Whether they are counting frames.
    """

    classes: tuple[str, ...]
    fractions: tuple[float, ...]
    standard_errors: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    n_done: int
    n_laid: int
    has_frames: bool

    def messages(self) -> Iterator[str]:
        """Say the fractions of all classes but the background, and what they rest on."""
        told = []
        for name, fraction, (low, high) in self._rows():
            text = f"{name} {percent(fraction)}"
            if not math.isnan(low):
                text += f" (95 % interval {percent(low)} to {percent(high)})"
            told.append(text)
        thing = "counting frame" if self.has_frames else "grid"
        yield f"whole stack, by {self.n_done} of {counted(self.n_laid, thing)}: {', '.join(told)}"
        yield f"assumed: {self.assumes}, no wrong nodes"

    @property
    def assumes(self) -> str:
        """What is assumed of the frames, or of the slices with grids."""
        if self.has_frames:
            return "frames laid by systematic uniform random sampling, counted in their order"
        return "slices with grids stand for the others"

    def _rows(self) -> list[tuple[str, float, tuple[float, float]]]:
        return list(zip(self.classes, self.fractions, self.intervals, strict=True))[1:]


def counted_fractions(
    annotations: Annotations, *, pixel_areas: npt.ArrayLike | None = None
) -> CountedFractions | None:
    """Estimate the fractions of a whole stack from finished counting frames, or else from grids.

    The ratio estimator over frames as clusters: ``R = sum(hits) / sum(nodes)``, with nodes that are
    unsure or on the class outside left out, and each node weighed by the area that it stands for,
    ``spacing_px`` squared, should frames differ in that. Its variance is
    ``k / (k - 1) sum((hits - R nodes)^2) / sum(nodes)^2`` for ``k`` frames. The interval is
    Wilson's for the effective number of nodes, ``R (1 - R) / variance`` but at most those judged
    (of nodes with weights ``w``, ``sum(w)^2 / sum(w^2)``), with Student's t for ``k - 1`` degrees
    of freedom; clusters of strongly differing areas count as fewer ones likewise. Unlike
    ``R - t s`` to ``R + t s`` it holds rare classes, too, and tells something where nothing was
    hit.

    Drawing frames again and again from synthetic stacks (400 drawings; 4 to 32 frames of 36 nodes;
    fractions of 5 and 20 %), 94 to 99 % of the intervals hold the true value, where those of
    ``R - t s`` to ``R + t s`` do in 91 to 98 %; of objects that crowd in a few places 86 to 98 %,
    instead of 69 to 95 %: four or eight frames may miss such a place.

    It is assumed that the frames were placed by `lay_frames`, and counted in their order, if not
    all of them: then slices without frames are represented by those with. Where there are frames,
    grids over whole slices, whose slices somebody chose, do not count here. Where there are none,
    they are the clusters, as far as their slices stand for the others. The interval does not
    contain wrong nodes.

    Parameters
    ----------
    annotations : Annotations
    pixel_areas : array of float, (n,), optional
        Area of a pixel of each slice, any one unit, where images differ in that.

    Returns
    -------
    CountedFractions or None
        None if no frame (or grid) with a node that counts is done.

    References
    ----------
    Cochran, Sampling Techniques, 3rd ed. 1977, chapter 6 (ratio estimator).
    Korn and Graubard, Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data, Surv. Methodol. 24 (1998) 193-201 (effective sample size).
    """
    laid = frames_or_grids(annotations)
    inside = [c for c in range(len(annotations.classes)) if c != annotations.outside_index]
    nodes, weights = [], []
    for grid in laid:
        counts = grid.judged_counts(len(annotations.classes))[inside]
        if grid.is_done and counts.any():
            nodes.append(counts)
            weights.append(area_of_node(grid, pixel_areas))
    if not nodes:
        return None
    areas = np.array(nodes) * np.array(weights)[:, None]
    totals = areas.sum(axis=1)
    n_nodes = float(totals.sum() ** 2 / (totals * weights).sum())
    found = [_of_clusters(hits, totals, n_nodes) for hits in areas.T]
    fractions, errors, intervals = zip(*found, strict=True)
    names = tuple(annotations.classes[c] for c in inside)
    has_frames = laid[0].box is not None
    return CountedFractions(names, fractions, errors, intervals, len(nodes), len(laid), has_frames)


def areas_of_pixels(stack: Stack) -> list[float] | None:
    """Area of a pixel of each image of a set, if all are known; None where all count alike."""
    sizes = [stack.pixel_size_um(z) for z in range(stack.n_slices)] if stack.is_set else [None]
    return None if None in sizes else [size**2 for size in sizes if size is not None]


def weight_notes(pixel_sizes_um: Iterable[float | None]) -> tuple[str, ...]:
    """Say that images weigh by their pixels, where the size of these is known of some alone."""
    sizes = list(pixel_sizes_um)
    n_left = sum(size is None or math.isnan(size) for size in sizes)
    if n_left in (0, len(sizes)):
        return ()
    return (
        f"The size of a pixel is not known of {n_left} of {counted(len(sizes), 'image')}: in "
        "the fraction of all, images weigh by their pixels, not by their area.",
    )


def frames_or_grids(annotations: Annotations) -> tuple[CountingGrid, ...]:
    """Frames if there are any, or else the grids of whole slices: what is a sample of the stack."""
    frames = tuple(grid for grid in annotations.grids if grid.box is not None)
    return frames or annotations.grids


def area_of_node(grid: CountingGrid, pixel_areas: npt.ArrayLike | None) -> float:
    """Area that a node stands for."""
    areas = None if pixel_areas is None else np.asarray(pixel_areas, dtype=float)
    return float(grid.spacing_px**2 * (1.0 if areas is None else areas[grid.slice]))


def _of_clusters(
    hits: npt.NDArray[np.float64], totals: npt.NDArray[np.float64], n_nodes: float
) -> tuple[float, float, tuple[float, float]]:
    """Ratio of sums over clusters, its standard error, and its interval."""
    fraction = float(hits.sum() / totals.sum())
    k = len(hits)
    if k == 1:
        return fraction, math.nan, (math.nan, math.nan)
    power = float(((hits - fraction * totals) ** 2).sum())
    variance = k / (k - 1) * power / float(totals.sum()) ** 2
    interval = effective_interval(fraction, variance, n_nodes, effective_number(totals))
    return fraction, math.sqrt(variance), interval


def effective_number(areas: npt.ArrayLike) -> float:
    """How many of one area tell as much as those of these areas (Kish, Survey Sampling, 1965)."""
    known = np.asarray(areas, dtype=float)
    return float(known.sum() ** 2 / (known**2).sum())


def effective_interval(
    fraction: float, variance: float, n_nodes: float, n_clusters: float
) -> tuple[float, float]:
    """Wilson's interval for the number of nodes that would have this variance if independent."""
    spread = fraction * (1 - fraction)
    n = min(n_nodes, spread / variance) if variance > 0 else n_nodes
    return wilson_interval(fraction * n, n, z=_student_t(n_clusters))


def _student_t(n_clusters: float) -> float:
    return float(stdtrit(max(1.0, n_clusters - 1), 0.975))
