"""Fractions of a whole stack from counting frames: closed forms, and how often they are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import stdtrit

from napari_spss.core.analysis import counted_fractions, estimate_fraction
from napari_spss.core.annotations import (
    UNSURE,
    Annotations,
    CountingGrid,
    lay_frames,
    lay_grid,
    wilson_interval,
)

CLASSES = ("background", "mito", "resin")


def frame(place, *counts, n_unsure=0, spacing=1.0, box=True, is_done=True):
    """A frame, or the grid of a slice, with so many nodes of each class."""
    nodes = np.append(np.repeat(np.arange(len(counts)), counts), [UNSURE] * n_unsure)
    y, x = np.divmod(np.arange(nodes.size, dtype=float), 10)
    return CountingGrid(
        place,
        spacing,
        0.0,
        0.0,
        y,
        x,
        nodes.astype(np.int16),
        is_done,
        (0, 0, 10, 10) if box else None,
    )


def of(*grids, **options):
    return counted_fractions(Annotations(CLASSES, grids=grids, **options))


def test_hits_over_nodes_with_frames_as_clusters():
    found = of(
        frame(0, 8, 2), frame(1, 20, 0), frame(2, 9, 1, n_unsure=5), frame(3, 9, 1, is_done=False)
    )
    assert (found.n_done, found.n_laid, found.has_frames) == (3, 4, True)
    assert found.fractions == pytest.approx((37 / 40, 3 / 40, 0))
    residuals = np.array([2 - 0.075 * 10, 0 - 0.075 * 20, 1 - 0.075 * 10])
    variance = 3 / 2 * (residuals**2).sum() / 40**2
    assert found.standard_errors[1] == pytest.approx(math.sqrt(variance))
    n = 0.075 * 0.925 / variance
    t = stdtrit(40**2 / (10**2 + 20**2 + 10**2) - 1, 0.975)
    assert found.intervals[1] == pytest.approx(wilson_interval(0.075 * n, n, z=t), rel=1e-5)


@pytest.mark.parametrize("spread", [0.0, 1.0, 1.5])
def test_intervals_of_images_of_any_sizes_hold_the_fraction_of_all(spread):
    rng = np.random.default_rng(0)
    sizes, shares = np.exp(rng.normal(0, spread, 100_000)), rng.beta(4, 16, 100_000)
    true = (sizes * shares).sum() / sizes.sum()
    n_held = 0
    for chosen in rng.integers(len(sizes), size=(1000, 8)):
        areas = sizes[chosen] * shares[chosen]
        found = estimate_fraction(areas, sizes[chosen], is_sample=True)
        n_held += found.low <= true <= found.high
    assert n_held > 910


@pytest.mark.parametrize(("variation", "least"), [(0.4, 930), (0.8, 915), (1.5, 855)])
def test_intervals_hold_nearly_as_often_where_few_images_have_much(variation, least):
    rng = np.random.default_rng(0)
    scale = 0.95 / 0.05 / variation**2 - 1  # standard deviation of fractions over their mean, .05
    n_held = 0
    for shares in rng.beta(0.05 * scale, 0.95 * scale, (1000, 5)):
        found = estimate_fraction(shares, np.ones(5), is_sample=True)
        n_held += found.low <= 0.05 <= found.high
    assert n_held > least


def test_nodes_of_small_areas_do_not_make_a_large_one_better_known():
    counts = Annotations(CLASSES, grids=(frame(0, 100, box=False), frame(1, 100, box=False)))
    both = counted_fractions(counts, pixel_areas=[1, 9])
    n = 100 * (1 + 9) ** 2 / (1 + 9**2)
    assert both.intervals[1] == pytest.approx(wilson_interval(0, n, z=12.7062), rel=1e-5)


def test_no_hit_is_no_proof_of_absence_and_equal_frames_are_no_certainty():
    found = of(*(frame(z, 32, 0) for z in range(4)))
    assert found.fractions[1] == 0
    assert found.intervals[1] == pytest.approx(wilson_interval(0, 128, z=3.18245), rel=1e-5)
    equal = of(*(frame(z, 24, 8) for z in range(4)))
    assert equal.intervals[1] == pytest.approx(wilson_interval(32, 128, z=3.18245), rel=1e-5)


def test_nodes_that_stand_for_more_area_weigh_more():
    found = of(frame(0, 10, 10, spacing=1.0), frame(1, 10, 0, spacing=2.0))
    assert found.fractions[1] == pytest.approx(10 / 60)


def test_the_class_outside_counts_in_no_fraction():
    found = of(frame(0, 6, 2, 24), frame(1, 6, 2), frame(2, 0, 0, 32), outside="resin")
    assert found.classes == ("background", "mito")
    assert found.fractions == pytest.approx((0.75, 0.25))
    assert found.n_done == 2


def test_frames_go_before_grids_which_serve_where_there_are_none():
    grids = (frame(0, 5, 5, box=False), frame(1, 8, 2, box=False))
    assert of(*grids, frame(2, 9, 1)).fractions[1] == pytest.approx(0.1)
    alone = of(*grids)
    assert (alone.fractions[1], alone.has_frames) == (pytest.approx(0.35), False)
    told, assumed = alone.messages()
    assert told.startswith("whole stack, by 2 of 2 grids: mito 35.00 % (95 % interval ")
    assert "slices with grids stand for the others" in assumed


def test_one_frame_tells_no_interval_and_none_that_is_done_tells_nothing():
    one = of(frame(0, 9, 1), frame(1, 9, 1, is_done=False))
    assert math.isnan(one.standard_errors[1])
    told, assumed = one.messages()
    assert told == "whole stack, by 1 of 2 counting frames: mito 10.00 %, resin 0.00 %"
    assert "systematic uniform random sampling" in assumed
    assert of(frame(0, 9, 1, is_done=False), frame(1, 5, 5, box=False)) is None
    assert of(frame(0, 0, 0, n_unsure=3)) is None
    assert of() is None


# -- how often intervals hold the truth ------------------------------------------------------------


def structure(fraction, *, seed):
    """A stack in which a part of all pixels belongs to roundish objects."""
    noise = np.random.default_rng(seed).normal(size=(12, 400, 400))
    smooth = ndimage.gaussian_filter(noise, (3, 6, 6))
    return smooth > np.quantile(smooth, 1 - fraction)


def count(truth, grid):
    rows, columns = (np.floor(axis + 0.5).astype(int) for axis in (grid.y, grid.x))
    return grid.replace(class_index=truth[grid.slice, rows, columns].astype(int), is_done=True)


@pytest.mark.parametrize(
    ("fraction", "n", "n_done"), [(0.05, 16, 16), (0.05, 32, 16), (0.2, 8, 8), (0.01, 32, 32)]
)
@pytest.mark.no_cover
def test_nominal_95_per_cent_hold_the_truth_over_many_drawings(fraction, n, n_done):
    truth = structure(fraction, seed=1)
    held, estimates = [], []
    for seed in range(300):
        frames = lay_frames(truth.shape, n, 50, 6, rng=np.random.default_rng(seed))
        frames = [count(truth, one) if i < n_done else one for i, one in enumerate(frames)]
        found = counted_fractions(Annotations(("background", "mito"), grids=tuple(frames)))
        low, high = found.intervals[1]
        held.append(low <= truth.mean() <= high)
        estimates.append(found.fractions[1])
    assert np.mean(held) >= 0.93
    error = np.std(estimates) / math.sqrt(300)
    assert np.mean(estimates) == pytest.approx(truth.mean(), abs=3.5 * error)


@pytest.mark.no_cover
def test_intervals_hold_where_the_image_repeats_at_the_distance_of_the_frames():
    truth = np.zeros((1, 400, 400), dtype=bool)
    for y in range(0, 400, 100):
        for x in range(0, 400, 100):
            truth[0, y : y + 50, x : x + 50] = True
    held = []
    for seed in range(300):
        frames = lay_frames(truth.shape, 16, 50, 6, rng=np.random.default_rng(seed))
        grids = [count(truth, one) for one in frames]
        low, high = counted_fractions(Annotations(("background", "mito"), grids=grids)).intervals[1]
        held.append(low <= 0.25 <= high)
    assert np.mean(held) >= 0.93


@pytest.mark.no_cover
def test_whole_grids_on_even_slices_hold_the_truth_too():
    truth = structure(0.1, seed=2)
    held = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        grids = [count(truth, lay_grid(z, (400, 400), n_side=12, rng=rng)) for z in (1, 4, 7, 10)]
        low, high = counted_fractions(Annotations(("background", "mito"), grids=grids)).intervals[1]
        held.append(low <= truth.mean() <= high)
    assert np.mean(held) >= 0.93
