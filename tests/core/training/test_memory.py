"""Maps of whole slices are kept where a region reaches beyond its window."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from samples_in_memory import bag, sample, whole

from napari_spss.core.training.memory import SliceMemory
from napari_spss.core.training.sampling import cut
from napari_spss.core.training.windows import Window


@pytest.fixture
def predicted():
    return []


@pytest.fixture
def memory(predicted):
    def predict(image):
        predicted.append(image.shape[1:])
        return torch.full((2, *image.shape[1:]), float(len(predicted)))

    return SliceMemory(predict, torch.device("cpu"))


def no_window():
    raise AssertionError("no window is asked for")


def batch(one, *places, shape=(16, 16)):
    windows = [Window(0, y, x, one.bags) for y, x in places]
    return cut([one], windows, shape)


def test_a_slice_larger_than_its_window_is_predicted_whole_and_kept(memory, predicted):
    large = sample((32, 40), bags=[whole((32, 40), (0.9, 0.1))])
    first, second = memory.recall(batch(large, (0, 0), (16, 8)), 0, no_window)
    assert first is second
    assert first.shape == (2, 32, 40)
    assert memory.recall(batch(large, (3, 3)), 49, no_window)[0] is first
    assert predicted == [(32, 40)]
    (renewed,) = memory.recall(batch(large, (3, 3)), 50, no_window)
    assert renewed.unique() == 2
    assert memory.recall(batch(large, (3, 3)), 99, no_window)[0] is renewed


def test_very_large_slices_are_kept_longer(memory, predicted):
    huge = sample((128, 128), bags=[whole((128, 128), (0.9, 0.1))])
    for step in (0, 50, 99, 100):
        memory.recall(batch(huge, (0, 0)), step, no_window)
    assert len(predicted) == 2  # 64 windows: twice as long


def test_of_many_slices_only_some_maps_are_kept(memory, predicted, monkeypatch):
    monkeypatch.setattr("napari_spss.core.training.memory._MOST_BYTES", 10 * 2 * 32 * 40 * 4)
    for z in range(60):
        large = sample((32, 40), index=z, bags=[whole((32, 40), (0.9, 0.1))])
        (map_,) = memory.recall(batch(large, (0, 0)), 0, no_window)
        assert map_.unique() == z + 1
    assert sorted(memory.kept(49)) == list(range(10))
    assert not memory.kept(50)


def test_huge_maps_are_kept_as_far_as_a_batch_needs_them(memory, monkeypatch):
    monkeypatch.setattr("napari_spss.core.training.memory._MOST_BYTES", 1)
    for z in range(60):
        large = sample((32, 40), index=z, bags=[whole((32, 40), (0.9, 0.1))])
        memory.recall(batch(large, (0, 0)), 0, no_window)
    assert len(memory.kept(1)) == 8


def test_what_was_kept_serves_a_run_that_goes_on(memory, predicted):
    large = sample((32, 40), bags=[whole((32, 40), (0.9, 0.1))])
    (first,) = memory.recall(batch(large, (0, 0)), 3, no_window)
    again = SliceMemory(no_window, torch.device("cpu"), memory.kept(20))
    assert again.recall(batch(large, (16, 8)), 52, no_window)[0] is first
    assert again.kept(52).keys() == {0}
    assert not again.kept(53)


def test_nothing_is_remembered_where_the_window_shows_every_region(memory, predicted):
    fits = sample((16, 12), bags=[whole((16, 12), (0.9, 0.1))])
    assert memory.recall(batch(fits, (0, 0)), 0, no_window) == [None]
    parts = sample((32, 32), bags=[bag((4, 4, 12, 20), (0.9, 0.1))])
    assert memory.recall(batch(parts, (4, 4)), 0, no_window) == [None]
    unstated = sample((32, 32), labels={(1, 1): 1})
    assert memory.recall(batch(unstated, (4, 4)), 0, no_window) == [None]
    assert predicted == []


def test_a_region_that_is_shown_in_part_is_completed(memory):
    parts = sample((32, 32), bags=[bag((4, 4, 12, 12), (0.9, 0.1))])
    seen, cut_off = memory.recall(batch(parts, (0, 0), (5, 0)), 0, no_window)
    assert seen is None
    assert cut_off.shape == (2, 32, 32)


def test_a_region_of_which_a_part_is_hidden_is_completed(memory):
    parts = sample((32, 32), bags=[bag((4, 4, 12, 12), (0.9, 0.1))])
    whole_window = batch(parts, (2, 2))
    is_seen = torch.ones((1, 16, 16), dtype=torch.bool)
    is_seen[:, 12:] = False
    assert memory.recall(whole_window.seen(is_seen), 0, no_window) == [None]
    is_seen[:, 9] = False
    (map_,) = memory.recall(whole_window.seen(is_seen), 0, no_window)
    assert map_.shape == (2, 32, 32)


def test_a_slice_that_fits_a_window_is_completed_by_the_map_of_now(memory, predicted):
    small = sample((16, 12), bags=[whole((16, 12), (0.9, 0.1))])
    is_seen = torch.ones((2, 16, 16), dtype=torch.bool)
    is_seen[1, 5] = False
    now = torch.rand(2, 2, 16, 16)
    seen, hidden = memory.recall(batch(small, (0, 0), (0, 0)).seen(is_seen), 0, lambda: now)
    assert seen is None
    assert torch.equal(hidden, now[1])
    assert predicted == []
    # a fixed window may begin elsewhere: the map of now is not in the frame of its slice then
    corner = replace(small, bags=(bag((8, 4, 16, 12), (0.9, 0.1)),))
    (elsewhere,) = memory.recall(batch(corner, (8, 4)).seen(is_seen[1:]), 0, lambda: now)
    assert elsewhere.shape == (2, 16, 12)
    assert predicted == [(16, 12)]
