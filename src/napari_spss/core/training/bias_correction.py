"""Typed fractions brought into line with counted ones.

A guess by eye is rough, and one person's guesses share a bias; a counted grid is fair, but costs a
minute. Where some slices are counted, the counts say how far the guesses are off and how much the
slices differ, and so how far a guess is to be believed.

The model, for the log ratio ``z`` of a class to the background on slice ``i`` (for two classes the
logit of the fraction): slices differ, ``z_i ~ N(mu, tau^2)``; a guess says
``z_i + bias + N(0, sigma^2)``; a count says ``z_i + N(0, c_i^2)``, with ``c_i^2`` half of what
independent nodes would give, since a systematic grid is about twice as efficient. ``mu`` and
``bias`` are integrated out in closed form, ``tau`` and ``sigma`` over a table of values weighed by
their evidence and a weak prior (empirical Bayes; Gelman et al., Bayesian Data Analysis, ch. 5).

Counting frames are smaller than slices and differ more, so they have a ``mu`` and a ``tau_f`` of
their own. The ``m`` frames of a slice, together, are a count of it, whose variance is that of
their nodes and ``tau_f^2 / m``, since they show but a part of it. In the end, the fractions of all
counted slices, and of all frames, are scaled so that together they are what was counted in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..annotations import Annotations, Proportion, Region

Array = npt.NDArray[np.float64]

MIN_GRIDS = 2
_TAUS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5)
_SIGMAS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0)
# log-normal priors of tau and sigma: median, deviation of the logarithm
_TAU_PRIOR = (0.35, 0.8)
_SIGMA_PRIOR = (0.25, 0.5)
# Gaussian priors of mu and bias: mean, deviation
_MU_PRIOR = (-2.0, 3.0)
_BIAS_PRIOR = (0.0, 0.3)
_GRID_EFFICIENCY = 2.0
_RAKING = 20  # rounds of scaling classes and regions in turn, which soon changes nothing


@dataclass(frozen=True)
class BiasCorrection:
    """What to learn from instead of the stated fractions.

    There are fractions (C,) of the regions where they change; positive where they were not stated
    as 0, sum 1. The bias of each class is the factor by which its typed fractions exceed counted
    ones, relative to the background; None where nothing tells.
    """

    fractions: Mapping[Region, Array]
    bias: tuple[float | None, ...]


@dataclass(frozen=True)
class _Estimate:
    """Of one class: log ratios of all regions, (N,), the bias of guesses, and their variance.

    The bias is None if there is no guess.
    """

    log_ratios: Array
    bias: float | None
    variance: float


def correct_bias(
    annotations: Annotations, posterior: Mapping[Region, Array] | None = None
) -> BiasCorrection:
    """Estimate the fractions of all slices from what was typed and what was counted.

    Whole slices whose typed fractions are all known, without an interval and with some background,
    and finished grids take part. A fraction typed as 0 stays exactly 0. Typed rectangles are
    corrected for the bias of the guesses alone. Finished frames are a population of their own:
    they differ more from each other than slices do. Together they stand for their slice where no
    grid does, the less certainly, the more frames differ. Nothing changes with fewer than two
    finished grids, or frames.

    Parameters
    ----------
    annotations : Annotations
        Typed proportions and grids; the class outside takes no part.
    posterior : mapping of Region to ndarray, (C,), optional
        Nodes per class of regions, instead of those of their grids.

    Returns
    -------
    BiasCorrection
        Empty if there is nothing to compare.

    Examples
    --------
    >>> correct_bias(Annotations(("background", "mitochondria"))).fractions
    {}
    """
    outside = annotations.outside_index
    n_classes = len(annotations.classes)
    classes = [index for index in range(1, n_classes) if index != outside]
    counts = _counts(annotations, posterior or {})
    frames = {region: one for region, one in counts.items() if region.box is not None}
    of_frames = _estimates_of_frames(frames, classes)
    counted = _counted_slices(counts, is_with_frames=bool(of_frames))
    fractions: dict[Region, Array] = {
        region: _mixed(_ratios_at(of_frames, position), None, n_classes)
        for position, region in enumerate(frames)
        if of_frames
    }
    fractions.update(_calibrated(fractions, frames))
    if len(counted) < MIN_GRIDS:
        return BiasCorrection(fractions, (None,) * n_classes)
    typed = {
        one.region: np.array(one.fractions, np.float64)
        for one in (stated.without(outside).normalised() for stated in annotations.proportions)
        # known without an interval, and some background
        if one.low is one.high is None and None not in one.fractions and (one.fractions[0] or 0) > 0
    }
    whole = {region.slice: known for region, known in typed.items() if region.box is None}
    slices = sorted(whole.keys() | counted.keys())
    nodes, n_frames = zip(*(counted.get(z, (None, 0)) for z in slices), strict=True)
    per_frame = np.array([1 / n if n else 0.0 for n in n_frames])
    estimates: dict[int, _Estimate] = {}
    for index in classes:
        ratios, variances = _counted_log_ratios(nodes, index)
        between = of_frames[index].variance if of_frames else 0.0
        typed_ratios = np.array([_log_ratio(whole.get(z), index) for z in slices])
        estimates[index] = _estimate(typed_ratios, ratios, variances + between * per_frame)
    for position, z in enumerate(slices):
        region = Region(z)
        if region in counts or z in whole:
            stated = None if region in counts else whole[z]
            fractions[region] = _mixed(_ratios_at(estimates, position), stated, n_classes)
    grids = {region: one for region, one in counts.items() if region.box is None}
    fractions.update(_calibrated(fractions, grids))
    for region, known in typed.items():
        if region.box is not None and region not in counts:
            unbiased = {
                index: _log_ratio(known, index) - (one.bias or 0.0)
                for index, one in estimates.items()
            }
            fractions[region] = _mixed(unbiased, known, n_classes)
    factors = {
        index: None if one.bias is None else float(np.exp(one.bias))
        for index, one in estimates.items()
    }
    return BiasCorrection(fractions, tuple(factors.get(index) for index in range(n_classes)))


def corrected_proportions(annotations: Annotations) -> tuple[Proportion, ...]:
    """Proportions to learn from, as `Annotations.effective_proportions`, with corrected fractions.

    Examples
    --------
    >>> corrected_proportions(Annotations(("background", "mitochondria")))
    ()
    """
    better = correct_bias(annotations).fractions
    return tuple(
        Proportion(one.region, tuple(map(float, better[one.region])), source=one.source)
        if one.region in better
        else one
        for one in annotations.effective_proportions()
    )


def _counts(annotations: Annotations, posterior: Mapping[Region, Array]) -> dict[Region, Array]:
    """Judged nodes per class of every finished grid, those outside left out."""
    found = {}
    for grid in annotations.grids:
        judged = posterior.get(grid.region, grid.judged_counts(len(annotations.classes)))
        counts = judged.astype(np.float64)
        if annotations.outside_index is not None:
            counts[annotations.outside_index] = 0
        if grid.is_done and counts.any():
            found[grid.region] = counts
    return found


def _calibrated(
    fractions: Mapping[Region, Array], counts: Mapping[Region, Array]
) -> dict[Region, Array]:
    """Fractions of counted regions, scaled so that together they are what was counted in all.

    The half node that is added to each count, and weights that follow the counts, make log ratios
    too large where hits are few: frames of 64 nodes, of which 3 were hits, by a fifth. In all there
    are more hits, and half a node more says little.
    """
    regions = [region for region in counts if region in fractions]
    if not regions:
        return {}
    found = np.array([fractions[region] for region in regions])
    nodes = np.array([counts[region] for region in regions])
    hits, totals = nodes.sum(axis=0) + 0.5, nodes.sum(axis=1, keepdims=True)
    for _ in range(_RAKING):
        expected = (totals * found).sum(axis=0)
        found *= np.divide(hits, expected, out=np.zeros_like(hits), where=expected > 0)
        found /= found.sum(axis=1, keepdims=True)
    return dict(zip(regions, found, strict=True))


def _estimates_of_frames(
    frames: Mapping[Region, Array], classes: Sequence[int]
) -> dict[int, _Estimate]:
    """Estimates of frames by class; none if there are too few of them."""
    if len(frames) < MIN_GRIDS:
        return {}
    nothing = np.full(len(frames), np.nan)
    counts = list(frames.values())
    return {index: _estimate(nothing, *_counted_log_ratios(counts, index)) for index in classes}


def _counted_slices(
    counts: Mapping[Region, Array], *, is_with_frames: bool
) -> dict[int, tuple[Array, int]]:
    """Nodes per class of slices: of their grid, or of their frames together, and of how many."""
    found = {region.slice: (one, 0) for region, one in counts.items() if region.box is None}
    on_grids = set(found)
    for region, one in counts.items():
        if is_with_frames and region.box is not None and region.slice not in on_grids:
            so_far, n_frames = found.get(region.slice, (np.zeros_like(one), 0))
            found[region.slice] = (so_far + one, n_frames + 1)
    return found


def _ratios_at(estimates: Mapping[int, _Estimate], position: int) -> dict[int, float]:
    return {index: float(one.log_ratios[position]) for index, one in estimates.items()}


def _log_ratio(fractions: Array | None, index: int) -> float:
    """Log ratio of a class to the background; NaN where it is absent, or nothing is known."""
    if fractions is None or fractions[index] <= 0:
        return float("nan")
    return float(np.log(fractions[index] / fractions[0]))


def _counted_log_ratios(counts: Sequence[Array | None], index: int) -> tuple[Array, Array]:
    """Log ratios of a class to the background, and their variances; NaN where nothing is counted.

    Half a node is added to both counts, so that no hit is no proof of absence.
    """
    pairs = np.array(
        [(np.nan, np.nan) if one is None else (one[index] + 0.5, one[0] + 0.5) for one in counts]
    )
    ratios: Array = np.log(pairs[:, 0] / pairs[:, 1])
    variances: Array = (1 / pairs).sum(axis=1) / _GRID_EFFICIENCY
    return ratios, variances


def _estimate(typed: Array, counted: Array, variances: Array) -> _Estimate:
    """Posterior means for one class; all arrays (N,), NaN where nothing is stated."""
    has_typed, has_counted = np.isfinite(typed), np.isfinite(counted)
    stated = np.stack([np.where(has_typed, typed, 0.0), np.where(has_counted, counted, 0.0)], 1)
    of_counts = np.where(has_counted, 1 / np.where(has_counted, variances, 1.0), 0.0)
    evidence, ratios, biases = [], [], []
    for tau in _TAUS:
        for sigma in _SIGMAS:
            precisions = np.stack([has_typed / sigma**2, of_counts], axis=1)
            mean, log_evidence = _fit(stated, precisions, 1 / tau**2)
            of_slice = 1 / tau**2 + precisions.sum(axis=1)
            centred = stated - np.array([mean[1], 0.0])
            ratios.append((mean[0] / tau**2 + (precisions * centred).sum(axis=1)) / of_slice)
            biases.append(mean[1])
            evidence.append(
                log_evidence + _log_prior(tau, _TAU_PRIOR) + _log_prior(sigma, _SIGMA_PRIOR)
            )
    weights = np.exp(np.array(evidence) - max(evidence))
    weights /= weights.sum()
    bias = float(weights @ np.array(biases)) if (has_typed & has_counted).any() else None
    taus = np.repeat(_TAUS, len(_SIGMAS))
    return _Estimate(weights @ np.array(ratios), bias, float(weights @ taus**2))


def _fit(stated: Array, precisions: Array, of_prior: float) -> tuple[Array, float]:
    """Posterior mean of (mu, bias), and log evidence, given tau and sigma.

    ``stated`` and ``precisions`` are (N, 2): guess and count of each slice; precision 0 where
    there is none. A slice's own ratio is integrated out: its guess and count then share the
    variance ``1 / of_prior``.
    """
    design = np.array([[1.0, 1.0], [1.0, 0.0]])
    total = of_prior + precisions.sum(axis=1)
    inverse = (
        precisions[:, :, None] * np.eye(2)
        - precisions[:, :, None] * precisions[:, None, :] / total[:, None, None]
    )
    prior_precision = np.diag([1 / _MU_PRIOR[1] ** 2, 1 / _BIAS_PRIOR[1] ** 2])
    prior_mean = np.array([_MU_PRIOR[0], _BIAS_PRIOR[0]])
    matrix = prior_precision + np.einsum("ka,nkl,lb->ab", design, inverse, design)
    vector = prior_precision @ prior_mean + np.einsum("ka,nkl,nl->a", design, inverse, stated)
    mean: Array = np.linalg.solve(matrix, vector)
    quadratic = np.einsum("nk,nkl,nl->", stated, inverse, stated) - vector @ mean
    known = precisions > 0
    log_determinant = (
        np.log(precisions[known]).sum() + (np.log(of_prior) - np.log(total)).sum()
    ) - np.linalg.slogdet(matrix)[1]
    return mean, float(0.5 * (log_determinant - quadratic))


def _log_prior(value: float, prior: tuple[float, float]) -> float:
    median, deviation = prior
    return -0.5 * float(np.log(value / median) / deviation) ** 2


def _mixed(ratios: Mapping[int, float], typed: Array | None, n_classes: int) -> Array:
    """Fractions with the given log ratios to the background; exactly 0 where typed as 0."""
    parts = np.zeros(n_classes)
    parts[0] = 1.0
    for index, ratio in ratios.items():
        if np.isfinite(ratio) and (typed is None or typed[index] > 0):
            parts[index] = np.exp(ratio)
    mixed: Array = parts / parts.sum()
    return mixed


def bias_messages(found: BiasCorrection, classes: tuple[str, ...]) -> Iterator[str]:
    """Say in plain words how far guesses and counts are apart, where it is more than a tenth."""
    for name, factor in zip(classes, found.bias, strict=True):
        if factor is not None and not 1 / 1.1 < factor < 1.1:
            yield (
                f"Typed fractions of {name} are about {factor:.1f} times those of the counted "
                "grids; training corrects them for that."
            )
