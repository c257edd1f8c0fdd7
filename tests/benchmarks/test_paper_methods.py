"""What each method is told, and with which settings it learns."""

from __future__ import annotations

import numpy as np
import pytest
from images import DUBAI_CLASSES, EM_CLASSES, Picture
from methods import METHODS, annotate, reduced, scale_of, settings_of, steps_per_epoch

from napari_spss.core.base import preset


def crops_of(truths):
    return [Picture(str(i), "one", np.zeros_like(t), t) for i, t in enumerate(truths)]


@pytest.fixture
def em_crops():
    """Forty crops; the class occurs in every second one, over a quarter of it."""
    truths = np.zeros((40, 32, 32), np.uint8)
    truths[::2, :16, :16] = 1
    truths[0, 16:] = 255
    return crops_of(truths)


def told(crops, classes=EM_CLASSES, **changes):
    values = {"has_masks": False, "has_keypoints": False, "degradation": None, "seed": 0}
    return annotate(crops, classes, **(values | changes))


def test_fractions_are_exact_and_leave_ignored_pixels_out(em_crops):
    found = told(em_crops)
    fractions = {p.region.slice: p.fractions for p in found.annotations.proportions}
    assert fractions[0] == (0.5, 0.5)
    assert fractions[1] == (1.0, 0.0)
    assert fractions[2] == (0.75, 0.25)
    assert len(fractions) == 40
    assert found.masks is None
    assert not found.annotations.keypoints


def test_the_benchmark_is_told_masks_alone(em_crops):
    found = told(em_crops, has_masks=True)
    assert found.annotations.is_empty
    np.testing.assert_array_equal(found.masks.read(2), em_crops[2].truth)
    assert found.text == "full masks"


def test_keypoints_lie_in_a_tenth_of_the_crops(em_crops):
    found = told(em_crops, has_keypoints=True)
    points = found.annotations.keypoints
    by_crop = {z: [p for p in points if p.slice == z] for z in {p.slice for p in points}}
    assert len(by_crop) == 4
    assert all(z % 2 == 0 for z in by_crop)
    for z, inside in by_crop.items():
        assert sorted(p.class_index for p in inside) == [0, 0, 0, 1, 1, 1]
        assert all(em_crops[z].truth[int(p.y), int(p.x)] == p.class_index for p in inside)
    assert found.details == {"crops_with_keypoints": 4, "keypoints_per_class": 3}
    other = told(em_crops, has_keypoints=True, seed=1).annotations.keypoints
    assert other != points


def test_degradation_spares_what_decides_when_to_stop(em_crops):
    found = told(em_crops, degradation="eq5:0", exact=range(30, 40))
    fractions = {p.region.slice: p.fractions for p in found.annotations.proportions}
    assert len(fractions) == 40
    softened = np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum()
    assert fractions[1] == pytest.approx(tuple(softened))
    assert fractions[31] == (1.0, 0.0)
    assert found.text == "30 fractions"
    clicked = told(em_crops, has_keypoints=True, exact=range(10, 40)).annotations.keypoints
    assert {p.slice for p in clicked} <= set(range(10))


def test_clusters_give_no_more_than_k_annotations():
    rng = np.random.default_rng(0)
    crops = crops_of(rng.integers(0, 6, (30, 8, 8), dtype=np.uint8))
    found = told(crops, DUBAI_CLASSES, degradation="kmeans:4")
    assert len({p.fractions for p in found.annotations.proportions}) <= 4


# where the paper is silent, in its tables; the preset has what did best without a stopping rule
CHOSEN = {"loss.alpha": 0.5, "labels.keypoint_radius_px": 5.0}


@pytest.mark.parametrize("method", [one for one in METHODS if one != "fast"])
def test_preset_paper_is_what_was_published(method):
    found = settings_of(method, seed=2, scale=scale_of("paper"), crop_px=224, n_crops=1317)
    changed = {"seed": 2, "sampling.crop_px": 224, **CHOSEN}
    assert found == preset("paper").with_overrides(changed)
    assert found.loss.masks == "entropy"
    assert reduced(method, scale_of("paper")) == {}


def test_preset_cpu_reduces_filters_scale_and_epochs_alone():
    found = settings_of("spss", seed=0, scale=scale_of("cpu"), crop_px=224, n_crops=382)
    changed = {
        "network.filters": 8,
        "sampling.crop_px": 112,
        "image.object_diameter_px": 2 * preset("paper").image.target_diameter_px,
        "optimisation.max_epochs": 40,
        **CHOSEN,
    }
    assert found == preset("paper").with_overrides(changed)
    expected = {"filters": [64, 8], "reduction": [1, 2], "max_epochs": [100, 40]}
    assert reduced("spss", scale_of("cpu")) == expected
    del expected["filters"]
    assert reduced("fast", scale_of("cpu")) == expected


def test_fast_takes_as_many_steps_as_the_papers_methods():
    found = settings_of("fast", seed=0, scale=scale_of("cpu"), crop_px=224, n_crops=382)
    assert steps_per_epoch(382) == 24
    assert found.optimisation.max_steps == 24 * 40
    assert found.sampling.batch_size == 16
    assert found.preset == "fast"
