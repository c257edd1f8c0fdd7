"""The samples: honest annotations that fit their image, and a truth to score against."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import napari_spss
from napari_spss.core.annotations import ClassSpec
from napari_spss.core.images import open_masks
from napari_spss.core.simulation import axon_sample, synthetic_sample
from napari_spss.core.simulation.samples import annotate_as_a_person

FOLDER = Path(napari_spss.__file__).parent / "data" / "axon_sem"


@pytest.fixture(scope="module")
def axons():
    return axon_sample()


@pytest.fixture(scope="module")
def synthetic():
    return synthetic_sample(4, (192, 256), seed=2)


@pytest.fixture(params=["axons", "synthetic"])
def sample(request):
    return request.getfixturevalue(request.param)


def test_image_truth_and_annotations_fit_each_other(sample):
    assert sample.truth.n_slices == sample.stack.n_slices
    for z in range(sample.stack.n_slices):
        assert sample.truth.shape_of(z) == sample.stack.shape_of(z)
    assert sample.annotations.classes == sample.truth.classes.names
    sample.annotations.validate_against(sample.stack)  # raises if anything lies outside


def test_every_kind_of_annotation_is_there(sample):
    annotations = sample.annotations
    assert len(annotations.proportions) == sample.stack.n_slices
    assert annotations.keypoints
    assert annotations.grids
    assert all(grid.is_done for grid in annotations.grids)
    assert sample.annotator_seconds > 0


def test_annotations_are_close_to_the_truth_but_not_exact(sample):
    is_exact = []
    for one in sample.annotations.proportions:
        counts = np.bincount(sample.truth.read(one.region.slice).ravel(), minlength=3)
        true = counts / counts.sum()
        for stated, exact in zip(one.fractions[1:], true[1:], strict=False):
            assert exact / 2.5 < stated < 2.5 * exact or abs(stated - exact) < 0.01
            is_exact.append(stated == pytest.approx(exact, abs=1e-4))
    assert not all(is_exact)


def test_typed_fractions_are_whole_per_cent(sample):
    for one in sample.annotations.proportions:
        in_per_cent = 100 * np.array(one.fractions)
        np.testing.assert_allclose(in_per_cent, np.rint(in_per_cent), atol=1e-9)
        assert sum(one.fractions) == pytest.approx(1)


def test_nodes_and_keypoints_mostly_hit_their_class(sample):
    truth = {z: sample.truth.read(z) for z in range(sample.truth.n_slices)}
    for point in sample.annotations.keypoints:
        assert truth[point.slice][point.pixel] == point.class_index
    for grid in sample.annotations.grids:
        rows, columns = (np.floor(axis + 0.5).astype(int) for axis in (grid.y, grid.x))
        plane = truth[grid.slice]
        rows, columns = rows.clip(0, plane.shape[0] - 1), columns.clip(0, plane.shape[1] - 1)
        assert np.mean(plane[rows, columns] == grid.class_index) > 0.95


def test_axons_are_three_classes_of_the_stated_pixel_size(axons):
    assert axons.annotations.classes == ("background", "myelin", "axon")
    assert axons.stack.n_slices == 3
    assert axons.stack.shape_of(0) == (416, 416)
    assert axons.stack.pixel_size_um(0) == pytest.approx(0.13)
    for z in range(3):
        fractions = np.bincount(axons.truth.read(z).ravel()) / 416**2
        assert fractions.shape == (3,)
        assert (fractions > 0.25).all()


def test_bundled_files_carry_their_licence_and_say_what_is_simulated():
    licence = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "MIT License" in licence
    assert "Copyright (c) 2020 ivadomed" in licence
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "10.5281/zenodo.5498378" in readme
    assert "simulated" in readme
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 600_000


def test_recorded_work_is_that_of_the_bundled_annotations(axons):
    acts = json.loads((FOLDER / "summary.json").read_text(encoding="utf-8"))["acts"]
    annotations = axons.annotations
    assert acts["n_clicks"] == len(annotations.keypoints)
    assert acts["n_nodes"] == sum(grid.n_nodes for grid in annotations.grids)
    assert acts["n_hits"] == sum(int((grid.class_index > 0).sum()) for grid in annotations.grids)
    assert acts["n_guesses"] == 2 * len(annotations.proportions)


def test_synthetic_sample_repeats_with_its_seed(synthetic):
    again, other = (synthetic_sample(4, (192, 256), seed=seed) for seed in (2, 3))
    assert again.annotations == synthetic.annotations
    assert again.stack.identity() == synthetic.stack.identity()
    assert other.annotations != synthetic.annotations
    assert other.stack.identity() != synthetic.stack.identity()


def test_synthetic_sample_counts_few_slices_and_guesses_all(synthetic):
    whole = synthetic_sample(8, (128, 128))
    assert [grid.slice for grid in whole.annotations.grids] == [1, 3, 5, 7]
    assert {point.slice for point in whole.annotations.keypoints} == {3, 5}
    assert len(whole.annotations.proportions) == 8
    assert synthetic.stack.voxel_size_um == (0.04, 0.008, 0.008)


def test_a_single_slice_can_be_annotated():
    truth = open_masks(np.eye(64, dtype=np.uint8), classes=ClassSpec(("background", "mito")))
    person = annotate_as_a_person(truth, seed=0, counted=(0,), clicked=(), noise=0.3, bias=1.0)
    (one,) = person.annotations.proportions
    assert one.fractions[1] >= 0.01
    assert not person.annotations.keypoints
