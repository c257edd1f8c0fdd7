"""What a step sees: shares of slices, windows, symmetries, intensities."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from samples_in_memory import bag, sample, whole

from napari_spss.core.training.sampling import Sampler, cut
from napari_spss.core.training.windows import Window

LABEL = {(3, 3): 1}


def slices(n_calibrated, n_others, *, shape=(20, 20), first=0):
    """Counted slices, then others that have a fraction or a click."""
    counted = [
        sample(shape, index=i, labels=LABEL, is_calibrated=True) for i in range(n_calibrated)
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


def test_windows_often_hold_a_region_that_fits_and_are_spread_over_the_slice():
    region = (50, 70, 60, 82)
    samples = [sample((100, 100), bags=[bag(region, (0.5, 0.5))])]
    windows = [w for step in range(50) for w in sampler(samples).draw(step).windows]
    holding = [w.y0 <= 50 and w.x0 <= 70 and w.y0 + 16 >= 60 and w.x0 + 16 >= 82 for w in windows]
    # by chance alone, 35 of 85 x 85 places do
    assert 0.4 < np.mean(holding) < 0.6
    others = [w for w, holds in zip(windows, holding, strict=True) if not holds]
    assert min(w.y0 for w in others) < 10
    assert max(w.y0 for w in others) > 74
    assert all(w.bags == samples[0].bags for w in windows)


@pytest.mark.parametrize("inside", [{(3, 590): 1}, {}])
def test_windows_do_not_all_show_what_lies_outside(inside):
    resin = {(3, x): 2 for x in range(0, 500, 20)}
    samples = [sample((16, 600), labels=resin | inside, bags=[whole((16, 600), (0.9, 0.1, 0.0))])]

    def share_with_specimen(**kwargs):
        windows = [w for n in range(100) for w in sampler(samples, **kwargs).draw(n).windows]
        return np.mean([w.x0 + 16 > 590 for w in windows])

    assert share_with_specimen() < 0.05
    share = share_with_specimen(outside=2)
    if inside:
        assert 0.05 < share < 0.3  # half of the windows get eight more chances of 11 in 585
    else:
        assert share < 0.05


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
    assert batch.weights[0, 0, 3] == 3
    assert batch.weights.sum() == 6
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
