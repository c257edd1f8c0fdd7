"""What is held out, what is drawn, and what is stated on average."""

from __future__ import annotations

import numpy as np
import pytest
from blobs import CLASSES, annotated, blobs
from samples_in_memory import bag, sample

from napari_spss.core.annotations import Annotations, Proportion, Region
from napari_spss.core.base import InputError, preset
from napari_spss.core.images import WorkingScale, as_label_source
from napari_spss.core.training.bags import LabelScale
from napari_spss.core.training.data import TrainingData, load_training_data
from napari_spss.core.training.sampling import Sampler


def load(stack, annotations, *, masks=None, held_out_slices=None, **overrides):
    settings = preset("fast").with_overrides(
        {"sampling.crop_px": 32}
        | {name.replace("__", "."): value for name, value in overrides.items()}
    )
    return load_training_data(
        stack,
        annotations,
        settings,
        masks=None if masks is None else as_label_source(masks),
        working_scale=WorkingScale(1),
        scale=None,
        images={},
        held_out_slices=held_out_slices,
    )


def test_a_fifth_of_the_crops_is_held_out_and_never_drawn():
    stack, truth = blobs(n_slices=5)
    data = load(
        stack,
        annotated(truth, n_grids=0),
        sampling__crop_mode="tile",
        optimisation__validation_fraction=0.2,
    )
    assert len(data.held_out) == 4
    assert len(data.sampler.windows) == 16
    assert not set(data.held_out) & set(data.sampler.windows)
    batches = list(data.held_out_batches(3))
    assert [len(batch.windows) for batch in batches] == [3, 1]
    assert sum((batch.windows for batch in batches), ()) == data.held_out


def test_random_crops_hold_whole_slices_out():
    stack, truth = blobs(n_slices=5)
    data = load(stack, annotated(truth, n_grids=0), optimisation__validation_fraction=0.4)
    held_out = {window.sample for window in data.held_out}
    assert len(held_out) == 2
    assert len(data.held_out) == 2 * 4
    drawn = {w.sample for step in range(30) for w in data.sampler.draw(step).windows}
    assert drawn == set(range(5)) - held_out


@pytest.mark.parametrize("mode", ["tile", "random"])
def test_chosen_slices_are_held_out_instead_of_a_random_part(mode):
    stack, truth = blobs(n_slices=5)
    data = load(
        stack,
        annotated(truth, n_grids=0),
        held_out_slices=(1, 4),
        sampling__crop_mode=mode,
        optimisation__validation_fraction=0.4,
    )
    assert {window.sample for window in data.held_out} == {1, 4}
    assert len(data.held_out) == 2 * 4
    drawn = {w.sample for step in range(30) for w in data.sampler.draw(step).windows}
    assert drawn == {0, 2, 3}


def test_not_all_slices_can_be_held_out():
    stack, truth = blobs(n_slices=2)
    with pytest.raises(InputError, match="hold out fewer"):
        load(stack, annotated(truth, n_grids=0), held_out_slices=range(2))


@pytest.mark.parametrize("mode", ["tile", "random"])
def test_never_is_everything_held_out(mode):
    stack, truth = blobs(n_slices=1, size=32)
    data = load(
        stack,
        annotated(truth, n_grids=0),
        sampling__crop_mode=mode,
        optimisation__validation_fraction=0.9,
    )
    assert data.held_out == ()
    assert len(data.sampler.draw(0).windows) >= 1


def test_what_is_held_out_depends_on_the_seed_alone():
    stack, truth = blobs(n_slices=6)
    splits = [
        load(stack, annotated(truth), seed=seed, optimisation__validation_fraction=0.5).held_out
        for seed in (0, 0, 1)
    ]
    assert splits[0] == splits[1] != splits[2]


def stated(samples, n_classes=2):
    sampler = Sampler(samples, None, shape=(8, 8), batch_size=1, seed=0)
    return TrainingData(
        tuple(samples), LabelScale(1.0, (1.0,) * n_classes), sampler, ()
    ).stated_fractions(n_classes)


def test_stated_fractions_are_weighted_by_area():
    samples = [
        sample((8, 8), bags=[bag((0, 0, 8, 8), (0.75, 0.25))]),
        sample((8, 8), bags=[bag((0, 0, 4, 4), (0.25, 0.75)), bag((4, 4, 8, 8), (1.0, 0.0))]),
    ]
    expected = (64 * 0.25 + 16 * 0.75) / 96
    assert stated(samples) == pytest.approx((1 - expected, expected))


def test_unknown_fractions_do_not_count_and_one_class_without_any_is_enough_for_none():
    known = sample((8, 8), bags=[bag((0, 0, 8, 8), (0.5, 0.3, 0.2))])
    partly = sample((8, 8), bags=[bag((0, 0, 8, 8), (None, 0.1, None))])
    total = 0.5 + 0.2 + 0.2
    assert stated([known, partly], 3) == pytest.approx((0.5 / total, 0.2 / total, 0.2 / total))
    assert stated([partly], 3) is None
    assert stated([sample((8, 8), labels={(1, 1): 1})]) is None


def test_grey_values_are_averaged_over_slices_and_channels():
    samples = [sample((8, 8), channels=2), sample((4, 4), index=1)]
    samples[0].image[0] = 3 * samples[0].image[0] + 10
    data = TrainingData(tuple(samples), LabelScale(1.0, (1.0, 1.0)), None, ())
    deviations = [
        np.mean([samples[0].image[0].std(), samples[0].image[1].std()]),
        samples[1].image.std(),
    ]
    means = [s.image.mean() for s in samples]
    assert data.grey_values() == pytest.approx((np.mean(means), np.mean(deviations)), rel=1e-5)


def test_masks_state_the_fractions_of_their_labelled_pixels():
    stack, _ = blobs(n_slices=1, size=32)
    masks = np.zeros((1, 32, 32), np.uint8)
    masks[0, :8] = 1
    masks[0, 24:] = 255
    data = load(stack, Annotations(CLASSES), masks=masks)
    assert data.stated_fractions(2) == pytest.approx((2 / 3, 1 / 3))


def test_windows_of_small_regions_show_them_whole():
    stack, _ = blobs(n_slices=1)
    region = Proportion(Region(0, (4, 6, 14, 26)), (0.5, 0.5))
    annotations = Annotations(CLASSES, proportions=(region,))
    data = load(stack, annotations, sampling__crop_mode="tile")
    assert data.sampler.shape == (10, 20)
    (window,) = data.sampler.draw(0).windows
    assert (window.y0, window.x0) == (4, 6)
    assert load(stack, annotations).sampler.shape == (32, 32)
