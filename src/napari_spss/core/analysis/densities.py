"""Surface and number of objects per volume, from labels, as stereology counts them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..images import IGNORE
from .ratio import NOTHING, FractionEstimate, estimate_fraction

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_STEPS = np.array([(0, 1), (1, 0), (1, 1), (1, -1)])  # (y, x)


class LineIntercepts:
    """Counts changes of class between neighbouring pixels along lines in 4 directions of slices.

    Pairs with a pixel that is not labelled, or of the class ``outside``, do not count; nor do edges
    of the image.

    Attributes
    ----------
    changes : ndarray of int, (n, 4, 255)
        By slice, direction and class.
    pairs : ndarray of int, (n, 4)
        Pairs of pixels that count.
    """

    def __init__(self, n_slices: int, outside: int | None) -> None:
        self.changes: Ints = np.zeros((n_slices, len(_STEPS), IGNORE), dtype=np.int64)
        self.pairs: Ints = np.zeros((n_slices, len(_STEPS)), dtype=np.int64)
        self._outside = outside
        self._above: tuple[int, npt.NDArray[np.uint8]] | None = None

    def add(self, z: int, strip: npt.NDArray[np.uint8]) -> None:
        """Add rows of slice ``z``, from top to bottom, after all of lower slices."""
        rows = strip
        if self._above is not None and self._above[0] == z:
            rows = np.concatenate([self._above[1], strip])
        self._above = z, strip[-1:].copy()
        height, width = rows.shape
        for direction, (dy, dx) in enumerate(_STEPS.tolist()):
            of = rows if dy else strip
            one = of[: height - dy if dy else None, max(0, -dx) : width - max(0, dx)]
            other = of[dy:, max(0, dx) : width - max(0, -dx)]
            is_known = (one != IGNORE) & (other != IGNORE)
            if self._outside is not None:
                is_known &= (one != self._outside) & (other != self._outside)
            is_change = is_known & (one != other)
            self.pairs[z, direction] += np.count_nonzero(is_known)
            for side in (one, other):
                self.changes[z, direction] += np.bincount(side[is_change], minlength=IGNORE)


def surface_density(
    changes: npt.ArrayLike,
    pairs: npt.ArrayLike,
    edges_um: npt.ArrayLike,
    totals: npt.ArrayLike,
    *,
    is_vertical: bool = False,
    is_sample: bool,
) -> FractionEstimate:
    """Estimate surface per volume from intercepts of a boundary with lines in slices.

    ``S_V = 2 I_L``: twice the intercepts per length of line, where lines are isotropic in space.
    They are if the slices were cut in isotropic uniform random directions, or if the structure has
    no preferred one; the four directions of the lines then weigh by their share of the plane.
    Vertical sections contain a known axis, here that of the rows (y, from top to bottom), and are
    rotated at random about it: there lines weigh by the sine of their angle to the axis too, which
    is what the arcs of cycloids do by their shape.

    Objects between two neighbouring pixels are not seen.

    Parameters
    ----------
    changes, pairs : array of int, (n, 4)
        Of each slice and direction, see `LineIntercepts`.
    edges_um : array of float, (n, 2)
        Edges (y, x) of a pixel in micrometres.
    totals : array of float, (n,)
        What each slice weighs: its area.
    is_vertical : bool
        Whether the slices are vertical sections.
    is_sample : bool
        See `estimate_fraction`.

    Returns
    -------
    FractionEstimate
        In square micrometres per cubic micrometre; nan where the pixel size is not known.

    References
    ----------
    Smith and Guttman, Measurement of internal boundaries in three-dimensional structures by random
    sectioning, Trans. AIME 197 (1953) 81-87.
    Baddeley, Gundersen and Cruz-Orive, Estimation of surface area from vertical sections,
    J. Microsc. 142 (1986) 259-276.
    """
    edges, weights = np.asarray(edges_um, dtype=float), np.asarray(totals, dtype=float)
    n_pairs, found = np.asarray(pairs), np.zeros(len(weights))
    is_usable = (n_pairs > 0).all(axis=1) & np.isfinite(edges).all(axis=1) & (weights > 0)
    if not is_usable.any() or np.isnan(edges).any():
        return NOTHING
    for edge in np.unique(edges[is_usable], axis=0):
        of_size = is_usable & (edges == edge).all(axis=1)
        vectors = _STEPS * edge
        share = direction_weights(vectors, is_vertical=is_vertical)
        per_length = np.asarray(changes)[of_size] / n_pairs[of_size]
        found[of_size] = per_length @ (2 * share / np.linalg.norm(vectors, axis=1))
    return estimate_fraction(
        (found * weights)[is_usable], weights[is_usable], is_sample=is_sample, is_density=True
    )


def numerical_density(
    objects: pd.DataFrame, totals: npt.ArrayLike, *, is_volume: bool, is_sample: bool
) -> FractionEstimate:
    """Estimate the number of objects per volume, or of their sections per area.

    In a volume each pair of neighbouring slices is a disector: an object counts in the slice in
    which it begins, but for the first and those after one without labels, whose objects may have
    begun before. Of those at the edges of a slice, the ones that touch the upper or the left edge
    do not count; the others do. So each object counts once, whatever its size and shape, and no
    assumption is made about them. It is assumed that the labels are right, that no object hides
    between two slices, and that the stack was placed at random.

    Parameters
    ----------
    objects : DataFrame
        Of the class; see `object_table`.
    totals : array of float, (n,)
        Of each slice the volume, or area, in which objects may begin: less a row and a column.
    is_volume : bool
        Whether objects reach through slices; if not, it is the number of sections per area, which
        tells of no number of objects.
    is_sample : bool
        See `estimate_fraction`.

    References
    ----------
    Sterio, The unbiased estimation of number and sizes of arbitrary particles using the disector,
    J. Microsc. 134 (1984) 127-136.
    Howard, Reid, Baddeley and Boyde, Unbiased estimation of particle density in the tandem scanning
    reflected light microscope, J. Microsc. 138 (1985) 203-212.
    """
    sizes = np.asarray(totals, dtype=float)
    if not np.isfinite(sizes).all():
        return NOTHING
    begins = objects.loc[objects["is_counted"], "z0"].to_numpy(dtype=np.int64)
    counts = np.bincount(begins, minlength=len(sizes)).astype(float)
    if is_volume:
        sizes = np.where(np.append(0.0, sizes[:-1]) > 0, sizes, 0.0)
    return estimate_fraction(counts, sizes, is_sample=is_sample, is_density=True)


def direction_weights(vectors: Floats, *, is_vertical: bool = False) -> Floats:
    """Part of all directions that is closest to each of these (n, 2 or 3); the sum is 1.

    With ``is_vertical``, of the directions in space in a vertical plane, whose axis is y.
    """
    units = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    if vectors.shape[1] == 3:
        from scipy.spatial import SphericalVoronoi

        areas = SphericalVoronoi(np.concatenate([units, -units])).calculate_areas()
        weights: Floats = areas[: len(units)] / areas[: len(units)].sum()
        return weights
    angles = np.arctan2(units[:, 1], units[:, 0]) % math.pi  # from the axis y
    order = np.argsort(angles)
    ring = np.concatenate(
        [angles[order][-1:] - math.pi, angles[order], angles[order][:1] + math.pi]
    )
    middles = (ring[1:] + ring[:-1]) / 2
    if is_vertical:  # the integral of the sine's absolute value
        middles = math.pi / 2 * (1 - np.cos(middles % math.pi) + 2 * (middles // math.pi))
    weights = np.empty(len(angles))
    weights[order] = np.diff(middles) / math.pi
    return weights


def density_columns(name: str, found: FractionEstimate) -> dict[str, Any]:
    """Columns of a density and its interval."""
    return {name: found.fraction, f"{name}_low": found.low, f"{name}_high": found.high}
