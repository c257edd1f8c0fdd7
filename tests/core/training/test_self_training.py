"""Pseudo-labels in closed form; maps of whole slices, where a region reaches beyond a window."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from samples_in_memory import bag, sample, whole

from napari_spss.core.training import self_training
from napari_spss.core.training.data import Sampler, Window, cut
from napari_spss.core.training.self_training import SliceMap, SliceMaps

CPU = torch.device("cpu")


def two_classes(values):
    """Maps (2, y, x) with these probabilities of class 1."""
    p = torch.as_tensor(values, dtype=torch.float32)
    return torch.stack([1 - p, p])


def pseudo_labels(probs, bags, **more):
    """Labels of a window whose map by the teacher is known."""
    return self_training.pseudo_labels(lambda: probs, probs.shape[1:], bags, **more)


def ranked(n=20):
    """One row whose pixel i is the i-th most likely one."""
    return two_classes([[1 - (i + 0.5) / n for i in range(n)]])


def labels_of(fraction, *, band, n=20):
    return pseudo_labels(ranked(n), [bag((0, 0, 1, n), (1 - fraction, fraction))], band=band)[0]


@pytest.mark.parametrize(
    ("fraction", "band", "n_positive", "n_ignored"),
    [
        (0.2, 0.25, 3, 2),
        (0.2, 0.0, 4, 0),
        (0.4, 0.5, 4, 8),
        (0.8, 0.25, 15, 2),
        (0.0, 0.25, 0, 0),
        (1.0, 0.25, 20, 0),
    ],
)
def test_the_likeliest_pixels_up_to_the_fraction_are_positive(
    fraction, band, n_positive, n_ignored
):
    expected = [1] * n_positive + [-1] * n_ignored + [0] * (20 - n_positive - n_ignored)
    assert labels_of(fraction, band=band).tolist() == expected


@settings(max_examples=60)
@given(
    n=st.integers(1, 200),
    fraction=st.floats(0, 1),
    band=st.floats(0, 0.99),
    seed=st.integers(0, 99),
)
def test_numbers_of_pixels_follow_the_fraction_wherever_they_lie(n, fraction, band, seed):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    probs = ranked(n)[:, :, order]
    labels = pseudo_labels(probs, [bag((0, 0, 1, n), (1 - fraction, fraction))], band=band)[0]
    margin = band * min(fraction, 1 - fraction)
    assert (labels == 1).sum() == pytest.approx((fraction - margin) * n, abs=0.51)
    assert (labels == 0).sum() == pytest.approx((1 - fraction - margin) * n, abs=0.51)
    p = probs[1, 0]
    if (labels == 1).any() and (labels != 1).any():
        assert p[labels == 1].min() > p[labels != 1].max()
    if (labels == 0).any() and (labels != 0).any():
        assert p[labels == 0].max() < p[labels != 0].min()


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_map_says_nothing(value):
    probs = two_classes(torch.full((6, 6), value))
    labels = pseudo_labels(probs, [bag((0, 0, 6, 6), (0.7, 0.3))], band=0.25)
    assert (labels == -1).all()


def test_pixels_that_share_the_value_at_a_threshold_are_ignored():
    # six saturated pixels, of which only three can be positive
    probs = two_classes([[1.0] * 6 + [0.5, 0.4] + [0.0] * 4])
    labels = pseudo_labels(probs, [bag((0, 0, 1, 12), (0.75, 0.25))], band=0.0)
    assert labels[0].tolist() == [-1] * 6 + [0] * 6


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (1.0, 1)])
def test_exact_fractions_hold_for_constant_maps_too(fraction, expected):
    probs = two_classes(torch.full((3, 3), 0.4))
    labels = pseudo_labels(probs, [bag((0, 0, 3, 3), (1 - fraction, fraction))], band=0.25)
    assert (labels == expected).all()


def test_outside_the_regions_nothing_is_labelled():
    labels = pseudo_labels(ranked(20), [bag((0, 5, 1, 15), (0.5, 0.5))], band=0.0)[0]
    assert labels.tolist() == [-1] * 5 + [1] * 5 + [0] * 5 + [-1] * 5
    assert (pseudo_labels(ranked(20), [], band=0.25) == -1).all()


def test_a_later_region_overrides_an_earlier_one():
    regions = [bag((0, 0, 1, 20), (0.5, 0.5)), bag((0, 0, 1, 10), (1.0, 0.0))]
    labels = pseudo_labels(ranked(20), regions, band=0.0)[0]
    assert labels.tolist() == [0] * 20
    labels = pseudo_labels(ranked(20), regions[::-1], band=0.0)[0]
    assert labels.tolist() == [1] * 10 + [0] * 10


def test_a_window_is_labelled_where_it_meets_a_region_of_its_slice():
    region = bag((2, 3, 6, 9), (0.0, 1.0))
    labels = pseudo_labels(two_classes(torch.rand(4, 4)), [region], band=0.0, origin=(4, 7))
    expected = torch.full((4, 4), -1)
    expected[:2, :2] = 1
    assert torch.equal(labels, expected)
    away = pseudo_labels(two_classes(torch.rand(4, 4)), [region], band=0.0, origin=(6, 3))
    assert (away == -1).all()


def test_a_window_gets_the_labels_that_the_whole_slice_would_give_it():
    slice_map = two_classes(torch.randperm(300).reshape(15, 20) / 300)
    regions = [bag((0, 0, 15, 20), (0.7, 0.3)), bag((2, 3, 12, 11), (0.2, 0.8))]
    expected = pseudo_labels(slice_map, regions, band=0.25)
    window = slice_map[:, 4:12, 6:18]
    found = pseudo_labels(
        window, regions, band=0.25, origin=(4, 6), slice_map=SliceMap.of(slice_map)
    )
    assert torch.equal(found, expected[4:12, 6:18])


def test_the_teacher_is_not_asked_where_the_map_of_a_slice_says_all():
    slice_map = SliceMap.of(two_classes(torch.randperm(300).reshape(15, 20) / 300))
    region = whole((15, 20), (0.7, 0.3))
    labels = self_training.pseudo_labels(
        no_window, (8, 12), [region], band=0.25, origin=(4, 6), slice_map=slice_map
    )
    assert (labels >= 0).any()


@pytest.mark.parametrize("period", [2, 4, 7, 64])
@pytest.mark.parametrize("axis", [0, 1])
def test_of_large_regions_a_sample_is_ranked_that_no_pattern_deceives(period, axis):
    n = 1024
    p = torch.rand(n, n, generator=torch.Generator().manual_seed(0)) / 2
    p[:, : n // 4] += 0.5  # the likely quarter
    stripes = torch.arange(n) % period == 0
    p *= torch.where(stripes, 1.0, 0.6)[:, None] if axis == 0 else torch.where(stripes, 1.0, 0.6)
    region = bag((0, 0, n, n), (0.7, 0.3))
    labels = pseudo_labels(two_classes(p), [region], band=0.0)
    assert (labels == 1).float().mean() == pytest.approx(0.3, abs=0.01)
    assert (labels == 0).float().mean() == pytest.approx(0.7, abs=0.01)


def three_classes(rows):
    """Maps (3, 1, x) of (background, a, b) per pixel."""
    return torch.tensor(rows, dtype=torch.float32).T[:, None]


MAPS = three_classes(
    [(0.1, 0.8, 0.1), (0.2, 0.6, 0.2), (0.1, 0.2, 0.7), (0.8, 0.1, 0.1), (0.9, 0.05, 0.05)]
)
ROW = (0, 0, 1, 5)


def test_every_class_gets_its_share():
    labels = pseudo_labels(MAPS, [bag(ROW, (0.4, 0.4, 0.2))], band=0.0)[0]
    assert labels.tolist() == [1, 1, 2, 0, 0]


def test_a_pixel_that_two_classes_claim_goes_to_the_likelier_one():
    probs = three_classes([(0.1, 0.4, 0.5), (0.2, 0.5, 0.3), (0.9, 0.05, 0.05)])
    labels = pseudo_labels(probs, [bag((0, 0, 1, 3), (0.0, 0.67, 0.33))], band=0.0)[0]
    assert labels.tolist() == [2, 1, 0]


def test_with_an_unknown_class_there_is_no_background():
    labels = pseudo_labels(MAPS, [bag(ROW, (None, 0.4, None))], band=0.0)[0]
    assert labels.tolist() == [1, 1, -1, -1, -1]


def test_with_the_background_alone_nothing_is_labelled():
    assert (pseudo_labels(MAPS, [bag(ROW, (0.4, None, None))], band=0.0) == -1).all()


# -- teacher -------------------------------------------------------------------------------------


# -- maps of whole slices --------------------------------------------------------------------------


@pytest.fixture
def predicted():
    return []


@pytest.fixture
def memory(predicted):
    def predict(image):
        predicted.append(image.shape[1:])
        return two_classes(torch.full(image.shape[1:], len(predicted) / 100))

    return SliceMaps(predict, CPU)


def shown(one):
    """Which prediction, counted from 1, a map is of."""
    return round(100 * float(one.mean((0, 0, 32, 32))[1]))


def no_window():
    raise AssertionError("no window is asked for")


def batch(one, *places, shape=(16, 16)):
    windows = [Window(0, y, x, one.bags) for y, x in places]
    return cut([one], windows, shape)


def test_a_slice_larger_than_its_window_is_predicted_whole_and_kept(memory, predicted):
    large = sample((32, 40), bags=[whole((32, 40), (0.9, 0.1))])
    first, second = memory.recall(batch(large, (0, 0), (16, 8)), 0)
    assert first.odds is second.odds
    assert first.probs((0, 0, 99, 99)).shape == (2, 32, 40)
    assert memory.recall(batch(large, (3, 3)), 50)[0].odds is first.odds
    assert predicted == [(32, 40)]
    (renewed,) = memory.recall(batch(large, (3, 3)), 51)
    assert shown(renewed) == 2
    assert memory.recall(batch(large, (3, 3)), 101)[0].odds is renewed.odds
    assert memory.of(large, 101, (16, 16)).odds is renewed.odds
    counted = memory.of(large, 102, (16, 16))
    assert shown(counted) == 3
    assert memory.recall(batch(large, (3, 3)), 152)[0].odds is counted.odds


def test_very_large_slices_are_kept_longer(memory, predicted):
    huge = sample((128, 128), bags=[whole((128, 128), (0.9, 0.1))])
    for step in (0, 50, 100, 101):
        memory.recall(batch(huge, (0, 0)), step)
    assert len(predicted) == 2  # 64 windows: twice as long


@pytest.mark.parametrize("n_slices", [3, 20, 200])
def test_maps_take_as_long_however_many_slices_there_are(memory, predicted, n_slices):
    region = whole((32, 32), (0.9, 0.1))
    slices = [sample((32, 32), index=z, bags=[region]) for z in range(n_slices)]
    source = Sampler(slices, None, shape=(8, 8), batch_size=4, seed=0)
    for step in range(200):
        memory.recall(source.draw(step), step)
    # each is of 16 windows: of 64 within 50 steps, and those of the start
    assert len(predicted) <= (200 / 50 + 1) * 64 / 16


def test_of_many_slices_only_some_maps_are_kept(memory, predicted, monkeypatch):
    of_labels = of_a_map = 2 * 32 * 40
    room = 10 * (of_a_map + of_labels)
    monkeypatch.setattr("napari_spss.core.training.self_training._MOST_BYTES", room)
    for z in range(60):
        large = sample((32, 40), index=z, bags=[whole((32, 40), (0.9, 0.1))])
        (map_,) = memory.recall(batch(large, (0, 0)), 0)
        assert shown(map_) == z + 1
    assert sorted(memory.kept(50)) == [f"{z}" for z in range(10)]
    assert not memory.kept(51)


def test_a_kept_map_takes_two_bytes_and_tells_sure_pixels_apart():
    p = (
        torch.tensor([1e-5, 2e-5, 0.3, 0.9999, 0.99995, 0.99999])
        .repeat_interleave(8)
        .expand(32, 48)
    )
    memory = SliceMaps(lambda _: two_classes(p), CPU)
    large = sample((32, 48), bags=[whole((32, 48), (0.9, 0.1))])
    (kept,) = memory.recall(batch(large, (0, 0)), 0)
    assert kept.odds.nbytes == 2 * 32 * 48
    found = kept.probs((0, 0, 32, 48))
    assert (found[1, 0, ::8].diff() > 0).all()
    torch.testing.assert_close(found[1], p, rtol=0.02, atol=0)
    torch.testing.assert_close(found[0], 1 - p, rtol=0.02, atol=0)


def test_huge_maps_are_kept_as_far_as_a_batch_needs_them(memory, monkeypatch):
    monkeypatch.setattr("napari_spss.core.training.self_training._MOST_BYTES", 1)
    for z in range(60):
        large = sample((32, 40), index=z, bags=[whole((32, 40), (0.9, 0.1))])
        memory.recall(batch(large, (0, 0)), 0)
    assert len(memory.kept(1)) == 8


def test_what_was_kept_serves_a_run_that_goes_on(memory, predicted):
    large = sample((32, 40), bags=[whole((32, 40), (0.9, 0.1))])
    (first,) = memory.recall(batch(large, (0, 0)), 3)
    again = SliceMaps(no_window, CPU, memory.kept(20))
    (recalled,) = again.recall(batch(large, (16, 8)), 53)
    assert torch.equal(recalled.odds, first.odds)
    assert again.kept(53).keys() == {"0"}
    assert not again.kept(54)


def test_nothing_is_remembered_where_the_window_shows_every_region(memory, predicted):
    parts = sample((32, 32), bags=[bag((4, 4, 12, 20), (0.9, 0.1))])
    assert memory.recall(batch(parts, (4, 4)), 0) == [None]
    unstated = sample((32, 32), labels={(1, 1): 1})
    assert memory.recall(batch(unstated, (4, 4)), 0) == [None]
    assert predicted == []


def test_nothing_is_remembered_for_regions_elsewhere(memory, predicted):
    frames = sample((64, 64), bags=[bag((4, 4, 12, 12), (0.9, 0.1)), bag((50, 8, 58, 16), (1, 0))])
    places = ((0, 0), (42, 4), (24, 40))  # one frame, the other, none
    assert memory.recall(batch(frames, *places), 0) == [None] * 3
    assert predicted == []
    assert memory.recall(batch(frames, (45, 4), shape=(8, 8)), 0)[0] is not None


def test_a_region_that_is_shown_in_part_is_completed(memory):
    parts = sample((32, 32), bags=[bag((4, 4, 12, 12), (0.9, 0.1))])
    seen, cut_off = memory.recall(batch(parts, (0, 0), (5, 0)), 0)
    assert seen is None
    assert cut_off.probs((0, 0, 32, 32)).shape == (2, 32, 32)


def test_a_region_of_which_a_part_is_hidden_is_completed(memory):
    parts = sample((32, 32), bags=[bag((4, 4, 12, 12), (0.9, 0.1))])
    whole_window = batch(parts, (2, 2))
    is_seen = torch.ones((1, 16, 16), dtype=torch.bool)
    is_seen[:, 12:] = False
    assert memory.recall(whole_window.seen(is_seen), 0) == [None]
    is_seen[:, 9] = False
    (map_,) = memory.recall(whole_window.seen(is_seen), 0)
    assert map_.probs((0, 0, 32, 32)).shape == (2, 32, 32)


def test_the_map_of_a_slice_that_fits_a_window_serves_for_a_while(memory, predicted):
    small = sample((16, 12), bags=[whole((16, 12), (0.9, 0.1))])
    is_seen = torch.ones((2, 16, 16), dtype=torch.bool)
    is_seen[1, 5] = False
    seen, hidden = memory.recall(batch(small, (0, 0), (0, 0)).seen(is_seen), 0)
    assert seen.odds is hidden.odds
    assert memory.recall(batch(small, (0, 0)), 10)[0].odds is seen.odds
    assert predicted == [(16, 12)]
    assert shown(memory.recall(batch(small, (0, 0)), 11)[0]) == 2
    # nothing is to be completed, and nothing to be labelled
    assert memory.recall(batch(small, (0, 0)), 99, for_labels=False) == [None]


def test_what_a_map_says_of_a_window_is_what_it_says_of_the_slice(memory):
    probs = torch.rand(3, 32, 40).softmax(dim=0)
    memory = SliceMaps(lambda _: probs, CPU)
    large = sample((32, 40), bags=[whole((32, 40), (0.6, 0.3, 0.1))])
    (near,) = memory.recall(batch(large, (16, 28)), 0)
    for box in ((16, 28, 32, 40), (20, 30, 25, 36), (0, 0, 32, 40), (10, 30, 20, 40)):
        y0, x0, y1, x1 = box
        torch.testing.assert_close(near.probs(box), probs[:, y0:y1, x0:x1], atol=1e-3, rtol=0)
