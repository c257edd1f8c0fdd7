from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from napari_spss.core.analysis import (
    MapHistogram,
    clean_labels,
    labels_from_probs,
    matched_threshold,
)
from napari_spss.core.base import InputError


def _binary(p1: np.ndarray) -> np.ndarray:
    return np.stack([1 - p1, p1])


def test_two_classes_are_thresholded_at_or_above() -> None:
    p1 = np.array([[0.2, 0.5, 0.7]], dtype=np.float32)
    assert labels_from_probs(_binary(p1)).tolist() == [[0, 1, 1]]
    assert labels_from_probs(_binary(p1), 0.2).tolist() == [[1, 1, 1]]
    assert labels_from_probs(_binary(p1), 0.71).tolist() == [[0, 0, 0]]
    assert labels_from_probs(_binary(p1)).dtype == np.uint8


def test_several_classes_take_the_most_probable() -> None:
    probs = np.array([[[0.4, 0.2]], [[0.3, 0.2]], [[0.3, 0.6]]])
    assert labels_from_probs(probs).tolist() == [[0, 2]]
    with pytest.raises(InputError, match="3 classes"):
        labels_from_probs(probs, 0.4)


def test_a_single_map_is_refused() -> None:
    with pytest.raises(InputError, match="background too"):
        labels_from_probs(np.zeros((1, 2, 2)))


def test_maps_in_half_precision_are_counted_as_their_values() -> None:
    probs = np.random.default_rng(0).random((40, 60)).astype(np.float16)
    probs[0, :3] = 0, 1, -0.0
    half, single = MapHistogram(), MapHistogram()
    half.add(probs[:, 5:])
    half.add(probs[:, :5])
    single.add(probs.astype(np.float32))
    np.testing.assert_array_equal(half.counts, single.counts)


@pytest.mark.parametrize(("fraction", "n_labelled"), [(0.0, 0), (0.3, 30), (0.05, 5), (1.0, 100)])
def test_matched_threshold_labels_the_stated_fraction(fraction: float, n_labelled: int) -> None:
    maps = np.random.default_rng(0).permutation(np.arange(100) / 99.0).reshape(10, 10)
    histogram = MapHistogram()
    histogram.add(maps[:4])
    histogram.add(maps[4:].astype(np.float32))
    threshold = matched_threshold(histogram, fraction)
    assert labels_from_probs(_binary(maps), threshold).sum() == n_labelled


def test_threshold_between_well_separated_classes_is_one_half() -> None:
    histogram = MapHistogram()
    histogram.add(np.repeat([0.01, 0.99], [90, 10]))
    assert matched_threshold(histogram, 0.1) == 0.5


def test_certain_pixels_are_not_labelled_if_nothing_is_to_be() -> None:
    histogram = MapHistogram()
    histogram.add(np.ones((4, 4)))
    assert labels_from_probs(_binary(np.ones((4, 4))), matched_threshold(histogram, 0.1)).sum() == 0
    assert matched_threshold(histogram, 0.9) <= 1.0


@given(
    hnp.arrays(np.float32, 50, elements=st.floats(0, 1, width=32)),
    st.floats(0, 1),
)
def test_no_threshold_comes_closer_than_the_matched_one(p: np.ndarray, fraction: float) -> None:
    histogram = np.bincount(np.minimum((p * 64).astype(int), 63), minlength=64)
    miss = abs((p >= matched_threshold(histogram, fraction)).mean() - fraction)
    others = np.append(np.arange(64) / 64, 1.5)
    assert miss <= min(abs((p >= other).mean() - fraction) for other in others) + 1e-9


def test_impossible_fractions_and_empty_histograms_are_refused() -> None:
    with pytest.raises(InputError, match=r"fraction 30.* divide per cent"):
        matched_threshold([1, 1], 30)
    with pytest.raises(InputError, match="empty"):
        matched_threshold(MapHistogram(), 0.5)


RING = np.array(
    [
        [1, 1, 1, 0, 0],
        [1, 0, 1, 0, 2],
        [1, 1, 1, 0, 2],
    ],
    dtype=np.uint8,
)


def test_holes_within_a_class_are_filled() -> None:
    filled = clean_labels(RING, fill_holes=True)
    assert filled.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 2], [1, 1, 1, 0, 2]]
    assert RING[1, 1] == 0


def test_an_enclosed_class_and_ignored_pixels_are_no_holes() -> None:
    for inside in (2, 255):
        ring = RING.copy()
        ring[1, 1] = inside
        assert (clean_labels(ring, fill_holes=True) == ring).all()


def test_small_pieces_become_background() -> None:
    labels = np.array([[1, 1, 0, 1], [0, 0, 0, 255], [2, 2, 2, 0]], dtype=np.uint8)
    two, three = (clean_labels(labels, min_piece_px=n).tolist() for n in (2, 3))
    assert two == [[1, 1, 0, 0], [0, 0, 0, 255], [2, 2, 2, 0]]
    assert three == [[0, 0, 0, 0], [0, 0, 0, 255], [2, 2, 2, 0]]
    assert (clean_labels(labels) == labels).all()
