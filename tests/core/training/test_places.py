"""Where random windows are drawn: all that is said is shown, and labels keep their weight."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from samples_in_memory import bag, sample, whole

from napari_spss.core.annotations import Classes, Region
from napari_spss.core.training.data import Sampler
from napari_spss.core.training.places import Places

SIZE = (40, 60)
LABELS = {(2, 3): 1, (20, 20): 0, (21, 26): 0, (39, 59): 0, (30, 45): 1}
SAID = {
    "labels": {"labels": LABELS},
    "a fraction of the slice, and labels": {
        "labels": LABELS,
        "bags": [whole(SIZE, (0.5, 0.5))],
    },
    "regions, and labels in and beside them": {
        "labels": LABELS,
        "bags": [bag((15, 15, 31, 31), (0.5, 0.5)), bag((28, 44, 40, 60), (0.5, 0.5))],
    },
    "a region larger than some windows, and labels in and beside it": {
        "labels": LABELS,
        "bags": [bag((5, 4, 38, 38), (0.5, 0.5))],
    },
    "regions and a fraction of the slice": {
        "labels": LABELS,
        "bags": [whole(SIZE, (0.5, 0.5)), bag((15, 15, 31, 31), (0.5, 0.5))],
    },
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
@pytest.mark.parametrize("shape", [(16, 16), (40, 16), (16, 60)])
def test_chances_are_how_often_pixels_are_shown(said, shape):
    places = Places.of(sample(SIZE, **said), shape)
    rng = np.random.default_rng(0)
    shown = np.zeros(SIZE)
    n = 4000
    for _ in range(n):
        y, x = places.draw(rng)
        assert 0 <= y <= SIZE[0] - shape[0]
        assert 0 <= x <= SIZE[1] - shape[1]
        shown[y : y + shape[0], x : x + shape[1]] += 1
    chances = places.chances(*map(np.arange, SIZE))
    assert np.abs(shown / n - chances).max() < 0.04  # five standard errors
    assert all(chances[at] > 0 for at in LABELS), "a label that is never shown teaches nothing"


@settings(max_examples=20)
@given(said=st.sampled_from(list(SAID.values())), seed=st.integers(0, 99))
def test_labels_keep_their_weight_on_average(said, seed):
    source = Sampler([sample(SIZE, **said)], None, shape=(16, 16), batch_size=200, seed=seed)
    weights = source.draw(0).weights.numpy().sum((1, 2))
    error = weights.std() / np.sqrt(len(weights))
    assert abs(weights.mean() - len(LABELS)) < 5 * error + 1e-4


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_chances_of_a_part_are_those_of_the_whole(said):
    places = Places.of(sample(SIZE, **said), (16, 16))
    whole_slice = places.chances(*map(np.arange, SIZE))
    part = places.chances(np.arange(10, 26), np.arange(30, 46))
    np.testing.assert_allclose(part, whole_slice[10:26, 30:46])


def test_a_window_that_shows_all_shows_all_for_sure():
    places = Places.of(sample((12, 16), labels={(2, 3): 1}), (16, 16))
    assert places.draw(np.random.default_rng(0)) == (0, 0)
    assert places.chances(np.array([2, 11]), np.array([3, 15])).tolist() == [[1, 1], [1, 1]]
    assert places.n_windows == 1


def test_nodes_of_a_grid_over_the_slice_need_no_windows_of_their_own():
    size = (100, 100)
    nodes = {(y, x): 0 for y in range(5, 100, 10) for x in range(5, 100, 10)}
    counted = sample(size, labels=nodes | {(3, 3): 1}, bags=[whole(size, (0.5, 0.5))])
    counted.nodes[Region(0)] = np.array([np.ravel_multi_index(at, size) for at in nodes])
    places = Places.of(counted, (16, 16))
    assert places.shares.tolist() == [0.5, 0.5], "around the keypoint, or anywhere"
    assert places.n_windows == pytest.approx(100 * 100 / 16 / 16)
    with_resin = Places.of(counted, (16, 16), Classes(("background", "mito", "resin"), "resin"))
    assert len(with_resin.shares) > 30, "but where there is resin, the specimen is looked for"


def test_where_little_is_said_few_windows_show_it_all():
    frames = [bag((0, 0, 16, 16), (0.5, 0.5)), bag((60, 60, 76, 76), (0.5, 0.5))]
    assert Places.of(sample((100, 100), bags=frames), (16, 16)).n_windows == 2


def test_windows_lie_within_a_region_that_is_larger():
    places = Places.of(sample((100, 100), bags=[bag((10, 20, 50, 30), (0.5, 0.5))]), (16, 16))
    rng = np.random.default_rng(0)
    starts = np.array([places.draw(rng) for _ in range(200)])
    assert starts[:, 0].min() == 10, "no row that is not of the region"
    assert starts[:, 0].max() == 50 - 16
    assert starts[:, 1].min() == 30 - 16, "all of its columns"
    assert starts[:, 1].max() == 20


def test_labels_at_the_border_of_a_large_field_do_not_outweigh_the_others():
    places = Places.of(sample((1000, 1000), bags=[whole((1000, 1000), (0.5, 0.5))]), (100, 100))
    corner, inside = places.chances(np.array([0, 500]), np.array([999, 500])).diagonal()
    assert inside == pytest.approx(0.01, rel=0.01)
    assert corner == pytest.approx(inside / 4, rel=0.1)


def test_masks_are_shown_anywhere():
    full = sample((40, 60), labels={(2, 3): 1}, is_mask=True)
    assert Places.of(full, (16, 16)).shares.tolist() == [1]
