"""Maps and labels of a result without a viewer."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from fake_core import fill

from napari_spss.core.annotations import Classes, Proportion, Region
from napari_spss.core.base import RunError, scratch
from napari_spss.gui.models import Cleaning, ResultMaps

CLASSES = Classes(("background", "mito"))


def two_class(foreground):
    foreground = np.asarray(foreground, np.float32)
    return np.stack([1 - foreground, foreground])


def fractions(maps, *place):
    counts = maps.counts(*place)
    return tuple(counts / counts.sum()) if counts.any() else None


def test_what_was_predicted_comes_back_and_the_rest_is_background():
    maps = ResultMaps(CLASSES, (3, 4, 6))
    fill(maps, 1, two_class(np.full((2, 3), 0.75)), (1, 2, 3, 5))
    probs = maps.probs(1)
    assert probs.dtype == np.float32
    assert probs[1, 1, 2] == 0.75
    assert probs[0, 0, 0] == 1
    labels = maps.labels(1, Cleaning())
    assert labels.sum() == 6
    assert maps.slices == (1,)
    assert maps.full_slices == ()
    assert not maps.is_complete


def test_fractions_count_predicted_pixels_only():
    maps = ResultMaps(CLASSES, (2, 4, 4))
    fill(maps, 0, two_class([[0.9, 0.1], [0.1, 0.1]]), (0, 0, 2, 2))
    labels = maps.labels(0, Cleaning())
    assert fractions(maps, 0, labels) == (0.75, 0.25)
    assert fractions(maps, 0, labels, (0, 0, 1, 2)) == (0.5, 0.5)
    assert fractions(maps, 1, maps.labels(1, Cleaning())) is None


def test_what_lies_outside_counts_in_no_fraction():
    maps = ResultMaps(Classes(("background", "mito", "outside"), outside="outside"), (1, 1, 4))
    probs = np.zeros((3, 1, 4), np.float32)
    probs[:, 0] = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]).T
    fill(maps, 0, probs)
    labels = maps.labels(0, Cleaning())
    assert fractions(maps, 0, labels) == (0.5, 0.5, 0.0)


def test_a_low_threshold_labels_nothing_where_nothing_was_predicted():
    maps = ResultMaps(CLASSES, (1, 4, 4))
    fill(maps, 0, two_class(np.zeros((2, 2))), (0, 0, 2, 2))
    assert maps.labels(0, Cleaning(threshold=0.0)).sum() == 4


def test_cleaning_fills_holes_and_drops_small_objects():
    foreground = np.zeros((9, 9))
    foreground[1:6, 1:6] = 0.9
    foreground[3, 3] = 0.0
    foreground[8, 8] = 0.9
    probs = two_class(foreground)
    assert Cleaning().apply(probs).sum() == 25
    assert Cleaning(fill_holes=True, min_piece_px=2).apply(probs).sum() == 25
    assert Cleaning(fill_holes=True, min_piece_px=2).apply(probs)[3, 3] == 1
    assert Cleaning(threshold=0.95).apply(probs).sum() == 0


def test_reduced_maps_are_cleaned_of_objects_of_the_same_true_size():
    assert Cleaning(0.4, True, 100).at_scale(4) == Cleaning(0.4, True, 7)  # 7 * 16 >= 100 > 6 * 16
    assert [Cleaning(min_piece_px=n).at_scale(3).min_piece_px for n in (0, 1, 9, 10)] == [
        0,
        1,
        1,
        2,
    ]


def test_more_classes_take_the_most_probable_whatever_the_threshold():
    probs = np.zeros((3, 1, 3), np.float32)
    probs[:, 0] = np.array([[0.6, 0.2, 0.3], [0.3, 0.5, 0.3], [0.1, 0.3, 0.4]])
    assert Cleaning(threshold=0.9).apply(probs).tolist() == [[0, 1, 2]]


def test_the_matched_threshold_reaches_the_stated_share():
    maps = ResultMaps(CLASSES, (2, 1, 10))
    ramp = (np.arange(10)[None] + 0.5) / 10
    fill(maps, 0, two_class(ramp))
    fill(maps, 1, two_class(ramp))
    stated = (
        Proportion(Region(0), (0.7, 0.3)),
        Proportion(Region(1), (0.9, None)),  # by its background
    )
    threshold = maps.matched_threshold(stated)
    n_labelled = sum(maps.labels(z, Cleaning(threshold=threshold)).sum() for z in (0, 1))
    assert n_labelled == 4  # .3 and .1 of 10 pixels each
    assert maps.matched_threshold(()) is None
    assert (
        ResultMaps(Classes(("background", "b", "c")), (1, 2, 2)).matched_threshold(stated) is None
    )


def test_a_region_that_was_not_predicted_does_not_count_for_the_match():
    maps = ResultMaps(CLASSES, (2, 1, 10))
    fill(maps, 0, two_class((np.arange(10)[None] + 0.5) / 10))
    only = maps.matched_threshold((Proportion(Region(0), (0.7, 0.3)),))
    both = (Proportion(Region(0), (0.7, 0.3)), Proportion(Region(1), (0.0, 1.0)))
    assert maps.matched_threshold(both) == only == pytest.approx(0.7, abs=0.1)


def test_large_maps_go_to_a_file_that_vanishes_with_them(monkeypatch):
    monkeypatch.setattr(scratch, "_IN_MEMORY_BYTES", 10)
    maps = ResultMaps(Classes(("background", "a", "b")), (2, 4, 4))
    assert all(isinstance(array, np.memmap) for array in maps.maps)
    probs = np.zeros((3, 4, 4), np.float32)
    probs[2] = 1
    fill(maps, 1, probs)
    assert maps.labels(1, Cleaning()).tolist() == np.full((4, 4), 2).tolist()
    assert maps.full_slices == (1,)


def test_maps_of_many_slices_are_on_disk():
    maps = ResultMaps(CLASSES, (40, 1024, 1024))
    assert isinstance(maps.maps[0], np.memmap)
    fill(maps, 39, two_class(np.full((1024, 1024), 0.75)))
    assert (maps.maps[0][39] == 0.75).all()


def test_a_disk_without_room_ends_the_run_before_it_is_full(monkeypatch):
    monkeypatch.setattr(scratch, "_IN_MEMORY_BYTES", 10)
    maps = ResultMaps(CLASSES, (2, 4, 4))
    usage = SimpleNamespace(free=2**28)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RunError, match=r"where 0\.3 GB are free; free some space there"):
        fill(maps, 0, two_class(np.zeros((4, 4))))
    usage.free += 32
    fill(maps, 0, two_class(np.zeros((4, 4))))
    assert maps.full_slices == (0,)


@pytest.mark.parametrize("names", [("background", "a"), ("background", "a", "b")])
def test_labels_of_a_large_slice_do_not_need_its_maps_as_floats(names):
    maps = ResultMaps(Classes(names), (1, 5000, 5000))
    maps.maps[0][0, 10:4000, 7:] = 0.75
    maps.mark(0)
    tracemalloc.start()
    try:
        labels = maps.labels(0, Cleaning())
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 5000 * 5000 * 4 * (len(names) - 1)
    assert labels[10:4000, 7:].all()
    assert labels.sum() == 3990 * 4993


@pytest.mark.parametrize("threshold", [None, 0, 1e-9, 0.2, 0.5, 0.50001, 0.9999, 1, 1 + 2**-9])
def test_labels_begin_where_a_map_in_half_precision_reaches_the_threshold(threshold):
    halves = np.arange(0x3C01, dtype=np.uint16).view(np.float16)  # all from 0 to 1
    maps = ResultMaps(CLASSES, (1, 1, halves.size))
    maps.maps[0][0, 0] = halves
    maps.mark(0)
    found = maps.labels(0, Cleaning(threshold=threshold))[0]
    wanted = halves.astype(np.float64) >= (0.5 if threshold is None else threshold)
    np.testing.assert_array_equal(found, wanted)


def test_rows_know_what_was_predicted():
    maps = ResultMaps(CLASSES, (1, 9, 4))
    fill(maps, 0, two_class(np.ones((4, 2))), (3, 1, 7, 3))
    whole = maps.is_predicted(0)
    for rows in (slice(0, 2), slice(2, 5), slice(5, 9)):
        np.testing.assert_array_equal(maps.is_predicted(0, rows), whole[rows])
        np.testing.assert_array_equal(maps.probs(0, rows), maps.probs(0)[:, rows])
