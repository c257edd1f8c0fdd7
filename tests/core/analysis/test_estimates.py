"""Fractions by a count, by labels, and by labels that a check count corrects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from napari_spss.core.analysis import check_fresh, counted_fractions, estimate_fractions
from napari_spss.core.annotations import (
    UNSURE,
    Annotations,
    CountingGrid,
    lay_frames,
    lay_grid,
    wilson_interval,
)
from napari_spss.core.base import InputError

CLASSES = ("background", "mito", "resin")


def structure(fraction, *, seed, shape=(12, 400, 400)):
    """A stack in which a part of all pixels belongs to roundish objects."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, (3, 6, 6))
    return (smooth > np.quantile(smooth, 1 - fraction)).astype(np.uint8)


def judged(grid, truth):
    rows, columns = (np.floor(axis + 0.5).astype(int) for axis in (grid.y, grid.x))
    return grid.replace(class_index=truth[grid.slice][rows, columns].astype(int), is_done=True)


def frames(truth, n, *, seed, classes=CLASSES[:2], **options):
    rng = np.random.default_rng(seed)
    laid = lay_frames(truth.shape, n, 50, 6, rng=rng)
    return Annotations(classes, grids=tuple(judged(one, truth) for one in laid), **options)


def grids(truth, slices, *, seed=0, classes=CLASSES[:2], **options):
    rng = np.random.default_rng(seed)
    laid = (lay_grid(z, truth[z].shape, n_side=12, rng=rng) for z in slices)
    return Annotations(classes, grids=tuple(judged(one, truth) for one in laid), **options)


def by_method(estimates, name="mito"):
    return {one.method: one for one in estimates if one.name == name}


def with_errors(truth, seed=0):
    """A map that is too wide, misses some objects, and makes up others."""
    rng = np.random.default_rng(seed)
    objects, n = ndimage.label(truth)
    is_missed = np.append(False, rng.random(n) < 0.2)[objects]
    wide = ndimage.binary_dilation(truth, np.ones((1, 3, 3)))
    return ((wide & ~is_missed) | structure(0.01, seed=seed + 99, shape=truth.shape)).astype(
        np.uint8
    )


# -- closed forms ----------------------------------------------------------------------------------


def test_labels_are_corrected_by_the_mean_of_what_nodes_say_less_the_labels():
    labels = np.zeros((2, 10, 10), np.uint8)
    labels[:, :3] = 1  # 30 %
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[:10, :10])
    said = np.where(y < 2, 1, 0)  # a person: 20 %
    said[said.size - 1] = UNSURE
    check = Annotations(
        CLASSES[:2], grids=tuple(CountingGrid(z, 1.0, 0, 0, y, x, said, True) for z in range(2))
    )
    found = by_method(estimate_fractions(labels, check))
    corrected = found["labels, corrected"]
    assert corrected.fraction == pytest.approx(0.3 - 20 / 198)
    assert (corrected.clusters, corrected.nodes) == (2, 198)
    assert "2 unsure nodes as the others" in corrected.assumes
    assert "errors do not crowd in a few places that nodes may miss" in corrected.assumes
    assert found["labels, uncorrected"].fraction == pytest.approx(0.3)
    assert (
        "what the labels miss or make up is left, and not known"
        in found["labels, uncorrected"].assumes
    )
    count = counted_fractions(check)
    assert found["count"].fraction == count.fractions[1]
    assert (found["count"].low, found["count"].high) == count.intervals[1]


def test_a_fraction_that_cannot_be_is_not_told_as_if_it_were_found():
    labels = np.zeros((2, 10, 10), np.uint8)
    labels[:, :, :4] = 1  # 40 %
    y, x = np.arange(10.0), np.full(10, 2.0)  # all nodes on labels, all of them wrong
    said = np.zeros(10, np.int64)
    check = Annotations(
        CLASSES[:2], grids=tuple(CountingGrid(z, 1.0, 0, 0, y, x, said, True) for z in range(2))
    )
    found = estimate_fractions(labels, check)
    corrected = by_method(found)["labels, corrected"]
    assert corrected.fraction == 0.0
    assert corrected.assumes.startswith("came to -60.0 %, of which 0 % is the nearest that can be")
    assert "came to" not in by_method(found)["labels, uncorrected"].assumes


def test_the_interval_adds_those_of_what_is_missed_and_of_what_is_made_up():
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[:10, :10])
    labels = np.zeros((4, 10, 10), np.uint8)
    labels[:, 0] = 1  # 10 %
    truth = labels.copy()
    truth[:, 0, :3] = 0  # 3 of 100 nodes of each slice are made up
    truth[:, 1, :2] = 1  # 2 are missed
    nodes = CountingGrid(0, 1.0, 0, 0, y, x, np.zeros(100), True)
    check = Annotations(
        CLASSES[:2], grids=[judged(nodes.replace(slice=z), truth) for z in range(4)]
    )
    one = by_method(estimate_fractions(labels, check))["labels, corrected"]
    assert one.fraction == pytest.approx(0.09)
    # Student's t for 3 degrees of freedom
    missed, made_up = (wilson_interval(hits, 400, z=3.18245) for hits in (8, 12))
    assert one.low == pytest.approx(
        0.09 - math.hypot(0.02 - missed[0], made_up[1] - 0.03), rel=1e-5
    )
    assert one.high == pytest.approx(
        0.09 + math.hypot(missed[1] - 0.02, 0.03 - made_up[0]), rel=1e-5
    )


def test_labels_that_no_node_contradicts_are_no_certainty():
    truth = structure(0.05, seed=1)
    corrected = by_method(estimate_fractions(truth, frames(truth, 16, seed=0)))["labels, corrected"]
    assert corrected.fraction == truth.mean()
    assert corrected.low < truth.mean() - 1 / 576 < truth.mean() + 1 / 576 < corrected.high


def test_the_class_outside_counts_in_no_fraction_and_is_corrected_too():
    truth = structure(0.2, seed=3, shape=(6, 200, 200))
    truth[:, :80] = 2
    labels = truth.copy()
    labels[:, 60:80] = 0  # the map takes a quarter of the resin for background
    check = grids(truth, range(6), classes=CLASSES)
    found = estimate_fractions(labels, check, outside="resin")
    assert {one.name for one in found} == {"mito"}
    true = float((truth == 1).sum() / (truth != 2).sum())
    corrected = by_method(found)["labels, corrected"]
    assert by_method(found)["labels, uncorrected"].fraction < 0.9 * true
    assert corrected.fraction == pytest.approx(true, rel=0.03)
    assert corrected.low < true < corrected.high


def test_pixels_and_nodes_without_a_label_do_not_count():
    truth = structure(0.2, seed=4, shape=(4, 200, 200))
    labels = truth.copy()
    labels[:, 100:] = 255
    found = by_method(estimate_fractions(labels, grids(truth, range(4))))
    assert found["labels, uncorrected"].fraction == pytest.approx(truth[:, :100].mean())
    assert found["labels, corrected"].fraction == pytest.approx(truth[:, :100].mean())
    assert found["labels, corrected"].nodes == pytest.approx(found["count"].nodes / 2, rel=0.1)


def test_images_weigh_by_the_area_of_their_pixels():
    labels = [np.ones((20, 20), np.uint8), np.zeros((20, 20), np.uint8)]
    check = grids(labels, range(2))
    found = by_method(estimate_fractions(labels, check, is_set=True, pixel_areas=[3.0, 1.0]))
    for one in found.values():
        assert one.fraction == pytest.approx(0.75), one.method


# -- how often intervals hold the truth ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "n"), [("wrong", 16), ("wrong", 32), ("missed", 8), ("missed", 16), ("right", 16)]
)
@pytest.mark.no_cover
def test_nominal_95_per_cent_hold_the_truth_whatever_the_labels(kind, n):
    truth = structure(0.05, seed=1)
    labels = {"wrong": with_errors(truth), "missed": truth.copy(), "right": truth}[kind]
    if kind == "missed":
        labels[:, :, :80] = 0
    held, estimates, widths = [], [], []
    for seed in range(200):
        found = by_method(estimate_fractions(labels, frames(truth, n, seed=seed)))
        one = found["labels, corrected"]
        held.append(one.low <= truth.mean() <= one.high)
        estimates.append(one.fraction)
        widths.append((one.high - one.low) / (found["count"].high - found["count"].low))
    assert np.mean(held) >= 0.95 - 2 * math.sqrt(0.95 * 0.05 / 200)  # less what 200 drawings vary
    error = np.std(estimates) / math.sqrt(200)
    assert np.mean(estimates) == pytest.approx(truth.mean(), abs=3.5 * error + 1e-9)
    assert np.mean(widths) < 0.9  # it tells more than the count alone


# -- Cavalieri -------------------------------------------------------------------------------------


@pytest.mark.no_cover
def test_whole_grids_at_equal_distances_have_cavalieris_error_too():
    truth = structure(0.2, seed=2, shape=(24, 300, 300))
    held = []
    for seed in range(100):
        slices = range(seed % 4, 24, 4)
        found = by_method(estimate_fractions(truth, grids(truth, slices, seed=seed)))
        one = found["count, Cavalieri"]
        assert one.fraction == pytest.approx(found["count"].fraction)
        held.append(one.low <= truth.mean() <= one.high)
    assert np.mean(held) >= 0.93
    assert "smoothness 0 (alpha 1/12); nugget of independent nodes" in one.assumes
    assert "so near that neighbours are alike" in one.assumes
    assert "speaks of this stack alone" in one.assumes


def test_cavalieri_is_not_given_where_it_does_not_hold():
    truth = structure(0.2, seed=2, shape=(12, 100, 100))
    uneven = by_method(estimate_fractions(truth, grids(truth, (0, 3, 4))))["count, Cavalieri"]
    assert math.isnan(uneven.fraction)
    assert uneven.assumes == "not given: slices 0, 3, 4 are not at equal distances"
    few = by_method(estimate_fractions(truth, grids(truth, (0, 3))))["count, Cavalieri"]
    assert few.assumes == "not given: 2 slices with a grid; it needs 3"
    for found in (
        estimate_fractions(truth, frames(truth, 8, seed=0)),
        estimate_fractions(truth, grids(truth, (0, 3, 6)), is_set=True),
    ):
        assert "count, Cavalieri" not in by_method(found)


# -- groups ----------------------------------------------------------------------------------------


def test_an_animal_is_a_unit_and_a_node_is_none():
    images = [
        structure(f, seed=i, shape=(1, 200, 200))[0] for i, f in enumerate([0.1] * 3 + [0.3] * 3)
    ]
    check = grids(images, range(6))
    pooled = by_method(estimate_fractions(images, check, is_set=True))
    animals = by_method(estimate_fractions(images, check, is_set=True, groups="AAABBB"))
    for method, one in animals.items():
        assert (one.clusters, one.nodes) == (2, pooled[method].nodes)
        assert one.assumes.startswith("mean of 2 groups that stand for others")
    a, b = np.mean(images[:3]), np.mean(images[3:])
    one = animals["labels, corrected"]
    assert one.fraction == pytest.approx((a + b) / 2)
    # Student's t for 1 degree of freedom
    assert one.high - one.fraction == pytest.approx(
        min(12.7062 * abs(a - b) / 2, 1 - one.fraction), rel=1e-4
    )


def test_animals_that_are_equal_tell_no_spread():
    images = [np.zeros((60, 60), np.uint8)] * 4
    found = by_method(estimate_fractions(images, grids(images, range(4)), groups="AABB"))
    for one in found.values():
        assert one.fraction == 0
        assert math.isnan(one.high)
        assert one.assumes.startswith("no interval, since all 2 are equal")


def test_a_group_without_nodes_gives_no_corrected_fraction():
    images = [structure(0.1, seed=i, shape=(1, 100, 100))[0] for i in range(4)]
    found = by_method(
        estimate_fractions(images, grids(images, (0, 1)), is_set=True, groups=["A", "A", "B", "B"])
    )
    assert math.isnan(found["labels, corrected"].fraction)
    assert found["labels, corrected"].assumes == (
        "not given: of group B, no grid or frame of the check count is done"
    )
    assert found["labels, uncorrected"].clusters == 2


# -- what is refused, or not given -----------------------------------------------------------------


def test_without_a_check_count_nothing_is_corrected():
    truth = structure(0.2, seed=2, shape=(4, 100, 100))
    found = by_method(estimate_fractions(truth, training=grids(truth, (0, 1, 2))))
    assert set(found) == {
        "training count",
        "training count, Cavalieri",
        "labels, uncorrected",
        "labels, corrected",
    }
    assert math.isnan(found["labels, corrected"].fraction)
    assert "no fair sample of its errors" in found["labels, corrected"].assumes


def test_nodes_that_were_learned_from_are_no_check():
    truth = structure(0.2, seed=2, shape=(4, 100, 100))
    training = grids(truth, (0, 1), seed=5)
    first = training.grids[0]
    rounded = first.replace(y=np.round(first.y, 1), x=np.round(first.x, 1))
    check = grids(truth, (2, 3)).replace(grids=(rounded, *grids(truth, (2, 3)).grids))
    n = first.n_nodes
    with pytest.raises(InputError, match=rf"{n} of {3 * n} nodes of the check .* such as slice 0"):
        estimate_fractions(truth, check, training=training)
    check_fresh(grids(truth, (0, 1), seed=6), training)


def test_one_cluster_tells_no_interval():
    truth = structure(0.2, seed=2, shape=(4, 100, 100))
    one = by_method(estimate_fractions(truth, grids(truth, (1,))))["labels, corrected"]
    assert one.fraction == pytest.approx(truth.mean())
    assert math.isnan(one.low)
    assert one.assumes.startswith("no interval, since one alone tells no spread; ")


def test_a_count_of_another_stack_is_refused():
    truth = structure(0.2, seed=2, shape=(4, 100, 100))
    with pytest.raises(InputError, match="nodes on slice 3, but the labels have 2 slices"):
        estimate_fractions(truth[:2], grids(truth, (3,)))
    with pytest.raises(InputError, match=r"outside slice 1 of the labels, which is 50 x 100 px"):
        estimate_fractions(truth[:, :50], grids(truth, (1,)))
    with pytest.raises(InputError, match="3 groups were given for 4 slices"):
        estimate_fractions(truth, groups="ABC", classes=CLASSES[:2])
