"""The synthetic stack: repeatable, plausible in size and number, and not solved by a threshold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_spss.core.base import InputError
from napari_spss.core.simulation.synthetic import synthetic_mitochondria


@pytest.fixture(scope="module")
def stack():
    return synthetic_mitochondria()


def best_threshold_iou(grey, mask):
    """Highest IoU that any global threshold reaches, from either side."""
    inside, outside = (
        np.histogram(grey[where], bins=256, range=(0, 256))[0] for where in (mask, ~mask)
    )
    below_in, below_out = np.cumsum(inside), np.cumsum(outside)
    n_in = below_in[-1]
    darker = below_in / (n_in + below_out)
    brighter = (n_in - below_in) / (n_in + below_out[-1] - below_out)
    return max(darker.max(), brighter.max())


def test_shape_dtype_and_fractions(stack):
    image, labels = stack
    assert image.shape == labels.shape == (16, 512, 512)
    assert image.dtype == labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1}
    per_slice = labels.mean(axis=(1, 2))
    assert 0.05 < per_slice.mean() < 0.08
    assert per_slice.min() > 0.01
    assert per_slice.std() > 0.1 * per_slice.mean()  # slices differ, so their fractions tell


def test_thresholds_fail_with_and_without_smoothing(stack):
    image, labels = stack
    assert best_threshold_iou(image, labels == 1) < 0.5
    for sigma in (3, 8):
        smooth = ndimage.gaussian_filter(image.astype(np.float32), (0, sigma, sigma))
        assert best_threshold_iou(smooth, labels == 1) < 0.5


def test_threshold_helper_finds_a_perfect_threshold():
    mask = np.arange(100) < 30
    assert best_threshold_iou(np.where(mask, 10, 200), mask) == 1
    assert best_threshold_iou(np.where(mask, 200, 10), mask) == 1


def test_objects_are_as_wide_as_stated(stack):
    _, labels = stack
    widths = []
    for plane in labels:
        padded = np.pad(plane, 1, mode="edge")
        objects, n = ndimage.label(padded)
        depth = ndimage.distance_transform_edt(padded)
        widths += list(2 * ndimage.maximum(depth, objects, np.arange(1, n + 1)))
    assert len(widths) > 48
    assert 40 < np.median(widths) < 60
    assert max(widths) < 80


def test_objects_drift_smoothly_across_slices(stack):
    _, labels = stack
    a, b = labels[:-1] == 1, labels[1:] == 1
    neighbours = (a & b).sum() / (a | b).sum()
    far = (a[:8] & b[7:15]).sum() / (a[:8] | b[7:15]).sum()
    assert neighbours > 0.6
    assert far < 0.5 * neighbours


def test_same_seed_gives_the_same_stack_and_another_seed_another():
    first, again, other = (synthetic_mitochondria(2, (96, 128), seed=s) for s in (3, 3, 4))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])


def test_slices_differ_in_brightness(stack):
    image, _ = stack
    means = image.mean(axis=(1, 2))
    assert 1 < means.std() < 20


@pytest.mark.parametrize(("n_slices", "shape"), [(1, (64, 64)), (3, (65, 131)), (2, (200, 64))])
def test_any_size_from_the_smallest_on(n_slices, shape):
    image, labels = synthetic_mitochondria(n_slices, shape, seed=1)
    assert image.shape == labels.shape == (n_slices, *shape)


@pytest.mark.parametrize(("n_slices", "shape"), [(0, (128, 128)), (4, (63, 128))])
def test_too_small_is_refused_with_the_remedy(n_slices, shape):
    with pytest.raises(InputError, match="at least 1 slice of 64 x 64"):
        synthetic_mitochondria(n_slices, shape)
