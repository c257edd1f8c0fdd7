"""What a run draws from: fixed crops, what is held out, random windows, and what is stated."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from blobs import CLASSES, annotated, blobs
from hypothesis import given, settings, strategies as st
from samples_in_memory import bag, read_all, sample, whole

from napari_spss.core.annotations import Annotations, Classes, Proportion, Region
from napari_spss.core.base import InputError, preset
from napari_spss.core.images import WorkingScale, as_label_source
from napari_spss.core.training.data import (
    Sampler,
    TrainingData,
    Window,
    cut,
    make_windows,
    window_shape,
)
from napari_spss.core.training.samples import LabelScale, SampleReader

# -- held out and stated ---------------------------------------------------------------------------


def load(stack, annotations, *, masks=None, held_out_slices=None, **overrides):
    chosen = preset("fast").with_overrides(
        {"sampling.crop_px": 32}
        | {name.replace("__", "."): value for name, value in overrides.items()}
    )
    reader = SampleReader(
        stack,
        annotations,
        chosen,
        working_scale=WorkingScale(1),
        masks=None if masks is None else as_label_source(masks),
    )
    samples = read_all(reader)
    scale = reader.label_scale(samples)
    return TrainingData.of(
        samples, scale, chosen, annotations.classes, held_out_slices=held_out_slices
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
        tuple(samples),
        LabelScale(1.0, (1.0,) * n_classes),
        sampler,
        (),
        Classes(("background", "a", "b")[:n_classes]),
    ).stated_fractions()


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
    data = TrainingData(tuple(samples), LabelScale(1.0, (1.0, 1.0)), None, (), Classes(CLASSES))
    deviations = [
        np.mean([samples[0].image[0].std(), samples[0].image[1].std()]),
        samples[1].image.std(),
    ]
    means = [s.image.mean() for s in samples]
    assert data.grey_values == pytest.approx((np.mean(means), np.mean(deviations)), rel=1e-5)


def test_masks_state_the_fractions_of_their_labelled_pixels():
    stack, _ = blobs(n_slices=1, size=32)
    masks = np.zeros((1, 32, 32), np.uint8)
    masks[0, :8] = 1
    masks[0, 24:] = 255
    data = load(stack, Annotations(CLASSES), masks=masks)
    assert data.stated_fractions() == pytest.approx((2 / 3, 1 / 3))


def test_windows_of_small_regions_show_them_whole():
    stack, _ = blobs(n_slices=1)
    region = Proportion(Region(0, (4, 6, 14, 26)), (0.5, 0.5))
    annotations = Annotations(CLASSES, proportions=(region,))
    data = load(stack, annotations, sampling__crop_mode="tile")
    assert data.sampler.shape == (10, 20)
    (window,) = data.sampler.draw(0).windows
    assert (window.y0, window.x0) == (4, 6)
    assert load(stack, annotations).sampler.shape == (32, 32)


# -- fixed windows ---------------------------------------------------------------------------------


def test_a_window_is_no_larger_than_the_largest_slice():
    samples = [sample((8, 5)), sample((2, 13), index=1)]
    assert window_shape(samples, 6) == (6, 6)
    assert window_shape(samples, 10) == (8, 10)


def huge(shape, bags):
    """A slice whose pixels take no memory."""
    found = sample((1, 1), bags=bags)
    found.image = np.broadcast_to(np.float32(0), (1, *shape))
    found.target = np.broadcast_to(np.int64(-1), shape)
    found.weight = np.broadcast_to(np.float32(0), shape)
    return found


def test_a_slice_of_1024_px_gives_16_crops_of_256():
    windows, shape = make_windows([huge((1024, 1024), [bag((0, 0, 1024, 1024), (0.9, 0.1))])], 256)
    assert len(windows) == 16
    assert shape == (256, 256)
    assert {(w.y0, w.x0) for w in windows} == {
        (y, x) for y in range(0, 1024, 256) for x in range(0, 1024, 256)
    }
    for window in windows:
        (tile,) = window.bags
        assert tile.box == (window.y0, window.x0, window.y0 + 256, window.x0 + 256)
        np.testing.assert_array_equal(tile.fractions, np.array([0.9, 0.1], np.float32))


def test_the_paper_s_stack_gives_its_number_of_crops():
    slices = [huge((768, 1024), [bag((0, 0, 768, 1024), (0.9, 0.1))])] * 165
    windows, _ = make_windows(slices, 256)
    assert len(windows) == 165 * 12 == 1980


def test_slivers_are_dropped_and_small_regions_are_kept_whole():
    regions = [bag((0, 0, 70, 40), (0.9, 0.1)), bag((80, 5, 90, 15), (0.5, 0.5))]
    windows, shape = make_windows([sample((100, 40), bags=regions)], 32)
    # rows 64-70 and columns 32-40 are less than half a crop
    assert [w.bags[0].box for w in windows] == [
        (0, 0, 32, 32),
        (32, 0, 64, 32),
        (80, 5, 90, 15),
    ]
    assert shape == (32, 32)


def test_windows_of_small_regions_are_no_larger_than_the_largest_region():
    regions = [bag((0, 0, 10, 20), (0.9, 0.1)), bag((80, 5, 95, 15), (0.5, 0.5))]
    _, shape = make_windows([sample((100, 40), bags=regions)], 32)
    assert shape == (15, 20)


@settings(max_examples=100)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    crop=st.integers(16, 40),
    data=st.data(),
)
def test_every_label_is_shown_by_some_window(height, width, crop, data):
    place = st.tuples(st.integers(0, height - 1), st.integers(0, width - 1))
    labels = dict.fromkeys(data.draw(st.lists(place, min_size=1, max_size=6)), 1)
    regions = []
    if data.draw(st.booleans()):
        y0, x0 = data.draw(place)
        y1 = data.draw(st.integers(y0 + 1, height))
        x1 = data.draw(st.integers(x0 + 1, width))
        regions.append(bag((y0, x0, y1, x1), (0.5, 0.5)))
    windows, (rows, columns) = make_windows(
        [sample((height, width), labels=labels, bags=regions)], crop
    )
    assert rows <= crop
    assert columns <= crop
    for y, x in labels:
        assert any(w.y0 <= y < w.y0 + rows and w.x0 <= x < w.x0 + columns for w in windows)
    for window in windows:
        assert window.y0 < height
        assert window.x0 < width
        assert len(window.bags) <= 1


def test_where_nothing_is_said_there_is_no_window():
    windows, _ = make_windows([sample((64, 64), labels={(40, 3): 1})], 32)
    assert [(w.sample, w.y0, w.x0, w.bags) for w in windows] == [(0, 32, 0, ())]


# -- windows of a step -----------------------------------------------------------------------------


LABEL = {(3, 3): 1}


def slices(n_calibrated, n_others, *, shape=(20, 20), first=0):
    """Counted slices, then others that have a fraction or a click."""
    all_of_it = whole(shape, (0.9, 0.1))
    counted = [
        sample(shape, index=i, labels=LABEL, is_calibrated=True, bags=[all_of_it])
        for i in range(n_calibrated)
    ]
    others = [
        sample(shape, index=n_calibrated + i, bags=[whole(shape, (0.9, 0.1))], labels={})
        if i % 2
        else sample(shape, index=n_calibrated + i, labels=LABEL)
        for i in range(n_others)
    ]
    return counted + others


def sampler(samples, *, windows=None, shape=(16, 16), batch_size=4, seed=0, **kwargs):
    return Sampler(samples, windows, shape=shape, batch_size=batch_size, seed=seed, **kwargs)


def drawn(source, steps):
    """Slices drawn, step by step."""
    return [[window.sample for window in source.draw(step).windows] for step in steps]


@pytest.mark.parametrize("n_others", [3, 5, 40])
@pytest.mark.parametrize("batch_size", [2, 4, 6])
def test_calibrated_slices_keep_half_of_every_batch_whatever_is_added(n_others, batch_size):
    source = sampler(slices(3, n_others), batch_size=batch_size)
    for batch in drawn(source, range(20)):
        assert sum(index < 3 for index in batch) == batch_size // 2
    assert source.n_labelled_slots == batch_size / 2


@pytest.mark.parametrize(("n_calibrated", "n_others"), [(4, 1), (3, 2), (12, 3)])
def test_where_most_slices_are_counted_no_slice_comes_more_often_than_another(
    n_calibrated, n_others
):
    n_slices = n_calibrated + n_others
    source = sampler(slices(n_calibrated, n_others), batch_size=4)
    seen = Counter(index for batch in drawn(source, range(n_slices * 5)) for index in batch)
    assert [seen[i] for i in range(n_slices)] == [20] * n_slices
    assert source.n_labelled_slots == 4 * n_calibrated / n_slices


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_odd_batches_take_turns_so_that_every_slice_is_seen(batch_size):
    source = sampler(slices(2, 3), batch_size=batch_size)
    seen = Counter(index for batch in drawn(source, range(60)) for index in batch)
    n_drawn = 60 * batch_size
    assert seen[0] + seen[1] == pytest.approx(n_drawn / 2, abs=1)
    assert max(seen[i] for i in (2, 3, 4)) - min(seen[i] for i in (2, 3, 4)) <= 1
    assert source.n_labelled_slots == batch_size / 2


def test_slices_of_a_group_come_equally_often():
    source = sampler(slices(3, 5), batch_size=4)
    seen = Counter(index for batch in drawn(source, range(15)) for index in batch)
    assert [seen[i] for i in range(3)] == [10, 10, 10]
    assert [seen[i] for i in range(3, 8)] == [6, 6, 6, 6, 6]


def test_added_slices_do_not_change_when_the_counted_ones_come():
    before, after = sampler(slices(3, 3)), sampler(slices(3, 30))
    for step in range(12):
        old, new = ([i for i in drawn(s, [step])[0] if i < 3] for s in (before, after))
        assert old == new


def test_labelled_slices_come_first_until_each_place_was_shown_20_times():
    # two counted slices of four windows each, and clicks on another one
    source = sampler(slices(2, 3), shape=(10, 10), batch_size=4, label_visits=20)
    n_first = 20 * 2 * 4 // 4
    for step in range(n_first):
        batch = [w.sample for w in source.draw(step, has_labels_first=True).windows]
        assert sorted(set(batch)) in ([0, 1, 2], [0, 1, 4], [0, 2, 4], [1, 2, 4], [0, 1, 2, 4])
        assert sum(index < 2 for index in batch) == 2, "clicks do not make counted slices rarer"
    for step in range(n_first, n_first + 5):
        assert source.draw(step, has_labels_first=True).windows == source.draw(step).windows


def test_labels_fill_the_first_batches_where_no_other_slice_has_any():
    others = [sample((20, 20), index=i, bags=[whole((20, 20), (0.5, 0.5))]) for i in (1, 2)]
    source = sampler([sample((20, 20), labels=LABEL, is_calibrated=True), *others], label_visits=1)
    assert {w.sample for w in source.draw(0, has_labels_first=True).windows} == {0}
    assert {w.sample for w in source.draw(0).windows} > {0}


def test_without_labels_there_is_nothing_to_come_first():
    samples = [sample((20, 20), index=i, bags=[whole((20, 20), (0.5, 0.5))]) for i in range(3)]
    source = sampler(samples, label_visits=5)
    assert source.draw(0, has_labels_first=True).windows == source.draw(0).windows


def test_without_counted_slices_the_labelled_ones_take_their_place():
    samples = [
        sample((20, 20), bags=[whole((20, 20), (0.5, 0.5))]),
        sample((20, 20), index=1, labels=LABEL),
        sample((20, 20), index=2, bags=[whole((20, 20), (0.5, 0.5))]),
    ]
    for batch in drawn(sampler(samples), range(8)):
        assert batch.count(1) == 2


def test_of_many_large_slices_few_are_drawn_from_at_a_time_and_all_in_turn():
    region = whole((32, 32), (0.5, 0.5))
    samples = [sample((32, 32), index=i, bags=[region]) for i in range(60)]
    steps = drawn(sampler(samples, shape=(8, 8), batch_size=4), range(1500))
    for start in range(0, 1490, 7):
        assert 2 <= len({index for batch in steps[start : start + 10] for index in batch}) <= 6
    seen = Counter(index for batch in steps for index in batch)
    assert all(20 < seen[i] < 180 for i in range(60))  # 100, but at the start and the end


def test_of_large_slices_the_counted_ones_keep_their_share_and_are_all_seen():
    said = {"bags": [whole((32, 32), (0.5, 0.5))]}
    samples = [sample((32, 32), index=i, is_calibrated=i < 10, **said) for i in range(60)]
    steps = drawn(sampler(samples, shape=(8, 8), batch_size=4), range(500))
    assert all(sum(index < 10 for index in batch) == 2 for batch in steps)
    seen = Counter(index for batch in steps for index in batch)
    assert min(seen[i] for i in range(10)) > 0.7 * 100
    assert max(seen[i] for i in range(10)) < 1.3 * 100


def test_of_many_large_slices_no_label_waits_for_its_slice_to_come():
    region = whole((32, 32), (0.5, 0.5))
    samples = [
        sample((32, 32), index=i, bags=[region], labels=LABEL if i % 10 == 0 else {})
        for i in range(200)
    ]
    source = sampler([*samples, *slices(2, 0)], shape=(8, 8), batch_size=4)
    windows = [window for step in range(100) for window in source.draw(step).windows]
    shown = Counter(window.sample for window in windows if not window.bags)
    assert {i: shown[i] for i in range(0, 200, 10)} == dict.fromkeys(range(0, 200, 10), 5)
    assert sum(bool(window.bags) for window in windows) >= 100


def test_slices_without_fractions_have_no_maps_to_wait_for():
    samples = [sample((32, 32), index=i, labels=LABEL) for i in range(60)]
    steps = drawn(sampler(samples, shape=(8, 8), batch_size=4), range(15))
    assert Counter(index for batch in steps for index in batch) == dict.fromkeys(range(60), 1)


def test_slices_of_one_kind_share_the_whole_batch():
    samples = [sample((20, 20), index=i, bags=[whole((20, 20), (0.5, 0.5))]) for i in range(3)]
    source = sampler(samples, batch_size=4)
    seen = Counter(index for batch in drawn(source, range(3)) for index in batch)
    assert seen == {0: 4, 1: 4, 2: 4}
    assert source.n_labelled_slots == 4
    assert source.steps_per_epoch == 1


@given(step=st.integers(0, 10**6), seed=st.integers(0, 2**40))
def test_a_draw_depends_on_seed_and_step_alone(step, seed):
    first, second = (sampler(slices(2, 3), seed=seed) for _ in range(2))
    for other in (3, step + 1, 0):
        second.draw(other)
    a, b = first.draw(step), second.draw(step)
    assert a.windows == b.windows
    assert torch.equal(a.images, b.images)


def test_other_seeds_and_steps_draw_otherwise():
    draws = [
        sampler(slices(4, 8), shape=(8, 8), seed=seed).draw(step).windows
        for seed in (0, 1)
        for step in (0, 1)
    ]
    assert len(set(draws)) == 4


def test_only_the_slices_that_are_not_held_out_are_drawn():
    source = sampler(slices(4, 4), among=[1, 2, 6])
    assert {index for batch in drawn(source, range(20)) for index in batch} == {1, 2, 6}
    assert source.steps_per_epoch == 1


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    edge=st.integers(1, 40),
    step=st.integers(0, 50),
    data=st.data(),
)
def test_windows_stay_inside_their_slice(height, width, edge, step, data):
    y0 = data.draw(st.integers(0, height - 1))
    x0 = data.draw(st.integers(0, width - 1))
    y1 = data.draw(st.integers(y0 + 1, height))
    x1 = data.draw(st.integers(x0 + 1, width))
    samples = [sample((height, width), bags=[bag((y0, x0, y1, x1), (0.5, 0.5))])]
    shape = (min(edge, height), min(edge, width))
    for window in sampler(samples, shape=shape).draw(step).windows:
        assert 0 <= window.y0 <= height - shape[0]
        assert 0 <= window.x0 <= width - shape[1]


def test_windows_show_what_something_is_said_of():
    region, label = (50, 70, 60, 82), (5, 5)

    def shares(**kwargs):
        """Parts of the windows that show the region, and the label; and all of them."""
        samples = [sample((100, 100), **kwargs)]
        windows = [w for step in range(80) for w in sampler(samples).draw(step).windows]
        assert all(w.bags == samples[0].bags for w in windows)
        with_region = [50 >= w.y0 >= 44 and 70 >= w.x0 >= 66 for w in windows]
        with_label = [w.y0 <= 5 and w.x0 <= 5 for w in windows]
        return np.mean(with_region), np.mean(with_label), windows

    rectangle, everything = bag(region, (0.5, 0.5)), whole((100, 100), (0.5, 0.5))
    assert shares(bags=[rectangle])[:2] == (1, 0)
    assert shares(labels={label: 1})[:2] == (0, 1)
    of_region, of_label, _ = shares(bags=[rectangle], labels={label: 1, (55, 75): 0})
    assert 0.4 < of_region < 0.6
    assert of_region + of_label == 1
    # by chance alone, 35 of 85 x 85 places show the region
    of_region, _, windows = shares(bags=[everything, rectangle])
    assert 0.4 < of_region < 0.6
    assert min(w.y0 for w in windows) < 10
    assert max(w.y0 for w in windows) > 74


def test_of_scattered_labels_each_class_gets_as_many_windows():
    resin = {(3, x): 2 for x in range(0, 500, 20)}
    samples = [sample((16, 600), labels=resin | {(3, 590): 1})]
    windows = [w for n in range(100) for w in sampler(samples).draw(n).windows]
    assert 0.4 < np.mean([w.x0 + 16 > 590 for w in windows]) < 0.6


def test_slices_of_different_sizes_give_windows_of_one_shape():
    samples = [sample((10, 30)), sample((25, 8), index=1)]
    windows = [Window(0, 0, 3), Window(1, 2, 0)]
    batch = cut(samples, windows, (20, 20))
    assert batch.images.shape == (2, 1, 20, 20)
    np.testing.assert_array_equal(batch.images[0, :, :10], samples[0].image[:, :, 3:23])
    np.testing.assert_array_equal(batch.images[1, :, :, :8], samples[1].image[:, 2:22])
    # beyond the slice the edge is repeated, and nothing is covered or labelled
    np.testing.assert_array_equal(batch.images[0, 0, 15], samples[0].image[0, 9, 3:23])
    np.testing.assert_array_equal(batch.images[1, 0, :, 15], samples[1].image[0, 2:22, 7])
    assert batch.coverage.sum((1, 2)).tolist() == [200, 160]
    assert batch.coverage[0, :10].all()
    assert batch.coverage[1, :, :8].all()


def test_a_window_shows_the_labels_beneath_it():
    one = sample((12, 12), labels={(4, 5): 1, (11, 11): 0}, weight=3.0)
    batch = cut([one], [Window(0, 4, 2), Window(0, 6, 6)], (8, 8))
    assert batch.samples == (one, one)
    assert batch.targets.dtype == torch.int64
    assert torch.argwhere(batch.targets >= 0).tolist() == [[0, 0, 3], [1, 5, 5]]
    assert batch.targets[0, 0, 3] == 1
    # each window is 64 of 144 pixels: a label that is seen stands for others that are not
    assert batch.weights[0, 0, 3] == pytest.approx(3 * 144 / 64)
    assert batch.weights.sum() == pytest.approx(2 * 3 * 144 / 64)
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.images, batch.images)
    assert moved.windows == batch.windows


def test_what_is_not_seen_has_no_label_and_is_not_covered():
    one = sample((8, 8), labels={(1, 1): 1, (6, 6): 0}, weight=3.0)
    batch = cut([one], [Window(0, 0, 0)], (8, 8))
    is_seen = torch.zeros((1, 8, 8), dtype=torch.bool)
    is_seen[:, 4:] = True
    seen = batch.seen(is_seen)
    assert torch.argwhere(seen.targets >= 0).tolist() == [[0, 6, 6]]
    assert torch.equal(seen.coverage, is_seen.float())
    assert torch.argwhere(batch.targets >= 0).tolist() == [[0, 1, 1], [0, 6, 6]]


def test_an_epoch_shows_every_fixed_window_once():
    samples = slices(2, 2)
    windows = [Window(i, y, x) for i in range(4) for y in (0, 4) for x in (0, 4)][:10]
    source = sampler(samples, windows=windows, batch_size=4)
    assert source.steps_per_epoch == 3
    epochs = [[w for step in range(3) for w in source.draw(3 * e + step).windows] for e in (0, 1)]
    for shown in epochs:
        assert len(shown) == 10
        assert set(shown) == set(windows)
    assert epochs[0] != epochs[1]
    assert len(source.draw(2).windows) == 2


def test_labels_take_two_bytes_a_pixel():
    stack, truth = blobs(n_slices=2, size=32)
    data = load(stack, annotated(truth))
    assert [one.target.nbytes for one in data.samples] == [2 * 32 * 32] * 2
    assert data.sampler.draw(0).targets.dtype == torch.int64
